package credential

import (
	"context"
	"sync"
	"time"
)

// pool bounds how many hashes are computed at once and the memory they take together. Who has to
// wait does so in a queue of bounded length for a bounded time, and takes turns with others by
// network: see fairQueue.
//
// It is no semaphore.Weighted: that one serves in the order of arrival, from a queue without a
// bound, so that whoever sends most gets most; and here two things are taken at once, or neither.
type pool struct {
	slots  int
	memory int64 // bytes
	wait   time.Duration

	mu      sync.Mutex
	inUse   int
	used    int64
	waiting *fairQueue
}

func newPool(h Hashing) *pool {
	return &pool{
		slots:   h.slots(),
		memory:  int64(h.MemoryMiB) << 20,
		wait:    h.Wait,
		waiting: newFairQueue(h.Queue),
	}
}

// acquire takes a slot and so many bytes, or returns ErrBusy or the context's error.
func (p *pool) acquire(ctx context.Context, memory int64, from place) error {
	// A caller who has gone must not take room that is free: nobody would read the answer.
	if err := ctx.Err(); err != nil {
		return err
	}
	t, err := p.enter(memory, from)
	if err != nil || t == nil {
		return err
	}
	late := time.NewTimer(p.wait)
	defer late.Stop()
	select {
	case <-t.done:
		if t.lost {
			return ErrBusy
		}
		return nil
	case <-late.C:
		return p.leave(t, ErrBusy)
	case <-ctx.Done():
		return p.leave(t, ctx.Err())
	}
}

// enter takes the room at once (and returns nil, nil), or a place in the queue.
func (p *pool) enter(memory int64, from place) (*turn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Who waits goes first, also when this one would fit and the one that waits does not.
	if p.waiting.first() == nil && p.fits(memory) {
		p.take(memory)
		return nil, nil
	}
	t := &turn{memory: memory, done: make(chan struct{})}
	loser := p.waiting.join(t, from)
	if loser == t {
		return nil, ErrBusy
	}
	if loser != nil {
		loser.lost = true
		close(loser.done)
		p.grant() // the loser may have been the next, and another need less
	}
	return t, nil
}

// leave gives up a place in the queue, and the room if it was granted meanwhile.
func (p *pool) leave(t *turn, why error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-t.done: // granted, or lost, between the caller's giving up and the lock
		if !t.lost {
			p.give(t.memory)
		}
	default:
		p.waiting.remove(t)
		p.grant() // one that needs less may have stood behind
	}
	return why
}

func (p *pool) release(memory int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.give(memory)
}

func (p *pool) give(memory int64) {
	p.inUse--
	p.used -= memory
	p.grant()
}

// grant lets those whose turn it is go while there is room. Nobody overtakes: else one that needs
// much would wait for ever.
func (p *pool) grant() {
	for t := p.waiting.first(); t != nil && p.fits(t.memory); t = p.waiting.first() {
		p.take(t.memory)
		p.waiting.serve(t)
		close(t.done)
	}
}

// fits reports whether there is room. One that needs more than all of the memory has it alone.
func (p *pool) fits(memory int64) bool {
	return p.inUse < p.slots && (p.used+memory <= p.memory || p.inUse == 0)
}

func (p *pool) take(memory int64) {
	p.inUse++
	p.used += memory
}

// load returns how many hashes run and how many logins wait.
func (p *pool) load() (running, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inUse, p.waiting.root.size
}
