package mesh

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// supervisor starts child processes, notices when one exits, and stops them all.
type supervisor struct {
	starts chan startRequest
	failed chan error // the first exit that was not expected

	mu       sync.Mutex
	children []*Child // in the order in which they were first started
	stopping bool
}

type startRequest struct {
	cmd    *exec.Cmd
	result chan error
}

var errStopping = errors.New("mesh: it is being stopped")

func newSupervisor() *supervisor {
	s := &supervisor{starts: make(chan startRequest), failed: make(chan error, 1)}
	go s.serveStarts()
	return s
}

// serveStarts starts every child from one thread that lasts until stop. Linux sends a child's
// parent-death signal when the thread that started it ends, and Go ends idle threads at will:
// without this, children would be killed for no reason.
func (s *supervisor) serveStarts() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for request := range s.starts {
		request.result <- request.cmd.Start()
	}
}

// start begins a run of a child, or returns errStopping.
func (s *supervisor) start(c *Child, r *run) error {
	// Held until the child is listed: stop finds every child that has been started, and none is
	// started behind its back.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return errStopping
	}
	request := startRequest{cmd: r.cmd, result: make(chan error)}
	s.starts <- request
	if err := <-request.result; err != nil {
		return err
	}
	c.mu.Lock()
	c.last = r
	c.mu.Unlock()
	if !slices.Contains(s.children, c) {
		s.children = append(s.children, c)
	}
	return nil
}

// reportExit takes the error of a child that exited unexpectedly. Only the first one is kept: those
// that follow from it say less.
func (s *supervisor) reportExit(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return
	}
	select {
	case s.failed <- err:
	default:
	}
}

// stop stops all children, the last stage first, and returns when they have exited. The error says
// which of them had to be killed, or failed.
func (s *supervisor) stop(within time.Duration) error {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return nil
	}
	s.stopping = true
	children := slices.Clone(s.children)
	s.mu.Unlock()

	// One deadline for all stages: a child that uses it up leaves none to those after it, which are
	// then killed.
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	slices.SortStableFunc(children, func(a, b *Child) int { return b.stage - a.stage })
	var errs []error
	for len(children) > 0 {
		n := 1
		for n < len(children) && children[n].stage == children[0].stage {
			n++
		}
		errs = append(errs, stopTogether(ctx, children[:n]))
		children = children[n:]
	}
	close(s.starts)
	return errors.Join(errs...)
}

// stopTogether stops children that do not need one another.
func stopTogether(ctx context.Context, children []*Child) error {
	errs := make([]error, len(children))
	var wg sync.WaitGroup
	for i, c := range children {
		wg.Go(func() {
			if err := c.Terminate(ctx); err != nil && !errors.Is(err, ErrNotRunning) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// signalGroup sends a signal to a child and all that it has started itself.
func signalGroup(pid int, sig syscall.Signal) error {
	err := syscall.Kill(-pid, sig)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("mesh: signal %v to process group %d: %w", sig, pid, err)
	}
	return nil
}
