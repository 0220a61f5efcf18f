package redislog_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
)

// TestAGateThatHasStoppedIsNotWaitedFor: once it answers nobody, a logout is acknowledged
// everywhere without it. One that may still answer is waited for, and so is one that comes back.
func TestAGateThatHasStoppedIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	patient := named("issuer-1")
	// on a busy machine, too, the one that may still answer is not yet old
	patient.cfg.MaxStaleness = time.Minute
	i := startIssuer(t, r.addr(), patient)
	start := func(name string, stopped func() bool) gate {
		s := named(name)
		s.o.Stopped = stopped
		return startGate(t, r.addr(), s)
	}
	yes, no := func() bool { return true }, func() bool { return false }
	stays, leaves := start("stays", no), start("leaves", yes)
	eventually.True(t, "all are fresh",
		func() bool { return i.fresh() && stays.fresh() && leaves.fresh() })
	applied := func(receipt revocation.Receipt) revocation.Applied {
		ctx, cancel := timeout(t, 2*time.Second)
		defer cancel()
		a, err := i.Applied(ctx, receipt)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := applied(revoke(t, i, sid("s1"))); a.Total != 2 || !a.All() {
		t.Errorf("both at work: %+v", a)
	}
	leaves.stop()
	if a := applied(revoke(t, i, sid("s2"))); a.Total != 1 || !a.All() {
		t.Errorf("one has left: %+v, want 1 of 1", a)
	}
	lines, err := i.Gates(t.Context())
	if err != nil || len(lines) != 2 || !lines[0].Left || lines[0].Live || lines[1].Left {
		t.Errorf("the lines: %+v, %v", lines, err)
	}
	leaves = start("leaves", yes)
	eventually.True(t, "it is back", leaves.fresh)
	if a := applied(revoke(t, i, sid("s3"))); a.Total != 2 || !a.All() {
		t.Errorf("one is back: %+v, want 2 of 2", a)
	}
	stays.stop()
	if a := applied(revoke(t, i, sid("s4"))); a.Total != 2 || a.Applied != 1 {
		t.Errorf("one ended that may still answer: %+v, want 1 of 2", a)
	}
}

// TestAnIssuerThatHasStoppedIsShownNoMore: its line goes with it.
func TestAnIssuerThatHasStoppedIsShownNoMore(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	stays, leaves := startIssuer(t, r.addr(), named("stays")), startIssuer(t, r.addr(),
		named("leaves"))
	names := func() (found []string) {
		lines, err := stays.Issuers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			found = append(found, l.Name)
		}
		return found
	}
	eventually.True(t, "both are fresh", func() bool { return stays.fresh() && leaves.fresh() })
	if got := names(); !slices.Equal(got, []string{"leaves", "stays"}) {
		t.Fatalf("at work: %q", got)
	}
	leaves.stop()
	if got := names(); !slices.Equal(got, []string{"stays"}) {
		t.Errorf("one has stopped: %q", got)
	}
	revoke(t, stays, sid("s1"))
}
