package unary

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/sallyport/sallyport/internal/listen"
)

const (
	readBuffer = 128 << 10 // a system call reads dozens of checks, if so many are there
	fullBuffer = 64 << 10  // answers of so many bytes are written before more are made
	connWindow = 1 << 20
	headerList = 16 << 10
	// linger is for how long what a peer still sends is read, so that it hears the end, and how long it
	// has to begin when the server drains.
	linger = time.Second
)

// conn is one connection. All that is below mu is touched with mu held, by
//   - the goroutine that reads, which lets go of it only while it waits for bytes,
//   - workers, for as long as it takes to write an answer,
//   - the timer that watches over silence, and Drain.
type conn struct {
	server  *Server
	methods map[string]Method // those that have been called, by path; the reader's own
	scratch []byte            // where the reader makes answers
	fields  *fields           // what the reader has of a block of header fields

	reads atomic.Uint64 // how often bytes have come
	alive *time.Timer

	place *listen.Place // with the connection as it was taken

	mu     sync.Mutex
	net    net.Conn // the same, or TLS over it
	framer *http2.Framer
	out    []byte // not written yet
	failed error  // nothing can be written any more
	ended  bool   // the reader is gone

	calls    map[uint32]*call // that have not been answered in full
	last     uint32           // the greatest stream there has been
	later    []work           // calls that the reader leaves to workers
	enqueued bool             // and that they know of
	running  uint32           // calls that it has left to them, and that have not been answered
	held     int64            // bytes of messages that are held
	spares   [][]byte         // memory of messages that have been answered
	blocked  []*call          // whose answers wait for the peer to take more, in turn
	widened  bool             // and may be looked at again

	// The last streams that were reset here, or not served: what the peer sent before it heard so is
	// passed over.
	passed     [256]uint32
	nextPassed uint32

	receives int64 // what the peer may still send, and
	returned int64 // what it has sent and not been given back
	sends    int64 // what may be sent
	initial  int64 // what may be sent on a new stream

	pinged       bool          // a sign of life is waited for
	seen         uint64        // reads, when watch looked
	silent       time.Duration // for how long there had been none
	draining     drainPhase
	warnedBefore bool   // when watch looked
	served       uint32 // the last call that is, while refusing

	departs bool // nothing is written any more
}

// drainPhase is how far the end of a connection has come.
type drainPhase int

const (
	serving  drainPhase = iota
	warned              // the peer has been told; calls that it has begun meanwhile are served
	refusing            // no call after `served` is
)

var drainPing = [8]byte{'d', 'r', 'a', 'i', 'n'}

var (
	errProtocol = errors.New("unary: expected TLS with ALPN h2")
	errPreface  = errors.New("unary: expected the preface of HTTP/2")
)

func newConn(s *Server, place *listen.Place) *conn {
	return &conn{
		server: s, place: place, net: place.Conn, methods: map[string]Method{}, calls: map[uint32]*call{}, fields: newFields(),
		receives: connWindow, sends: 65535, initial: 65535,
	}
}

// serve reads the connection until it ends.
func (c *conn) serve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.end()
	err := c.greet()
	for err == nil && c.failed == nil && !c.over() {
		err = c.next()
	}
	c.part(err)
}

// next takes one frame.
func (c *conn) next() error {
	frame, err := c.framer.ReadFrame()
	// What the framer refuses it has not read: of header fields, that is the end of the table that both
	// ends have, whatever the framer calls it (RFC 9113 section 4.3).
	if wrong := (http2.StreamError{}); err != nil && errors.As(err, &wrong) {
		return http2.ConnectionError(wrong.Code)
	}
	if err != nil {
		return err
	}
	if err = c.handle(frame); err != nil {
		err = c.survive(err)
	}
	c.relieve()
	return err
}

// relieve writes answers before there are too many of them.
func (c *conn) relieve() {
	if len(c.out) >= fullBuffer {
		c.write()
	}
}

// over reports whether all calls that are served have been answered.
func (c *conn) over() bool { return c.draining == refusing && len(c.calls) == 0 }

