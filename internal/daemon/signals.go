package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Signals returns a context that ends with the first SIGINT or SIGTERM. The second one has its
// default effect: it ends the process at once. Calling stop, which is needed, ends the context too
// and leaves signals alone again.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	// Two, so that a second signal on the heels of the first is not lost.
	arrived := make(chan os.Signal, 2)
	signal.Notify(arrived, syscall.SIGINT, syscall.SIGTERM)
	// It cannot panic: it waits, and asks the system for a signal.
	go func() {
		select {
		case <-arrived:
		case <-ctx.Done():
		}
		signal.Stop(arrived)
		cancel()
		if len(arrived) > 0 {
			raise(<-arrived)
		}
	}()
	return ctx, cancel
}

// raise sends the process a signal that nobody listens for any more.
func raise(s os.Signal) {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Signal(s) // it cannot fail for one's own process
	}
}
