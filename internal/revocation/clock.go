package revocation

import (
	"sync/atomic"
	"time"
)

// Clock is the time by which tokens expire at a process: its wall clock, except that between two
// counting heartbeats it never goes back. It may be read by any number of goroutines.
type Clock struct{ floor atomic.Int64 }

// Now is the time, given the wall clock's.
func (c *Clock) Now(wall time.Time) time.Time {
	n := wall.UnixNano()
	for {
		floor := c.floor.Load()
		if n <= floor {
			return time.Unix(0, floor)
		}
		if c.floor.CompareAndSwap(floor, n) {
			return wall
		}
	}
}

// setBack follows the wall clock back, if it has gone back.
func (c *Clock) setBack(wall time.Time) bool {
	n := wall.UnixNano()
	floor := c.floor.Load()
	// Less than this is two goroutines reading the clock in one order and arriving here in the other.
	const noise = int64(50 * time.Millisecond)
	return floor-n > noise && c.floor.CompareAndSwap(floor, n)
}

// redisTime is Redis' time as the last good heartbeat gave it.
type redisTime struct {
	known          bool
	at             int64 // unix ms, read between the two
	sent, answered Instant
}

// latest is the latest that Redis' time can be now, as far as both clocks run alike.
func (t redisTime) latest(now Instant) int64 {
	return t.at + (now.Mono - t.sent.Mono).Milliseconds() + 1
}

// earliest is the earliest that Redis' time can be now.
func (t redisTime) earliest(now Instant) int64 {
	return t.at + (now.Mono - t.answered.Mono).Milliseconds()
}

// jumped says that Redis' time, read between two moments, is certainly further than by from where
// it should be.
func (t redisTime) jumped(at int64, sent, answered Instant, by time.Duration) bool {
	return t.known &&
		(at < t.earliest(sent)-by.Milliseconds() || at > t.latest(answered)+by.Milliseconds())
}

// skew is how far the wall clock certainly was from Redis' time.
func (t redisTime) skew() time.Duration {
	early := time.Duration(t.sent.Wall.UnixMilli()-t.at-1) * time.Millisecond
	late := time.Duration(t.at-t.answered.Wall.UnixMilli()-1) * time.Millisecond
	return max(early, late, 0)
}
