package extauthz

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
)

func series(t testing.TB, r *prometheus.Registry) (n int) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		n += len(f.GetMetric())
	}
	return n
}

func TestDecisionsAreCountedByReason(t *testing.T) {
	b := start(t, authztest.New())
	ask := b.ask(t, false)
	alice := "Bearer " + b.world.Token()
	for range 3 {
		ask(authztest.Get("/protected", "authorization", alice))
	}
	ask(authztest.Get("/protected"))
	ask(authztest.Get("//"))
	ask(authztest.Get("/closed", "authorization", alice))
	for labels, want := range map[string]float64{
		"code=200 reason=allowed": 3, "code=401 reason=no_token": 1, "code=400 reason=bad_path": 1,
		"code=403 reason=denied": 1, "": 6,
	} {
		if got := authztest.Value(t, b.registry, "sallyport_gate_decisions_total", labels); got != want {
			t.Errorf("%s: got %v, want %v", labels, got, want)
		}
	}
	for labels, want := range map[string]float64{"cache=hit": 3, "cache=miss": 1} {
		if got := authztest.Value(t, b.registry, "sallyport_gate_tokens_total", labels); got != want {
			t.Errorf("%s: got %v, want %v", labels, got, want)
		}
	}
	if got := authztest.Value(t, b.registry, "sallyport_gate_check_seconds", ""); got != 6 {
		t.Errorf("%v checks were timed", got)
	}
}

// TestNothingThatACallerSendsBecomesALabel: series begin with the gate.
func TestNothingThatACallerSendsBecomesALabel(t *testing.T) {
	b := start(t, authztest.New())
	before := series(t, b.registry)
	for i := range 1000 {
		name := fmt.Sprint("x", i)
		r := new(checkRequest)
		r.Request.Request = authz.Request{
			Method: name,
			Host:   name + ".example",
			Path:   "/" + name,
			Headers: []authz.Header{
				{Name: name, Value: name},
				{Name: "authorization", Value: "Bearer " + name},
			},
		}
		b.server.check(t.Context(), r, nil)
	}
	if after := series(t, b.registry); after != before {
		t.Errorf("got %d series, had %d", after, before)
	}
	if got := authztest.Value(t, b.registry, "sallyport_gate_decisions_total", ""); got != 1000 {
		t.Errorf("counted %v", got)
	}
}
