package keyset

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
)

// start runs the gate's key sets in a bubble of time until the test's function returns.
func start(t *testing.T, g *gate) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Sets.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("expected a clean stop, got %v", err)
		}
	}
}

func TestUnknownKidIsFetchedOnceForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		keys := newKeys(t, 2)
		o.publish(t, keys[0])
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		defer start(t, g)()
		g.wants(issuerA, keys[0])
		before := o.requests()
		doc := jwks(t, keys...)
		o.set(
			func(w http.ResponseWriter, _ *http.Request) { time.Sleep(time.Second); fmt.Fprint(w, doc) })
		var found atomic.Int32
		var wg sync.WaitGroup
		for range waitingMax {
			wg.Go(func() {
				if g.Await(t.Context(), issuerA, keys[1].ID()) {
					found.Add(1)
				}
			})
		}
		wg.Wait()
		if found.Load() != waitingMax || o.requests() != before+1 {
			t.Fatalf("expected %d callers to be served by one fetch, got %d by %d", waitingMax,
				found.Load(), o.requests()-before)
		}
		g.wants(issuerA, keys...)
		if !g.Await(t.Context(), issuerA, keys[0].ID()) || o.requests() != before+1 {
			t.Error("a known kid costs a fetch")
		}
	})
}

func TestGarbageKidsDoNotHammerTheIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		k := newKey(t, "ES256")
		o.publish(t, k)
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA), trust(issuerB))
		defer start(t, g)()
		before, series, began := o.requests(), 0, time.Now()
		for n := 0; time.Since(began) < 2*time.Minute; n++ {
			if g.Await(t.Context(), issuerA, fmt.Sprintf("garbage-%d", n)) {
				t.Fatal("a key was made up")
			}
			if n == 100 {
				series = g.series()
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := o.requests() - before; n > 2*60/10+2 {
			t.Errorf("expected at most one request in ten seconds, got %d in two minutes", n)
		}
		if g.series() != series {
			t.Errorf("the number of metrics grows with the kids: %d, then %d", series, g.series())
		}
		if strings.Contains(g.log.String(), "garbage") {
			t.Error("kids of unverified tokens are in the log")
		}
		if g.metric("sallyport_keyset_unknown_kids_total", issuerA, outcomeLimited) == 0 {
			t.Error("the metric does not tell")
		}
	})
}

// Someone who floods a gate with garbage kids does not keep a new key out for longer than the
// limit.
func TestNewKeyIsFoundInTheMidstOfGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		keys := newKeys(t, 2)
		o.publish(t, keys[0])
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		defer start(t, g)()
		g.Await(t.Context(), issuerA, "garbage")
		o.publish(t, keys...)
		before := o.requests()
		if g.Await(t.Context(), issuerA, keys[1].ID()) || o.requests() != before {
			t.Fatal("expected the limit to hold")
		}
		time.Sleep(demandEvery)
		synctest.Wait()
		g.wants(issuerA, keys...)
		if o.requests() != before+1 {
			t.Fatalf("expected one fetch in the background, got %d", o.requests()-before)
		}
	})
}

func TestWaitersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		k := newKey(t, "ES256")
		o.publish(t, k)
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		defer start(t, g)()
		doc := jwks(t, k)
		o.set(
			func(w http.ResponseWriter, _ *http.Request) { time.Sleep(time.Second); fmt.Fprint(w, doc) })
		var wg sync.WaitGroup
		for range waitingMax {
			wg.Go(func() { g.Await(t.Context(), issuerA, "x") })
		}
		synctest.Wait()
		began := time.Now()
		if g.Await(t.Context(), issuerA, "y") || time.Since(began) != 0 {
			t.Error("expected to be turned away at once")
		}
		if g.metric("sallyport_keyset_unknown_kids_total", issuerA, outcomeCrowded) != 1 {
			t.Error("the metric does not tell")
		}
		wg.Wait()
	})
}

func TestCallerWaitsNoLongerThanItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		keys := newKeys(t, 2)
		o.publish(t, keys[0])
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		defer start(t, g)()
		doc := jwks(t, keys...)
		o.set(
			func(w http.ResponseWriter, _ *http.Request) { time.Sleep(time.Second); fmt.Fprint(w, doc) })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if g.Await(ctx, issuerA, keys[1].ID()) || time.Since(began) != 100*time.Millisecond {
			t.Errorf("expected to give up after 100ms, took %v", time.Since(began))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		g.wants(issuerA, keys...) // the fetch went on for those who come later
	})
}

// A check that finds all places for waiting taken asks so.
func TestCallerWithoutAnyTimeHasTheKeyFetchedForThoseAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		keys := newKeys(t, 2)
		o.publish(t, keys[0])
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		defer start(t, g)()
		doc := jwks(t, keys...)
		o.set(
			func(w http.ResponseWriter, _ *http.Request) { time.Sleep(time.Second); fmt.Fprint(w, doc) })
		began := time.Now()
		if g.Await(canceled(t), issuerA, keys[1].ID()) || time.Since(began) != 0 {
			t.Errorf("expected to be turned away at once, took %v", time.Since(began))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		g.wants(issuerA, keys...)
	})
}

func TestKidsThatCanNotBeAreNotFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		keys := newKeys(t, 2)
		o.publish(t, keys...)
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		stop := start(t, g)
		before := o.requests()
		g.RemoveKey(issuerA, keys[1].ID(), time.Now().Add(time.Hour))
		for _, kid := range []string{"", strings.Repeat("k", jose.MaxKeyID+1), keys[1].ID()} {
			if g.Await(t.Context(), issuerA, kid) {
				t.Errorf("%.20q: found", kid)
			}
		}
		stop()
		if g.Await(t.Context(), issuerA, "after the end") {
			t.Error("found after the end")
		}
		if o.requests() != before {
			t.Errorf("expected no fetch, got %d", o.requests()-before)
		}
	})
}

func TestSetIsRefreshedAheadOfNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		keys := newKeys(t, 2)
		age := func(doc string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", "max-age=600")
				fmt.Fprint(w, doc)
			}
		}
		o.set(age(jwks(t, keys[0])))
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		defer start(t, g)()
		g.wants(issuerA, keys[0])
		o.set(age(jwks(t, keys[1])))
		time.Sleep(419 * time.Second)
		g.wants(issuerA, keys[0])
		time.Sleep(122 * time.Second)
		synctest.Wait()
		g.wants(issuerA, keys[1])
		if o.requests() != 2 {
			t.Errorf("expected two requests, got %d", o.requests())
		}
	})
}

func TestFailedFetchIsTriedAgainMoreAndMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		k := newKey(t, "ES256")
		o.publish(t, k)
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		defer start(t, g)()
		o.set(status(503))
		time.Sleep(time.Hour)
		g.wants(issuerA, k)
		if n := o.requests(); n < 60 || n > 130 {
			t.Errorf("expected about a request a minute through an hour's outage, got %d", n)
		}
		next := newKey(t, "ES256")
		o.publish(t, next)
		time.Sleep(time.Minute)
		synctest.Wait()
		g.wants(issuerA, next)
	})
}

func TestFilesAreReadAgainEveryFewSeconds(t *testing.T) {
	path := t.TempDir() + "/jwks.json"
	synctest.Test(t, func(t *testing.T) {
		keys := newKeys(t, 2)
		write(t, path, jwks(t, keys[0]))
		g := newGate(t, Options{Now: time.Now}, trust(issuerA, file(path)))
		defer start(t, g)()
		g.wants(issuerA, keys[0])
		write(t, path, jwks(t, keys...))
		if !g.Await(t.Context(), issuerA, keys[1].ID()) {
			t.Error("an unknown kid does not make the gate read the file")
		}
		write(t, path, jwks(t, keys[1]))
		time.Sleep(poll)
		synctest.Wait()
		g.wants(issuerA, keys[1])
	})
}

func TestGateWaitsForIssuersButNotForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := &origin{}, &origin{}
		k := newKey(t, "ES256")
		up.publish(t, k)
		down.set(status(500))
		both := &origin{answer: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Host == "a.example" {
				up.ServeHTTP(w, r)
			} else {
				down.ServeHTTP(w, r)
			}
		}}
		g := newGate(t, Options{Transport: both, Now: time.Now}, trust(issuerA), trust(issuerB))
		if err := g.Ready(); err == nil {
			t.Error("ready before it runs")
		}
		defer start(t, g)()
		time.Sleep(patience - time.Second)
		if err := g.Ready(); err == nil || !strings.Contains(err.Error(), issuerB) ||
			strings.Contains(err.Error(), issuerA) {
			t.Errorf("expected to wait for %s, got %v", issuerB, err)
		}
		time.Sleep(time.Second)
		if err := g.Ready(); err != nil {
			t.Errorf("expected to be ready with the keys of %s, got %v", issuerA, err)
		}
		g.wants(issuerA, k)
		g.wants(issuerB)
		if !strings.Contains(g.log.String(), "ready without") ||
			g.metric("sallyport_keyset_keys", issuerB) != 0 ||
			g.issuer(issuerB).current.Load().had() {
			t.Error("the missing keys are not told")
		}
		late := newKey(t, "ES256")
		down.publish(t, late)
		time.Sleep(retryBare)
		synctest.Wait()
		g.wants(issuerB, late)
	})
}

func TestGateWithoutAnyKeysIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		o.set(status(500))
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		defer start(t, g)()
		time.Sleep(time.Hour)
		if err := g.Ready(); err == nil {
			t.Fatal("ready without any key")
		}
		o.publish(t, newKey(t, "ES256"))
		time.Sleep(retryBare)
		synctest.Wait()
		if err := g.Ready(); err != nil {
			t.Fatal(err)
		}
		o.set(status(500))
		time.Sleep(time.Hour)
		if err := g.Ready(); err != nil {
			t.Errorf("expected a ready gate to stay so, got %v", err)
		}
	})
}

func TestGateWithoutIssuersIsReady(t *testing.T) {
	if err := newGate(t, Options{}).Ready(); err != nil {
		t.Fatal(err)
	}
}

func TestSlowIssuerDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, "ES256")
		doc := jwks(t, k)
		o := &origin{answer: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Host == "b.example" {
				<-r.Context().Done()
			}
			fmt.Fprint(w, doc)
		}}
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerB), trust(issuerA))
		defer start(t, g)()
		g.wants(issuerA, k)
		began := time.Now()
		g.Await(t.Context(), issuerA, "unknown")
		if time.Since(began) != 0 {
			t.Errorf("expected an answer of one issuer not to wait for another, took %v", time.Since(began))
		}
	})
}

func TestStopInTheMidstOfAFetchIsClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		o.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		stop := start(t, g)
		waiting := make(chan bool)
		go func() { waiting <- g.Await(t.Context(), issuerA, "kid") }()
		synctest.Wait()
		stop()
		if <-waiting {
			t.Error("a kid was found")
		}
		if strings.Contains(g.log.String(), "fetch failed") {
			t.Errorf("the stop is told as a failure: %s", g.log)
		}
		if err := g.Sets.Run(canceled(t)); err != nil {
			t.Errorf("expected to be able to run again, got %v", err)
		}
	})
}

func TestRunsOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		o.publish(t, newKey(t, "ES256"))
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		defer start(t, g)()
		if err := g.Sets.Run(t.Context()); err == nil {
			t.Error("it runs twice")
		}
		if err := g.Reload(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
