package e2e_test

import (
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestAnEncodedSlashReachesTheUpstreamAsItWasMatched: through the real Envoy, set up for it, on the
// routes that permit it; on the others the gate refuses it.
func TestAnEncodedSlashReachesTheUpstreamAsItWasMatched(t *testing.T) {
	const keep = "path_with_escaped_slashes_action: KEEP_UNCHANGED"
	for name, normalize := range map[string]string{"normalised": "true", "not normalised": "false"} {
		t.Run(name, func(t *testing.T) {
			s := meshtest.Start(t, with(func(o *mesh.Options) {
				o.Rewrite = func(name, content string) string {
					if name != "authz.yaml" {
						return content
					}
					return replace(t, content, "  routes:\n", `  routes:
  - {match: {path: "/projects/{id}"}, path_encoded_slash: allow}
  - match: {path: "/mine/{id}"}
    path_encoded_slash: allow
    require: {when: 'path.id == claims.sub + "/project"'}
`)
				}
				meshtest.RunShipped(t, o,
					meshtest.Change{Old: "path_with_escaped_slashes_action: REJECT_REQUEST", New: keep},
					meshtest.Change{Old: "normalize_path: true", New: "normalize_path: " + normalize})
			}))
			c := newCaller(t, s.Endpoints().Gateway)
			token := bearer(c.login(t, user(t, s, "bob")).Access)
			for _, path := range []string{
				"/projects/group%2Fproject", "/projects/group%2fproject?a=b%2Fc", "/mine/bob%2Fproject",
			} {
				a := c.get(t, path, token)
				if a.status != http.StatusOK {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				} else if got := a.reached(t).Path; got != path {
					t.Errorf("%s: the upstream was asked for %s", path, got)
				}
			}
			for path, reason := range map[string]string{
				"/api/group%2Fproject":      "bad_path",
				"/projects/..%2Fadmin":      "bad_path",
				"/projects/a%2F..%2F..%2Fb": "bad_path",
				"/projects/a%2F%2Fb":        "bad_path",
				"/projects/a%252Fb":         "bad_path",
				"/projects%2Fa":             "bad_path",
				"/mine/alice%2Fproject":     "condition",
				"/admin%2Fx":                "bad_path",
			} {
				a := c.get(t, path, token)
				if got := a.header.Get("x-sallyport-reason"); a.status < 400 || got != reason {
					t.Errorf("%s: got %d %s, want %s", path, a.status, got, reason)
				}
			}
		})
	}
}
