package mesh

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// Processes are child processes of the caller's own choice, supervised as those of a mesh are: for
// tests that put together what no mesh is, such as several Redis servers with sentinels.
type Processes struct {
	dir        string
	supervisor *supervisor
	ports      ports
}

// Spec describes a process to start.
type Spec struct {
	Name string
	Path string // of the program
	Args []string
	Dir  string   // working directory; it must be there
	Env  []string // what it has in its environment besides ours
	// Ready is nil once the process does its work. It is asked again and again after every start.
	Ready func(context.Context) error
}

// NewProcesses returns Processes of which none is started yet. Their logs are put into dir, which
// must be there.
func NewProcesses(dir string) *Processes {
	return &Processes{dir: dir, supervisor: newSupervisor()}
}

// Address returns a free host:port on loopback, and keeps others from it until Stop.
func (p *Processes) Address(whose string) (string, error) { return p.ports.take(0, whose) }

// Start starts a process and returns when it is ready.
func (p *Processes) Start(ctx context.Context, s Spec) (*Child, error) {
	c := &Child{
		name: s.Name, path: s.Path, args: s.Args, dir: s.Dir, ready: s.Ready,
		env:     append(childEnvironment(os.Environ()), s.Env...),
		logFile: filepath.Join(p.dir, s.Name+".log"), supervisor: p.supervisor,
	}
	if err := c.start(); err != nil {
		return nil, err
	}
	return c, c.awaitReady(ctx)
}

// Failed receives the error of the first process that exited unexpectedly.
func (p *Processes) Failed() <-chan error { return p.supervisor.failed }

// Stop asks all processes to exit, kills those that are still there after within, and returns when
// they have exited.
func (p *Processes) Stop(within time.Duration) error {
	err := p.supervisor.stop(within)
	if releaseErr := p.ports.release(); err == nil {
		err = releaseErr
	}
	return err
}
