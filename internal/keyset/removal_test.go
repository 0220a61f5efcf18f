package keyset

import (
	"testing"
	"time"
)

// TestWhoeverRemembersIsToldOfEachRemoval, once it is counted: of a key that is revoked, and of one
// that its issuer publishes no more.
func TestWhoeverRemembersIsToldOfEachRemoval(t *testing.T) {
	o := &origin{}
	keys := newKeys(t, 3)
	o.publish(t, keys...)
	clock := newClock()
	var removals func() uint64
	var told []uint64
	g := newGate(t, Options{
		Transport: o, Now: clock.now, OnRemoval: func() { told = append(told, removals()) },
	}, trust("", tenants("all")))
	removals = g.Removals
	g.mustFetch()
	if len(told) != 0 {
		t.Fatalf("told of %v", told)
	}
	g.RemoveKey(issuerOf(tenantA), keys[0].ID(), clock.now().Add(time.Hour))
	o.publish(t, keys[0], keys[1])
	g.mustFetch()
	if len(told) != 2 || told[0] != 1 || told[1] != 2 {
		t.Errorf("told of %v, want each of two once it is counted", told)
	}
}
