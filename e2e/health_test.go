package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestEnvoySeesWhoIsReady: the health checks of the demo's Envoy are answered, by gates and by the
// admin ports of issuers, so that requests leave out who is not ready.
func TestEnvoySeesWhoIsReady(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{Gates: 2, Issuers: 2, Embedded: true})
	admin := newCaller(t, s.Endpoints().EnvoyAdmin)
	healthy := func(cluster, flags string) (n int) {
		answer := admin.send(t, http.MethodGet, "/clusters", nil)
		for line := range strings.Lines(string(answer.body)) {
			if strings.HasPrefix(line, cluster+"::127.") &&
				strings.HasSuffix(strings.TrimSpace(line), "::health_flags::"+flags) {
				n++
			}
		}
		return n
	}
	for _, cluster := range []string{"authz", "issuer", "logout"} {
		eventually.True(t, "Envoy to find both of "+cluster+" healthy",
			func() bool { return healthy(cluster, "healthy") == 2 })
	}
}
