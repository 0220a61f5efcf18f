package authz_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

// drawRoute draws a route that others may overlap with.
func drawRoute(t *rapid.T) policy.Route {
	r := policy.Route{
		Match: policy.Match{
			Path: rapid.SampledFrom([]string{"/a", "/A", "/a/*", "/a/{x}", "/a/**", "/*/b", "/**", "/B"}).
				Draw(t, "path"),
			Methods: rapid.SampledFrom([][]string{nil, {"GET"}, {"POST"}}).Draw(t, "methods"),
		},
		Allow: rapid.SampledFrom([]string{"", "", "", "public", "optional", "nobody"}).Draw(t, "allow"),
	}
	if r.Allow == "" {
		r.Require = drawRequire(t, rapid.IntRange(0, 2).Draw(t, "alternatives"))
		if rapid.Bool().Draw(t, "conditional") {
			r.Require.When = rapid.SampledFrom([]string{
				`claims.sub == "alice"`, `claims.tenant == "x"`, `request.method == "GET"`, `"admin" in roles`,
			}).Draw(t, "when")
		}
	}
	return r
}

func drawRequire(t *rapid.T, alternatives int) (r policy.Require) {
	r.Roles = rapid.SampledFrom([][]string{nil, {"admin"}, {"clerk"}}).Draw(t, "roles")
	r.Scopes = rapid.SampledFrom([][]string{nil, {"read"}, {"read", "pay"}}).Draw(t, "scopes")
	r.Audiences = rapid.SampledFrom([][]string{nil, {authztest.Audience}, {"other"}}).Draw(t, "audiences")
	for range alternatives {
		if one := drawRequire(t, 0); len(one.Roles)+len(one.Scopes)+len(one.Audiences) > 0 {
			r.AnyOf = append(r.AnyOf, one)
		}
	}
	return r
}

// drawAsked draws a request with a token of alice's, a broken one, or none.
func drawAsked(t *rapid.T, w *authztest.World) authz.Request {
	r := authztest.Do(rapid.SampledFrom([]string{"GET", "POST", "get"}).Draw(t, "method"),
		rapid.SampledFrom([]string{"/a", "/A", "/a/b", "/a/B", "/x/b", "/b", "/", "/a//b"}).Draw(t, "path"))
	bearer := w.Token(func(c *token.Claims) {
		c.Roles = rapid.SampledFrom([][]string{nil, {"admin"}, {"clerk"}}).Draw(t, "has")
		c.Scope = rapid.SampledFrom([][]string{nil, {"read"}, {"read", "pay"}}).Draw(t, "may")
	})
	switch rapid.IntRange(0, 5).Draw(t, "token") {
	case 0:
	case 1:
		r.Headers = append(r.Headers, authz.Header{Name: "authorization", Value: "Bearer " + bearer[:40]})
	default:
		r.Headers = append(r.Headers, authz.Header{Name: "authorization", Value: "Bearer " + bearer})
	}
	return r
}

// engineOf returns nil for a policy that no gate loads.
func engineOf(w *authztest.World, routes []policy.Route) *authz.Engine {
	p, err := policy.Compile(policy.Config{Routes: routes, Roles: map[string][]string{"admin": {"clerk"}}})
	if err != nil {
		return nil
	}
	again := w.Again()
	again.Policy = p
	return again.Engine(nil)
}

// TestExplainAndDecideGiveOneAnswer for any policy and request, and the steps say what it is.
func TestExplainAndDecideGiveOneAnswer(t *testing.T) {
	w := authztest.New()
	rapid.Check(t, func(t *rapid.T) {
		engine := engineOf(w, rapid.SliceOfN(rapid.Custom(drawRoute), 1, 5).Draw(t, "routes"))
		if engine == nil {
			t.Skip("a policy that no gate loads")
		}
		r := drawAsked(t, w)
		d := engine.Decide(&r)
		explained, steps := authz.Explain(engine, &r)
		if d.Reason() != explained.Reason() || d.Detail() != explained.Detail() ||
			d.Route() != explained.Route() {
			t.Fatalf("decided %s (%s), explained as %s (%s)", d.Reason(), d.Detail(), explained.Reason(),
				explained.Detail())
		}
		if problem := contradiction(&explained, steps); problem != "" {
			t.Fatal(problem)
		}
	})
}

// TestWithoutARuleNobodyPassesByOneThatDidNotLetThemPass: the first route that matches decides. So
// when a route is taken out of a policy, a request may pass that was refused: by a later route that
// it then falls under, or because the stricter route is gone that it was too close to (path_case).
// But that later route alone would have let it pass, too; and what another route than the one that
// is gone has refused is still refused.
func TestWithoutARuleNobodyPassesByOneThatDidNotLetThemPass(t *testing.T) {
	w := authztest.New()
	rapid.Check(t, func(t *rapid.T) {
		routes := rapid.SliceOfN(rapid.Custom(drawRoute), 2, 5).Draw(t, "routes")
		gone := rapid.IntRange(0, len(routes)-1).Draw(t, "gone")
		rest := slices.Delete(slices.Clone(routes), gone, gone+1)
		before, after := engineOf(w, routes), engineOf(w, rest)
		if before == nil || after == nil {
			t.Skip("a policy that no gate loads")
		}
		r := drawAsked(t, w)
		was, is := before.Decide(&r), after.Decide(&r)
		if !was.Allow && was.Reason() != "path_case" && !isRoute(was.Route(), gone) && is.Allow {
			t.Fatalf("%s by %s, and without routes[%d] %s by %s", was.Reason(), was.Route(), gone,
				is.Reason(), is.Route())
		}
		if was.Allow || !is.Allow {
			return
		}
		for i := range rest {
			if isRoute(is.Route(), i) {
				alone := engineOf(w, rest[i:i+1]).Decide(&r)
				if !alone.Allow {
					t.Fatalf("passes by %s, which alone says %s", is.Route(), alone.Reason())
				}
			}
		}
	})
}

func isRoute(name string, index int) bool {
	return strings.HasPrefix(name, "routes["+string(rune('0'+index))+"]")
}

// FuzzExplain: no bytes make it panic, or tell another answer than the one that is given; and what is
// in no way a token lets nobody pass.
func FuzzExplain(f *testing.F) {
	w := authztest.New()
	engine := w.Engine(nil)
	good := w.Token()
	f.Add("GET", "things.example.com", "/protected", "Bearer a.b.c")
	f.Add("POST", "h:1", "/of/%61;x?y", "bearer\t")
	f.Add("get", "[::1]", "/Admin/../x", "Basic eA==")
	f.Add("", "", "", "")
	f.Add("PUT", "x.inner.example.com.", "/inner/\xff", "Bearer "+good[:len(good)-2])
	f.Fuzz(func(t *testing.T, method, host, path, authorization string) {
		if strings.Contains(authorization, good) {
			t.Skip("the one good token")
		}
		r := authz.Request{Method: method, Host: host, Path: path}
		if authorization != "" {
			r.Headers = []authz.Header{{Name: "authorization", Value: authorization}}
		}
		d := engine.Decide(&r)
		explained, steps := authz.Explain(engine, &r)
		if d.Reason() != explained.Reason() || d.Reason() == string(token.ReasonInternal) {
			t.Fatalf("decided %s, explained as %s", d.Reason(), explained.Reason())
		}
		if problem := contradiction(&explained, steps); problem != "" {
			t.Fatal(problem)
		}
		if d.Allow && d.Identity.Claims != nil {
			t.Fatal("somebody passes without a token")
		}
	})
}
