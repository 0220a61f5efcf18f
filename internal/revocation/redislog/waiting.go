package redislog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/daemon"
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

// runGuarded is run for a gate, which may be a guest in Envoy's process: there a panic must not end
// all that Envoy does. It returns the panic as an error, at once: the other parts may wait for ever
// for a lock that the one that failed has held. Without heartbeats the copy grows stale, and allows
// nothing.
func runGuarded(ctx context.Context, parts ...func(context.Context)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() { ended <- daemon.Guard(func() error { part(ctx); return nil }) }()
	}
	for range parts {
		if err := <-ended; err != nil {
			return fmt.Errorf("redislog: %w", err)
		}
	}
	return nil
}

// run runs an issuer's parts until ctx ends and all of them have. None recovers from a panic: a process
// that went on without its heartbeats or its appends would keep its place and do nothing there.
// Ending it is what its supervisor, the other gates and the other issuers are prepared for.
func run(ctx context.Context, parts ...func(context.Context)) {
	var wg sync.WaitGroup
	for _, part := range parts {
		// no gate runs this
		wg.Go(func() { part(ctx) })
	}
	wg.Wait()
}
