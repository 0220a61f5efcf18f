package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// perTenant has the users of the mesh for tenants.
const perTenant = "  metadata: {tenant: /sub}\n  routes:\n"

// limiter is the filter that docs/policy.md shows, as it stands in Envoy's list of filters.
func limiter(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(meshtest.Root(t), "docs/policy.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "```yaml\n- name: envoy.filters.http.local_ratelimit\n")
	block, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("docs/policy.md shows no local_ratelimit")
	}
	const indent = "                  "
	filter := indent + "- name: envoy.filters.http.local_ratelimit\n"
	for line := range strings.Lines(block) {
		filter += indent + line
	}
	return filter
}

// TestATenantThatAsksTooMuchIsLimitedAndOthersAreNot: Envoy's own rate limit by what the gate tells of
// a token, beside Envoy and inside it. Whoever has no token has no bucket, and is refused before.
func TestATenantThatAsksTooMuchIsLimitedAndOthersAreNot(t *testing.T) {
	const router = "                  - name: envoy.filters.http.router\n"
	place := func(content, filter string) string {
		return replace(t, content, router, filter+router)
	}
	for name, start := range map[string]func() *meshtest.Stack{
		"beside": func() *meshtest.Stack {
			return meshtest.Start(t, with(func(o *mesh.Options) {
				o.Rewrite = func(name, content string) string {
					if name == "authz.yaml" {
						return replace(t, content, "  routes:\n", perTenant)
					}
					return content
				}
				const before = "max_request_bytes: 131072\n"
				meshtest.RunShipped(t, o, meshtest.Change{Old: before + router, New: before + limiter(t) + router})
			}))
		},
		"inside": func() *meshtest.Stack {
			return inside(t, func(o *mesh.Options) {
				o.Rewrite = func(name, content string) string {
					switch name {
					case "authz.yaml":
						return replace(t, content, "  routes:\n", perTenant)
					case "envoy.yaml":
						filter := strings.Replace(limiter(t), "key: envoy.filters.http.ext_authz", "key: sallyport", 1)
						return place(content, strings.Replace(filter, "{key: sallyport}, ", "", 1))
					}
					return content
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start()
			c := newCaller(t, s.Endpoints().Gateway)
			bob := bearer(c.login(t, user(t, s, "bob")).Access)
			again := bearer(c.login(t, user(t, s, "bob")).Access)
			alice := bearer(c.login(t, user(t, s, "alice")).Access)
			// The page gives each tenant five, whichever token it shows.
			for i := range 5 {
				token := bob
				if i%2 == 1 {
					token = again
				}
				c.get(t, "/protected", token).reached(t)
			}
			for _, token := range []edit{bob, again} {
				if a := c.get(t, "/protected", token); a.status != http.StatusTooManyRequests {
					t.Errorf("one request too many: %d %s", a.status, a.body)
				}
			}
			for range 5 {
				c.get(t, "/protected", alice).reached(t)
			}
			if a := c.get(t, "/api/x", alice); a.status != http.StatusTooManyRequests {
				t.Errorf("another path has a limit of its own: %d", a.status)
			}
			for range 10 {
				c.get(t, "/protected").refused(t, 401, "unauthorized", "no_token")
				c.get(t, "/public").reached(t)
			}
		})
	}
}
