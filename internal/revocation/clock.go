package revocation

import (
	"sync/atomic"
	"time"
)

// Instant is a moment on both of a machine's clocks: the monotonic one stops while the machine is
// suspended, the wall clock may be set. Read both once per request.
type Instant struct {
	Mono time.Duration // since any fixed moment of this process
	Wall time.Time
}

// Since is the larger of the times that have passed on the two clocks since u.
func (t Instant) Since(u Instant) time.Duration {
	// A suspended machine's monotonic clock says too little, and so does a wall clock set back.
	return max(t.Mono-u.Mono, time.Duration(t.Wall.UnixNano()-u.Wall.UnixNano()))
}

// Clock is the time by which tokens expire at a process: its wall clock, except that between two
// counting heartbeats it never goes back, so that no expired token is valid again. While the wall
// clock is behind what it has shown, time goes on by the monotonic one. It may be read by any
// number of goroutines.
type Clock struct {
	// lead is the most by which the wall clock has been ahead of the monotonic one, in nanoseconds.
	// It changes when a clock is set or the machine was suspended, and stays as it is while both
	// run: a request only reads it, so that no two processors have to agree on it for each.
	lead atomic.Int64
}

// Now returns the time at a moment.
func (c *Clock) Now(at Instant) time.Time {
	now := at.lead()
	for {
		lead := c.lead.Load()
		if now <= lead {
			return time.Unix(0, lead+int64(at.Mono))
		}
		if c.lead.CompareAndSwap(lead, now) {
			return at.Wall
		}
	}
}

// setBack follows the wall clock back, if it has gone back, and reports whether it had. Only a
// heartbeat that counts may do so: it has found the clock in step with Redis'.
func (c *Clock) setBack(at Instant) bool {
	now, lead := at.lead(), c.lead.Load()
	return lead-now > int64(clockNoise) && c.lead.CompareAndSwap(lead, now)
}

// clockNoise: less than this is a goroutine that was held up between reading the one clock and the
// other.
const clockNoise = 50 * time.Millisecond

// lead returns by how much the wall clock is ahead of the monotonic one, in nanoseconds.
func (t Instant) lead() int64 { return t.Wall.UnixNano() - int64(t.Mono) }

// redisTime is Redis' time as the last good heartbeat gave it.
type redisTime struct {
	known          bool
	at             int64 // unix ms: Redis read it between the two moments
	sent, answered Instant
}

// latest is the latest that Redis' time can be now, as far as both clocks run alike: as if Redis
// had read it when the heartbeat was sent, and a millisecond for what Redis rounded off.
func (t redisTime) latest(now Instant) int64 {
	return t.at + (now.Mono - t.sent.Mono).Milliseconds() + 1
}

// earliest is the earliest that Redis' time can be now.
func (t redisTime) earliest(now Instant) int64 {
	return t.at + (now.Mono - t.answered.Mono).Milliseconds()
}

// jumped reports whether Redis' time, read between two moments, is certainly further than by from
// where it should be.
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
