package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Child is one process of a mesh. A child that is ended by Kill or Terminate may be started again
// by Restart; one that dies in any other way ends the mesh.
type Child struct {
	name       string
	generation int // children of a higher one need those of a lower one, and are ended before them
	path       string
	args       []string
	env        []string
	dir        string // its working directory
	logFile    string
	ready      func(context.Context) error // nil once the child does its work
	family     *family

	mu  sync.Mutex
	now *life // the present or last process
}

// life is one process of a child, from its start to its end.
type life struct {
	cmd    *exec.Cmd
	log    *os.File
	offset int64         // where its part of the log begins
	gone   chan struct{} // closed when it has ended and err is set
	err    error         // how it ended; nil is exit status 0
	meant  bool          // its end is wanted; guarded by Child.mu
}

var errNotRunning = errors.New("mesh: it is not running")

// Name gives the child's name: redis, issuer-1, gate-1, envoy.
func (c *Child) Name() string { return c.name }

// LogFile gives the path of what the child has written to its output, over all its lives.
func (c *Child) LogFile() string { return c.logFile }

// PID gives the process id of the present or last process.
func (c *Child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.cmd.Process.Pid
}

// Signal sends a signal to the child. An end that follows from it ends the mesh: see Kill and
// Terminate.
func (c *Child) Signal(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil || c.now.ended() {
		return fmt.Errorf("mesh: signal %s: %w", c.name, errNotRunning)
	}
	if err := c.now.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("mesh: signal %s: %w", c.name, err)
	}
	return nil
}

// Kill ends the child with SIGKILL and returns when it is gone. The mesh goes on.
func (c *Child) Kill() error {
	l, err := c.mean()
	if err != nil {
		return err
	}
	if err := signalGroup(l.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		return err
	}
	<-l.gone
	return nil
}

// Terminate asks the child to end, with SIGTERM, and returns when it is gone. The mesh goes on. A
// child that is still there when ctx ends is killed; that, and any exit status but 0, is an error.
func (c *Child) Terminate(ctx context.Context) error {
	l, err := c.mean()
	if err != nil {
		return err
	}
	asked := time.Now()
	// a stopped process hears nothing until it continues
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		if err := l.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("mesh: signal %s: %w", c.name, err)
		}
	}
	select {
	case <-l.gone:
	case <-ctx.Done():
		if err := signalGroup(l.cmd.Process.Pid, syscall.SIGKILL); err != nil {
			return err
		}
		<-l.gone
		return fmt.Errorf("mesh: %s did not end within %v of SIGTERM and was killed%s", c.name,
			time.Since(asked).Round(time.Millisecond), c.tail(l))
	}
	if l.err != nil {
		return c.obituary(l)
	}
	return nil
}

// Restart starts the child again, on its old ports and with its old arguments, and returns when it
// is ready. A child that is still running is killed first.
func (c *Child) Restart(ctx context.Context) error {
	if err := c.Kill(); err != nil && !errors.Is(err, errNotRunning) {
		return err
	}
	if err := c.start(); err != nil {
		return err
	}
	return c.awaitReady(ctx)
}

// mean notes that the child's end is wanted from now on.
func (c *Child) mean() (*life, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil || c.now.ended() {
		return nil, fmt.Errorf("mesh: end %s: %w", c.name, errNotRunning)
	}
	c.now.meant = true
	return c.now, nil
}

// start begins a new life.
func (c *Child) start() error {
	log, err := os.OpenFile(c.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	info, err := log.Stat()
	if err != nil {
		log.Close()
		return fmt.Errorf("mesh: %w", err)
	}
	cmd := exec.Command(c.path, c.args...)
	cmd.Env, cmd.Dir = c.env, c.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = leader()
	l := &life{cmd: cmd, log: log, offset: info.Size(), gone: make(chan struct{})}
	if err := c.family.bear(c, l); err != nil {
		log.Close()
		return fmt.Errorf("mesh: start %s: %w", c.name, err)
	}
	go c.watch(l)
	return nil
}

// watch waits for the end of a life, and mourns it when nobody meant it.
func (c *Child) watch(l *life) {
	l.err = l.cmd.Wait()
	err := signalGroup(l.cmd.Process.Pid, syscall.SIGKILL) // whatever it has left behind
	l.err = errors.Join(l.err, err, l.log.Close())
	close(l.gone)

	c.mu.Lock()
	meant := l.meant
	c.mu.Unlock()
	if !meant {
		c.family.mourn(c.obituary(l))
	}
}

func (l *life) ended() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

// obituary says how a life ended. It wraps ErrPort when it ended for want of a port.
func (c *Child) obituary(l *life) error {
	how := "exit status 0"
	if l.err != nil {
		how = l.err.Error()
	}
	tail := c.tail(l)
	if strings.Contains(strings.ToLower(tail), "address already in use") {
		return fmt.Errorf("mesh: %s ended (%s): a port of its is %w%s", c.name, how, ErrPort, tail)
	}
	return fmt.Errorf("mesh: %s ended (%s)%s", c.name, how, tail)
}

// tailBytes is how much of a log an error shows at most.
const tailBytes = 3 << 10

// tail gives the end of what a life has written, ready to be put behind an error's text.
func (c *Child) tail(l *life) string {
	f, err := os.Open(c.logFile)
	if err != nil {
		return fmt.Sprintf("; its log cannot be read: %v", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Sprintf("; its log cannot be read: %v", err)
	}
	from := max(l.offset, info.Size()-tailBytes)
	text, err := io.ReadAll(io.NewSectionReader(f, from, tailBytes))
	if err != nil {
		return fmt.Sprintf("; its log cannot be read: %v", err)
	}
	if from > l.offset { // begin with a whole line
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return "; it has written nothing"
	}
	return fmt.Sprintf("; the end of its log, %s:\n    %s", c.logFile,
		bytes.ReplaceAll(text, []byte("\n"), []byte("\n    ")))
}