// survive resets a stream for what is wrong with it alone. It returns any other error.
func (c *conn) survive(err error) error {
	var wrong http2.StreamError
	if !errors.As(err, &wrong) {
		return err
	}
	c.reset(wrong.StreamID, wrong.Code)
	return nil
}

// greet makes TLS and HTTP/2 of the connection, in bounded time.
func (c *conn) greet() error {
	o := &c.server.options
	within := o.Handshake
	if c.draining == warned {
		within = min(within, linger)
	}
	if err := c.net.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if o.TLS != nil {
		secure := tls.Server(c.net, o.TLS)
		if err := c.unlocked(secure.Handshake); err != nil {
			return err
		}
		if secure.ConnectionState().NegotiatedProtocol != http2.NextProtoTLS {
			return errProtocol
		}
		c.net = secure
	}
	raw, err := newReader(c)
	if err != nil {
		return err
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(raw, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return errPreface
	}
	in := bufio.NewReaderSize(raw, readBuffer)
	c.framer = http2.NewFramer(writer{c}, in)
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(maxFrame)
	// A writer that appends does not fail.
	_ = c.framer.WriteSettings(
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: o.MaxStreams},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: c.server.window()},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: headerList},
	)
	_ = c.framer.WriteWindowUpdate(0, connWindow-65535)
	if c.draining == warned {
		c.warn()
	}
	frame, err := c.framer.ReadFrame()
	if err != nil {
		return err
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok || settings.IsAck() {
		return protocolError
	}
	if err := c.settle(settings); err != nil {
		return err
	}
	if err := c.server.places.Admit(c.place); err != nil {
		return c.refused(err)
	}
	c.alive = time.AfterFunc(o.Patience, func() { c.server.guard(c.watch) })
	return c.net.SetReadDeadline(time.Time{})
}

// refused tells a peer that there is no place for it, so that it asks another gate.
func (c *conn) refused(err error) error {
	if !errors.Is(err, listen.ErrNoPlace) {
		return err
	}
	c.server.options.Refused(c.net.RemoteAddr(), false)
	return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
}

// window is what a peer may send on a stream: a whole message, so that none has to be given back.
func (s *Server) window() uint32 { return uint32(max(256<<10, s.options.MaxMessage+maxFrame)) }

// unlocked calls f while others have the connection.
func (c *conn) unlocked(f func() error) error {
	c.mu.Unlock()
	defer c.mu.Lock()
	return f()
}

// wake writes what there is to write, for others than the reader. If nothing is left to be answered, it
// has the reader go on: that one waits for frames, of which none may come.
func (c *conn) wake() {
	if c.flush(); c.over() && !c.departs {
		_ = c.net.SetReadDeadline(time.Now())
	}
}

// writer is what the framer writes to.
type writer struct{ *conn }

func (w writer) Write(b []byte) (int, error) {
	w.out = append(w.out, b...)
	return len(b), nil
}

// flush writes what there is to write.
func (c *conn) flush() {
	if c.widened {
		c.unblock()
	}
	c.write()
}

// write writes what has been made to be written, or fails the connection.
func (c *conn) write() {
	if c.departs || c.failed != nil { // at least half of the connection is closed
		c.out = nil
	}
	if len(c.out) == 0 {
		return
	}
	err := c.net.SetWriteDeadline(time.Now().Add(c.server.options.Patience))
	if err == nil {
		_, err = c.net.Write(c.out)
	}
	if err == nil && c.server.options.TLS != nil { // which may have to write while it reads, much later
		err = c.net.SetWriteDeadline(time.Time{})
	}
	if c.out = c.out[:0]; cap(c.out) > 4*fullBuffer {
		c.out = nil // one that was once long need not stay so
	}
	if err != nil {
		c.fail(err)
	}
}

// fail has the reader end.
func (c *conn) fail(err error) {
	c.failed = err
	c.abort()
}

// abort ends the connection at once. It needs no lock.
func (c *conn) abort() { _ = c.place.Conn.Close() }

