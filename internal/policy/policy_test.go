package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/token"
)

func compile(t testing.TB, routes ...Route) *Policy {
	t.Helper()
	p, err := Compile(Config{Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// public is a route that anybody passes, for tests of matching.
func public(path string) Route { return Route{Match: Match{Path: path}, Allow: "public"} }

func TestPatternsMatchWholeSegments(t *testing.T) {
	for _, row := range []struct {
		pattern string
		matches string // separated by spaces
		not     string
	}{
		{"/", "/ /?x", "/a /a/b"},
		{
			"/admin", "/admin /admin/ /%61dmin /admin?x=/public",
			"/administrator /admin/x /Admin / /adm /admin2 /x/admin",
		},
		{"/admin/", "/admin /admin/", "/admin/x"},
		{
			"/admin/**", "/admin /admin/ /admin/x /admin/x/y/",
			"/administrator /administrator/x / /x/admin",
		},
		{"/**", "/ /a /a/b/c", ""},
		{"/*", "/a /a/ /*", "/ /a/b"},
		{"/a/*/c", "/a/b/c /a/b/c/ /a/**/c", "/a/c /a/b/b/c /a/b /a/b/d"},
		{"/a/*/**", "/a/b /a/b/c/d", "/a /a/"},
		{"/a.b", "/a.b /a%2eb", "/aXb /ab"},
		{"/a+(b|c)", "/a+(b|c)", "/aa /ab /aab"},
		{"/a%2Ab", "/a*b /a%2ab", "/ab /axb /axxb"},
		{"/%2A", "/*", "/a /**"},
		{"/%2A%2A", "/**", "/a /*"},
		{"/[a-z]$", "/[a-z]$", "/b"},
		{"/caf%C3%A9", "/café", "/cafe"},
		{"/100%25", "/100%25", "/100"},
		{"/a/{id}", "/a/b /a/{id} /a/%7Bid%7D /a/b/", "/a /a/b/c"},
		{"/{a}/x/{b_2}/**", "/1/x/2 /1/x/2/3", "/1/y/2 /1/x"},
		{"/%7Bid%7D", "/{id} /%7bid%7d", "/a"},
	} {
		p := compile(t, public(row.pattern))
		for _, path := range strings.Fields(row.matches) {
			if f := p.Find("GET", "h", path); f.Rule.Access != Public {
				t.Errorf("%s does not match %s: %s %s", row.pattern, path, f.Reason, f.Detail)
			}
		}
		for _, path := range strings.Fields(row.not) {
			if f := p.Find("GET", "h", path); f.Reason != token.ReasonNoRoute || f.Rule.Access != Nobody {
				t.Errorf("%s matches %s", row.pattern, path)
			}
		}
	}
}

// TestSegmentsAreHadByTheirNames in the spelling that the path was matched in.
func TestSegmentsAreHadByTheirNames(t *testing.T) {
	p := compile(t,
		Route{Match: Match{Path: "/tenants/{tenant}/*/{id}/**"}, PathParameters: true},
		Route{Match: Match{Path: "/{id}"}},
		Route{Match: Match{GRPC: "shop.v1.Orders/*"}},
	)
	for _, row := range []struct{ path, tenant, id string }{
		{"/tenants/acme/x/7", "acme", "7"},
		{"/tenants/acme/x/7/", "acme", "7"},
		{"/tenants/acme/x/7/more/of/it?id=8", "acme", "7"},
		{"/tenants/a%20b/x/caf%C3%A9", "a b", "café"},
		{"/tenants/acme;v=1/x/7;v=2", "acme", "7"},
		{"/Tenants", "-", "Tenants"},
	} {
		f := p.Find("POST", "h", row.path)
		for name, want := range map[string]string{"tenant": row.tenant, "id": row.id, "": "-", "x": "-"} {
			got, ok := f.Variable(name)
			if !ok {
				got = "-"
			}
			if got != want {
				t.Errorf("%s: %q is %q, want %q (route %d)", row.path, name, got, want, f.Rule.Index)
			}
		}
	}
	for _, path := range []string{"/shop.v1.Orders/Get", "/a/b"} {
		f := p.Find("POST", "h", path)
		if value, ok := f.Variable("id"); ok {
			t.Errorf("%s: got %q", path, value)
		}
	}
}

func TestGRPCMethodsAreRoutes(t *testing.T) {
	p := compile(t,
		Route{Match: Match{GRPC: "shop.v1.Orders/Delete", Hosts: []string{"api.example.com"}}},
		Route{Match: Match{GRPC: "shop.v1.Orders/*"}, Require: Require{Scopes: []string{"orders"}}},
		Route{Match: Match{Path: "/**", Methods: []string{"GET"}}},
	)
	for _, row := range []struct {
		method, host, path string
		want               int
	}{
		{"POST", "api.example.com", "/shop.v1.Orders/Delete", 0},
		{"POST", "h", "/shop.v1.Orders/Delete", 1},
		{"POST", "h", "/shop.v1.Orders/Get", 1},
		{"POST", "h", "/shop.v1.Orders", -1},
		{"POST", "h", "/shop.v1.Orders/Get/x", -1},
		{"POST", "h", "/shop.v1.Orders2/Get", -1},
		{"POST", "h", "/shop.v1.orders/get", -1},
		{"POST", "h", "/shopXv1.Orders/Get", -1},
		{"POST", "h", "shop.v1.Orders/Get", -1}, // without its slash
		{"GET", "h", "/shop.v1.Orders/Get", 2},
		{"GET", "h", "/shop.v1.orders/Get", 2},
		{"post", "h", "/shop.v1.Orders/Get", -1},
	} {
		if f := p.Find(row.method, row.host, row.path); f.Rule.Index != row.want {
			t.Errorf("%s %s%s: got route %d (%s), want %d", row.method, row.host, row.path,
				f.Rule.Index, f.Reason, row.want)
		}
	}
	weak := compile(t,
		Route{Match: Match{GRPC: "shop.v1.Orders/*"}, Require: Require{Scopes: []string{"orders"}}},
		Route{Match: Match{Path: "/**"}, Allow: "public"})
	if f := weak.Find("POST", "h", "/shop.v1.orders/Get"); f.Reason != token.ReasonPathCase {
		t.Errorf("in another case: got %q", f.Reason)
	}
}

func TestTheFirstRouteThatMatchesDecides(t *testing.T) {
	p := compile(t,
		Route{Match: Match{Path: "/a/*/c", Methods: []string{"GET", "HEAD"}}},
		Route{Match: Match{Path: "/a/b/**", Hosts: []string{"one.example"}}},
		Route{Match: Match{Path: "/a/b/c"}},
		Route{Match: Match{Path: "/a/closed"}, Allow: "nobody"},
		Route{Match: Match{Path: "/a/**"}},
		Route{Match: Match{Path: "/*"}},
	)
	for _, row := range []struct {
		method, host, path string
		want               int
	}{
		{"GET", "one.example", "/a/b/c", 0},
		{"HEAD", "x", "/a/zzz/c", 0},
		{"POST", "one.example", "/a/b/c", 1},
		{"POST", "x", "/a/b/c", 2},
		{"POST", "one.example", "/a/b", 1},
		{"POST", "x", "/a/b", 4},
		{"POST", "x", "/a/zzz/c", 4},
		{"GET", "x", "/a/closed", 3},
		{"GET", "x", "/a", 4},
		{"GET", "x", "/b", 5},
		{"GET", "x", "/", -1},
		{"get", "x", "/a/zzz/c", 4},
		{"", "x", "/a/zzz/c", 4},
	} {
		if f := p.Find(row.method, row.host, row.path); f.Rule.Index != row.want {
			t.Errorf("%s %s%s: got route %d, want %d", row.method, row.host, row.path,
				f.Rule.Index, row.want)
		}
	}
	if f := p.Find("GET", "x", "/a/closed"); f.Reason != token.ReasonDenied {
		t.Errorf("a closed route: got reason %s", f.Reason)
	}
}

// TestTheTreeAgreesWithTryingEveryRoute compares with the plain reading of "first match wins".
func TestTheTreeAgreesWithTryingEveryRoute(t *testing.T) {
	words := []string{"a", "b", "*", "**"}
	var routes []Route
	for _, one := range words {
		for _, two := range words {
			for _, method := range []string{"GET", "PUT"} {
				path := "/" + one + "/" + two
				if one == "**" {
					path = "/" + two + "/x/**"
				}
				if strings.Contains(strings.TrimSuffix(path, "/**"), "**") {
					continue
				}
				routes = append(routes, Route{Match: Match{Path: path, Methods: []string{method}}})
			}
		}
	}
	for shift := range routes {
		order := append(append([]Route(nil), routes[shift:]...), routes[:shift]...)
		compareWithAll(t, reachable(order))
	}
}

// reachable leaves out routes that an earlier one hides.
func reachable(routes []Route) []Route {
	var kept []Route
	for _, r := range routes {
		if (Config{Routes: append(kept, r)}).validateReach() == nil {
			kept = append(kept, r)
		}
	}
	return kept
}

func compareWithAll(t *testing.T, routes []Route) {
	t.Helper()
	p := compile(t, routes...)
	for _, path := range []string{
		"/", "/a", "/b", "/a/a", "/a/b", "/b/a", "/x", "/a/x", "/x/x", "/b/x/a", "/a/x/b/c", "/x/x/x",
	} {
		for _, method := range []string{"GET", "PUT", "POST"} {
			want := -1
			for i := len(routes) - 1; i >= 0; i-- {
				if one := compile(t, routes[i]); one.Find(method, "h", path).Rule.Index == 0 {
					want = i
				}
			}
			if got := p.Find(method, "h", path).Rule.Index; got != want {
				t.Fatalf("%s %s: got route %d, want %d of %v", method, path, got, want, routes)
			}
		}
	}
}

func TestHostsAreComparedWithoutCasePortAndDot(t *testing.T) {
	p := compile(t,
		Route{Match: Match{Path: "/**", Hosts: []string{"API.Example.com", "[2001:DB8::1]"}}},
		Route{Match: Match{Path: "/**", Hosts: []string{"*.Example.org"}}},
		Route{Match: Match{Path: "/**", Methods: []string{"GET"}}},
	)
	for host, want := range map[string]int{
		"api.example.com":         0,
		"API.EXAMPLE.COM":         0,
		"api.example.com:443":     0,
		"api.example.com.":        0,
		"Api.Example.Com.:8443":   0,
		"[2001:db8::1]":           0,
		"[2001:DB8::1]:443":       0,
		"a.example.org":           1,
		"a.b.example.org":         1,
		"A.EXAMPLE.ORG.:1":        1,
		"example.org":             2,
		"evilexample.org":         2,
		"example.org.evil":        2,
		"api.example.com.evil":    2,
		"xapi.example.com":        2,
		"apiXexample.com":         2,
		"x.api.example.com":       2,
		"":                        -1,
		".example.org":            -1,
		"api.example.com:443:443": -1,
		"api.example.com:x":       -1,
		"api.example.com:":        -1,
		"user@api.example.com":    -1,
		"api.example.com..":       -1,
		"api example.com":         -1,
		"api.example.com,evil":    -1,
		"api.example.com\x00":     -1,
		"[::1":                    -1,
		"[::1%eth0]":              -1,
		"[::1]x":                  -1,
		"bücher.example":          -1,
		strings.Repeat("a", 256):  -1,
	} {
		f := p.Find("GET", host, "/x")
		if f.Rule.Index != want {
			t.Errorf("%q: got route %d, want %d", host, f.Rule.Index, want)
		}
		if want == -1 && (f.Reason != token.ReasonBadRequest || f.Detail == "") {
			t.Errorf("%q: got reason %s %q", host, f.Reason, f.Detail)
		}
	}
}

func TestAMalformedHostDoesNotMatterToAPolicyWithoutHosts(t *testing.T) {
	if f := compile(t, public("/**")).Find("GET", "not a host", "/x"); f.Rule.Access != Public {
		t.Errorf("refused: %s", f.Reason)
	}
}

func TestPathParametersNeedTheRoutesPermission(t *testing.T) {
	p := compile(t, Route{Match: Match{Path: "/admin/**"}},
		Route{Match: Match{Path: "/matrix/*"}, PathParameters: true, Allow: "public"})
	for path, want := range map[string]Access{
		"/matrix/a;x=1": Public, "/matrix;v=2/a": Public, "/matrix/a": Public,
		"/admin;x/y": Nobody, "/admin/y;": Nobody, "/admin/y": Authenticated, "/matrix/..;/a": Nobody,
	} {
		if f := p.Find("GET", "h", path); f.Rule.Access != want {
			t.Errorf("%s: got %v (%s)", path, f.Rule.Access, f.Detail)
		}
	}
}

func TestAccessAndRequirements(t *testing.T) {
	p := compile(
		t,
		Route{Match: Match{Path: "/1"}},
		Route{Match: Match{Path: "/2"}, Allow: "authenticated", AllowStale: true},
		Route{Match: Match{Path: "/3"}, Allow: "optional"},
		Route{Match: Match{Path: "/4"}, Allow: "public"},
		Route{Match: Match{Path: "/5"}, Allow: "nobody"},
		Route{
			Match:   Match{Path: "/6"},
			Require: Require{Roles: []string{"a", "b.*"}, Scopes: []string{"r", "w"}},
		},
	)
	want := []Access{Authenticated, Authenticated, Optional, Public, Nobody, Authenticated}
	for i, access := range want {
		if f := p.Find("GET", "h", fmt.Sprintf("/%d", i+1)); f.Rule.Access != access ||
			f.Rule.AllowStale != (i == 1) {
			t.Errorf("route %d: got %v, stale %v", i, f.Rule.Access, f.Rule.AllowStale)
		}
	}
	rule := p.Rules()[5]
	for _, row := range []struct {
		roles, scopes string
		want          token.Reason
	}{
		{"a", "r w", ""},
		{"x b.*", "w x r", ""},
		{"", "r w", token.ReasonInsufficientRole},
		{"bxx A aa", "r w", token.ReasonInsufficientRole},
		{"a", "r", token.ReasonInsufficientScope},
		{"a", "rw", token.ReasonInsufficientScope},
		{"a", "", token.ReasonInsufficientScope},
		{"", "", token.ReasonInsufficientRole},
	} {
		got := rule.Permits(&Caller{Claims: &token.Claims{
			Roles: strings.Fields(row.roles), Scope: strings.Fields(row.scopes),
		}})
		if got.Reason != row.want {
			t.Errorf("roles %q, scopes %q: got %q, want %q", row.roles, row.scopes, got.Reason, row.want)
		}
	}
}

// TestARouteTakesTokensOfTheIssuersThatItNamesAlone: letter by letter, by the token's iss or by the
// entry that stands for it, and before it looks at roles and scopes.
func TestARouteTakesTokensOfTheIssuersThatItNamesAlone(t *testing.T) {
	route := func(issuers ...string) Route {
		return Route{
			Match: Match{Path: "/" + fmt.Sprint(len(issuers))},
			Require: Require{
				Roles: []string{"admin"}, Issuers: issuers,
			},
		}
	}
	p := compile(t, route(), route("https://a"), route("https://a", anyTenant),
		route("https://a", "https://b", tenantA))
	for _, row := range []struct {
		iss, entry string
		want       string // for each route, whether the token passes
	}{
		{"https://a", "https://a", "yyyy"},
		{"https://b", "https://b", "ynny"},
		{"https://A", "https://A", "ynnn"},
		{"https://a/", "https://a/", "ynnn"},
		{"", "", "ynnn"},
		{tenantA, anyTenant, "ynyy"},
		{tenantB, anyTenant, "ynyn"},
	} {
		got := ""
		for _, rule := range p.Rules() {
			c := &token.Claims{Issuer: row.iss, Roles: []string{"admin"}}
			caller := &Caller{Claims: c, Entry: row.entry}
			reason := rule.Permits(caller).Reason
			if c.Roles = nil; reason == "" {
				got += "y"
				reason = token.ReasonInsufficientRole
			} else {
				got += "n"
			}
			if without := rule.Permits(caller).Reason; without != reason ||
				reason != token.ReasonPolicy && reason != token.ReasonInsufficientRole {
				t.Errorf("%s at %v without roles: got %q, want %q", row.iss, rule, without, reason)
			}
		}
		if got != row.want {
			t.Errorf("%q: got %s, want %s", row.iss, got, row.want)
		}
	}
}

func TestTheZeroPolicyLetsNobodyPass(t *testing.T) {
	var p Policy
	if f := p.Find("GET", "h", "/"); f.Rule.Access != Nobody || f.Reason != token.ReasonNoRoute {
		t.Errorf("got %v, %s", f.Rule.Access, f.Reason)
	}
	if Access(0) != Nobody || (&Rule{}).Access != Nobody {
		t.Error("the zero Access is not Nobody")
	}
}

func TestMatchingAllocatesNothing(t *testing.T) {
	p := compile(
		t,
		Route{
			Match: Match{
				Path: "/api/*/things/**", Hosts: []string{"*.example.com"},
				Methods: []string{"GET", "PUT"},
			},
		},
	)
	if n := testing.AllocsPerRun(100,
		func() { p.Find("PUT", "a.example.com:443", "/api/v1/things/42?expand=all") }); n != 0 {
		t.Errorf("matching allocates %v times", n)
	}
}

// BenchmarkFind matches against a policy of a thousand routes.
func BenchmarkFind(b *testing.B) {
	var routes []Route
	for i := range 1000 {
		routes = append(routes, Route{Match: Match{Path: fmt.Sprintf("/api/v%d/*/things/**", i),
			Methods: []string{"GET", "PUT"}}})
	}
	p := compile(b, routes...)
	b.ReportAllocs()
	for b.Loop() {
		if p.Find("PUT", "a.example.com:443", "/api/v700/x/things/42?expand=all").Rule.Index != 700 {
			b.Fatal("another route")
		}
	}
}
