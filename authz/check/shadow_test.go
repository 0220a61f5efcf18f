package check

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

// TestAShadowPolicyIsSeenInMetricsAndLogAlone: it decides nothing, whatever it says.
func TestAShadowPolicyIsSeenInMetricsAndLogAlone(t *testing.T) {
	w := authztest.New()
	alice := "Bearer " + w.Token()
	shadow, err := policy.Compile(policy.Config{Routes: []policy.Route{
		{Match: policy.Match{Path: "/public"}, Allow: "public"},
		{Match: policy.Match{Path: "/protected"}, Require: policy.Require{When: `claims.sub == "bob"`}},
		{Match: policy.Match{Path: "/nowhere"}, Headers: map[string]string{"x-a": "sub"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, with := range []bool{false, true} {
		var log bytes.Buffer
		registry := prometheus.NewRegistry()
		c := newChecker(t, w, Options{
			Instant: instant, Registry: registry, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if with {
			c.engine.SetShadow(shadow)
		}
		for _, row := range []struct {
			path, authorization string
			want                token.Reason
		}{
			{"/public", "", "allowed"},               // the same
			{"/protected?secret", alice, "allowed"},  // refuses
			{"/nowhere", alice, token.ReasonNoRoute}, // allows
			{"/admin/x", "Bearer x", "segments"},     // the same reason, by no route
			{"/a/../b", alice, token.ReasonBadPath},  // the same
			{"/of/bob", alice, "condition"},          // differs: it has no such route
		} {
			var headers []string
			if row.authorization != "" {
				headers = []string{"authorization", row.authorization}
			}
			r := &Request{Request: authztest.Get(row.path, headers...)}
			d := c.Check(t.Context(), r)
			if got := d.Reason(); got != string(row.want) {
				t.Errorf("%s with a shadow %v: got %s", row.path, with, got)
			}
			if d.Allow && slices.Contains(d.Identity.Remove, "x-a") {
				t.Errorf("%s: the shadow changes the request", row.path)
			}
		}
		for outcome, want := range map[string]float64{"same": 3, "refuses": 1, "allows": 1, "differs": 1} {
			if !with {
				want = 0
			}
			got := authztest.Value(t, registry, "sallyport_gate_shadow_decisions_total", outcome)
			if got != want {
				t.Errorf("with a shadow %v: %s is %v", with, outcome, got)
			}
		}
		if n := strings.Count(log.String(), "the shadow policy would decide otherwise"); (n == 3) != with {
			t.Errorf("the log has %d lines: %s", n, log.String())
		}
		if strings.Contains(log.String(), "secret") || strings.Contains(log.String(), w.Token()) {
			t.Errorf("the log tells a secret: %s", log.String())
		}
		if with && !strings.Contains(log.String(), "outcome=refuses decided=allowed shadow=condition") {
			t.Errorf("the log does not say what differs: %s", log.String())
		}
	}
}

// TestLinesAboutAShadowAreBounded, whatever clients send.
func TestLinesAboutAShadowAreBounded(t *testing.T) {
	var log bytes.Buffer
	c := newChecker(t, authztest.New(), Options{
		Instant: instant, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	c.shadowed.SetLimit(0) // no time passes
	c.engine.SetShadow(new(policy.Policy))
	for range 100 {
		c.Check(t.Context(), &Request{Request: authztest.Get("/public")})
	}
	if n := strings.Count(log.String(), "\n"); n != shadowBurst {
		t.Errorf("%d lines", n)
	}
}
