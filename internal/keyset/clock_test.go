package keyset

import (
	"testing"
	"time"
)

// TestAClockThatIsSetBackDelaysNoFetch: it would be hours until the time at which the next one was
// to come.
func TestAClockThatIsSetBackDelaysNoFetch(t *testing.T) {
	b := newKeptBench(t)
	k := newKey(t, "ES256")
	b.origin.publish(t, k)
	g := b.start()
	g.mustFetch()
	i := g.issuers[0]
	if wait := i.due(); wait <= 0 {
		t.Fatalf("after a fetch the next one is due in %v", wait)
	}
	b.clock.advance(-3 * time.Hour)
	if wait := i.due(); wait != 0 {
		t.Errorf("with the clock set back the next fetch is due in %v", wait)
	}
	g.mustFetch()
	if wait := i.due(); wait <= 0 || wait > defaultRefreshMax {
		t.Errorf("after that fetch the next one is due in %v", wait)
	}
	g.wants(issuerA, k)
}
