package authz_test

import (
	"fmt"
	"strings"
	"testing"

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

// BenchmarkRoutes compares policies of ten and of a thousand routes, the last of which decides, and
// the same with a condition.
func BenchmarkRoutes(b *testing.B) {
	for _, n := range []int{10, 1000} {
		for name, when := range map[string]string{
			"plain": "", "condition": `claims.iss == "` + authztest.Foreign + `" && path.id == "7"`,
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				w := authztest.New()
				c := policy.Config{}
				for i := range n {
					c.Routes = append(c.Routes, policy.Route{
						Match:   policy.Match{Path: fmt.Sprintf("/api/v%d/{id}", i)},
						Require: policy.Require{When: when},
					})
				}
				var err error
				if w.Policy, err = policy.Compile(c); err != nil {
					b.Fatal(err)
				}
				engine := w.Engine(nil)
				r := authztest.Get(fmt.Sprintf("/api/v%d/7", n-1), "authorization", "Bearer "+zoe(w))
				b.ReportAllocs()
				for b.Loop() {
					if d := engine.Decide(&r); !d.Allow {
						b.Fatal(d.Reason())
					}
				}
			})
		}
	}
}
