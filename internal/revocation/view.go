package revocation

import (
	"fmt"
	"time"
)

// View is a Copy's freshness at one moment, small enough to be handed to every reader after each
// event.
type View struct {
	Counted      bool
	Last         Instant // when the newest counting heartbeat was sent
	Blind        bool
	Complete     bool
	Skew         time.Duration
	MaxSkew      time.Duration
	MaxStaleness time.Duration

	Head             bool // a head has been seen, with these:
	MaxTokenLifetime time.Duration
	Era              string

	redis redisTime
}

// Time is Redis' time: the newest good heartbeat's, carried on by the monotonic clock. False when
// that heartbeat is older than max_staleness on either clock.
func (v *View) Time(now Instant) (time.Time, bool) {
	if !v.redis.known || now.Since(v.redis.sent) > v.MaxStaleness {
		return time.Time{}, false
	}
	return time.UnixMilli(v.redis.latest(now)), true
}

// InStep says that this machine's clock is within clock_skew of Redis'.
func (v *View) InStep() bool { return v.Skew <= v.MaxSkew }

// Freshness is how stale the copy is at now, on the clock that says more. The zero View is never
// fresh.
func (v *View) Freshness(now Instant) Freshness {
	switch {
	case v.Blind:
		return Freshness{Why: WhyUnknown}
	case !v.Counted && !v.InStep():
		return Freshness{Why: WhyClock}
	case !v.Counted:
		return Freshness{Why: WhyNoCopy}
	}
	staleness := max(now.Since(v.Last), 0)
	if staleness > v.MaxStaleness {
		return Freshness{Staleness: staleness, Why: WhyStale}
	}
	return Freshness{Fresh: true, Staleness: staleness}
}

// Ready says why the process should get no work: nil when its copy is fresh and its clock in step
// with Redis'.
func (v *View) Ready(now Instant) error {
	f := v.Freshness(now)
	switch {
	case f.Why == WhyUnknown:
		return fmt.Errorf(
			"revocation: the log holds an entry of a kind or version this program cannot read: update it")
	case f.Why == WhyNoCopy && !v.Complete:
		return fmt.Errorf("revocation: no complete copy of the log yet")
	case f.Why == WhyNoCopy:
		return fmt.Errorf("revocation: the copy of the log is complete and waits to be confirmed")
	case f.Why == WhyStale:
		return fmt.Errorf(
			"revocation: the copy of the log was last confirmed %s ago, max_staleness is %s",
			f.Staleness.Round(time.Millisecond), v.MaxStaleness)
	case !f.Fresh, !v.InStep():
		return fmt.Errorf("revocation: this machine's clock is %s away from Redis', clock_skew is %s",
			v.Skew.Round(time.Millisecond), v.MaxSkew)
	}
	return nil
}
