package unary

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/listen"
)

// Method answers the calls of one gRPC method that come over one connection. Quick is asked first, then
// Work, then Wait, until one answers. What they are given they may read until they return, and must
// not change or keep; the answer they append to `to`.
type Method interface {
	// Quick answers what takes microseconds. It is called by the goroutine that reads the connection,
	// which serves nobody else meanwhile, and never twice at a time.
	Quick(request, to []byte) (answer []byte, ok bool)
	// Work answers what takes longer, as signatures do, but waits for nothing: other calls stand behind
	// this one. There may be many calls of it at a time.
	Work(request, to []byte) (answer []byte, ok bool)
	// Wait answers whatever is left, and may wait until ctx ends: the caller has then given up, or its
	// connection has ended, and what is returned is thrown away. An error is told the caller if it is
	// an *Error, and is INTERNAL without a text if it is not. There may be many calls of it at a time.
	Wait(ctx context.Context, request, to []byte) (answer []byte, err error)
}

// Error is a status that is not OK. Its text must be printable ASCII without a percent sign.
type Error struct {
	Code codes.Code
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("%v: %s", e.Code, e.Text) }

// Options are a Server's settings. All are needed but TLS.
type Options struct {
	// MaxConnections is the most at a time, of those that have begun to speak HTTP/2, over TLS if there
	// is TLS. There is room for strangers beside them: listen.Places.
	MaxConnections int
	MaxMessage     int    // greatest size of a request in bytes
	MaxStreams     uint32 // most calls at a time on one connection
	// MaxHeld is how many bytes of messages may be held at a time, for all connections together: of
	// those that are not whole yet, that wait for an answer, and of answers that wait for the caller to
	// take them. One connection may hold a sixteenth, and two messages at the least. A call that needs
	// more is answered at once, if it does not have to wait, or refused as RESOURCE_EXHAUSTED.
	MaxHeld int64
	// Handshake is how long a connection has until its first HTTP/2 frame.
	Handshake time.Duration
	// Silence is how long a connection may be silent before it is asked for a sign of life. It is told
	// in steps of Patience, which is how long a peer has to give one, to take answers, to send the rest
	// of a message, and to take note that the server drains: up to twice as long.
	Silence, Patience time.Duration
	TLS               *tls.Config // nil: none; else it has to offer the protocol h2 alone
	// Panicked is told of each panic, with its stack.
	Panicked func(error)
	// Refused is told of each connection that there was no place for: one too many, or a stranger's.
	Refused func(from net.Addr, stranger bool)
}

// ErrStopped is what Serve returns after Stop or Drain.
var ErrStopped = errors.New("unary: the server has stopped")

// Server serves calls. Its methods may be called from many goroutines.
type Server struct {
	options Options
	methods map[string]func() Method // by the path of the call
	held    atomic.Int64             // as MaxHeld counts
	places  *listen.Places
	served  chan struct{} // connections that are being served, those that have lost their place too
	closing chan struct{} // closed when nothing new is taken

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	running   sync.WaitGroup // connections and calls

	// Connections that have calls for workers, in turn, and how many workers take them.
	queueMu sync.Mutex
	queue   []*conn
	busy    int

	jobs    chan func() // for a goroutine that is idle
	idle    atomic.Int32
	rested  sync.Once
	ended   chan struct{} // closed when workers are to end
	workers sync.WaitGroup
}

// maxIdle is how many goroutines stay when they have nothing to do. They keep their stacks, which a
// signature's verification makes long: growing one anew for each is a good part of its cost.
const maxIdle = 64

// New makes a server of methods by their paths, as /package.Service/Method. Each function makes the
// Method of one connection.
func New(methods map[string]func() Method, o Options) *Server {
	places := listen.NewPlaces(o.MaxConnections)
	return &Server{
		options: o, methods: methods, places: places, served: make(chan struct{}, places.All()),
		closing: make(chan struct{}), listeners: map[net.Listener]struct{}{},
		conns: map[*conn]struct{}{}, jobs: make(chan func()), ended: make(chan struct{}),
	}
}

