package authz_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

// engineOf returns an engine by a policy; nil for one that no gate loads.
func engineOf(w *authztest.World, c policy.Config) *authz.Engine {
	p, err := policy.Compile(c)
	if err != nil {
		return nil
	}
	again := w.Again()
	again.Policy = p
	return again.Engine(nil)
}

// TestExplainAndDecideGiveOneAnswer for any policy and request, and the steps say what it is.
func TestExplainAndDecideGiveOneAnswer(t *testing.T) {
	w := authztest.DrawWorld()
	rapid.Check(t, func(t *rapid.T) {
		engine := engineOf(w, authztest.DrawPolicy(t))
		r := authztest.DrawRequest(t, w)
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

// TestWithoutARouteNobodyPassesByOneThatDidNotLetThemPass. The first route that matches decides, so
// that a request may pass once a route is gone that it fell under. What holds of any policy P, the
// same without one of its routes, P', and any request that P refuses and P' lets pass, is:
//
//   - The route of P' that lets it pass would do so as the only route of a policy: no route is made
//     weaker by others, there or not.
//   - It was refused because of the route that is gone: it fell under that one, by which it may
//     have been too close to a stricter one; or it was too close to that one, by another case or by
//     slashes that an upstream may take for plain ones; or it has parameters, which that one does not
//     permit; or that was the only one for which a host matters, so that one that is no name is now
//     nobody's concern. What a route refuses that is still there is still refused.
func TestWithoutARouteNobodyPassesByOneThatDidNotLetThemPass(t *testing.T) {
	w := authztest.DrawWorld()
	rapid.Check(t, func(t *rapid.T) {
		c := authztest.DrawPolicy(t)
		if len(c.Routes) < 2 {
			t.Skip("no route is left")
		}
		gone := rapid.IntRange(0, len(c.Routes)-1).Draw(t, "gone")
		less := c
		less.Routes = slices.Delete(slices.Clone(c.Routes), gone, gone+1)
		before, after := engineOf(w, c), engineOf(w, less)
		for range 4 {
			r := authztest.DrawRequest(t, w)
			was, is := before.Decide(&r), after.Decide(&r)
			if was.Allow || was.Preflight() || !is.Allow {
				continue
			}
			byAnother := was.Route() != "" && !isRoute(was.Route(), gone)
			if was.Reason() == "path_case" && isRoute(firstOf(c, &r), gone) {
				byAnother = false
			}
			encoded := was.Reason() == "bad_path" && strings.Contains(strings.ToLower(r.Path), "%2f")
			hostless := strings.Contains(was.Detail(), "host") && !slices.ContainsFunc(less.Routes,
				func(r policy.Route) bool { return len(r.Match.Hosts) > 0 })
			parameters := strings.Contains(was.Detail(), "parameters") && isRoute(firstOf(c, &r), gone)
			if byAnother || was.Route() == "" && !encoded && !hostless && !parameters {
				t.Fatalf("%s (%s) by %q, and without routes[%d] %s by %q", was.Reason(), was.Detail(),
					was.Route(), gone, is.Reason(), is.Route())
			}
			alone := less
			for i := range less.Routes {
				if isRoute(is.Route(), i) {
					alone.Routes = less.Routes[i : i+1]
				}
			}
			by := engineOf(w, alone).Decide(&r)
			if !by.Allow {
				t.Fatalf("passes by %q, which alone says %s (%s)", is.Route(), by.Reason(), by.Detail())
			}
		}
	})
}

// firstOf names the first route of a policy that matches a request.
func firstOf(c policy.Config, r *authz.Request) string {
	p, err := policy.Compile(c)
	if err != nil {
		return ""
	}
	header := func(name string) (value string, ok bool) {
		for _, h := range r.Headers {
			if h.Name == name {
				value, ok = h.Value, true
			}
		}
		return value, ok
	}
	all := policy.Consider(p, r.Method, r.Host, r.Path, header)
	return all[len(all)-1].Rule.String()
}

func isRoute(name string, index int) bool {
	return strings.HasPrefix(name, fmt.Sprintf("routes[%d]", index))
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
