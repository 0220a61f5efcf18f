package credential

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// pool bounds how many hashes are computed at once and the memory they take together. Who has to wait does so in a
// queue of bounded length, first come, first served, for a bounded time.
type pool struct {
	slots  int
	memory int64 // bytes
	queue  int
	wait   time.Duration

	mu      sync.Mutex
	inUse   int
	used    int64
	waiting list.List // of *turn
}

// turn is a wait in the queue; granted is closed, under the pool's mutex, when the room is taken for it.
type turn struct {
	memory  int64
	granted chan struct{}
}

func newPool(h Hashing) *pool {
	return &pool{slots: h.slots(), memory: int64(h.MemoryMiB) << 20, queue: h.Queue, wait: h.Wait}
}

// acquire takes a slot and so many bytes, or returns ErrBusy or the context's error.
func (p *pool) acquire(ctx context.Context, memory int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t, err := p.enter(memory)
	if err != nil || t == nil {
		return err
	}
	late := time.NewTimer(p.wait)
	defer late.Stop()
	select {
	case <-t.Value.(*turn).granted:
		return nil
	case <-late.C:
		return p.leave(t, ErrBusy)
	case <-ctx.Done():
		return p.leave(t, ctx.Err())
	}
}

// enter takes the room at once (and returns nil, nil), or a place in the queue.
func (p *pool) enter(memory int64) (*list.Element, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting.Len() == 0 && p.fits(memory) {
		p.take(memory)
		return nil, nil
	}
	if p.waiting.Len() >= p.queue {
		return nil, ErrBusy
	}
	return p.waiting.PushBack(&turn{memory: memory, granted: make(chan struct{})}), nil
}

// leave gives up a place in the queue, and the room if it was granted meanwhile.
func (p *pool) leave(e *list.Element, why error) error {
	t := e.Value.(*turn)
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-t.granted:
		p.give(t.memory)
	default:
		p.waiting.Remove(e)
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

// grant lets those at the head of the queue go while there is room. Nobody overtakes: a large one would wait for ever.
func (p *pool) grant() {
	for e := p.waiting.Front(); e != nil; e = p.waiting.Front() {
		t := e.Value.(*turn)
		if !p.fits(t.memory) {
			return
		}
		p.take(t.memory)
		p.waiting.Remove(e)
		close(t.granted)
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
	return p.inUse, p.waiting.Len()
}
