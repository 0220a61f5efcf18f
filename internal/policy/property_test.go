package policy_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/policy"
)

// drawRoutes draws a few routes that overlap in many ways.
func drawRoutes(t *rapid.T) []policy.Route {
	words := rapid.SampledFrom([]string{"a", "b", "A", "*", "{x}"})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) policy.Route {
		path := "/" + words.Draw(t, "first")
		if path == "/{x}" || rapid.Bool().Draw(t, "longer") {
			path += "/" + rapid.SampledFrom([]string{"a", "B", "*", "**"}).Draw(t, "second")
		}
		return policy.Route{
			Match: policy.Match{
				Path: path,
				Methods: rapid.SampledFrom([][]string{nil, {"GET"}, {"POST"}, {"GET", "PUT"}}).
					Draw(t, "methods"),
				Hosts: rapid.SampledFrom([][]string{nil, {"h"}, {"*.h"}, {"h", "x.h"}, {"y", "*.h"}}).Draw(t, "hosts"),
			},
			Allow: rapid.SampledFrom([]string{"", "public", "optional", "nobody"}).Draw(t, "allow"),
		}
	}), 1, 6).Draw(t, "routes")
}

// drawRequest draws a request that some of them may be for.
func drawRequest(t *rapid.T) (method, host, path string) {
	return rapid.SampledFrom([]string{"GET", "POST", "PUT", "get"}).Draw(t, "method"),
		rapid.SampledFrom([]string{"h", "x.h", "y", "h:80", "?"}).Draw(t, "host"),
		rapid.SampledFrom([]string{
			"/a", "/A", "/b", "/a/a", "/a/b", "/a/B", "/A/a", "/x/a", "/x", "/", "/a/", "/%61", "/a//b",
			"/a/../b", "/a?b", "/a;v/b",
		}).Draw(t, "path")
}

// TestTheRoutesThatAreConsideredEndAtTheOneThatDecides: what is shown to people is what Find goes by.
func TestTheRoutesThatAreConsideredEndAtTheOneThatDecides(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := policy.Compile(policy.Config{Routes: drawRoutes(t)})
		if err != nil {
			t.Skip("a policy that no gate loads") // one route hides another
		}
		method, host, path := drawRequest(t)
		found := p.Find(method, host, path)
		considered := policy.Consider(p, method, host, path, nil)
		var first *policy.Rule
		for i, c := range considered {
			if c.Misfit == "" {
				first = c.Rule
			}
			if (c.Misfit == "") != (first != nil) || first != nil && i != len(considered)-1 {
				t.Fatalf("%s %s %s: considered %+v", method, host, path, considered)
			}
		}
		switch {
		case found.Rule.Index >= 0:
			if first != found.Rule {
				t.Fatalf("%s %s %s: %s decides, and is told to be %v", method, host, path, found.Rule, first)
			}
		case found.Reason == "no_route" && first != nil:
			t.Fatalf("%s %s %s: no route, and is told to be %s", method, host, path, first)
		}
	})
}
