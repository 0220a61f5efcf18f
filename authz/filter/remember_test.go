package filter

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/decisionlog"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// keep asks about a request and returns for how long its answer holds.
func (b *bench) keep(headers []authz.Header, from Origin) Keep {
	k := Keep{Entry: 7, For: time.Hour, Lifetime: 1, LifetimeLen: 9, IDAt: 9} // as it was left behind
	b.filter.Request(b.host.next(), headers, from, make([]byte, 0, maxAnswer), &k)
	return k
}

// TestAnAnswerHoldsNoLongerThanItsTokenAndTheCopy, and ten seconds at most.
func TestAnAnswerHoldsNoLongerThanItsTokenAndTheCopy(t *testing.T) {
	for name, test := range map[string]struct {
		left, staleness, want time.Duration
	}{
		"a token that lives for long":      {10 * time.Minute, 0, 10 * time.Second},
		"one that expires":                 {3 * time.Second, 0, 3 * time.Second},
		"one that has, within the leeway":  {-time.Second, 0, 0},
		"a copy that may be stale soon":    {10 * time.Minute, 8 * time.Second, 2 * time.Second},
		"one that is as old as it may be":  {10 * time.Minute, 10 * time.Second, 0},
		"the token before the copy":        {time.Second, 8 * time.Second, time.Second},
		"the copy before the token's time": {3 * time.Second, 8 * time.Second, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := authztest.New()
			fresh := new(atomic.Pointer[revocation.Freshness])
			fresh.Store(&revocation.Freshness{Fresh: true, Staleness: test.staleness})
			b := start(t, w, func(o *Options) {
				o.Revocations = copied{w.Revocations, make(chan struct{}), fresh}
			})
			bearer := w.Token(func(c *token.Claims) {
				c.Expiry = w.Now.Add(test.left).Unix()
				c.IssuedAt = min(c.Expiry, w.Now.Unix()) - 60
			})
			if k := b.keep(carrying(bearer), Origin{}); k.For != test.want {
				t.Errorf("it holds for %s, expected %s", k.For, test.want)
			}
		})
	}
}

