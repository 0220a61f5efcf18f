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

// family is the set of child processes that stand or fall together.
type family struct {
	births chan birth
	dead   chan error // the first death that nobody meant

	mu       sync.Mutex
	children []*Child // in the order in which they were first born
	ending   bool
}

// birth is a command to start, and where to answer.
type birth struct {
	cmd *exec.Cmd
	err chan error
}

// errEnding is what a birth in a family that is being ended gives.
var errEnding = errors.New("mesh: it is being stopped")

func newFamily() *family {
	f := &family{births: make(chan birth), dead: make(chan error, 1)}
	go f.midwife()
	return f
}

// midwife starts every child from one thread that lives as long as the family. Linux ties a child's
// parent-death signal to the thread that forked it, and Go ends idle threads at will: without this,
// children would be killed out of the blue.
func (f *family) midwife() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for b := range f.births {
		b.err <- b.cmd.Start()
	}
}

// bear begins a life of a child. The family's lock is held until the child is known to be alive, so
// that none is born into a family that is being ended, and none is forgotten when it ends.
func (f *family) bear(c *Child, l *life) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ending {
		return errEnding
	}
	b := birth{cmd: l.cmd, err: make(chan error)}
	f.births <- b
	if err := <-b.err; err != nil {
		return err
	}
	c.mu.Lock()
	c.now = l
	c.mu.Unlock()
	if !slices.Contains(f.children, c) {
		f.children = append(f.children, c)
	}
	return nil
}

// mourn reports the death of a child that nobody meant, the first one only: what follows from it
// says less.
func (f *family) mourn(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ending {
		return
	}
	select {
	case f.dead <- err:
	default:
	}
}

// end ends all children, the youngest generation first, and returns when they are gone. The error
// says which of them had to be killed, or failed.
func (f *family) end(within time.Duration) error {
	f.mu.Lock()
	if f.ending {
		f.mu.Unlock()
		return nil
	}
	f.ending = true
	children := slices.Clone(f.children)
	f.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	slices.SortStableFunc(children, func(a, b *Child) int { return b.generation - a.generation })
	var errs []error
	for len(children) > 0 {
		n := 1
		for n < len(children) && children[n].generation == children[0].generation {
			n++
		}
		errs = append(errs, endTogether(ctx, children[:n]))
		children = children[n:]
	}
	close(f.births)
	return errors.Join(errs...)
}

// endTogether ends children that do not need one another.
func endTogether(ctx context.Context, children []*Child) error {
	errs := make([]error, len(children))
	var wg sync.WaitGroup
	for i, c := range children {
		wg.Go(func() {
			if err := c.Terminate(ctx); err != nil && !errors.Is(err, errNotRunning) {
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
