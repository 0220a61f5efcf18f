package e2e_test

import (
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestARouteOfEnvoyNamesThePolicyThatDecides, in its context_extensions: one that there is not lets
// nobody pass.
func TestARouteOfEnvoyNamesThePolicyThatDecides(t *testing.T) {
	const before = "                        # Everything else is the upstream's, by way of a gate."
	route := func(path, policy string) string {
		return `                        - match: {prefix: ` + path + `}
                          route: {cluster: upstream}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings: {context_extensions: {other: x, policy: ` + policy + `}}
`
	}
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		withPartner(o)
		meshtest.RunShipped(t, o, meshtest.Change{
			Old: before,
			New: route("/partner/", "partner") + route("/unknown/", "nobody-s") + route("/empty/", `""`) + before,
		})
	}))
	wantPartner(t, s, "bad_request")
}

// TestARouteOfEnvoyNamesThePolicyThatDecidesInside: the same, for the gate inside Envoy. There a policy
// without a name is no configuration.
func TestARouteOfEnvoyNamesThePolicyThatDecidesInside(t *testing.T) {
	const before = "                        # Everything else is the upstream's, by way of a gate."
	route := func(path, policy string) string {
		return `                        - match: {prefix: ` + path + `}
                          route: {cluster: upstream}
                          typed_per_filter_config:
                            sallyport:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute
                              dynamic_module_config: *module
                              filter_name: sallyport
                              filter_config: {"@type": type.googleapis.com/google.protobuf.StringValue, value: "` +
			policy + `"}
`
	}
	s := inside(t, withPartner, func(o *mesh.Options) {
		authz := o.Rewrite
		rewritten(t, meshtest.Change{
			Old: before,
			New: route("/partner/", "policy=partner") + route("/unknown/", "policy=nobody-s") +
				route("/empty/", "policy=NOBODY S") + before,
		})(o)
		envoy := o.Rewrite
		o.Rewrite = func(name, content string) string { return envoy(name, authz(name, content)) }
	})
	wantPartner(t, s, "no_route")
}

// withPartner gives a gate a policy by the name partner.
func withPartner(o *mesh.Options) {
	o.Rewrite = func(name, content string) string {
		if name != "authz.yaml" {
			return content
		}
		return content + `
policies:
  partner:
    routes:
    - {match: {path: /partner/open}, allow: public}
    - match: {path: /partner/**}
      require: {roles: [partner]}
      headers: {x-auth-partner: sub}
`
	}
}

// wantPartner asks what each policy decides, and wants that of a route whose policy has no proper name
// to be refused for that reason.
func wantPartner(t *testing.T, s *meshtest.Stack, empty string) {
	t.Helper()
	c := newCaller(t, s.Endpoints().Gateway)
	bob := bearer(c.login(t, user(t, s, "bob")).Access)
	for path, want := range map[string]string{
		"/partner/open":   "",
		"/partner/x":      "insufficient_role",
		"/unknown/public": "no_route",
		"/empty/public":   empty,
		"/public":         "",
		"/protected":      "",
	} {
		a := c.get(t, path, bob, header("x-auth-partner", "mallory"))
		if got := a.header.Get("x-sallyport-reason"); got != want || (a.status == http.StatusOK) != (want == "") {
			t.Errorf("%s: got %d %s, want %q", path, a.status, got, want)
		} else if want == "" && a.reached(t).Headers["x-auth-partner"] != "" {
			t.Errorf("%s: a client's own header reaches the upstream", path)
		}
	}
}
