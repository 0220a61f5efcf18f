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

// Child is one process of a mesh. One that Kill or Terminate has stopped may be started again by
// Restart; one that exits in any other way ends the mesh.
type Child struct {
	name       string
	stage      int // children need those of an earlier stage, and are stopped before them
	path       string
	args       []string
	env        []string
	dir        string // its working directory
	logFile    string
	ready      func(context.Context) error // nil once the child does its work
	supervisor *supervisor

	mu   sync.Mutex
	last *run // the present run, or the last one
}

// run is one process of a child, from its start to its exit.
type run struct {
	cmd      *exec.Cmd
	log      *os.File
	offset   int64         // where its part of the log begins
	exited   chan struct{} // closed when it has exited and err is set
	err      error         // how it exited; nil is exit status 0
	expected bool          // its exit is wanted; guarded by Child.mu
}

// ErrNotRunning is wrapped by errors of what needs a child that runs.
var ErrNotRunning = errors.New("mesh: it is not running")

// Name returns the child's name: redis, issuer-1, gate-1, envoy.
func (c *Child) Name() string { return c.name }

// LogFile returns the path of what the child has written to its output, over all its runs.
func (c *Child) LogFile() string { return c.logFile }

// PID returns the process id of the present or last process.
func (c *Child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last.cmd.Process.Pid
}

// Signal sends a signal to the child. An exit that follows from it ends the mesh: see Kill and
// Terminate.
func (c *Child) Signal(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || c.last.hasExited() {
		return fmt.Errorf("mesh: signal %s: %w", c.name, ErrNotRunning)
	}
	if err := c.last.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("mesh: signal %s: %w", c.name, err)
	}
	return nil
}

// Kill stops the child with SIGKILL and returns when it has exited. The mesh goes on.
func (c *Child) Kill() error {
	r, err := c.expectExit()
	if err != nil {
		return err
	}
	if err := signalGroup(r.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		return err
	}
	<-r.exited
	return nil
}

// Terminate asks the child to exit, with SIGTERM, and returns when it has. The mesh goes on. A
// child that is still there when ctx ends is killed; that, and any exit status but 0, is an error.
func (c *Child) Terminate(ctx context.Context) error {
	r, err := c.expectExit()
	if err != nil {
		return err
	}
	asked := time.Now()
	// SIGCONT after it: a process that SIGSTOP has suspended gets no SIGTERM until it continues.
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		if err := r.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("mesh: signal %s: %w", c.name, err)
		}
	}
	select {
	case <-r.exited:
	case <-ctx.Done():
		if err := signalGroup(r.cmd.Process.Pid, syscall.SIGKILL); err != nil {
			return err
		}
		<-r.exited
		return fmt.Errorf("mesh: %s did not end within %v of SIGTERM and was killed%s", c.name,
			time.Since(asked).Round(time.Millisecond), c.logTail(r))
	}
	if r.err != nil {
		return c.exitError(r)
	}
	return nil
}

// Restart starts the child again, with the ports and arguments it had, and returns when it is
// ready. A child that is still running is killed first.
func (c *Child) Restart(ctx context.Context) error {
	if err := c.Kill(); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	if err := c.start(); err != nil {
		return err
	}
	return c.awaitReady(ctx)
}

// Expect marks the child's exit as wanted from now on, for one that has another cause than Kill or
// Terminate.
func (c *Child) Expect() error {
	_, err := c.expectExit()
	return err
}

func (c *Child) expectExit() (*run, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || c.last.hasExited() {
		return nil, fmt.Errorf("mesh: stop %s: %w", c.name, ErrNotRunning)
	}
	c.last.expected = true
	return c.last, nil
}

// start begins a new run.
func (c *Child) start() error {
	log, err := os.OpenFile(c.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	// All runs share one file: an error shows only what this one has written.
	info, err := log.Stat()
	if err != nil {
		log.Close()
		return fmt.Errorf("mesh: %w", err)
	}
	cmd := exec.Command(c.path, c.args...)
	cmd.Env, cmd.Dir = c.env, c.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = groupLeader()
	r := &run{cmd: cmd, log: log, offset: info.Size(), exited: make(chan struct{})}
	if err := c.supervisor.start(c, r); err != nil {
		log.Close()
		return fmt.Errorf("mesh: start %s: %w", c.name, err)
	}
	go c.watch(r)
	return nil
}

// watch waits for the end of a run, and reports an exit that was not expected.
func (c *Child) watch(r *run) {
	r.err = r.cmd.Wait()
	err := signalGroup(r.cmd.Process.Pid, syscall.SIGKILL) // whatever it has left behind
	r.err = errors.Join(r.err, err, r.log.Close())
	close(r.exited)

	c.mu.Lock()
	expected := r.expected
	c.mu.Unlock()
	if !expected {
		c.supervisor.reportExit(c.exitError(r))
	}
}

func (r *run) hasExited() bool {
	select {
	case <-r.exited:
		return true
	default:
		return false
	}
}

// readyWithin is how long a child may take until it is ready.
const readyWithin = 60 * time.Second

// probeEvery is how often a child is asked whether it is ready, probeWithin how long it may think
// about the answer.
const (
	probeEvery  = 25 * time.Millisecond
	probeWithin = 2 * time.Second
)

// awaitReady returns nil once the child is ready; an error when it has ended, is not ready in time,
// or ctx has ended.
func (c *Child) awaitReady(ctx context.Context) error {
	// The run that was just started: when it exits there is nothing more to wait for.
	c.mu.Lock()
	r := c.last
	c.mu.Unlock()
	late := time.NewTimer(readyWithin)
	defer late.Stop()
	for {
		err := probe(ctx, c.ready)
		if err == nil {
			return nil
		}
		select {
		case <-r.exited:
			return c.exitError(r)
		case <-late.C:
			return fmt.Errorf("mesh: %s is not ready after %v: %w%s",
				c.name, readyWithin, err, c.logTail(r))
		case <-ctx.Done():
			return fmt.Errorf("mesh: waiting for %s to be ready: %w (it says: %v)",
				c.name, context.Cause(ctx), err)
		case <-time.After(probeEvery):
		}
	}
}

func probe(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	return ready(ctx)
}

// exitError describes how a run ended. It wraps ErrPort when a port was missing.
func (c *Child) exitError(r *run) error {
	how := "exit status 0"
	if r.err != nil {
		how = r.err.Error()
	}
	tail := c.logTail(r)
	if strings.Contains(strings.ToLower(tail), "address already in use") {
		return fmt.Errorf("mesh: %s ended (%s): its port is %w%s", c.name, how, ErrPort, tail)
	}
	return fmt.Errorf("mesh: %s ended (%s)%s", c.name, how, tail)
}

// tailBytes is how much of a log an error shows at most.
const tailBytes = 3 << 10

// logTail returns the end of what a run has written, to be put behind an error's text.
func (c *Child) logTail(r *run) string {
	f, err := os.Open(c.logFile)
	if err != nil {
		return fmt.Sprintf("; its log cannot be read: %v", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Sprintf("; its log cannot be read: %v", err)
	}
	from := max(r.offset, info.Size()-tailBytes)
	text, err := io.ReadAll(io.NewSectionReader(f, from, tailBytes))
	if err != nil {
		return fmt.Sprintf("; its log cannot be read: %v", err)
	}
	if from > r.offset { // cut inside a line: begin with a whole one
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return "; it has written nothing"
	}
	return fmt.Sprintf("; the end of its log, %s:\n    %s", c.logFile,
		bytes.ReplaceAll(text, []byte("\n"), []byte("\n    ")))
}