// Serve takes connections from l until Stop or Drain, when it returns ErrStopped, or until l fails.
func (s *Server) Serve(l net.Listener) error {
	if !s.listen(l) {
		return errors.Join(ErrStopped, l.Close())
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, l)
		_ = l.Close() // Stop may have closed it already
	}()
	for pause := time.Duration(0); ; {
		select {
		case s.served <- struct{}{}:
		case <-s.closing:
			return ErrStopped
		}
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			s.take(nc)
			continue
		}
		<-s.served
		if s.isClosing() {
			return ErrStopped
		}
		// As when the process has no more descriptors: others that end give some back.
		if passing, ok := err.(interface{ Temporary() bool }); !ok || !passing.Temporary() {
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-s.closing:
			return ErrStopped
		}
	}
}

// listen notes a listener, unless nothing new is taken.
func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// take serves a connection in a goroutine of its own, and frees its place among those served.
func (s *Server) take(nc net.Conn) {
	place, lost := s.places.Enter(nc)
	if lost != nil {
		_ = lost.Conn.Close() // it has said nothing
		s.options.Refused(lost.Conn.RemoteAddr(), true)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		_ = nc.Close() // nobody has been promised anything
		s.places.Leave(place)
		<-s.served
		return
	}
	c := newConn(s, place)
	s.conns[c] = struct{}{}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer func() { <-s.served }()
		defer s.forget(c)
		s.guard(c.serve)
	}()
}

func (s *Server) forget(c *conn) {
	s.places.Leave(c.place)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// guard calls f, and has its panic told.
func (s *Server) guard(f func()) {
	if err := daemon.Guard(func() error { f(); return nil }); err != nil {
		s.options.Panicked(err)
	}
}

// Drain takes no more connections, has every peer told to send no more calls, and returns when those
// under way have been answered, or when Stop has broken them off.
func (s *Server) Drain() {
	s.close(func(c *conn) {
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			s.guard(c.drain)
		}()
	})
	s.rest()
}

// Stop breaks off all that is under way, and returns when nothing runs any more.
func (s *Server) Stop() {
	s.close((*conn).abort)
	s.rest()
}

// rest returns when nothing runs any more.
func (s *Server) rest() {
	s.running.Wait()
	s.rested.Do(func() { close(s.ended) })
	s.workers.Wait()
}

// enqueue has workers take the calls of a connection, after those of others that were there before:
// as many workers at a time as there are processors, since each is busy until it has answered.
func (s *Server) enqueue(c *conn) {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	s.queue = append(s.queue, c)
	if s.busy < runtime.GOMAXPROCS(0) {
		s.busy++
		s.run(s.drudge)
	}
}

// drudge answers calls of one connection after the other, some of each in turn.
func (s *Server) drudge() {
	var scratch []byte // where answers are made
	for {
		s.queueMu.Lock()
		if len(s.queue) == 0 {
			s.queue = nil // which had moved on and on
			s.busy--
			s.queueMu.Unlock()
			return
		}
		c := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		s.queueMu.Unlock()
		s.guard(func() { scratch = c.work(scratch) })
	}
}

// run has f run by a goroutine. Its caller is counted as running.
func (s *Server) run(f func()) {
	s.running.Add(1)
	select {
	case s.jobs <- f:
	default:
		s.workers.Add(1)
		go s.work(f)
	}
}

func (s *Server) work(f func()) {
	defer s.workers.Done()
	for {
		s.guard(f)
		s.running.Done()
		if s.idle.Add(1) > maxIdle {
			s.idle.Add(-1)
			return
		}
		select {
		case f = <-s.jobs:
			s.idle.Add(-1)
		case <-s.ended:
			return
		}
	}
}

// close closes the listeners, and has each connection ended, none of which is over meanwhile.
func (s *Server) close(end func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isClosing() {
		close(s.closing)
	}
	for l := range s.listeners {
		_ = l.Close() // Serve returns whatever it says
	}
	for c := range s.conns {
		end(c)
	}
}

// share is how many bytes one connection may hold.
func (s *Server) share() int64 {
	return max(s.options.MaxHeld/16, 2*int64(s.options.MaxMessage+prefixSize))
}

// hold counts n more bytes as held, and reports whether there may be so many.
func (s *Server) hold(n int) bool {
	if s.held.Add(int64(n)) <= s.options.MaxHeld {
		return true
	}
	s.held.Add(-int64(n))
	return false
}
