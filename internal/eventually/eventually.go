// Package eventually lets a test wait for what it has brought about: with a deadline, and without
// a sleep that is as long as the slowest machine needs.
package eventually

import (
	"testing"
	"time"
)

// patience is far longer than anything waited for takes: only a test that fails waits so long.
const patience = 30 * time.Second

// True waits until condition is true, and fails the test when it is not within half a minute. what
// says what was waited for.
func True(t testing.TB, what string, condition func() bool) {
	t.Helper()
	Within(t, patience, what, condition)
}

// Within is True with a deadline of its own, for what takes longer than half a minute.
func Within(t testing.TB, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	if !Holds(limit, condition) {
		t.Fatalf("waited %s in vain: %s", limit, what)
	}
}

// Holds is Within for whoever has no test to fail at once: it reports whether condition came true.
func Holds(limit time.Duration, condition func() bool) bool {
	const between = time.Millisecond
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(between) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
