package keyset

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/token"
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

// running returns a gate whose key sets run in a bubble of time, its issuer, and two keys of that:
// the first is published.
func running(t *testing.T) (*gate, *origin, []*signing.PrivateKey) {
	t.Helper()
	o, keys := &origin{}, newKeys(t, 2)
	o.publish(t, keys[0])
	g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
	t.Cleanup(start(t, g))
	return g, o, keys
}

func TestUnknownKidIsFetchedOnceForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, o, keys := running(t)
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

// wait is how long a check waits for a key, unless it is configured otherwise.
const wait = 150 * time.Millisecond

// ask does what a check does with a kid that is not in the set, and returns what it finds then.
func (g *gate) ask(issuer, kid string) (*jose.PublicKey, token.Reason) {
	ctx, cancel := context.WithTimeout(g.Context(), wait)
	defer cancel()
	g.Await(ctx, issuer, kid)
	return g.Key(issuer, kid, "")
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
			if k, _ := g.ask(issuerA, fmt.Sprintf("garbage-%d", n)); k != nil {
				t.Fatal("a key was made up")
			}
			if n == 100 {
				series = g.series()
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := o.requests() - before; n > 2*60*2+2 {
			t.Errorf("expected at most two requests a second, got %d in two minutes", n)
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

// slowly answers as an issuer that is a network away does.
func slowly(doc func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		shown := doc() // as it is when the request arrives: what is published later, it lacks
		select {
		case <-time.After(80 * time.Millisecond):
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		fmt.Fprint(w, shown)
	}
}

// TestAFloodOfMadeUpKidsDelaysANewKeyByLessThanASecond: forty a second, of one who names no kid
// twice, at a real HTTP server over connections in memory, whenever the key is published. Nobody is
// told that a key is unknown which is there, and nobody's garbage is taken for a pending key for
// ever.
func TestAFloodOfMadeUpKidsDelaysANewKeyByLessThanASecond(t *testing.T) {
	// Over a whole second, so that some are published right after a fetch was begun.
	for published := time.Duration(10); published < 1000; published += 70 {
		t.Run(fmt.Sprintf("published at %d ms", published), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				keys := newKeys(t, 2)
				var mu sync.Mutex
				doc, next := jwks(t, keys[0]), jwks(t, keys...)
				o := &origin{answer: slowly(func() string {
					mu.Lock()
					defer mu.Unlock()
					return doc
				})}
				g := newGate(t, Options{Transport: inMemory(t, o), Now: time.Now},
					trust(issuerA, at("http://a.example/jwks")))
				defer start(t, g)()
				time.Sleep(time.Second)
				g.wants(issuerA, keys[0])
				before, flooded := o.requests(), time.Now()
				flood, stop := context.WithCancel(t.Context())
				var anonymous sync.WaitGroup
				anonymous.Go(func() {
					for n := 0; flood.Err() == nil; n++ {
						anonymous.Go(func() { g.ask(issuerA, fmt.Sprintf("made-up-%d", n)) })
						time.Sleep(time.Second / 40)
					}
				})
				defer anonymous.Wait()
				defer stop()
				time.Sleep(3*time.Second + published*time.Millisecond)
				began := time.Now()
				mu.Lock()
				doc = next
				mu.Unlock()
				for {
					k, why := g.ask(issuerA, keys[1].ID())
					if k != nil {
						break
					}
					if why != token.ReasonKeyPending {
						t.Fatalf("a key that is published is said to be %s", why)
					}
					time.Sleep(10 * time.Millisecond)
				}
				if delay := time.Since(began); delay >= time.Second {
					t.Errorf("the new key was in force after %v", delay)
				}
				// A client that holds a token of a key that is gone learns so, in spite of the flood.
				_, why := g.ask(issuerA, "gone")
				if why == token.ReasonKeyPending {
					time.Sleep(time.Second) // Retry-After
					_, why = g.ask(issuerA, "gone")
				}
				if why != token.ReasonUnknownKey {
					t.Errorf("a kid that the issuer lacks is %s after Retry-After", why)
				}
				if n, most := o.requests()-before, 2+int(time.Since(flooded)/demandEvery); n > most {
					t.Errorf("the issuer was asked %d times, expected at most %d", n, most)
				}
			})
		})
	}
}

