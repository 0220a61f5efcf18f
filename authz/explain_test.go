package authz_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
)

// TestExplainDecidesAsDecideDoes on everything that transports are held to.
func TestExplainDecidesAsDecideDoes(t *testing.T) {
	explained := func(t *testing.T, w *authztest.World) authztest.Ask {
		engine := w.Engine(nil)
		return func(r authz.Request) authztest.Answer {
			d, steps := authz.Explain(engine, &r)
			if problem := contradiction(&d, steps); problem != "" {
				t.Error(problem)
			}
			return answer(d)
		}
	}
	authztest.Run(t, explained)
	authztest.RunAttacks(t, explained)
	authztest.RunForeignAttacks(t, explained)
}

// contradiction returns in what the steps do not tell of the decision; "" when they do.
func contradiction(d *authz.Decision, steps []authz.Step) string {
	failed := 0
	for _, s := range steps {
		if s.Outcome == authz.Failed {
			failed++
			if s.Remedy == "" || s.Text == "" {
				return fmt.Sprintf("%s: a failed step without a text or a remedy: %+v", d.Reason(), s)
			}
		}
	}
	if (d.Allow || d.Preflight()) != (failed == 0) {
		return fmt.Sprintf("%s, and %d steps failed: %+v", d.Reason(), failed, steps)
	}
	return ""
}

// TestExplainKnowsWhatARunningGateKnows: what revoked a token, and how old the copy is.
func TestExplainKnowsWhatARunningGateKnows(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	r := protected(w.Token())
	text := func() string {
		_, steps := authz.Explain(engine, r)
		return fmt.Sprintf("%+v", steps)
	}
	if got := text(); !strings.Contains(got, `nothing revokes it: looked for token "token-1", session`) ||
		!strings.Contains(got, "copy of the log is good enough") {
		t.Errorf("got %s", got)
	}
	w.Revocations.Fresh = revocation.Freshness{Why: revocation.WhyStale}
	if got := text(); !strings.Contains(got, "older than max_staleness") {
		t.Errorf("got %s", got)
	}
	w.Revocations.Revoke(func(f *revocation.Facts) bool { return f.SessionID == "session-1" })
	if got := text(); !strings.Contains(got, "It was by sid, entry 7 of the log: logout.") {
		t.Errorf("got %s", got)
	}
}

// TestExplainLeavesNothingBehind: a token that was explained is new to the engine.
func TestExplainLeavesNothingBehind(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	r := protected(w.Token())
	if d, _ := authz.Explain(engine, r); !d.Allow {
		t.Fatal(d.Reason())
	}
	if d := engine.Decide(r); !d.Allow || d.Cached {
		t.Errorf("%s, cached %v", d.Reason(), d.Cached)
	}
}

// TestOneAlternativeThatIsMetIsEnough, and the others are no failures then.
func TestOneAlternativeThatIsMetIsEnough(t *testing.T) {
	w := authztest.New()
	rules, err := policy.Compile(policy.Config{Routes: []policy.Route{{
		Match: policy.Match{Path: "/protected"},
		Require: policy.Require{AnyOf: []policy.Require{
			{Roles: []string{"pope"}}, {Scopes: []string{"read"}}, {Roles: []string{"king"}},
		}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Policy = rules
	d, steps := authz.Explain(w.Engine(nil), protected(w.Token()))
	if problem := contradiction(&d, steps); problem != "" || !d.Allow {
		t.Errorf("%s %s", d.Reason(), problem)
	}
}

// TestWhatNobodyMayDoCanBeExplained where its path has names, too.
func TestWhatNobodyMayDoCanBeExplained(t *testing.T) {
	w := authztest.New()
	rules, err := policy.Compile(policy.Config{Routes: []policy.Route{{
		Match: policy.Match{Path: "/closed/{name}"}, Allow: "nobody",
	}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Policy = rules
	r := authztest.Get("/closed/x", "authorization", "Bearer "+w.Token())
	d, steps := authz.Explain(w.Engine(nil), &r)
	if problem := contradiction(&d, steps); problem != "" || d.Reason() != "denied" {
		t.Errorf("%s %s", d.Reason(), problem)
	}
}
