package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// claimRoutes is a policy that makes headers of claims on /tell, and none on the others.
const claimRoutes = `  metadata: {who: /sub, client: /client_id}
  routes:
  - match: {path: /tell, headers: [{name: x-beta, exact: "yes"}]}
    headers: {x-tenant: /client_id, x-auth-who: /sub}
  - match: {path: /tell}
    headers: {x-tenant: /sub}
    response_headers: {x-user: /sub}
`

// claimsByEnvoy has Envoy remove what clients call claims, as the gate's note says.
var claimsByEnvoy = []meshtest.Change{
	{
		Old: `- append: {header: {key: x-sallyport-stripped, value: "1"}`,
		New: `- remove_on_match: {key_matcher: {safe_regex: {regex: "x[^a-z0-9]tenant"}}}
                        - append: {header: {key: x-sallyport-stripped, value: "1,x-tenant"}`,
	},
}

// claimsByLine has it do so as the file's comment says.
var claimsByLine = []meshtest.Change{
	{
		Old: `(auth|sallyport)[^a-z0-9].*)"`,
		New: "tenant|\\\n                            " + `(auth|sallyport)[^a-z0-9].*)"`,
	},
	{Old: `x-sallyport-stripped, value: "1"`, New: `x-sallyport-stripped, value: "1,x-tenant"`},
}

// claimsSeen shows the gate the header that the policy goes by, and the metadata to who looks at the
// answer.
var claimsSeen = []meshtest.Change{
	{
		Old: "- {exact: x-access-token, ignore_case: true}",
		New: "- {exact: x-access-token, ignore_case: true}\n" +
			"                          - {exact: x-beta, ignore_case: true}",
	},
	{
		Old: "                route_config:\n                  name: gateway\n",
		New: "                route_config:\n                  name: gateway\n" +
			"                  response_headers_to_add:\n" +
			"                    - {header: {key: x-metadata, value: \"%DYNAMIC_METADATA(envoy.filters.http.ext_authz:sallyport)%\"}}\n",
	},
}

// TestClaimsReachTheUpstreamAndNobodyElsesDo: through the real Envoy, whoever strips.
func TestClaimsReachTheUpstreamAndNobodyElsesDo(t *testing.T) {
	for name, row := range map[string]struct {
		changes []meshtest.Change
		args    []string
	}{
		"Envoy strips": {slices.Concat(claimsByEnvoy, claimsSeen), nil},
		// The first pattern would see to other signs than "-".
		"Envoy strips, by a line alone": {
			append(slices.Concat(claimsByLine, claimsSeen), withoutSigns), nil,
		},
		"the gate strips": {append([]meshtest.Change{withoutPatterns}, claimsSeen...), []string{"--ext-authz-strip=all"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := meshtest.Start(t, with(func(o *mesh.Options) {
				o.Upstream, o.GateArgs = folding(t), row.args
				o.Rewrite = func(name, content string) string {
					if name != "authz.yaml" {
						return content
					}
					return replace(t, content, "  routes:\n", claimRoutes)
				}
				meshtest.RunShipped(t, o, row.changes...)
			}))
			c := newCaller(t, s.Endpoints().Gateway)
			token := bearer(c.login(t, user(t, s, "bob")).Access)
			a := c.get(t, "/tell", token)
			if !strings.Contains(string(a.body), "HTTP_X_TENANT=bob\n") || a.header.Get("x-user") != "bob" {
				t.Errorf(
					"the upstream is told\n%s, the client %q",
					lines(string(a.body), "HTTP_X_"),
					a.header.Get("x-user"),
				)
			}
			if got := a.header.Get("x-metadata"); !strings.Contains(got, `"who":"bob"`) ||
				!strings.Contains(got, `"client":`) {
				t.Errorf("Envoy's other filters are told %q", got)
			}
			a = c.get(t, "/tell", token, header("x-beta", "yes"))
			if body := string(a.body); !strings.Contains(body, "HTTP_X_AUTH_WHO=bob\n") ||
				strings.Contains(body, "HTTP_X_TENANT=bob\n") || a.header.Get("x-user") != "" {
				t.Errorf("the route with a header tells the upstream\n%s", lines(body, "HTTP_X_"))
			}
			signs := "-_." // what the gate alone can name
			if row.args == nil {
				signs = "-" + authztest.Signs
			}
			for _, sign := range signs {
				for _, path := range []string{"/tell", "/public", "/protected"} {
					var edits []edit
					if path != "/public" {
						edits = append(edits, token)
					}
					for _, name := range []string{"x-tenant", "X-Tenant", "x-auth-who"} {
						spelt := strings.ReplaceAll(name, "-", string(sign))
						edits = append(edits, func(r *http.Request) { r.Header[spelt] = []string{"mallory"} })
					}
					a := c.get(t, path, edits...)
					if a.status != http.StatusOK || strings.Contains(string(a.body), "mallory") {
						t.Errorf(
							"%s with %c: %d, the program got\n%s",
							path,
							sign,
							a.status,
							lines(string(a.body), "mallory"),
						)
					}
				}
			}
		})
	}
}

// TestAnEnvoyThatDoesNotKnowAHeaderOfClaimsCannotBeForgotten: nothing passes.
func TestAnEnvoyThatDoesNotKnowAHeaderOfClaimsCannotBeForgotten(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.Rewrite = func(name, content string) string {
			if name != "authz.yaml" {
				return content
			}
			return replace(t, content, "  routes:\n", claimRoutes)
		}
		meshtest.RunShipped(t, o)
	}))
	c := newCaller(t, s.Endpoints().Gateway)
	c.get(t, "/public").refused(t, 503, "temporarily_unavailable", "not_stripped")
}

// TestAGateInsideEnvoyTellsClaims as one beside it does.
func TestAGateInsideEnvoyTellsClaims(t *testing.T) {
	s := inside(t, func(o *mesh.Options) {
		o.Rewrite = func(name, content string) string {
			switch name {
			case "authz.yaml":
				return replace(t, content, "  routes:\n", claimRoutes)
			case "envoy.yaml":
				return replace(t, content, "route_config:\n", "route_config:\n"+
					"                  response_headers_to_add:\n"+
					"                    - {header: {key: x-metadata, value: \"%DYNAMIC_METADATA(sallyport:who)%\"}}\n")
			}
			return content
		}
	})
	c := newCaller(t, s.Endpoints().Gateway)
	token := bearer(c.login(t, user(t, s, "bob")).Access)
	a := c.get(t, "/tell", token, header("x-tenant", "mallory"))
	if got := a.reached(t).Headers["x-tenant"]; got != "bob" || a.header.Get("x-user") != "bob" ||
		a.header.Get("x-metadata") != "bob" {
		t.Errorf(
			"the upstream is told %q, the client %q, filters %q",
			got,
			a.header.Get("x-user"),
			a.header.Get("x-metadata"),
		)
	}
	for path, edits := range map[string][]edit{"/public": nil, "/protected": {token}} {
		for _, name := range []string{"x-tenant", "x.tenant", "x~tenant"} {
			a := c.get(
				t,
				path,
				append(edits, func(r *http.Request) { r.Header[name] = []string{"mallory"} })...)
			for header, value := range a.reached(t).Headers {
				if value == "mallory" {
					t.Errorf("%s: the upstream received %s", path, header)
				}
			}
		}
	}
	if a := c.get(t, "/tell", token, header("x-beta", "yes")); a.reached(t).Headers["x-auth-who"] != "bob" {
		t.Errorf("the route with a header tells %v", a.reached(t).Headers)
	}
}
