package relay_test

import (
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
)

// TestAGateThatAsksARelayIsFreshAndDenies: nothing in it differs from one that asks Redis.
func TestAGateThatAsksARelayIsFreshAndDenies(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.Address())
	i.revoke(t, "before")
	n := startRelay(t, r.Address(), "relay-1", nil)
	g := startGate(t, n.addr, "gate-1")
	eventually.True(t, "the gate is fresh", g.fresh)
	if !g.denies("before") {
		t.Error("a fresh gate allows what was revoked before it started (S2)")
	}
	i.revoke(t, "after")
	eventually.True(t, "the gate denies what is revoked now", func() bool { return g.denies("after") })
}
