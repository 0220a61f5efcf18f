package httpapi

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
)

var testRate = credential.Rate{Burst: 3, Every: time.Second}

func TestABurstPassesAndThenTheRate(t *testing.T) {
	start := time.Unix(1000, 0)
	th := NewThrottle(testRate, start)
	a := netip.MustParseAddr("192.0.2.1")
	for i := range 3 {
		if wait := th.Take(a, start); wait != 0 {
			t.Fatalf("request %d of the burst waits %v", i, wait)
		}
	}
	if wait := th.Take(a, start); wait != time.Second {
		t.Errorf("expected to wait 1s, got %v", wait)
	}
	if wait := th.Take(a, start.Add(time.Second)); wait != 0 {
		t.Errorf("after the wait it still waits %v", wait)
	}
	if wait := th.Take(a, start.Add(time.Second)); wait != time.Second {
		t.Errorf("expected to wait 1s again, got %v", wait)
	}
}

func TestOneAddressIsNotHeldAgainstAnother(t *testing.T) {
	start := time.Unix(1000, 0)
	th := NewThrottle(testRate, start)
	for range 1000 {
		th.Take(netip.MustParseAddr("192.0.2.1"), start)
	}
	refused := 0
	for i := range 250 {
		if th.Take(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), start) != 0 {
			refused++
		}
	}
	if refused > 0 {
		t.Errorf("%d of 250 other addresses were refused", refused)
	}
}

// TestACrowdIsHeldAgainstFew: thousands of addresses at their limit share cells with others, and
// all cells of one only rarely.
func TestACrowdIsHeldAgainstFew(t *testing.T) {
	start := time.Unix(1000, 0)
	th := NewThrottle(testRate, start)
	for i := range 3000 {
		for range 3 {
			th.Take(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), start)
		}
	}
	refused := 0
	for i := range 2000 {
		if th.Take(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), start) != 0 {
			refused++
		}
	}
	if refused > 60 {
		t.Errorf("%d of 2000 other addresses were refused", refused)
	}
}

// TestAFloodOfAddressesMakesItForgetNone: what is counted against the first address stays, in the
// same memory.
func TestAFloodOfAddressesMakesItForgetNone(t *testing.T) {
	start := time.Unix(1000, 0)
	th := NewThrottle(testRate, start)
	a := netip.MustParseAddr("192.0.2.1")
	for range 3 {
		th.Take(a, start)
	}
	for i := range 1_000_000 {
		th.Take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), start)
	}
	if th.Take(a, start) == 0 {
		t.Error("the flood washed the address's count away")
	}
}

func TestAnIPv6ClientIsItsNetwork(t *testing.T) {
	start := time.Unix(1000, 0)
	th := NewThrottle(testRate, start)
	for i := range 3 {
		th.Take(netip.MustParseAddr(fmt.Sprintf("2001:db8:1:2::%x", i+1)), start)
	}
	if th.Take(netip.MustParseAddr("2001:db8:1:2:ffff::1"), start) == 0 {
		t.Error("another address of the same /64 passes")
	}
	if th.Take(netip.MustParseAddr("2001:db8:1:3::1"), start) != 0 {
		t.Error("another /64 is refused")
	}
}
