package check

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

func instant() revocation.Instant { return revocation.Instant{Mono: time.Minute} }

func newChecker(t *testing.T, w *authztest.World, o Options) *Checker {
	t.Helper()
	c, err := New(w.Engine(nil), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPanicsAreLoggedWithinALimit: each is counted, and has its refusal.
func TestPanicsAreLoggedWithinALimit(t *testing.T) {
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	c := newChecker(t, authztest.New(), Options{
		Instant: instant, Registry: registry, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	c.Instant = nil
	c.panics.SetLimit(0) // no time passes
	r := new(Request)
	for n := range 1000 {
		d := c.Check(t.Context(), r)
		if n%2 == 0 {
			d, _ = c.Try(r)
		}
		if d.Allow || d.Refused().Reason != token.ReasonInternal {
			t.Fatal("not refused")
		}
	}
	if n := strings.Count(log.String(), "recovered from a panic"); n != panicBurst {
		t.Errorf("%d panics are logged", n)
	}
	if n := authztest.Value(t, registry, "sallyport_gate_panics_total", ""); n != 1500 {
		t.Errorf("counted %v", n)
	}
	c.panics = rate.NewLimiter(panicRate, panicBurst) // time has passed
	c.Check(t.Context(), r)
	if want := fmt.Sprint("unlogged=", 1500-panicBurst); !strings.Contains(log.String(), want) {
		t.Errorf("the next one does not tell: %s", want)
	}
}

// throwing panics when something is recorded.
type throwing struct{}

func (throwing) Offer(audit.Event, func(*audit.Event)) bool { panic("thrown") }

func TestARecorderThatPanicsLetsNothingPass(t *testing.T) {
	c := newChecker(t, authztest.New(), Options{Instant: instant, Audit: throwing{}})
	r := &Request{Request: authztest.Get("/protected")}
	if d := c.Check(t.Context(), r); d.Allow || d.Refused().Reason != token.ReasonInternal {
		t.Errorf("got %s", d.Reason())
	}
	if d, decided := c.Try(r); !decided || d.Allow || d.Refused().Reason != token.ReasonInternal {
		t.Errorf("got %s, %v", d.Reason(), decided)
	}
}

func TestEveryReasonHasItsSeriesFromTheStart(t *testing.T) {
	m := newMetrics(nil)
	for _, d := range token.Reasons() {
		i, there := m.checks.index[d.Reason]
		if !there || m.checks.reasons[i] != d || m.notAudited[d.Reason] == nil {
			t.Errorf("%s has no counter", d.Reason)
		}
	}
}

// TestTryWaitsForNothing: a token whose key may come is left to Check, and accounted for there.
func TestTryWaitsForNothing(t *testing.T) {
	w, registry := authztest.New(), prometheus.NewRegistry()
	bearer := "Bearer " + w.Token()
	w.Keys.Remove(authztest.Issuer, authztest.KeyID)
	w.Keys.Publish(authztest.Issuer, w.Key.Public())
	c := newChecker(t, w, Options{
		Instant: instant, Keys: w.Keys, Registry: registry, KeyWait: time.Minute, KeyWaiters: 1,
	})
	r := &Request{Request: authztest.Get("/protected", "authorization", bearer)}
	if d, decided := c.Try(r); decided || d.Allow {
		t.Fatalf("got %s", d.Reason())
	}
	if n := authztest.Value(t, registry, "sallyport_gate_decisions_total", ""); n != 0 || w.Keys.Awaited() != 0 {
		t.Errorf("%v decisions are counted, %d fetches begun", n, w.Keys.Awaited())
	}
	if d := c.Check(t.Context(), r); !d.Allow {
		t.Errorf("got %s", d.Reason())
	}
	if d, decided := c.Try(r); !decided || !d.Allow {
		t.Errorf("got %s, %v", d.Reason(), decided)
	}
	if n := authztest.Value(t, registry, "sallyport_gate_decisions_total", ""); n != 2 {
		t.Errorf("%v decisions are counted", n)
	}
}

func TestAMalformedRequestIsRefused(t *testing.T) {
	c := newChecker(t, authztest.New(), Options{Instant: instant})
	r := &Request{Request: authztest.Get("/public"), Malformed: "a field stands twice"}
	d := c.Check(t.Context(), r)
	if d.Allow || d.Refused().Reason != token.ReasonBadRequest || d.Detail() != r.Malformed {
		t.Errorf("got %s %q", d.Reason(), d.Detail())
	}
}

// TestQuickVerifiesNothing: a token that was not verified before is left to Check or Try, and
// accounted for there, be it genuine or not; all else is decided as they decide it.
func TestQuickVerifiesNothing(t *testing.T) {
	w, registry := authztest.New(), prometheus.NewRegistry()
	c := newChecker(t, w, Options{Instant: instant, Registry: registry})
	genuine := w.Token()
	forged := genuine[:len(genuine)-4] + "AAAA"
	for _, bearer := range []string{genuine, forged, "half.a", strings.Repeat(".", 1000)} {
		r := &Request{Request: authztest.Get("/protected", "authorization", "Bearer "+bearer)}
		if d, decided := c.Quick(r); decided || d.Allow || d.Refusal != nil {
			t.Fatalf("%.20s: got %s, %v", bearer, d.Reason(), decided)
		}
	}
	counted := func() float64 {
		return authztest.Value(t, registry, "sallyport_gate_decisions_total", "")
	}
	if n := counted(); n != 0 {
		t.Errorf("%v decisions are counted", n)
	}
	r := &Request{Request: authztest.Get("/protected", "authorization", "Bearer "+genuine)}
	if d, decided := c.Try(r); !decided || !d.Allow || d.Cached {
		t.Errorf("got %s, %v", d.Reason(), decided)
	}
	if d, decided := c.Quick(r); !decided || !d.Allow || !d.Cached {
		t.Errorf("once verified: got %s, %v", d.Reason(), decided)
	}
	for path, want := range map[string]token.Reason{
		"/public": "", "/protected": token.ReasonNoToken, "//": token.ReasonBadPath,
	} {
		r := &Request{Request: authztest.Get(path)}
		if d, decided := c.Quick(r); !decided || d.Allow != (want == "") ||
			want != "" && d.Refused().Reason != want {
			t.Errorf("%s: got %s, %v", path, d.Reason(), decided)
		}
	}
	if n := counted(); n != 5 {
		t.Errorf("%v decisions are counted, want 5", n)
	}
	w.Revocations.Revoke(func(*revocation.Facts) bool { return true })
	if d, decided := c.Quick(r); !decided || d.Allow || d.Refused().Reason != token.ReasonRevoked {
		t.Errorf("once revoked: got %s, %v", d.Reason(), decided)
	}
	forgedRequest := &Request{Request: authztest.Get("/protected", "authorization", "Bearer "+forged)}
	if d := c.Check(t.Context(), forgedRequest); d.Allow {
		t.Error("a forged token passes")
	}
	if _, decided := c.Quick(forgedRequest); decided {
		t.Error("a token that was refused is remembered")
	}
}

// TestAShadowPolicyVerifiesWhatTheOtherNeedNot: by it a public route wants a token.
func TestAShadowPolicyVerifiesWhatTheOtherNeedNot(t *testing.T) {
	w, registry := authztest.New(), prometheus.NewRegistry()
	c := newChecker(t, w, Options{Instant: instant, Registry: registry})
	shadow, err := policy.Compile(policy.Config{Routes: []policy.Route{{Match: policy.Match{Path: "/**"}}}})
	if err != nil {
		t.Fatal(err)
	}
	c.engine.SetShadow(shadow)
	r := &Request{Request: authztest.Get("/public", "authorization", "Bearer "+w.Token())}
	if d, decided := c.Quick(r); !decided || !d.Allow {
		t.Fatalf("got %s, %v", d.Reason(), decided)
	}
	for outcome, want := range map[string]float64{"same": 1, "refuses": 0} {
		if n := authztest.Value(t, registry, "sallyport_gate_shadow_decisions_total",
			"outcome="+outcome); n != want {
			t.Errorf("%s: counted %v, want %v", outcome, n, want)
		}
	}
}