// inMemory is the way to a real HTTP server, without a network.
func inMemory(t *testing.T, handler http.Handler) http.RoundTripper {
	conns := make(chan net.Conn)
	closed := make(chan struct{})
	s := &http.Server{Handler: handler}
	served := make(chan error, 1)
	go func() { served <- s.Serve(pipes{conns, closed}) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			here, there := net.Pipe()
			select {
			case conns <- there:
				return here, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	}
}

// pipes is a listener for one end of pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

// Accept implements net.Listener.
func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p pipes) Close() error { close(p.closed); return nil }

// Addr implements net.Listener.
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// TestAKidIsUnknownOnlyByTheWordOfAFetchBegunAfterIt: until then nobody knows.
func TestAKidIsUnknownOnlyByTheWordOfAFetchBegunAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		keys := newKeys(t, 2)
		o.publish(t, keys[0])
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		if _, why := g.Key(issuerA, "kid", ""); why != token.ReasonNoKeys {
			t.Errorf("before any fetch: got %s", why)
		}
		defer start(t, g)()
		if _, why := g.Key(issuerA, "kid", ""); why != token.ReasonKeyPending {
			t.Errorf("a kid that nobody has asked for: got %s", why)
		}
		if _, why := g.ask(issuerA, "kid"); why != token.ReasonUnknownKey {
			t.Errorf("after a fetch: got %s", why)
		}
		// Too soon for another fetch.
		if _, why := g.ask(issuerA, "another"); why != token.ReasonKeyPending {
			t.Errorf("a kid since the last fetch: got %s", why)
		}
		if _, why := g.ask(issuerA, "kid"); why != token.ReasonUnknownKey {
			t.Errorf("a kid that the last fetch lacked: got %s", why)
		}
		time.Sleep(demandEvery)
		synctest.Wait()
		if _, why := g.Key(issuerA, "another", ""); why != token.ReasonUnknownKey {
			t.Errorf("a kid since the fetch before: got %s", why)
		}
		time.Sleep(2 * askedFor)
		if _, why := g.Key(issuerA, "another", ""); why != token.ReasonKeyPending {
			t.Errorf("a kid that was asked for long ago: got %s", why)
		}
		if _, why := g.Key(issuerA, "", ""); why != token.ReasonKeyIDMissing {
			t.Errorf("no kid: got %s", why)
		}
		long := strings.Repeat("k", jose.MaxKeyID+1)
		if _, why := g.Key(issuerA, long, ""); why != token.ReasonUnknownKey {
			t.Errorf("a long kid: got %s", why)
		}
	})
}

// TestAKidThatIsAskedForDuringAFetchHasOneOfItsOwn, though nobody asks again: the one under way may
// have been answered before the key was published.
func TestAKidThatIsAskedForDuringAFetchHasOneOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, o, keys := running(t)
		before := jwks(t, keys[0])
		o.set(slowly(func() string { return before }))
		go g.ask(issuerA, "made-up")
		synctest.Wait()
		o.publish(t, keys...)
		if _, why := g.ask(issuerA, keys[1].ID()); why != token.ReasonKeyPending {
			t.Errorf("after a fetch that was begun before: got %s", why)
		}
		time.Sleep(demandEvery)
		synctest.Wait()
		g.wants(issuerA, keys...)
	})
}

// TestAKidThatWasAbsentIsFoundWhenItIsPublished, be it that somebody has guessed it before.
func TestAKidThatWasAbsentIsFoundWhenItIsPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, o, keys := running(t)
		if _, why := g.ask(issuerA, keys[1].ID()); why != token.ReasonUnknownKey {
			t.Fatalf("got %s", why)
		}
		o.publish(t, keys...)
		g.ask(issuerA, keys[1].ID())
		time.Sleep(demandEvery)
		synctest.Wait()
		g.wants(issuerA, keys...)
	})
}

// TestAKidThatWasAskedForBeforeItWasPublishedIsUnknownForAMomentOnly: the answer of before is not
// believed afterwards.
func TestAKidThatWasAskedForBeforeItWasPublishedIsUnknownForAMomentOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, o, keys := running(t)
		if _, why := g.ask(issuerA, keys[1].ID()); why != token.ReasonUnknownKey {
			t.Fatalf("got %s", why)
		}
		o.publish(t, keys...)
		time.Sleep(absentFor - time.Nanosecond)
		if _, why := g.Key(issuerA, keys[1].ID(), ""); why != token.ReasonUnknownKey {
			t.Errorf("a moment later: got %s", why)
		}
		time.Sleep(time.Nanosecond)
		if _, why := g.Key(issuerA, keys[1].ID(), ""); why != token.ReasonKeyPending {
			t.Errorf("after that: got %s", why)
		}
		if k, why := g.ask(issuerA, keys[1].ID()); k == nil {
			t.Errorf("asked for: got %s", why)
		}
	})
}

