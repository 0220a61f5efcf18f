package doors_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/meshtest"
)

// overGRPC starts an Envoy with the configuration of the mesh's, which asks its gates over gRPC, in
// front of an upstream of the test's own.
func overGRPC(t *testing.T, upstream string, changes ...string) (address string) {
	t.Helper()
	e := shared(t).Endpoints()
	content, err := os.ReadFile(filepath.Join(common.dir, "envoy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text, admin := string(content), port(t)
	address = port(t)
	for _, move := range [][2]string{
		{e.Gateway, address}, {e.EnvoyAdmin, admin}, {e.Upstream, upstream},
	} {
		old := "port_value: " + portOf(t, strings.TrimPrefix(move[0], "http://")) + "}"
		if !strings.Contains(text, old) {
			t.Fatalf("envoy.yaml has no %s", old)
		}
		text = strings.ReplaceAll(text, old, "port_value: "+portOf(t, move[1])+"}")
	}
	if len(changes) > 0 {
		text = placed(t, text, changes...)
	}
	file := write(t, filepath.Join(t.TempDir(), "envoy.yaml"), text)
	spawn(t, "envoy", address, meshtest.Envoy(t), "-c", file, "--concurrency", "1", "-l", "warning",
		"--use-dynamic-base-id")
	return address
}

// TestEnvoyOverGRPC: what clients can write of path, host, token and headers (attacks 62 to 84), to an
// Envoy that has one spelling of a path made before the gate is asked, and to one that leaves it as it
// came: neither leads past a route.
func TestEnvoyOverGRPC(t *testing.T) {
	promises := map[string]func(*testing.T, *door){
		"NoHeaderOfAClientBecomesAnIdentity": noHeaderOfAClientBecomesAnIdentity,
		"NoConnectionHeaderTakesAnIdentity":  noConnectionHeaderTakesAnIdentity,
		"NoSpellingOfAPathLeadsPastItsRoute": noSpellingOfAPathLeadsPastItsRoute,
		"OneTokenFromOnePlace":               oneTokenFromOnePlace,
		"AClientCannotNameAnotherRequest":    aClientCannotNameAnotherRequest,
		"TheHostIsTheOneThatTheUpstreamGets": theHostIsTheOneThatTheUpstreamGets,
		"HostileRequestLinesReachNobody":     hostileRequestLinesReachNobody,
	}
	for name, changes := range map[string][]string{
		"normalised": nil,
		"not normalised": {
			"normalize_path: true", "normalize_path: false", "merge_slashes: true", "merge_slashes: false",
			"path_with_escaped_slashes_action: REJECT_REQUEST",
			"path_with_escaped_slashes_action: KEEP_UNCHANGED",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &door{proxy: "envoy", upstream: newUpstream(t), overGRPC: true}
			d.address = overGRPC(t, d.upstream.address, changes...)
			for _, name := range slices.Sorted(maps.Keys(promises)) {
				t.Run(name, func(t *testing.T) { promises[name](t, d) })
			}
		})
	}
}
