package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// life runs parts, from the first's start to the last's end.
type life struct {
	log     *slog.Logger
	health  *health
	delay   time.Duration
	timeout time.Duration
}

// running is a part that has been started.
type running struct {
	Part
	cancel context.CancelFunc
	done   chan struct{} // closed once Run has returned
	err    error         // set before done is closed
}

func (l *life) run(ctx context.Context, parts []Part) error {
	failed := make(chan *running, len(parts))
	// Parts outlive ctx: its end is when they begin to drain, not when they stop.
	base := context.WithoutCancel(ctx)
	all := make([]*running, len(parts))
	for i, p := range parts {
		all[i] = start(base, p, failed)
	}
	l.health.set(started)
	err := l.wait(ctx, failed)
	// From here on nobody new is sent to this process; who still comes during the pause is served.
	l.health.set(stopping)
	l.pause()
	l.drain(base, all)
	return errors.Join(err, l.stop(base, all, err))
}

// start runs a part in a goroutine of its own.
func start(base context.Context, p Part, failed chan<- *running) *running {
	ctx, cancel := context.WithCancel(base)
	r := &running{Part: p, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = Guard(func() error {
			if p.Run == nil {
				<-ctx.Done()
				return nil
			}
			return p.Run(ctx)
		})
		told := ctx.Err() != nil
		// What a part returns for having been told to stop is no failure.
		if errors.Is(r.err, http.ErrServerClosed) || told && errors.Is(r.err, context.Canceled) {
			r.err = nil
		}
		if !told {
			failed <- r
		}
	}()
	return r
}

// wait returns nil when ctx ends and an error when a part does.
func (l *life) wait(ctx context.Context, failed <-chan *running) error {
	select {
	case r := <-failed:
		<-r.done
		l.health.set(stopping)
		// why is said at the end, with what else went wrong
		l.log.Error("a part has failed: stopping", "part", r.Name)
		return r.failure()
	case <-ctx.Done():
		l.log.Info("told to stop", "drain_delay", l.delay.String(), "drain_timeout", l.timeout.String())
		return nil
	}
}

// failure returns why a part that should be running is not.
func (r *running) failure() error {
	if r.err == nil {
		return fmt.Errorf("daemon: part %s: expected it to run until told to stop, but it returned",
			r.Name)
	}
	return fmt.Errorf("daemon: part %s: %w", r.Name, r.err)
}

// pause waits while load balancers see that the process is not ready, and it still serves.
func (l *life) pause() {
	if l.delay > 0 {
		time.Sleep(l.delay)
	}
}

// drain has the parts finish what is under way, the last part first, all within one bound.
func (l *life) drain(base context.Context, all []*running) {
	ctx, cancel := context.WithTimeout(base, l.timeout)
	defer cancel()
	for i := len(all) - 1; i >= 0; i-- {
		r := all[i]
		if r.Drain == nil || r.ended() {
			continue
		}
		// A part that hangs must not take the time of its stop, nor keep the others from draining.
		drained := make(chan error, 1)
		go func() { drained <- Guard(func() error { r.Drain(ctx); return nil }) }()
		select {
		case err := <-drained:
			if err != nil {
				l.log.Error("draining failed", "part", r.Name, "error", err)
			}
		case <-ctx.Done():
			l.log.Warn("draining took too long", "part", r.Name, "drain_timeout", l.timeout.String())
		}
	}
}

// lastCall is how long parts that were not yet told to stop have for it when an earlier one has
// used up the time.
const lastCall = time.Second

// stop ends the parts, the last one first, all within one bound. It returns what went wrong beyond
// known, the failure that led here.
func (l *life) stop(base context.Context, all []*running, known error) error {
	bound, cancel := context.WithTimeout(base, l.timeout)
	defer cancel()
	for i := len(all) - 1; i >= 0; i-- {
		all[i].cancel()
		all[i].await(bound)
	}
	bound, cancel = context.WithTimeout(base, lastCall)
	defer cancel()
	var errs []error
	for _, r := range all {
		// A part may have ended by being drained; one that failed before has been reported already.
		switch {
		case !r.await(bound):
			errs = append(errs,
				fmt.Errorf("daemon: part %s: expected it to stop within %v, but it runs on", r.Name, l.timeout))
		case r.err != nil && !errors.Is(known, r.err):
			errs = append(errs, fmt.Errorf("daemon: part %s: stopping: %w", r.Name, r.err))
		}
	}
	return errors.Join(errs...)
}

// await returns true once the part has ended, false when ctx ends first.
func (r *running) await(ctx context.Context) bool {
	select {
	case <-r.done:
		return true
	case <-ctx.Done():
		return r.ended()
	}
}

func (r *running) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}
