package authz_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
)

// conditional is an engine whose one route has a condition.
func conditional(t testing.TB, path, when string) (*authztest.World, *authz.Engine) {
	t.Helper()
	w := authztest.New()
	var err error
	w.Policy, err = policy.Compile(policy.Config{
		Roles: map[string][]string{authztest.ForeignPrefix + "admin": {"clerk"}},
		Routes: []policy.Route{{
			Match: policy.Match{Path: path}, Require: policy.Require{When: when},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, w.Engine(nil)
}

// zoe is a token of Foreign's with more claims.
func zoe(w *authztest.World, claims ...string) string {
	all := w.ForeignClaims()
	for i := 0; i < len(claims); i += 2 {
		all = all.And(claims[i], claims[i+1])
	}
	return w.ForeignKey.Token(w.ForeignKey.Header("JWT").JSON(), all.JSON())
}

func TestConditionsDecideByClaimsAndRequest(t *testing.T) {
	for name, row := range map[string]struct{ when, want string }{
		"a claim and a segment":        {`claims.tenant == path.tenant`, "allowed"},
		"another claim":                {`claims.tenant == path.id`, "condition"},
		"a claim that is not there":    {`claims.team == path.tenant`, "condition_error"},
		"asked whether it is there":    {`has(claims.team) && claims.team == "x"`, "condition"},
		"the service that calls":       {`peer.principal == "spiffe://example.com/checkout"`, "allowed"},
		"another service":              {`peer.principal == "spiffe://example.com/mail"`, "condition"},
		"a role with its prefix":       {`"foreign:admin" in roles`, "allowed"},
		"a role without it":            {`"admin" in roles`, "condition"},
		"a role that is brought along": {`"clerk" in roles`, "allowed"},
		"a role as it is written":      {`"admin" in claims.roles`, "allowed"},
		"the time":                     {`now == timestamp("2030-01-02T03:04:05Z")`, "allowed"},
		"the path":                     {`request.path == "/t/acme/7"`, "allowed"},
		"the host":                     {`request.host == "things.example.com"`, "allowed"},
		"a header":                     {`request.headers["x-region"] == "eu"`, "allowed"},
		"the token":                    {`"authorization" in request.headers`, "condition"},
		"who a client says that it is": {`"x-auth-subject" in request.headers`, "condition"},
		"who it says, misspelt":        {`"x_auth_subject" in request.headers`, "condition"},
		"too dear": {
			`claims.many.exists(x, claims.long.matches("(x+x+)+y"))`, "condition_error",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, engine := conditional(t, "/t/{tenant}/{id}", row.when)
			r := authztest.Get("/t/acme/7?x=y", "authorization", "Bearer "+zoe(w,
				"tenant", `"acme"`, "roles", `["admin"]`, "many", `["`+strings.Repeat(`a","`, 400)+`a"]`,
				"long", `"`+strings.Repeat("x", 3000)+`"`), "X-Region", "eu", "x-auth-subject", "root",
				"x_auth_subject", "root")
			r.Host, r.Peer = "Things.Example.com:8443", "spiffe://example.com/checkout"
			for range 2 { // anew, and cached
				d := engine.Decide(&r)
				if d.Reason() != row.want {
					t.Errorf("got %s (%s)", d.Reason(), d.Detail())
				}
				if !d.Allow && (d.Refused().Status != 403 || strings.Contains(d.Detail(), "acme")) {
					t.Errorf("got %d, and the log is told %q", d.Refused().Status, d.Detail())
				}
			}
		})
	}
}

// TestATokenIsReadWholeOnceAPolicyReadsIt: one that was verified under a policy without conditions is
// no way around those of the next.
func TestATokenIsReadWholeOnceAPolicyReadsIt(t *testing.T) {
	w, _ := conditional(t, "/**", `claims.tenant == "acme"`)
	strict, plain := w.Policy, authztest.New().Policy
	w.Policy = plain
	engine := w.Engine(nil)
	acme, other := protected(zoe(w, "tenant", `"acme"`)), protected(zoe(w, "tenant", `"other"`))
	for round, p := range []*policy.Policy{plain, strict, plain, strict} {
		engine.SetPolicy(p)
		for range 2 {
			first, second := engine.Decide(acme), engine.Decide(other)
			if !first.Allow || second.Allow != (p == plain) {
				t.Errorf("round %d: got %s and %s", round, first.Reason(), second.Reason())
			}
		}
	}
}

// TestARequestWithoutAHostIsNoReasonToPass where a condition reads it.
func TestARequestWithoutAHostIsNoReasonToPass(t *testing.T) {
	w, engine := conditional(t, "/**", `request.host != "evil.example.com"`)
	for _, host := range []string{"", "a b", "evil.example.com:x", "évil"} {
		r := authztest.At(host, authztest.Get("/x", "authorization", "Bearer "+zoe(w)))
		if d := engine.Decide(&r); d.Allow || d.Reason() != "condition_error" {
			t.Errorf("%q: got %s", host, d.Reason())
		}
	}
}

// FuzzDecide: nothing that a client sends passes a condition that no token meets, or makes the engine
// fail.
func FuzzDecide(f *testing.F) {
	w, engine := conditional(f, "/t/{tenant}/**", `claims.tenant == path.tenant && "x" in request.headers`)
	token := zoe(w, "tenant", `"acme"`)
	f.Add("GET", "h", "/t/other/7", "x", "y", "Bearer "+token, "")
	f.Add("get", "h:1", "/t/%61cme;x/7?y#z", "x_auth_subject", "\x00", "Bearer x", "spiffe://\xff")
	f.Add("", "", "*", "connection", "x-auth-subject", token, "")
	f.Fuzz(func(t *testing.T, method, host, path, name, value, credential, peer string) {
		r := authztest.Do(method, path, name, value, "authorization", credential)
		r.Host, r.Peer = host, peer
		d := engine.Decide(&r)
		if d.Reason() == "internal" {
			t.Fatalf("%q %q %q: our own failure", method, host, path)
		}
		segment, _, _ := strings.Cut(strings.TrimPrefix(path, "/t/"), "/")
		if d.Allow && (credential[len("bearer "):] != token || !strings.Contains(
			fmt.Sprint(segment), "%") && !strings.HasPrefix(segment, "acme")) {
			t.Fatalf("%q %q %q with %q passes", method, host, path, credential)
		}
	})
}

// BenchmarkRoutes holds a policy of a thousand routes against one of ten: in turn, a round of each.
// It reports the quickest round of both, for a decision, and how many times the one costs what the
// other does; once with requests that the last route decides, and once with requests for all routes
// in turn, whose memory a processor has not at hand. Both have as many requests.
func BenchmarkRoutes(b *testing.B) {
	condition := `claims.iss == "` + authztest.Foreign + `" && path.id == "7"`
	for name, kind := range map[string]routeKind{
		"plain": {}, "condition": {when: condition}, "hosts": {byHost: true},
	} {
		for _, all := range []bool{false, true} {
			b.Run(name+"/"+map[bool]string{false: "last", true: "all"}[all], func(b *testing.B) {
				small, large := newRoutes(b, 10, kind, all), newRoutes(b, 1000, kind, all)
				least := [2]time.Duration{time.Hour, time.Hour}
				for b.Loop() {
					for i, routes := range []*routesBench{small, large} {
						least[i] = min(least[i], routes.round(b))
					}
				}
				nanoseconds := func(i int) float64 { return float64(least[i].Nanoseconds()) / decisionsARound }
				b.ReportMetric(nanoseconds(0), "10-ns")
				b.ReportMetric(nanoseconds(1), "1000-ns")
				b.ReportMetric(nanoseconds(1)/nanoseconds(0), "1000/10")
				b.ReportMetric(0, "ns/op") // a round of both
			})
		}
	}
}

const decisionsARound = 1000

// routesBench is an engine with a policy of some size, and requests for it.
type routesBench struct {
	engine   *authz.Engine
	requests []authz.Request
}

// routeKind is what routes differ by, their paths or their hosts, and what they ask for.
type routeKind struct {
	when   string
	byHost bool
}

// newRoutes makes a policy of n routes and requests for its last one, or for all of them.
func newRoutes(b *testing.B, n int, kind routeKind, all bool) *routesBench {
	b.Helper()
	w := authztest.New()
	r := &routesBench{}
	bearer := "Bearer " + zoe(w)
	c := policy.Config{}
	path, host := "/api/v%d/{id}", "things.example.com"
	if kind.byHost {
		path, host = "/api/{id}", "tenant-%d.example.com"
	}
	at := func(pattern string, i int) string {
		return strings.Replace(pattern, "%d", fmt.Sprint(i), 1)
	}
	for i := range n {
		match := policy.Match{Path: at(path, i)}
		if kind.byHost {
			match.Hosts = []string{at(host, i)}
		}
		c.Routes = append(c.Routes,
			policy.Route{Match: match, Require: policy.Require{When: kind.when}})
	}
	for i := range decisionsARound {
		if i %= n; !all {
			i = n - 1
		}
		r.requests = append(r.requests, authztest.At(at(host, i), authztest.Get(
			strings.Replace(at(path, i), "{id}", "7", 1), "authorization", bearer)))
	}
	var err error
	if w.Policy, err = policy.Compile(c); err != nil {
		b.Fatal(err)
	}
	r.engine = w.Engine(nil)
	return r
}

// round decides on so many requests and returns how long that took.
func (r *routesBench) round(b *testing.B) time.Duration {
	begin := time.Now()
	for i := range r.requests {
		if d := r.engine.Decide(&r.requests[i]); !d.Allow {
			b.Fatal(d.Reason())
		}
	}
	return time.Since(begin)
}
