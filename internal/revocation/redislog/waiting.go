package redislog

import (
	"context"
	"sync"
	"time"
)

// signal lets any number of goroutines wait for the next change.
type signal struct {
	mu sync.Mutex
	c  chan struct{}
}

func newSignal() *signal { return &signal{c: make(chan struct{})} }

// next returns a channel that the next broadcast closes. Take it before looking at what may have
// changed: a change between the two then ends the wait.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.c
}

func (s *signal) broadcast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.c)
	s.c = make(chan struct{})
}

// poke sends to a channel of one place, unless that is taken: then its reader has not looked yet,
// and will find this change as well.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sleep waits for d or until early is ready, whichever comes first. It reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// run runs parts until ctx ends and all of them have. None of them recovers from a panic: a process
// that went on without its heartbeats or its appends would keep its place and do nothing there.
// Ending it is what its supervisor, the other gates and the other issuers are prepared for.
func run(ctx context.Context, parts ...func(context.Context)) {
	var wg sync.WaitGroup
	for _, part := range parts {
		wg.Go(func() { part(ctx) })
	}
	wg.Wait()
}
