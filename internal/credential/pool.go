package credential

import (
	"context"
	"sync"
	"time"
)

// pool bounds how many hashes are computed at once and the memory they take together. Who has to
// wait does so in a queue of bounded length for a bounded time, and takes turns with others by
// network: see fairQueue.
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
		slots: h.slots(), memory: int64(h.MemoryMiB) << 20, waiting: newFairQueue(h.Queue),
		wait: h.Wait,
	}
}

// acquire takes a slot and so many bytes, or returns ErrBusy or the context's error.
func (p *pool) acquire(ctx context.Context, memory int64, from place) error {
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
	case <-t.done:
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

// grant lets those whose turn it is go while there is room. Nobody overtakes: a large one would
// wait for ever.
func (p *pool) grant() {
	for t := p.waiting.first(); t != nil && p.fits(t.memory); t = p.waiting.first() {
		p.take(t.memory)
		p.waiting.serve(t)
		close(t.done)
	}
}

// fits reports whether there is room. One that needs more than all of it has it alone.
func (p *pool) fits(memory int64) bool {
	return p.inUse < p.slots && (p.used+memory <= p.memory || p.inUse == 0)
}

func (p *pool) take(memory int64) {
	p.inUse++
	p.used += memory
}

// load tells how many hashes run and how many logins wait.
func (p *pool) load() (running, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inUse, p.waiting.root.size
}