// TestAKidThatTheIssuerLacksIsUnknownAfterRetryAfter, however slow the issuer is.
func TestAKidThatTheIssuerLacksIsUnknownAfterRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, o, keys := running(t)
		doc := jwks(t, keys[0])
		o.set(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(3 * time.Second)
			fmt.Fprint(w, doc)
		})
		for range 4 {
			if _, why := g.ask(issuerA, "gone"); why == token.ReasonUnknownKey {
				return
			}
			time.Sleep(time.Second - wait)
		}
		t.Error("still pending")
	})
}

// TestAKidIsPendingWhileTheIssuerCannotBeAsked, and the issuer is asked more and more seldom, at
// least every ten seconds.
func TestAKidIsPendingWhileTheIssuerCannotBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, o, keys := running(t)
		o.set(status(503))
		before, began := o.requests(), time.Now()
		for n := 0; time.Since(began) < 10*time.Minute; n++ {
			kid := keys[1].ID()
			if n%2 == 0 {
				kid = fmt.Sprintf("made-up-%d", n)
			}
			if _, why := g.ask(issuerA, kid); why != token.ReasonKeyPending {
				t.Fatalf("after %v: got %s", time.Since(began), why)
			}
			time.Sleep(25 * time.Millisecond)
		}
		if n := o.requests() - before; n < 60 || n > 140 {
			t.Errorf("expected about a request in five to ten seconds, got %d in ten minutes", n)
		}
		if g.metric("sallyport_keyset_unknown_kids_total", issuerA, outcomeFailed) == 0 {
			t.Error("the metric does not tell")
		}
		o.publish(t, keys...)
		time.Sleep(demandFailing)
		synctest.Wait()
		g.wants(issuerA, keys...)
	})
}

// TestAKeptSetDoesNotKnowThatAKidIsUnknown: it is from before this start.
func TestAKeptSetDoesNotKnowThatAKidIsUnknown(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		keys := newKeys(t, 2)
		o.publish(t, keys[0])
		g := newGate(t, Options{Transport: o, Now: time.Now, CacheDir: dir}, trust(issuerA))
		start(t, g)()
		o.set(status(503))
		g = newGate(t, Options{Transport: o, Now: time.Now, CacheDir: dir}, trust(issuerA))
		defer start(t, g)()
		g.wants(issuerA, keys[0])
		if _, why := g.ask(issuerA, keys[1].ID()); why != token.ReasonKeyPending {
			t.Errorf("got %s", why)
		}
	})
}

// TestKidsThatWereAskedForTakeBoundedMemory, however many there are, and a clock that goes back
// makes none of them known for longer.
func TestKidsThatWereAskedForTakeBoundedMemory(t *testing.T) {
	var a asked
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for n := range uint64(10 * askedMax) {
		if since := a.note(fmt.Sprintf("made-up-%d", n), n, now); since != n {
			t.Fatalf("a kid that is asked for for the first time: got %d", since)
		}
		if len(a.now)+len(a.before) > 2*askedMax {
			t.Fatalf("%d kids are remembered", len(a.now)+len(a.before))
		}
	}
	a.note("mine", 7, now)
	if since := a.note("mine", 9, now.Add(askedFor)); since != 7 {
		t.Errorf("asked for again: got %d", since)
	}
	if since := a.note("mine", 9, now.Add(-time.Second)); since != 9 {
		t.Errorf("after the clock has gone back: got %d", since)
	}
	if _, ok := a.find("mine", now.Add(2*askedFor)); ok {
		t.Error("remembered for ever")
	}
	if since := a.note("mine", 11, now.Add(2*askedFor)); since != 11 {
		t.Errorf("long after: got %d", since)
	}
}

// TestThoseWhoWaitForAFetchToComeAreLetGoAtTheEnd, though it never begins.
func TestThoseWhoWaitForAFetchToComeAreLetGoAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		o.publish(t, newKey(t, "ES256"))
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		stop := start(t, g)
		g.Await(t.Context(), issuerA, "made-up")
		waiting := make(chan bool)
		go func() { waiting <- g.Await(t.Context(), issuerA, "kid") }()
		synctest.Wait()
		stop()
		if <-waiting {
			t.Error("a kid was found")
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
		g, o, keys := running(t)
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
		g, o, keys := running(t)
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
