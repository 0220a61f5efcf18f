package authz_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
)

// telling is an engine that makes headers of claims on /tell, others on /more, and none on /plain.
func telling(t testing.TB) (*authztest.World, *authz.Engine) {
	t.Helper()
	w := authztest.New()
	var err error
	w.Policy, err = policy.Compile(policy.Config{
		Metadata: map[string]string{"tenant": "/tenant", "level": "level", "gone": "/nothing"},
		Routes: []policy.Route{
			{
				Match: policy.Match{Path: "/tell"},
				Headers: map[string]string{
					"x-tenant": "/tenant", "x-city": "/address/city", "x-groups": "groups",
				},
				JSONHeaders:     map[string]string{"x-address": "/address"},
				ResponseHeaders: map[string]string{"x-user": "/name"},
			},
			{Match: policy.Match{Path: "/more"}, Headers: map[string]string{"x-user-email": "/email"}},
			{Match: policy.Match{Path: "/plain"}},
			{Match: policy.Match{Path: "/maybe"}, Allow: "optional"},
			{Match: policy.Match{Path: "/public"}, Allow: "public"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, w.Engine(nil)
}

func values(headers []authz.Header) map[string]string {
	all := map[string]string{}
	for _, h := range headers {
		all[h.Name] += h.Value
	}
	return all
}

func TestClaimsBecomeHeadersByRoute(t *testing.T) {
	w, engine := telling(t)
	token := zoe(
		w,
		"tenant",
		`"acme, inc"`,
		"address",
		`{"city":"Zürich","zip":8000}`,
		"groups",
		`["a","b c",7,true,null,{"x":1}]`,
		"name",
		`"Zoe\r\nx: y"`,
		"email",
		`"zoe@example.com"`,
		"level",
		`3`,
	)
	for range 2 { // anew, and remembered
		for path, want := range map[string]string{
			"/tell": "x-address=%7B%22city%22%3A%22Z%C3%BCrich%22%2C%22zip%22%3A8000%7D" +
				` x-city=Z%C3%BCrich x-groups=a,b%20c,7,true,{"x":1} x-tenant=acme%2C%20inc`,
			"/more":  "x-user-email=zoe@example.com",
			"/plain": "",
		} {
			r := authztest.Get(path, "authorization", "Bearer "+token)
			d := engine.Decide(&r)
			if !d.Allow {
				t.Fatalf("%s: %s (%s)", path, d.Reason(), d.Detail())
			}
			var got []string
			for _, h := range d.Identity.Set {
				if !strings.HasPrefix(h.Name, authz.IdentityPrefix) {
					got = append(got, h.Name+"="+h.Value)
				}
			}
			slices.Sort(got)
			if strings.Join(got, " ") != want {
				t.Errorf("%s: got %s, want %s", path, got, want)
			}
			// Each name is set or removed on every route.
			for _, name := range []string{"x-tenant", "x-city", "x-groups", "x-address", "x-user-email"} {
				_, set := values(d.Identity.Set)[name]
				if set == slices.Contains(d.Identity.Remove, name) {
					t.Errorf("%s: %s is set %v and removed %v", path, name, set, !set)
				}
			}
			if got := values(d.Identity.Client)["x-user"]; (got == "Zoe%0D%0Ax%3A%20y") != (path == "/tell") {
				t.Errorf("%s: the client is told x-user: %q", path, got)
			}
			var told []string
			for _, m := range d.Identity.Metadata {
				told = append(told, m.Name+"="+m.Text())
			}
			if got := strings.Join(told, " "); got != "level=3 tenant=acme, inc" {
				t.Errorf("%s: metadata %s", path, got)
			}
		}
	}
}

// TestWhatAClientCallsAClaimReachesNobody: in any spelling, on any route of the policy, also where
// nobody is known.
func TestWhatAClientCallsAClaimReachesNobody(t *testing.T) {
	w, engine := telling(t)
	for _, path := range []string{"/tell", "/more", "/plain", "/maybe", "/public"} {
		r := authztest.Get(path)
		if path != "/maybe" && path != "/public" {
			r = authztest.Get(path, "authorization", "Bearer "+zoe(w))
		}
		var spelt []string
		for _, sign := range "-" + authztest.Signs {
			for _, name := range []string{"x-tenant", "X-User-EMAIL"} {
				name = strings.ReplaceAll(name, "-", string(sign))
				r.Headers = append(r.Headers, authz.Header{Name: name, Value: "mallory"})
				if sign != '-' {
					spelt = append(spelt, name)
				}
			}
		}
		r.Headers = append(r.Headers, authz.Header{Name: "x-tenants", Value: "another name"})
		d := engine.Decide(&r)
		if !d.Allow || !slices.Equal(d.Strip, spelt) {
			t.Errorf("%s: %s, removed %v, want %v", path, d.Reason(), d.Strip, spelt)
		}
		for _, name := range []string{"x-tenant", "x-user-email"} {
			if !slices.Contains(d.Identity.Remove, name) {
				t.Errorf("%s: %s stays", path, name)
			}
		}
	}
	r := authztest.Get("/tell", "authorization", "Bearer "+zoe(w), "connection", "close, x_tenant")
	if d := engine.Decide(&r); d.Reason() != "bad_request" {
		t.Errorf("a Connection header that names one: %s", d.Reason())
	}
}

// TestAClaimThatIsTooLongIsNotLeftOut: the request is refused.
func TestAClaimThatIsTooLongIsNotLeftOut(t *testing.T) {
	w, engine := telling(t)
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	for name, row := range map[string]struct {
		token, path, want string
	}{
		"as long as may be":       {zoe(w, "email", long(4096)), "/more", "allowed"},
		"longer":                  {zoe(w, "email", long(4097)), "/more", "claim_size"},
		"longer where it is not":  {zoe(w, "email", long(4097)), "/plain", "allowed"},
		"encoded":                 {zoe(w, "email", `"`+strings.Repeat("ü", 700)+`"`), "/more", "claim_size"},
		"metadata":                {zoe(w, "tenant", long(4097)), "/plain", "claim_size"},
		"in the answer to client": {zoe(w, "name", long(4097)), "/tell", "claim_size"},
	} {
		for range 2 {
			r := authztest.Get(row.path, "authorization", "Bearer "+row.token)
			if d := engine.Decide(&r); d.Reason() != row.want {
				t.Errorf("%s: got %s", name, d.Reason())
			}
		}
	}
}

// TestNoConditionReadsWhatAClientCallsAClaim under the name of a header that the policy makes.
func TestNoConditionReadsWhatAClientCallsAClaim(t *testing.T) {
	w := authztest.New()
	var err error
	w.Policy, err = policy.Compile(policy.Config{Routes: []policy.Route{{
		Match:   policy.Match{Path: "/a"},
		Require: policy.Require{When: `"x-tenant" in request.headers || "x_tenant" in request.headers`},
		Headers: map[string]string{"x-tenant": "/tenant"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	r := authztest.Get("/a", "authorization", "Bearer "+zoe(w), "x-tenant", "acme", "x_tenant", "acme")
	if d := w.Engine(nil).Decide(&r); d.Reason() != "condition" {
		t.Errorf("got %s", d.Reason())
	}
}

// TestAnotherPolicyHandsOnOtherClaims of a token that is remembered.
func TestAnotherPolicyHandsOnOtherClaims(t *testing.T) {
	w, engine := telling(t)
	first := w.Policy
	second, err := policy.Compile(policy.Config{Routes: []policy.Route{{
		Match: policy.Match{Path: "/tell"}, Headers: map[string]string{"x-tenant": "/email"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	r := authztest.Get(
		"/tell",
		"authorization",
		"Bearer "+zoe(w, "tenant", `"acme"`, "email", `"zoe"`),
	)
	for round, p := range []*policy.Policy{first, second, authztest.New().Policy, second, first} {
		engine.SetPolicy(p)
		for range 2 {
			d := engine.Decide(&r)
			want := map[*policy.Policy]string{first: "acme", second: "zoe"}[p]
			if want != "" && (!d.Allow || values(d.Identity.Set)["x-tenant"] != want) {
				t.Errorf("round %d: %s, got %v", round, d.Reason(), d.Identity.Set)
			}
		}
	}
}

// TestNoIdentityHeaderIsMadeOfAClaim: the policy, which does not know the gate's own, refuses them.
func TestNoIdentityHeaderIsMadeOfAClaim(t *testing.T) {
	for _, name := range append(authz.IdentityHeaders(), authz.OverrideHeaders()...) {
		_, err := policy.Compile(policy.Config{Routes: []policy.Route{{
			Match: policy.Match{Path: "/a"}, Headers: map[string]string{name: "/email"},
		}}})
		if err == nil {
			t.Errorf("%s may be made of a claim", name)
		}
	}
}

func BenchmarkDecideWithClaimHeaders(b *testing.B) {
	w, engine := telling(b)
	for _, routes := range []int{1, 2} {
		b.Run(fmt.Sprint(routes), func(b *testing.B) {
			var all []authz.Request
			for _, path := range []string{"/tell", "/more"}[:routes] {
				all = append(all, authztest.Get(path, "authorization", "Bearer "+zoe(w, "tenant", `"acme"`)))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if d := engine.Decide(&all[i%routes]); !d.Allow {
					b.Fatal(d.Reason())
				}
			}
		})
	}
}
