package keyset

import (
	"context"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/token"
)

// demand is the fetches that unknown kids ask for: one at a time for all who wait, and not often. A
// made-up kid and a new one cannot be told apart before a fetch, so that strangers may have it made
// and never keep it from being made.
type demand struct {
	flight  *flight       // the fetch under way, for whatever cause
	coming  *flight       // the one after it that callers wait for; nil: nobody does
	waiting int           // callers that wait
	last    time.Time     // when a fetch for unknown kids last began
	pause   time.Duration // from then to the next one
	owed    bool          // an unknown kid came that none of the fetches so far was begun for
	asked   asked
}

// flight is one fetch under way.
type flight struct {
	number uint64        // see issuer.number; 0 until it is begun
	done   chan struct{} // closed at its end
	err    error         // to be read after that
}

const (
	// between two fetches for unknown kids: a new key is in force after half a second and the time
	// that the issuer takes to answer, whatever else is asked for
	demandEvery   = 500 * time.Millisecond
	demandFailing = 10 * time.Second // and at most while the issuer cannot be asked
	waitingMax    = 128              // callers that wait for one issuer's fetch

	// For so long an answer without a kid is believed: a client that comes back after Retry-After
	// learns that its key is unknown, and a key that somebody asked for before it was published is
	// not unknown for longer.
	absentFor = 2 * time.Second
)

// Outcomes of an unknown kid, as labels of a metric.
const (
	outcomeFound   = "found"   // the issuer has it: it is in force now
	outcomeAbsent  = "absent"  // the issuer does not have it
	outcomeFailed  = "failed"  // the issuer could not be asked
	outcomeLimited = "limited" // the next fetch comes later than the caller can wait
	outcomeCrowded = "crowded" // too many callers wait already
	outcomeRevoked = "revoked" // the kid is revoked
	outcomeGaveUp  = "gave_up" // the caller's own time ended
	outcomeStopped = "stopped" // the gate is not running
)

// await is Sets.Await for one issuer, or Sets.AwaitAnew.
func (i *issuer) await(ctx context.Context, kid string, anew bool) bool {
	if _, ok := i.current.Load().keys[kid]; ok {
		return true
	}
	outcome := i.awaited(ctx, kid, anew)
	i.metrics.unknown.WithLabelValues(i.profile.Issuer, outcome).Inc()
	return outcome == outcomeFound || outcome == outcomeAbsent
}

func (i *issuer) awaited(ctx context.Context, kid string, anew bool) string {
	f, since, outcome := i.ask(ctx, kid, anew)
	for f != nil {
		select {
		case <-f.done:
		case <-ctx.Done():
		}
		f, outcome = i.askAgain(ctx, f, kid, since)
	}
	return outcome
}

// ask notes that a kid is asked for, and has it fetched. It returns the fetch that the caller may
// wait for, with the number of the last one that was begun before the kid was first asked for, or
// why there is none.
func (i *issuer) ask(ctx context.Context, kid string, anew bool) (*flight, uint64, string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now, d := i.now(), &i.demand
	if !i.mayBe(kid, now) {
		return nil, 0, outcomeRevoked
	}
	since := d.asked.note(kid, i.begun, now)
	if anew {
		since = i.begun
	}
	outcome := i.find(kid, since, now)
	if outcome == outcomeFound { // it came while we waited for the lock
		return nil, since, outcome
	}
	switch answers := d.flight != nil && d.flight.number > since; {
	case outcome == "" && answers:
	case !i.mayStart(now):
		i.owe()
	default:
		d.owed = true
		if i.start(now) == nil {
			return nil, since, outcomeStopped
		}
	}
	// It may have been published since it was found to be absent, so that it is fetched all the same.
	if outcome == outcomeAbsent {
		return nil, since, outcome
	}
	f, outcome := i.join(ctx, now)
	return f, since, outcome
}

// owe has a fetch for unknown kids made as soon as one may begin. The caller holds i.mu.
func (i *issuer) owe() {
	if i.demand.owed {
		return // else every stranger would wake tend
	}
	i.demand.owed = true
	i.next = earliest(i.next, i.demandAt())
	i.wake()
}

// askAgain is ask for a caller who has waited for f.
func (i *issuer) askAgain(ctx context.Context, f *flight, kid string,
	since uint64) (*flight, string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.demand.waiting--
	// Whichever ended the waiting: the key may have come at the same moment.
	if outcome := i.find(kid, since, i.now()); outcome != "" {
		return nil, outcome
	}
	select {
	case <-f.done:
	default:
		return nil, outcomeGaveUp
	}
	switch {
	case f.err != nil:
		return nil, outcomeFailed
	case ctx.Err() != nil:
		return nil, outcomeGaveUp
	}
	// f was begun before the caller came, and the key may have been published after that.
	return i.join(ctx, i.now())
}

