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
	dir    string
	family *family
	ports  ports
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

// NewProcesses makes a group of processes without any in it. Their logs are put into dir, which
// must be there.
func NewProcesses(dir string) *Processes {
	return &Processes{dir: dir, family: newFamily()}
}

// Address gives a free host:port on loopback, and keeps others from it until End.
func (p *Processes) Address(whose string) (string, error) { return p.ports.take(0, whose) }

// Start starts a process and returns when it is ready.
func (p *Processes) Start(ctx context.Context, s Spec) (*Child, error) {
	c := &Child{
		name:    s.Name,
		path:    s.Path,
		args:    s.Args,
		dir:     s.Dir,
		env:     append(childEnvironment(os.Environ()), s.Env...),
		logFile: filepath.Join(p.dir, s.Name+".log"),
		ready:   s.Ready,
		family:  p.family,
	}
	if err := c.start(); err != nil {
		return nil, err
	}
	return c, c.awaitReady(ctx)
}

// Died gives the first death that nobody meant.
func (p *Processes) Died() <-chan error { return p.family.dead }

// End asks all processes to end, kills those that are still there after within, and returns when
// they are gone.
func (p *Processes) End(within time.Duration) error {
	err := p.family.end(within)
	if releaseErr := p.ports.release(); err == nil {
		err = releaseErr
	}
	return err
}

// Expect notes that the child's end is wanted from now on, for an end that has another cause than
// Kill or Terminate.
func (c *Child) Expect() error {
	_, err := c.mean()
	return err
}
