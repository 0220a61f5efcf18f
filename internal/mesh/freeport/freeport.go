// Package freeport gives tests addresses for the daemons that they start.
package freeport

import (
	"testing"

	"github.com/sallyport/sallyport/internal/mesh"
)

// Address returns a host:port on loopback where nobody listens, and which nobody else gets while the
// test runs: no other listener, and no connection's own end.
func Address(t testing.TB) string {
	t.Helper()
	p := mesh.NewProcesses(t.TempDir())
	t.Cleanup(func() {
		if err := p.Stop(0); err != nil {
			t.Error(err)
		}
	})
	address, err := p.Address(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return address
}
