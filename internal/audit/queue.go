package audit

import "sync"

// Queue hands values over to one goroutine, in their order: whoever puts one never waits.
type Queue[T any] struct {
	closing sync.RWMutex
	closed  bool
	waiting chan T
	done    chan struct{}
}

// NewQueue makes a queue in which so many values may wait for take. When take panics, lost is told
// so, and the next value is taken: a line that cannot be made must not end the process, which may be
// Envoy's. Whoever has the queue closes it.
func NewQueue[T any](size int, take func(T), lost func(panicked any)) *Queue[T] {
	q := &Queue[T]{waiting: make(chan T, size), done: make(chan struct{})}
	go func() {
		defer close(q.done)
		for v := range q.waiting {
			guarded(func() { take(v) }, lost)
		}
	}()
	return q
}

func guarded(do func(), lost func(panicked any)) {
	defer func() {
		if v := recover(); v != nil {
			lost(v)
		}
	}()
	do()
}

// Put reports whether a value has found a place. It has none after Close.
func (q *Queue[T]) Put(v T) bool {
	// Whoever is about to send holds closing for reading, so that nobody sends on a closed channel.
	q.closing.RLock()
	defer q.closing.RUnlock()
	if q.closed {
		return false
	}
	select {
	case q.waiting <- v:
		return true
	default:
		return false
	}
}

// Len is how many values wait.
func (q *Queue[T]) Len() int { return len(q.waiting) }

// Close returns when all that waited has been taken, and reports whether it is the first to close.
func (q *Queue[T]) Close() (first bool) {
	q.closing.Lock()
	first = !q.closed
	q.closed = true
	q.closing.Unlock()
	if first {
		close(q.waiting)
	}
	<-q.done
	return first
}
