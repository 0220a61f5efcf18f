package authz_test

import (
	"slices"
	"testing"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
)

// TestARequestIsDecidedByThePolicyThatItsProxyNames, and by none when there is none of that name;
// all of them are exchanged at once.
func TestARequestIsDecidedByThePolicyThatItsProxyNames(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	compile := func(r policy.Route) *policy.Policy {
		p, err := policy.Compile(policy.Config{Routes: []policy.Route{r}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	closed := compile(policy.Route{Match: policy.Match{Path: "/**"}, Allow: "nobody"})
	open := compile(policy.Route{Match: policy.Match{Path: "/**"}, Allow: "public"})
	told := compile(policy.Route{
		Match: policy.Match{Path: "/**"}, Headers: map[string]string{"x-tenant": "tenant"},
	})
	engine.SetPolicies(closed, map[string]*policy.Policy{"open": open, "told": told})
	for name, want := range map[string]string{
		"": "denied", "open": "allowed", "told": "allowed", "Open": "no_route", "other": "no_route",
	} {
		r := authztest.Get("/x", "authorization", "Bearer "+zoe(w, "tenant", `"acme"`), "x_tenant", "mallory")
		r.Policy = name
		d := engine.Decide(&r)
		if d.Reason() != want {
			t.Errorf("%q: got %s, want %s", name, d.Reason(), want)
		}
		// What one policy makes of claims no client of another says.
		if d.Allow && (!slices.Contains(d.Strip, "x_tenant") ||
			slices.Contains(d.Identity.Remove, "x-tenant") == (name == "told")) {
			t.Errorf("%q: removed %v and %v", name, d.Strip, d.Identity.Remove)
		}
	}
	engine.SetPolicy(open)
	r := authztest.Get("/x")
	if r.Policy = "open"; engine.Decide(&r).Allow {
		t.Error("a policy that is no more still decides")
	}
}
