package keyset

import (
	"context"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
)

// demand is the fetches that unknown kids ask for: one at a time for all who wait, and not often.
type demand struct {
	flight  *flight   // the fetch under way, for whatever cause
	waiting int       // callers that wait for it
	last    time.Time // when an unknown kid last had its fetch
	owed    bool      // an unknown kid came too soon after that
}

// flight is one fetch under way.
type flight struct {
	done chan struct{} // closed at its end
	err  error         // to be read after that
}

const (
	demandEvery = 10 * time.Second // between two fetches for unknown kids
	waitingMax  = 128              // callers that wait for one issuer's fetch
)

// Outcomes of an unknown kid, as labels of a metric.
const (
	outcomeFound  = "found"  // the issuer has it: it is in force now
	outcomeAbsent = "absent" // the issuer does not have it, or could not be asked
	// a fetch for an unknown kid was made a moment ago; another is due in the background
	outcomeLimited = "limited"
	outcomeCrowded = "crowded" // too many callers wait already
	outcomeRevoked = "revoked" // the kid is revoked
	outcomeGaveUp  = "gave_up" // the caller's own time ended
	outcomeStopped = "stopped" // the gate is not running
)

// await is Sets.Await for one issuer.
func (i *issuer) await(ctx context.Context, kid string) bool {
	if _, ok := i.current.Load().keys[kid]; ok {
		return true
	}
	f, outcome := i.join(kid)
	if f != nil {
		outcome = i.wait(ctx, f, kid)
	}
	i.metrics.unknown.WithLabelValues(i.profile.Issuer, outcome).Inc()
	return outcome == outcomeFound
}

// join returns the fetch that a caller with an unknown kid may wait for, or why there is none.
func (i *issuer) join(kid string) (*flight, string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.current.Load().keys[kid]; ok { // it came while we waited for the lock
		return nil, outcomeFound
	}
	d, now := &i.demand, i.now()
	switch until, revoked := i.revoked[kid]; {
	case len(kid) == 0 || len(kid) > jose.MaxKeyID:
		return nil, outcomeAbsent
	case revoked && !now.After(until):
		return nil, outcomeRevoked
	case d.waiting >= waitingMax:
		return nil, outcomeCrowded
	case d.flight == nil && !d.last.IsZero() && now.Sub(d.last) < demandEvery && !now.Before(d.last):
		d.owed = true
		i.next = earliest(i.next, d.last.Add(demandEvery))
		i.wake()
		return nil, outcomeLimited
	case d.flight == nil:
		if i.start() == nil {
			return nil, outcomeStopped
		}
		d.last, d.owed = now, false
	}
	d.waiting++
	return d.flight, ""
}

func (i *issuer) wait(ctx context.Context, f *flight, kid string) string {
	defer func() {
		i.mu.Lock()
		i.demand.waiting--
		i.mu.Unlock()
	}()
	select {
	case <-f.done:
	case <-ctx.Done():
	}
	// Whichever ended the waiting: the key may have come at the same moment.
	if _, ok := i.current.Load().keys[kid]; ok {
		return outcomeFound
	}
	if ctx.Err() != nil {
		return outcomeGaveUp
	}
	return outcomeAbsent
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// start begins a fetch, or finds the one under way. It returns nil when the gate is not running.
// The caller holds i.mu.
func (i *issuer) start() *flight {
	if i.demand.flight != nil {
		return i.demand.flight
	}
	f := &flight{done: make(chan struct{})}
	if !i.runner.do(func(ctx context.Context) { i.fly(ctx, f) }) {
		return nil
	}
	i.demand.flight = f
	return f
}

func (i *issuer) fly(ctx context.Context, f *flight) {
	f.err = i.fetch(ctx)
	i.mu.Lock()
	i.demand.flight = nil
	i.mu.Unlock()
	close(f.done)
	i.wake() // there is something to save, and the time of the next fetch has moved
}

// runner is the goroutines of all fetches, for as long as Sets.Run runs.
type runner struct {
	mu  sync.Mutex
	ctx context.Context // nil: not running
	wg  sync.WaitGroup
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

func (r *runner) do(fetch func(context.Context)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil || r.ctx.Err() != nil {
		return false
	}
	ctx := r.ctx
	r.wg.Go(func() { fetch(ctx) })
	return true
}