// TestWhatMayBeDecidedOtherwiseNextTimeIsNotKept, nor a refusal.
func TestWhatMayBeDecidedOtherwiseNextTimeIsNotKept(t *testing.T) {
	bearer := func(w *authztest.World) string { return "Bearer " + w.Token() }
	kept := func(t *testing.T, b *bench, path string, from Origin, more ...string) time.Duration {
		t.Helper()
		headers := append([]string{"authorization", bearer(b.world)}, more...)
		return b.keep(shown(authztest.Get(path, headers...)), from).For
	}
	t.Run("by the route", func(t *testing.T) {
		b := start(t, authztest.New())
		for path, want := range map[string]bool{
			"/protected": true, "/public": true, "/maybe": true, "/download": true, "/tolerant": true,
			"/fresh": false, "/of/alice": false, "/checkout": false, // time, and conditions
			"/closed": false, "/their-admins": false, "/nowhere": false, // refused
		} {
			from := Origin{Peer: "spiffe://example.com/checkout"}
			if got := kept(t, b, path, from, "x-team", "blue") > 0; got != want {
				t.Errorf("%s: kept is %v", path, got)
			}
		}
		if kept(t, b, "/protected", Origin{Policy: "nobody's"}) != 0 {
			t.Error("the answer by a policy that there is not is kept")
		}
	})
	t.Run("while a shadow policy is told of each", func(t *testing.T) {
		b := start(t, authztest.New())
		b.engine.SetShadow(b.world.Policy)
		if kept(t, b, "/protected", Origin{}) != 0 {
			t.Error("it is kept")
		}
		b.engine.SetShadow(nil)
		if kept(t, b, "/protected", Origin{}) == 0 {
			t.Error("it is not kept without one")
		}
	})
	t.Run("while a policy reads headers", func(t *testing.T) {
		w := authztest.New()
		c := authztest.Routes()
		c.Routes = append(c.Routes, policy.Route{Match: policy.Match{
			Path: "/by-header", Headers: []policy.HeaderMatch{{Name: "traceparent", Present: true}},
		}})
		var err error
		if w.Policy, err = policy.Compile(c); err != nil {
			t.Fatal(err)
		}
		if kept(t, start(t, w), "/protected", Origin{}) != 0 {
			t.Error("it is kept")
		}
	})
	t.Run("while a token or a claim stands in a header that is passed over", func(t *testing.T) {
		for name, change := range map[string]func(*policy.Config){
			"a token": func(c *policy.Config) { c.Tokens = []policy.TokenSource{{Header: "traceparent"}} },
			"a claim": func(c *policy.Config) {
				c.Routes[3].Headers = map[string]string{"x-b3-traceid": "sub"}
			},
		} {
			w := authztest.New()
			c := authztest.Routes()
			change(&c)
			var err error
			if w.Policy, err = policy.Compile(c); err != nil {
				t.Fatal(err)
			}
			b := start(t, w)
			if k := b.keep(shown(authztest.Get("/public")), Origin{}); k.For != 0 {
				t.Errorf("%s: it is kept", name)
			}
		}
	})
	t.Run("while there is a decision log", func(t *testing.T) {
		c := decisionlog.DefaultConfig()
		c.Enabled = true
		log, err := decisionlog.New(c, decisionlog.Options{Now: time.Now, Stdout: new(strings.Builder)})
		if err != nil {
			t.Fatal(err)
		}
		b := start(t, authztest.New(), func(o *Options) { o.Check.Decisions = log })
		if kept(t, b, "/protected", Origin{}) != 0 {
			t.Error("it is kept")
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("without an entry to keep it in", func(t *testing.T) {
		b := start(t, authztest.New())
		k := Keep{Entry: NoEntry}
		b.filter.Request(b.host.next(), carrying(b.world.Token()), Origin{}, make([]byte, 0, maxAnswer), &k)
		if k.For != 0 {
			t.Error("it is kept")
		}
	})
	t.Run("when it did not fit", func(t *testing.T) {
		b := start(t, authztest.New())
		k := Keep{Entry: 1}
		out := b.filter.Request(b.host.next(), carrying(b.world.Token()), Origin{}, make([]byte, 0, 300), &k)
		if verdict(out) != verdictRefuse || k.For != 0 {
			t.Errorf("verdict %d is kept for %s", verdict(out), k.For)
		}
	})
}

// inBetween revokes while the classes of a token's names are asked for.
type inBetween struct {
	copied
	revoke func()
}

func (r inBetween) Classes(f *revocation.Facts, to []revocation.Class) []revocation.Class {
	r.revoke()
	return r.copied.Classes(f, to)
}

// TestWhatIsRevokedWhileItsAnswerIsMadeIsNotKept: the numbers that it would be kept by have moved
// already.
func TestWhatIsRevokedWhileItsAnswerIsMadeIsNotKept(t *testing.T) {
	w := authztest.New()
	b := start(t, w, func(o *Options) {
		o.Revocations = inBetween{copied{w.Revocations, make(chan struct{}), nil}, func() {
			w.Revocations.Revoke(func(*revocation.Facts) bool { return true })
		}}
	})
	if k := b.keep(carrying(w.Token()), Origin{}); k.For != 0 {
		t.Errorf("it is kept for %s", k.For)
	}
}

// TestAnAnswerIsKeptByNumbersFromBeforeItWasMade: all of them, and no others.
func TestAnAnswerIsKeptByNumbersFromBeforeItWasMade(t *testing.T) {
	w := authztest.New()
	b := start(t, w)
	claims := w.Claims()
	names := []string{claims.SessionID, claims.ID, claims.Subject}
	for i, name := range names {
		for range i + 1 {
			b.host.versions.Move(classOf(name))
		}
	}
	b.host.versions.MoveAll()
	k := b.keep(carrying(w.Token()), Origin{})
	if k.All != 1 || k.Classes != uint32(len(names)) {
		t.Fatalf("%d, and %d classes", k.All, k.Classes)
	}
	for i, name := range names {
		if k.Class[i] != classOf(name) || k.Version[i] != uint64(i+1) {
			t.Errorf("%s: class %d at %d", name, k.Class[i], k.Version[i])
		}
	}
	if k := b.keep(shown(authztest.Get("/public")), Origin{}); k.Classes != 0 || k.For != longestKept {
		t.Errorf("what needs no token is kept by %d classes for %s", k.Classes, k.For)
	}
}

// TestTheModuleKnowsWhatOfAnAnswerIsOfOneRequestAlone: where the decision's ID and the lifetime are.
func TestTheModuleKnowsWhatOfAnAnswerIsOfOneRequestAlone(t *testing.T) {
	w := authztest.New()
	b := start(t, w)
	k := Keep{Entry: 1}
	out := b.filter.Request(b.host.next(), carrying(w.Token()), Origin{}, make([]byte, 0, maxAnswer), &k)
	id := string(out[k.IDAt : k.IDAt+32])
	if !strings.HasSuffix(string(out[:k.IDAt]), authz.HeaderDecision) || strings.Trim(id, "0123456789abcdef") != "" {
		t.Errorf("the ID is %q behind %q", id, out[:k.IDAt])
	}
	left := string(out[k.LifetimeAt : k.LifetimeAt+k.LifetimeLen])
	if !strings.HasSuffix(string(out[:k.LifetimeAt]), check.HeaderStreamDuration) ||
		left != "3000000" || k.Lifetime != 3_000_000 || k.Least != 5000 {
		t.Errorf("the lifetime is %q behind %q; %d, at least %d", left, out[:k.LifetimeAt], k.Lifetime, k.Least)
	}
	if k := b.keep(shown(authztest.Get("/download", "authorization", "Bearer "+w.Token())), Origin{}); k.LifetimeAt != 0 || k.LifetimeLen != 0 {
		t.Errorf("a lifetime at %d that there is not", k.LifetimeAt)
	}
}

// TestStreamsOfRememberedAnswersEndToo (S9): with their token, or when the copy is stale, unless their
// route goes on then.
func TestStreamsOfRememberedAnswersEndToo(t *testing.T) {
	w := authztest.New()
	fresh := new(atomic.Pointer[revocation.Freshness])
	fresh.Store(&revocation.Freshness{Fresh: true})
	changed := make(chan struct{})
	b := start(t, w, func(o *Options) { o.Revocations = copied{w.Revocations, changed, fresh} })
	var streams []Stream
	for i, path := range []string{"/protected", "/protected", "/tolerant"} {
		k := Keep{Entry: uint32(10 + i)}
		bearer := w.Token(func(c *token.Claims) { c.SessionID = []string{"a", "b", "c"}[i] })
		b.filter.Request(b.host.next(), shown(authztest.Get(path, "authorization", "Bearer "+bearer)), Origin{},
			make([]byte, 0, maxAnswer), &k)
		s := b.host.next() // which Go has not been asked about
		streams = append(streams, s)
		b.host.mu.Lock()
		b.host.watched = append(b.host.watched, remembering{s, k.Entry}, remembering{Stream{Worker: 5}, 1})
		b.host.mu.Unlock()
	}
	w.Revocations.Revoke(func(f *revocation.Facts) bool { return f.SessionID == "a" })
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.filter.Run(ctx) }()
	// All that Go was asked about end as well.
	awaitEnds := func(want ...Stream) {
		t.Helper()
		for len(want) > 0 {
			select {
			case s := <-b.host.ended:
				want = slices.DeleteFunc(want, func(w Stream) bool { return w == s })
				if slices.Contains(streams[2:], s) {
					t.Error("the stream of a route that goes on has ended")
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%v go on", want)
			}
		}
	}
	awaitEnds(streams[0])
	if why := b.host.why(streams[0]); why != Revoked {
		t.Errorf("ended as %d", why)
	}
	fresh.Store(&revocation.Freshness{Staleness: time.Minute, Why: revocation.WhyStale})
	awaitEnds(streams[1])
	if why := b.host.why(streams[1]); why != Stale {
		t.Errorf("ended as %d", why)
	}
	before := b.host.versions.All()
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if b.host.versions.All() == before {
		t.Error("a filter that has ended is still answered for")
	}
}

// TestRequestsThatGoWasNotAskedAboutAreCounted, once each.
func TestRequestsThatGoWasNotAskedAboutAreCounted(t *testing.T) {
	b := start(t, authztest.New())
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.filter.Run(ctx) }()
	value := func(name string) float64 { return authztest.Value(t, b.registry, name, "") }
	for _, n := range []uint64{3, 10} {
		b.host.mu.Lock()
		b.host.given = n
		b.host.mu.Unlock()
		eventually.True(t, "what was given is counted", func() bool {
			return value("sallyport_gate_answered_again_total") == float64(n)
		})
	}
	b.host.mu.Lock()
	b.host.given = 12
	b.host.mu.Unlock()
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if got := value("sallyport_gate_decisions_total"); got != 12 {
		t.Errorf("%v decisions are counted", got)
	}
	if got := testutil.ToFloat64(b.filter.kept); got != 1000 {
		t.Errorf("%v bytes", got)
	}
}
