package main

/*
#include "stream.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/sallyport/sallyport/authz/filter"
	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/revocation"
)

// version is set by the build.
var version = ""

// process is the gate in Envoy's process.
type process struct {
	gate   *gate.Gate
	filter *filter.Filter
	logger *slog.Logger
	cancel context.CancelFunc
	ready  atomic.Bool   // Envoy has been told that the gate is
	done   chan struct{} // closed when the gate has stopped
}

// validated says that this Envoy only looks at its configuration.
var validated atomic.Bool

// settings reads a gate's configuration: the file that Envoy's configuration names, and the
// environment.
func settings(file string) (*gate.Config, gate.Options, error) {
	o := gate.Options{Version: daemon.BuildVersion(version), Host: host{}, File: file}
	if file == "" {
		return nil, o, errors.New("expected extension_config of the bootstrap extension to be the path " +
			"of authz.yaml, got nothing")
	}
	o.Read = func(content []byte) (*gate.Config, error) {
		return gate.Load(config.Options{File: file, Content: content, EnvPrefix: "SALLYPORT"})
	}
	c, err := gate.Load(config.Options{File: file, EnvPrefix: "SALLYPORT"})
	return c, o, err
}

// checkSettings checks a configuration and starts nothing.
func checkSettings(file string) bool {
	c, o, err := settings(file)
	if err == nil {
		_, err = gate.Check(context.Background(), c, o)
	}
	if err != nil {
		log(C.log_error, "sallyport: "+err.Error())
		return false
	}
	validated.Store(true)
	return true
}

// startProcess starts the gate, and opens its admin port before that: a port that is taken ends
// Envoy's start. It waits for nothing.
func startProcess(file string) *process {
	p, err := newProcess(file)
	if err != nil {
		log(C.log_error, "sallyport: "+err.Error())
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go p.run(ctx)
	go p.awaitReady(ctx)
	return p
}

func newProcess(file string) (*process, error) {
	c, o, err := settings(file)
	if err != nil {
		return nil, err
	}
	// Through these, a reader that is gone costs a line: Go ends a process for standard output's own
	// descriptors.
	stdout, stderr, err := standardOutput()
	if err != nil {
		return nil, err
	}
	o.Audit, o.Logger = stdout, daemon.NewLogger(stderr, c.Log)
	// Nobody has to notice first that the gate stops: Envoy itself does.
	c.Drain.Delay = 0
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // as cmd/authz does
	}
	g, err := gate.New(c, o)
	if err != nil {
		return nil, err
	}
	if err := g.Listen(); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return &process{gate: g, filter: g.Filter(), logger: o.Logger, done: make(chan struct{})}, nil
}

func standardOutput() (stdout, stderr *os.File, err error) {
	var files [2]*os.File
	for i, name := range []string{"/dev/stdout", "/dev/stderr"} {
		descriptor, err := syscall.Dup(i + 1)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		syscall.CloseOnExec(descriptor)
		files[i] = os.NewFile(uintptr(descriptor), name)
	}
	return files[0], files[1], nil
}

// run runs the gate. When it fails, Envoy goes on without it, and refuses every request of a route
// that asks it; unless it was never ready: then Envoy's start fails.
func (p *process) run(ctx context.Context) {
	defer close(p.done)
	err := daemon.Guard(func() error { return p.gate.Run(ctx) })
	if err != nil && !daemon.Told(err) {
		p.logger.Error("gate: stopped", "error", err)
	}
	switch {
	case ctx.Err() != nil:
	case !p.ready.Load():
		endStart()
	default:
		log(C.log_critical, "sallyport: the gate in this Envoy has failed, and requests are refused "+
			"until Envoy is started again: its own log says why")
	}
}

// endStart ends Envoy while it starts, with the status that it has for wrong settings: it has no
// listener open, and none would ever be, as it waits for the gate. There is no other way to fail
// its start from here: a hook of the module's that could refuse has returned long before.
func endStart() {
	log(C.log_critical, "sallyport: the gate in this Envoy has failed before it was ready, and with "+
		"it Envoy's start: its own log says why")
	os.Exit(1)
}

// awaitReady has Envoy open its listeners once the gate is ready.
func (p *process) awaitReady(ctx context.Context) {
	err := daemon.Guard(func() error {
		look := time.NewTicker(10 * time.Millisecond)
		defer look.Stop()
		for p.gate.Ready() != nil {
			select {
			case <-look.C:
			case <-ctx.Done():
				return nil
			}
		}
		p.ready.Store(true)
		C.sallyport_tell(C.tell_ready)
		return nil
	})
	if err != nil {
		p.logger.Error("gate: waiting to be ready", "error", err)
		endStart()
	}
}

// stopWithin is for how long Envoy waits for the gate before it exits without.
const stopWithin = 10 * time.Second

// stop has the gate stop, and Envoy told when it has.
func (p *process) stop() {
	p.cancel()
	// It cannot panic: it calls C alone, and so does the next one.
	time.AfterFunc(stopWithin, func() { C.sallyport_tell(C.tell_stopped) })
	// It cannot panic, either.
	go func() {
		<-p.done
		C.sallyport_tell(C.tell_stopped)
	}()
}

// host is Envoy, for the filter.
type host struct{}

// Resume implements filter.Host.
func (host) Resume(s filter.Stream, answer []byte) {
	C.sallyport_resume(C.uint32_t(s.Worker), C.uint32_t(s.Place), C.uint64_t(s.Generation),
		unsafe.Pointer(unsafe.SliceData(answer)), C.size_t(len(answer)))
}

// End implements filter.Host.
func (host) End(s filter.Stream, why filter.Ending, answer []byte) bool {
	return bool(C.sallyport_end(C.uint32_t(s.Worker), C.uint32_t(s.Place),
		C.uint64_t(s.Generation), C.bool(why == filter.Stale),
		unsafe.Pointer(unsafe.SliceData(answer)), C.size_t(len(answer))))
}

// versions live in C's memory, where workers look at them.
var versions = revocation.NewVersions(unsafe.Slice(
	(*atomic.Uint64)(unsafe.Pointer(&C.sallyport_versions[0])), C.version_words))

// Versions implements filter.Host.
func (host) Versions() *revocation.Versions { return versions }

// watchedStreams is what Watched looks through at a time.
var watchedStreams [C.watched_at_once]C.sallyport_stream

// Watched implements filter.Host.
func (host) Watched(f func(s filter.Stream, entry uint32)) {
	for w := range C.uint32_t(filter.MaxWorkers) {
		for from := C.uint32_t(0); ; from += C.watched_at_once {
			n := C.sallyport_watched(w, from, &watchedStreams[0])
			if n < 0 && from == 0 {
				return // workers are numbered without gaps
			}
			if n < 0 {
				break
			}
			for _, s := range watchedStreams[:n] {
				f(filter.Stream{
					Worker: uint32(w), Place: uint32(s.place), Generation: uint64(s.generation),
				}, uint32(s.entry))
			}
		}
	}
}

// Given implements filter.Host.
func (host) Given(f func(worker int, now filter.Given)) {
	var now C.sallyport_done
	for w := 0; bool(C.sallyport_given(C.uint32_t(w), &now)); w++ {
		f(w, filter.Given{
			Requests: uint64(now.requests), Tokens: uint64(now.tokens), Bytes: uint64(now.bytes),
		})
	}
}

// source is Envoy's filter of a stream, valid in a hook of it. Asking it takes a crossing to C,
// which only an audit line is worth.
type source struct{ filter unsafe.Pointer }

// Address implements check.Source.
func (s source) Address() string {
	b := C.sallyport_source(C.envoy_filter(s.filter))
	if b.ptr == nil {
		return ""
	}
	address, _, err := net.SplitHostPort(C.GoStringN(b.ptr, C.int(b.len)))
	if err != nil {
		return "" // a pipe has none
	}
	return address
}

// log writes into Envoy's own log.
func log(level C.int, message string) {
	C.sallyport_log(level, (*C.char)(unsafe.Pointer(unsafe.StringData(message))),
		C.size_t(len(message)))
}
