package gcra

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestABurstPassesAndThenTheRate(t *testing.T) {
	s := New[string](3, time.Second, 1<<10)
	for i := range 3 {
		if wait := s.Wait(0, "a", 1); wait != 0 {
			t.Fatalf("number %d of the burst waits %v", i, wait)
		}
		s.Add(0, "a")
	}
	for n, want := range []time.Duration{0, time.Second, 2 * time.Second} {
		if wait := s.Wait(0, "a", n); wait != want {
			t.Errorf("%d more: expected to wait %v, got %v", n, want, wait)
		}
	}
	if wait := s.Wait(time.Second-time.Nanosecond, "a", 1); wait != time.Nanosecond {
		t.Errorf("a nanosecond early: got %v", wait)
	}
	if wait := s.Wait(time.Second, "a", 1); wait != 0 {
		t.Errorf("after the wait it still waits %v", wait)
	}
	if wait := s.Wait(0, "b", 3); wait != 0 {
		t.Errorf("another key waits %v", wait)
	}
}

// TestNoNumberOfOtherKeysMakesACountSmaller compares the sketch with exact counts under a load that
// fills it.
func TestNoNumberOfOtherKeysMakesACountSmaller(t *testing.T) {
	s := New[[32]byte](10, time.Second, 1<<16)
	exact := map[[32]byte]time.Duration{}
	random := rand.New(rand.NewPCG(1, 2))
	keys := make([][32]byte, 200_000)
	for i := range keys {
		keys[i] = [32]byte{byte(i), byte(i >> 8), byte(i >> 16)}
	}
	var now time.Duration
	for range 600_000 {
		key := keys[random.IntN(len(keys))]
		s.Add(now, key)
		exact[key] = max(exact[key], now) + time.Second
		now += time.Duration(random.IntN(20)) * time.Microsecond
	}
	over := 0
	for key, until := range exact {
		truly := max(0, until-now)
		switch got := s.level(now, key); {
		case got < truly:
			t.Fatalf("%v is left of %v", got, truly)
		case got >= truly+10*time.Second:
			over++
		}
	}
	if over > 0 {
		t.Errorf("%d of %d would be refused without having come", over, len(exact))
	}
}

func TestCountingTakesNoMemory(t *testing.T) {
	s := New[[16]byte](10, time.Second, 1<<10)
	n := 0
	if got := testing.AllocsPerRun(1000, func() {
		n++
		key := [16]byte{byte(n), byte(n >> 8)}
		s.Add(0, key)
		s.Wait(0, key, 1)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
