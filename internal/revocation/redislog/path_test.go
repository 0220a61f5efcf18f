package redislog_test

import (
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/sallyport/sallyport/internal/eventually"
)

// TestLogoutIsInForceAtEveryGate runs the whole path on both the real server and the one in the
// demo's own process.
func TestLogoutIsInForceAtEveryGate(t *testing.T) {
	t.Run("redis", func(t *testing.T) { testWholePath(t, startRedis(t).addr()) })
	t.Run("miniredis", func(t *testing.T) { testWholePath(t, miniredis.RunT(t).Addr()) })
}

func testWholePath(t *testing.T, addr string) {
	i := startIssuer(t, addr, named("issuer-1"))
	gates := []gate{startGate(t, addr, named("gate-1")), startGate(t, addr, named("gate-2"))}
	eventually.True(t, "all are fresh",
		func() bool { return i.fresh() && gates[0].fresh() && gates[1].fresh() })
	receipt := revoke(t, i, sid("s1"))
	if receipt.Seq != 2 || !receipt.Alone {
		t.Errorf("receipt %+v, want place 2, alone", receipt)
	}
	for _, g := range gates {
		eventually.True(t, "the gate denies", func() bool { return g.Check(session("s1")).Revoked })
		if v := g.Check(session("s2")); v.Revoked {
			t.Errorf("another session is revoked too: %+v", v)
		}
	}
	a, err := i.Applied(t.Context(), receipt)
	if err != nil || a.Applied != 2 || a.Total != 2 {
		t.Errorf("applied %+v, %v; want 2/2", a, err)
	}
}
