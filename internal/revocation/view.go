package revocation

import (
	"errors"
	"fmt"
	"time"
)

// View is all of a Copy that decides on its freshness, as it was after one event: small enough to
// be handed to every reader after each.
type View struct {
	Counted      bool    // a heartbeat has counted
	Last         Instant // when the newest one that did was sent
	Unreadable   bool
	Complete     bool
	Skew         time.Duration
	MaxSkew      time.Duration
	MaxStaleness time.Duration

	Head             bool // a heartbeat has shown a head, with these:
	MaxTokenLifetime time.Duration
	Era              string

	redis redisTime
}

// Time returns Redis' time: the newest good heartbeat's, carried on by the monotonic clock. It
// reports false when that heartbeat is older than max_staleness on either clock.
func (v *View) Time(now Instant) (time.Time, bool) {
	if !v.redis.known || now.Since(v.redis.sent) > v.MaxStaleness {
		return time.Time{}, false
	}
	return time.UnixMilli(v.redis.latest(now)), true
}

// InStep reports whether this machine's clock is within clock_skew of Redis'.
func (v *View) InStep() bool { return v.Skew <= v.MaxSkew }

// Freshness returns how stale the copy is at now, by the clock that says more. The zero View is
// never fresh.
func (v *View) Freshness(now Instant) Freshness {
	switch {
	case v.Unreadable:
		return Freshness{Why: WhyUnknown}
	case !v.Counted && !v.InStep():
		return Freshness{Why: WhyClock}
	case !v.Counted:
		return Freshness{Why: WhyNoCopy}
	}
	// A goroutine that took now before a heartbeat counted may ask after it.
	staleness := max(now.Since(v.Last), 0)
	if staleness > v.MaxStaleness {
		return Freshness{Staleness: staleness, Why: WhyStale}
	}
	return Freshness{Fresh: true, Staleness: staleness}
}

// JudgesAs reports whether what was fresh by an older view is so by v, for as long as the older one
// said: whatever else changes only makes it longer. (Between two heartbeats the wall clock may have
// been set: then the newer one may be the older by it.)
func (v *View) JudgesAs(older *View) bool {
	set := v.Last.lead() - older.Last.lead()
	if older.Counted && max(set, -set) > int64(clockNoise) {
		return false
	}
	return v.Unreadable == older.Unreadable && v.Counted == older.Counted &&
		v.MaxStaleness == older.MaxStaleness && v.Head == older.Head &&
		v.MaxTokenLifetime == older.MaxTokenLifetime
}

// Ready returns why the process should get no work: nil when its copy is fresh and its clock in
// step with Redis'.
func (v *View) Ready(now Instant) error {
	// The clock last: whoever lacks a copy is to hear of that first.
	f := v.Freshness(now)
	switch {
	case f.Why == WhyUnknown:
		return errors.New("revocation: the log holds an entry of a kind or version that this program " +
			"cannot read: update it")
	case f.Why == WhyNoCopy && !v.Complete:
		return errors.New("revocation: no complete copy of the log yet")
	case f.Why == WhyNoCopy:
		return errors.New("revocation: the copy of the log is complete and waits to be confirmed")
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
