package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Mesh is a running mesh. Stop ends it.
type Mesh struct {
	options    Options
	endpoints  Endpoints
	supervisor *supervisor
	closers    []func() error // close what is in this process; the last one is called first

	stop    sync.Once
	stopped chan struct{}
	err     error // why the mesh ended; read it after stopped is closed
}

// ErrPort is wrapped by the error of Start when a port is taken that the mesh needs.
var ErrPort = errors.New("taken by another program")

// startAttempts is how often Start tries again when a free port was taken by another program before
// a child had it.
const startAttempts = 3

// Start brings up a mesh and returns when it is ready. ctx ends the start, not the mesh. When it
// fails, nothing is left running. The error of a taken port wraps ErrPort and names the port and
// who wanted it.
func Start(ctx context.Context, o Options) (*Mesh, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		m, err := start(ctx, o)
		if err == nil {
			return m, nil
		}
		// With ports of its own choice, the mesh chooses others; a port the user chose is the
		// user's to change.
		if o.Port != 0 || !errors.Is(err, ErrPort) || attempt == startAttempts || ctx.Err() != nil {
			return nil, err
		}
	}
}

// Endpoints returns where everything is.
func (m *Mesh) Endpoints() Endpoints { return m.endpoints }

// Child returns the child process of that name: "redis" (unless embedded or external), "issuer-1",
// "gate-1", "envoy". It is nil when there is none.
func (m *Mesh) Child(name string) *Child {
	i := slices.IndexFunc(m.supervisor.children, func(c *Child) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return m.supervisor.children[i]
}

// Children returns all child processes in the order in which they were started.
func (m *Mesh) Children() []*Child { return slices.Clone(m.supervisor.children) }

// Wait returns when the mesh has ended: nil after Stop, else an error that says which child exited,
// and how.
func (m *Mesh) Wait() error {
	<-m.stopped
	return m.err
}

// Done is closed when the mesh has ended.
func (m *Mesh) Done() <-chan struct{} { return m.stopped }

// Stop stops everything: Envoy first, then gates, issuers and Redis. Children that have not exited
// in time are killed; the error says which. After the first call it only waits.
func (m *Mesh) Stop() error {
	m.shutDown(nil)
	return m.Wait()
}

// stopWithin is how long children have to exit when they are asked to, before they are killed.
const stopWithin = 10 * time.Second

// shutDown stops everything, once. cause is why, nil when it is wanted.
func (m *Mesh) shutDown(cause error) {
	m.stop.Do(func() {
		err := m.supervisor.stop(stopWithin)
		if cause != nil {
			err = nil // what else went wrong follows from the cause, and would hide it
		}
		for _, closeIt := range slices.Backward(m.closers) {
			err = errors.Join(err, closeIt())
		}
		m.err = errors.Join(cause, err)
		close(m.stopped)
	})
}

func (m *Mesh) progress(format string, args ...any) {
	if m.options.Progress != nil {
		m.options.Progress(fmt.Sprintf(format, args...))
	}
}
