package gate_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/policy"
)

// conditioned is a file with a route for each of the levels, which stand in their conditions.
func conditioned(levels []int) string {
	var b strings.Builder
	b.WriteString(strings.SplitAfter(goodConfig, "\n")[0] + "policy:\n  routes:\n")
	for i, level := range levels {
		fmt.Fprintf(&b, "    - match: {path: '/api/v%d/{tenant}/**', methods: [GET, POST]}\n"+
			"      require: {when: 'claims.tenant == path.tenant && claims.level >= %d'}\n", i, level)
	}
	return b.String()
}

// BenchmarkReload takes a file of a thousand routes, each with a condition of its own, from its text
// to policies that are ready to be put in force: when one of them has changed since the last time,
// and when all have, which is what a gate does when it starts.
func BenchmarkReload(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as cmd/authz does
	const routes = 1000
	levels := make([]int, routes)
	next := 0
	change := func(of int) {
		for i := range of {
			next++
			levels[i] = next
		}
	}
	change(routes)
	for _, changed := range []int{1, routes} {
		b.Run(fmt.Sprintf("%d_changed", changed), func(b *testing.B) {
			file := filepath.Join(b.TempDir(), "authz.yaml")
			least := time.Hour
			for b.Loop() {
				b.StopTimer()
				change(changed)
				if err := os.WriteFile(file, []byte(conditioned(levels)), 0o600); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				begin := time.Now()
				c, err := gate.Load(config.Options{File: file})
				if err != nil {
					b.Fatal(err)
				}
				if _, _, err := policy.CompileAll(c.Policy, c.Policies); err != nil {
					b.Fatal(err)
				}
				least = min(least, time.Since(begin))
			}
			milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
			b.ReportMetric(milliseconds(b.Elapsed())/float64(b.N), "ms")
			b.ReportMetric(milliseconds(least), "least-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}