// end is what the reader leaves behind: nobody waits for an answer any more.
func (c *conn) end() {
	c.ended = true
	if c.alive != nil {
		c.alive.Stop()
	}
	for _, k := range c.calls {
		c.drop(k)
	}
	if !c.enqueued { // no worker will
		for _, w := range c.later {
			c.release(w.held)
		}
		c.later = nil
	}
	if c.failed == nil {
		c.fail(io.EOF)
	}
}

// part ends the connection, and tells its peer what it did wrong, if it did anything.
func (c *conn) part(err error) {
	code := http2.ErrCodeNo
	var wrong http2.ConnectionError
	switch {
	case c.framer == nil:
		return // it spoke no HTTP/2
	case errors.As(err, &wrong):
		code = http2.ErrCode(wrong)
	case errors.Is(err, http2.ErrFrameTooLarge):
		code = http2.ErrCodeFrameSize
	case c.over():
		c.depart()
		return
	default:
		return // it has gone, or the connection has failed
	}
	last := c.last
	if c.draining == refusing {
		last = c.served // it may not grow
	}
	_ = c.framer.WriteGoAway(last, code, nil)
	c.depart()
}

// depart writes what there is to write, and waits a little until the peer has seen it: a socket that
// is closed while bytes come in takes back what was sent.
func (c *conn) depart() {
	if c.flush(); c.failed != nil {
		return
	}
	c.departs = true
	half, ok := c.net.(interface{ CloseWrite() error })
	if ok && half.CloseWrite() != nil || c.net.SetReadDeadline(time.Now().Add(linger)) != nil {
		return
	}
	_ = c.unlocked(func() error {
		_, err := io.CopyN(io.Discard, c.net, connWindow) // no honest peer has more on the way
		return err
	})
}

// watch looks after what may not take for ever.
func (c *conn) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.departs {
		return
	}
	c.watchCalls()
	c.watchSilence()
	if c.draining == warned && c.warnedBefore {
		c.refuse() // it does not say that it has heard
	}
	c.warnedBefore = c.draining == warned
	c.wake()
	c.alive.Reset(c.server.options.Patience)
}

// watchCalls refuses those whose messages are still not whole, and resets those whose answers are
// still not taken: they hold what others need.
func (c *conn) watchCalls() {
	for _, k := range c.calls {
		switch {
		case k.whole && len(k.answer) == 0: // it is being answered
		case !k.old:
			k.old = true
		case k.whole:
			c.reset(k.id, http2.ErrCodeEnhanceYourCalm)
		default:
			c.close(k, refusal(errLate), false)
		}
	}
}

// watchSilence asks a peer that has been silent for long for a sign of life, and ends the connection
// if there is none.
func (c *conn) watchSilence() {
	if reads := c.reads.Load(); reads != c.seen {
		c.seen, c.pinged, c.silent = reads, false, 0
		return
	}
	switch c.silent += c.server.options.Patience; {
	case c.pinged:
		c.fail(errors.New("unary: the peer gives no sign of life"))
	case c.silent >= c.server.options.Silence:
		c.pinged = true
		_ = c.framer.WritePing(false, [8]byte{})
	}
}

// drain tells the peer to send no more calls. Those that it has sent before it hears so are served:
// it is told a second time how far, once it has answered a ping.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.draining != serving {
		return
	}
	c.draining = warned
	if c.framer != nil {
		c.warn()
		c.flush()
		return
	}
	// Its first calls may have been sent already: greet tells it, if it begins soon.
	if err := c.place.Conn.SetReadDeadline(time.Now().Add(linger)); err != nil {
		c.fail(err)
	}
}

// warn writes what tells a peer to send no more calls.
func (c *conn) warn() {
	_ = c.framer.WriteGoAway(maxWindow, http2.ErrCodeNo, nil)
	_ = c.framer.WritePing(false, drainPing)
}

// refuse says how far calls are served.
func (c *conn) refuse() {
	c.draining, c.served = refusing, c.last
	_ = c.framer.WriteGoAway(c.last, http2.ErrCodeNo, nil)
}