// find returns what is known of a kid that was first asked for when so many fetches had been begun:
// whether it is there, or is not by the word of a fetch that was begun after that and answered a
// moment ago, or "".
func (i *issuer) find(kid string, since uint64, now time.Time) string {
	held := i.current.Load()
	if _, ok := held.keys[kid]; ok {
		return outcomeFound
	}
	age := now.Sub(held.answered)
	if held.fetch > since && age >= 0 && age < absentFor {
		return outcomeAbsent
	}
	return ""
}

// mayBe reports whether a key may come by this kid. The caller holds i.mu.
func (i *issuer) mayBe(kid string, now time.Time) bool {
	until, revoked := i.revoked[kid]
	return len(kid) > 0 && len(kid) <= jose.MaxKeyID && (!revoked || now.After(until))
}

// join returns the fetch under way, or the one that is owed, if the caller can wait for it. The
// caller holds i.mu.
func (i *issuer) join(ctx context.Context, now time.Time) (*flight, string) {
	d := &i.demand
	if d.waiting >= waitingMax {
		return nil, outcomeCrowded
	}
	f := d.flight
	if f == nil {
		if !i.runner.running() {
			return nil, outcomeStopped
		}
		deadline, bounded := ctx.Deadline()
		if bounded && i.demandAt().Sub(now) >= time.Until(deadline) {
			return nil, outcomeLimited
		}
		if d.coming == nil {
			d.coming = &flight{done: make(chan struct{})}
		}
		f = d.coming
	}
	d.waiting++
	return f, ""
}

// mayStart reports whether a fetch for unknown kids may begin now. The caller holds i.mu.
func (i *issuer) mayStart(now time.Time) bool {
	d := &i.demand
	return d.flight == nil && (!now.Before(i.demandAt()) || now.Before(d.last))
}

// demandAt is when the next fetch for unknown kids may begin. The caller holds i.mu.
func (i *issuer) demandAt() time.Time {
	if i.demand.last.IsZero() {
		return time.Time{}
	}
	return i.demand.last.Add(i.demand.pause)
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// start begins a fetch, or finds the one under way. It returns nil when the gate is not running.
// The caller holds i.mu.
func (i *issuer) start(now time.Time) *flight {
	d := &i.demand
	if d.flight != nil {
		return d.flight
	}
	f := d.coming
	if f == nil {
		f = &flight{done: make(chan struct{})}
	}
	f.number = i.number()
	if !i.runner.do(func(ctx context.Context) { i.fly(ctx, f) }) {
		return nil
	}
	d.flight, d.coming = f, nil
	if d.owed {
		d.owed, d.last = false, now
	}
	return f
}

// dismiss lets go those who wait for a fetch that will not be. The gate is not running any more.
func (i *issuer) dismiss() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if f := i.demand.coming; f != nil {
		i.demand.coming, f.err = nil, context.Canceled
		close(f.done)
	}
}

func (i *issuer) fly(ctx context.Context, f *flight) {
	f.err = i.fetch(ctx, f.number)
	i.mu.Lock()
	i.demand.flight = nil
	if i.demand.owed {
		i.next = earliest(i.next, i.demandAt())
	}
	i.mu.Unlock()
	close(f.done)
	i.wake() // there is something to save, and the time of the next fetch has moved
}

// without returns the reason why there is no key by this kid.
func (i *issuer) without(kid string) token.Reason {
	if !i.current.Load().had() {
		return token.ReasonNoKeys
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	since, asked := i.demand.asked.find(kid, now)
	if !i.mayBe(kid, now) || asked && i.find(kid, since, now) == outcomeAbsent {
		return token.ReasonUnknownKey
	}
	return token.ReasonKeyPending
}

// runner is the goroutines of all fetches, for as long as Sets.Run runs.
type runner struct {
	mu  sync.Mutex
	ctx context.Context // nil: not running
	wg  sync.WaitGroup

	failed chan error // the first panic of one of the goroutines
}

// guard calls f in a goroutine of its own. A panic there ends Sets.Run with an error, and not the
// process, which may be Envoy's.
func (r *runner) guard(f func()) {
	if err := daemon.Guard(func() error { f(); return nil }); err != nil {
		select {
		case r.failed <- err:
		default: // another was first
		}
	}
}

func (r *runner) begin(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx != nil {
		return false
	}
	r.ctx = ctx
	return true
}

// end lets no new fetch begin and waits for those under way.
func (r *runner) end() {
	r.mu.Lock()
	r.ctx = nil
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *runner) running() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ctx != nil && r.ctx.Err() == nil
}

func (r *runner) do(fetch func(context.Context)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil || r.ctx.Err() != nil {
		return false
	}
	ctx := r.ctx
	r.wg.Go(func() { r.guard(func() { fetch(ctx) }) })
	return true
}
