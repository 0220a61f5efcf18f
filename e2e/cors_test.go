package e2e_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/meshtest"
)

// corsRoutes lets one page of another origin read answers on /api.
const corsRoutes = `  routes:
  - match: {path: /api/pages/**}
    cors: {origins: ["https://app.example.com"], credentials: true}
`

// TestAPageOfAnotherOriginReadsAnswersAndRefusals of routes that trust it, through the real Envoy, by
// a gate beside and inside it; any other reads nothing.
func TestAPageOfAnotherOriginReadsAnswersAndRefusals(t *testing.T) {
	upstream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "accept-language")
		w.Header().Set("Access-Control-Allow-Origin", "*") // which the gate's own takes the place of
		w.WriteHeader(http.StatusTeapot)
	})
	seen := []meshtest.Change{{
		Old: "- {exact: x-access-token, ignore_case: true}",
		New: "- {exact: origin, ignore_case: true}\n" +
			"                          - {exact: access-control-request-method, ignore_case: true}",
	}}
	besideAndInside(t, corsRoutes, upstream, seen, func(t *testing.T, s *meshtest.Stack) {
		c := newCaller(t, s.Endpoints().Gateway)
		token := bearer(c.login(t, user(t, s, "bob")).Access)
		const trusted = "https://app.example.com"
		from := func(origin string) edit { return header("Origin", origin) }
		asks := header("Access-Control-Request-Method", "PUT")

		a := c.send(t, "OPTIONS", "/api/pages/x", nil, from(trusted), asks)
		if a.status != http.StatusNoContent || a.header.Get("Access-Control-Allow-Origin") != trusted ||
			a.header.Get("Access-Control-Allow-Methods") != "PUT" ||
			a.header.Get("Access-Control-Allow-Credentials") != "true" ||
			a.header.Get("Access-Control-Max-Age") != "600" || len(a.body) != 0 {
			t.Errorf("a preflight: %d %v %s", a.status, a.header, a.body)
		}
		for name, origin := range map[string]string{"another page": "https://evil.example.com", "nobody": "null"} {
			a = c.send(t, "OPTIONS", "/api/pages/x", nil, from(origin), asks)
			if a.status != http.StatusUnauthorized || a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("a preflight of %s: %d %v", name, a.status, a.header)
			}
			a = c.get(t, "/api/pages/x", from(origin))
			if a.status != http.StatusUnauthorized || a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("a refusal to %s: %d %v", name, a.status, a.header)
			}
		}
		a = c.get(t, "/api/pages/x", from(trusted))
		if a.status != http.StatusUnauthorized ||
			a.header.Get("Access-Control-Allow-Origin") != trusted {
			t.Errorf("a refusal: %d %v", a.status, a.header)
		}
		a = c.get(t, "/api/pages/x", from(trusted), token)
		if a.status != http.StatusTeapot || a.header.Get("Access-Control-Allow-Origin") != trusted ||
			!slices.Contains(a.header.Values("Vary"), "origin") &&
				a.header.Get("Vary") != "accept-language,origin" ||
			len(a.header.Values("Access-Control-Allow-Origin")) != 1 {
			t.Errorf("an answer: %d %v", a.status, a.header)
		}
	})
}
