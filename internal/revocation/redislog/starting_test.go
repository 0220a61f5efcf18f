package redislog_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// TestAnIssuerThatStartsLeavesGatesFresh: while it loads a log of many entries, slowly, it marks
// nothing as being mended that is not missing, so that gates are confirmed all the time.
func TestAnIssuerThatStartsLeavesGatesFresh(t *testing.T) {
	t.Parallel()
	const entries = 20_000
	r := startRedis(t)
	fill(t, r, entries)
	s := named("issuer-1")
	s.cfg.Heartbeat, s.cfg.Settle = 100*time.Millisecond, 2*time.Second
	s.cfg.MaxStaleness = 20 * time.Second
	g := startGate(t, r.addr(), named("gate-1"))
	eventually.True(t, "the gate is fresh", g.fresh)

	i, err := redislog.NewIssuer(connect(t, slow(t, r.addr(), 20*time.Millisecond)), s.cfg,
		s.options(t))
	if err != nil {
		t.Fatal(err)
	}
	running(t, i.Run)
	beats := map[string]bool{}
	eventually.True(t, "the issuer has loaded the log", func() bool {
		marked, _ := strconv.ParseInt(fmt.Sprint(r.do("HGET", headKey, "mending")), 10, 64)
		for _, line := range r.lines(issuersKey) {
			beats[line] = true
		}
		if marked != 0 {
			t.Fatalf("the log is marked as mending, after %d heartbeats of the issuer", len(beats))
		}
		if err := g.Ready(); err != nil {
			t.Fatalf("the gate is out of service: %v", err)
		}
		return i.Check(session(fmt.Sprintf("tagtagtagtag~%032x", entries+1))).Revoked
	})
	if len(beats) < 3 {
		t.Errorf("%d heartbeats while the log was loaded: nothing was shown", len(beats))
	}
	eventually.True(t, "the issuer is fresh", func() bool { return i.Freshness(i.Instant()).Fresh })
}
