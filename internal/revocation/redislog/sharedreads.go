package redislog

import (
	"context"
	"errors"
	"sync"
	"time"
)

// readsAtOnce is how many reads for gates may be under way at Redis: a page is a megabyte.
const readsAtOnce = 8

// sharedReads are the reads that a relay makes for its gates. After an outage all of them load the
// same log, and there are few places: those that wait for one to ask the same are answered by one
// read. It is sent after each of them has come, so that it shows whatever their own would have.
type sharedReads struct {
	places chan struct{}

	mu      sync.Mutex
	waiting map[string]*sharedRead // for a place, by what they ask
}

// sharedRead is one that waits for its place, and then for its answer.
type sharedRead struct {
	done   chan struct{} // closed once answer and err are set
	answer []byte
	err    error
}

func newSharedReads() sharedReads {
	return sharedReads{
		places: make(chan struct{}, readsAtOnce), waiting: map[string]*sharedRead{},
	}
}

// errNoRead means that others had all places for as long as this could wait for one.
var errNoRead = errors.New("redislog: too many gates read at once")

// do reads, or waits for somebody else's read of the same.
func (s *sharedReads) do(ctx context.Context, what string,
	read func() ([]byte, error)) ([]byte, error) {
	// The rest of the time is for the read itself: places that went to those whose time is up would
	// bring nobody anything.
	waiting, cancel := halfOf(ctx)
	defer cancel()
	for {
		r, first := s.join(what)
		if first {
			s.lead(waiting, what, r, read)
			return r.answer, r.err
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, errNoRead
		}
		// Whoever was the first has waited longer than this one, and may have had less time.
		if !outOfTime(r.err) {
			return r.answer, r.err
		}
		if waiting.Err() != nil {
			return nil, errNoRead
		}
	}
}

// outOfTime reports whether a read came to nothing for want of its first caller's time.
func outOfTime(err error) bool {
	return errors.Is(err, errNoRead) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, context.Canceled)
}

// halfOf returns a context that ends in half of the time that ctx has.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	end, bounded := ctx.Deadline()
	if !bounded {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)/2)
}

// join returns the read that waits to ask what, and whether this is the first to want it.
func (s *sharedReads) join(what string) (r *sharedRead, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.waiting[what]; r != nil {
		return r, false
	}
	r = &sharedRead{done: make(chan struct{}), err: errNoRead}
	s.waiting[what] = r
	return r, true
}

// lead waits for a place and reads, for all that have joined by then.
func (s *sharedReads) lead(waiting context.Context, what string, r *sharedRead,
	read func() ([]byte, error)) {
	defer close(r.done) // also if read panics: then err says that there was none
	select {
	case s.places <- struct{}{}:
	case <-waiting.Done():
		s.leave(what)
		return
	}
	defer func() { <-s.places }()
	s.leave(what)
	r.answer, r.err = read()
}

// leave keeps more from joining the read of what.
func (s *sharedReads) leave(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, what)
}
