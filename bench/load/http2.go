package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
)

// maxInFlight bounds the requests on their way on one connection; a power of two.
const maxInFlight = 4096

// HTTP2 is one HTTP/2 connection. One run at a time uses it.
type HTTP2 struct {
	conn    net.Conn
	in      *bufio.Reader
	framer  *http2.Framer // reads
	decoder *hpack.Decoder
	fields  fields // of the header block that is being decoded

	first, later []byte // the common fields' block: of the first request, and of all others

	batch bytes.Buffer  // frames that wait to be written
	out   *http2.Framer // writes into batch

	mu       sync.Mutex
	moved    sync.Cond // a run at a fixed rate may go on: there is room, or it has failed
	window   int       // bytes of bodies that may still be sent
	consumed uint32    // bytes of answers that the server has not been told are read
	acks     int       // settings of the server to be acknowledged
	pings    [][8]byte // to be answered
	next     uint32    // the next request's stream
	open     int       // requests on their way
	greatest int       // the server's limit of them
	streams  [maxInFlight]stream
	err      error // why no more can be sent
}

// stream is one request on its way.
type stream struct {
	id      uint32 // 0: free
	due     time.Time
	request *Request
	status  int
	grpc    int // grpc-status; -1 until it came
	message []byte
}

// fields are those of a header block that the verdict hangs on.
type fields struct{ status, grpc int }

// DialHTTP2 connects to host:port or unix:/path. Requests on the connection have headers in common.
func DialHTTP2(ctx context.Context, address string, headers []Header) (*HTTP2, error) {
	conn, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	c := &HTTP2{conn: conn, in: bufio.NewReaderSize(conn, 128<<10), window: 65535, next: 1,
		greatest: 100} // until the server's settings say otherwise, as RFC 9113 recommends
	c.moved.L = &c.mu
	c.framer, c.out = http2.NewFramer(nil, c.in), http2.NewFramer(&c.batch, nil)
	c.framer.SetReuseFrames()
	c.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { c.fields.note(f) })
	// The first block fills the compression's table, and every other one refers to it: as a client
	// does that sends much the same each time.
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, into := range []*[]byte{&c.first, &c.later} {
		block.Reset()
		for _, h := range headers {
			if err := e.WriteField(hpack.HeaderField{Name: h.Name, Value: h.Value}); err != nil {
				return nil, errors.Join(fmt.Errorf("load: header %s: %w", h.Name, err), conn.Close())
			}
		}
		*into = bytes.Clone(block.Bytes())
	}
	c.batch.WriteString(http2.ClientPreface)
	err = errors.Join(c.out.WriteSettings(), c.out.WriteWindowUpdate(0, 1<<30), c.flush())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load: %w", err), conn.Close())
	}
	return c, nil
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return conn, nil
}

// Close ends the connection.
func (c *HTTP2) Close() error { return c.conn.Close() }

func (f *fields) note(h hpack.HeaderField) {
	into := &f.status
	switch h.Name {
	case ":status":
	case "grpc-status":
		into = &f.grpc
	default:
		return
	}
	// What is no number stays what no answer is.
	if n, err := strconv.Atoi(h.Value); err == nil {
		*into = n
	}
}

// Run sends what plan says and returns when all is answered. After an error the connection is of
// no use any more.
func (c *HTTP2) Run(ctx context.Context, plan Plan) (Result, error) {
	r := newResult()
	if err := plan.validate(); err != nil {
		return r, err
	}
	defer context.AfterFunc(ctx, func() { _ = c.conn.Close() })() // reads and writes then fail
	began := time.Now()
	var err error
	if plan.Rate > 0 {
		err = c.atRate(&plan, &r, began)
	} else {
		err = c.asAnswered(&plan, &r, began)
	}
	r.Elapsed = time.Since(began)
	if err == nil && r.Sent == 0 {
		err = errors.New("load: nothing was sent")
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return r, err
}

// asAnswered keeps InFlight requests on their way.
func (c *HTTP2) asAnswered(plan *Plan, r *Result, began time.Time) error {
	over := false
	for i := 0; ; {
		now := time.Now()
		c.mu.Lock()
		for !over && c.open < min(plan.InFlight, c.greatest) {
			if over = plan.over(i, now.Sub(began)); over {
				break
			}
			request := plan.request(i)
			if c.window < len(request.data) {
				break
			}
			if err := c.put(request, now); err != nil {
				c.mu.Unlock()
				return err
			}
			i++
		}
		open := c.open
		c.mu.Unlock()
		if err := c.flush(); err != nil {
			return err
		}
		if over && open == 0 {
			return nil
		}
		// All that has come, so that what is sent for it goes out in one piece.
		for more := true; more; more = c.in.Buffered() > 0 {
			if err := c.read(r); err != nil {
				return err
			}
		}
	}
}

// atRate sends each request when it is due. Another goroutine reads the answers.
func (c *HTTP2) atRate(plan *Plan, r *Result, began time.Time) error {
	read := make(chan error, 1)
	done := false // all has been sent; guarded by mu
	go func() {
		for {
			if err := c.read(r); err != nil {
				c.mu.Lock()
				c.err = err
				c.moved.Broadcast()
				c.mu.Unlock()
				read <- err
				return
			}
			c.mu.Lock()
			c.moved.Signal()
			over := done && c.open == 0
			c.mu.Unlock()
			if over {
				read <- nil
				return
			}
		}
	}()
	err := c.sendAtRate(plan, r, began)
	c.mu.Lock()
	done = true
	c.mu.Unlock()
	if err == nil { // an answer that ends the reader's wait if all were there already
		c.mu.Lock()
		err = c.out.WritePing(false, [8]byte{})
		c.mu.Unlock()
		err = errors.Join(err, c.flush())
	}
	if err != nil {
		_ = c.conn.Close() // the reader then ends too
	}
	return errors.Join(<-read, err)
}

// together is how long requests that are due wait at most to be sent with others in one write, as those
// of an Envoy are that answers many connections in turn. They are late by that, and what is late is
// counted as such.
const together = 100 * time.Microsecond

func (c *HTTP2) sendAtRate(plan *Plan, r *Result, began time.Time) error {
	pace, err := newPacer()
	if err != nil {
		return err
	}
	defer pace.close()
	var woken time.Time
	for i := 0; ; i++ {
		after := time.Duration(float64(i) / plan.Rate * float64(time.Second))
		if plan.over(i, after) {
			return nil
		}
		due := began.Add(after)
		if now := time.Now(); now.Before(due) {
			if err := c.flush(); err != nil {
				return err
			}
			if soonest := woken.Add(together); due.Before(soonest) {
				pace.until(soonest)
			} else {
				pace.until(due)
			}
			woken = time.Now()
		}
		if err := r.Late.RecordValue(min(max(int64(time.Since(due)), 1_000),
			int64(time.Minute))); err != nil {
			return err
		}
		request := plan.request(i)
		c.mu.Lock()
		// Without room the request waits, and its time goes on.
		for c.err == nil && (c.open >= min(plan.InFlight, c.greatest) || c.window < len(request.data)) {
			c.mu.Unlock()
			err := c.flush()
			c.mu.Lock()
			if err != nil {
				c.err = err
			} else if c.err == nil && (c.open >= min(plan.InFlight, c.greatest) ||
				c.window < len(request.data)) {
				c.moved.Wait()
			}
		}
		err := c.err
		if err == nil {
			err = c.put(request, due)
		}
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// put adds a request to the batch. The caller holds mu and has seen that there is room.
func (c *HTTP2) put(request *Request, due time.Time) error {
	s := &c.streams[c.next/2%maxInFlight]
	if s.id != 0 {
		return fmt.Errorf("load: stream %d is not answered and %d others are", s.id, maxInFlight)
	}
	*s = stream{id: c.next, due: due, request: request, grpc: -1, message: s.message[:0]}
	block := c.later
	if c.next == 1 {
		block = c.first
	}
	if len(request.own) > 0 {
		block = append(bytes.Clone(block), request.own...)
	}
	err := c.out.WriteHeaders(http2.HeadersFrameParam{
		StreamID: c.next, BlockFragment: block, EndHeaders: true, EndStream: request.data == nil,
	})
	if request.data != nil {
		err = errors.Join(err, c.out.WriteData(c.next, true, request.data))
		c.window -= len(request.data)
	}
	c.next += 2
	c.open++
	return err
}

// flush writes the batch, with what the server is to be told besides. Only the sender calls it.
func (c *HTTP2) flush() error {
	c.mu.Lock()
	var err error
	for ; c.acks > 0; c.acks-- {
		err = errors.Join(err, c.out.WriteSettingsAck())
	}
	for _, data := range c.pings {
		err = errors.Join(err, c.out.WritePing(true, data))
	}
	c.pings = c.pings[:0]
	if c.consumed > 1<<20 {
		err = errors.Join(err, c.out.WriteWindowUpdate(0, c.consumed))
		c.consumed = 0
	}
	c.mu.Unlock()
	if err != nil || c.batch.Len() == 0 {
		return err
	}
	_, err = c.conn.Write(c.batch.Bytes())
	c.batch.Reset()
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return nil
}

// read reads one frame.
func (c *HTTP2) read(r *Result) error {
	frame, err := c.framer.ReadFrame()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the server has closed the connection")
		}
		return fmt.Errorf("load: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		return c.headers(f, r)
	case *http2.DataFrame:
		c.consumed += f.Length
		s, err := c.stream(f.StreamID)
		if err != nil {
			return err
		}
		if s.request.check {
			s.message = append(s.message, f.Data()...)
		}
		if f.StreamEnded() {
			return c.end(s, r)
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			c.window += int(f.Increment)
		}
	case *http2.SettingsFrame:
		if !f.IsAck() {
			c.acks++
			if n, ok := f.Value(http2.SettingMaxConcurrentStreams); ok {
				c.greatest = int(min(n, maxInFlight))
			}
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			c.pings = append(c.pings, f.Data)
		}
	case *http2.GoAwayFrame:
		return fmt.Errorf("load: the server ends the connection: %v", f.ErrCode)
	case *http2.RSTStreamFrame:
		return fmt.Errorf("load: the server has reset stream %d: %v", f.StreamID, f.ErrCode)
	}
	return nil
}

func (c *HTTP2) stream(id uint32) (*stream, error) {
	s := &c.streams[id/2%maxInFlight]
	if s.id != id || id == 0 {
		return nil, fmt.Errorf("load: an answer on stream %d, on which nothing was asked", id)
	}
	return s, nil
}

func (c *HTTP2) headers(f *http2.HeadersFrame, r *Result) error {
	if !f.HeadersEnded() {
		return errors.New("load: an answer's headers came in several frames")
	}
	c.fields = fields{grpc: -1}
	if _, err := c.decoder.Write(f.HeaderBlockFragment()); err != nil {
		return fmt.Errorf("load: an answer's headers: %w", err)
	}
	s, err := c.stream(f.StreamID)
	if err != nil {
		return err
	}
	if c.fields.status != 0 {
		s.status = c.fields.status
	}
	if c.fields.grpc >= 0 {
		s.grpc = c.fields.grpc
	}
	if f.StreamEnded() {
		return c.end(s, r)
	}
	return nil
}

// end judges an answer that is whole.
func (c *HTTP2) end(s *stream, r *Result) error {
	s.id = 0
	c.open--
	verdict, why := judgeStatus(s.status)
	if s.request.check {
		verdict, why = s.judgeCheck()
	}
	return r.record(s.request.Want, verdict, why, time.Since(s.due))
}

// judgeCheck is the verdict of an ext_authz answer: as in Envoy, only status.code of the message
// decides (CheckResponse.status, field 1; Status.code, field 1).
func (s *stream) judgeCheck() (Verdict, string) {
	if s.status != 200 || s.grpc != 0 || len(s.message) < 5 || s.message[0] != 0 {
		return Broken, fmt.Sprintf("status %d, grpc-status %d, %d bytes", s.status, s.grpc,
			len(s.message))
	}
	code, err := checkCode(s.message[5:])
	switch {
	case err != nil:
		return Broken, err.Error()
	case code == 0:
		return Allowed, "code 0"
	}
	return Refused, "code " + strconv.FormatUint(code, 10)
}

func checkCode(message []byte) (code uint64, err error) {
	err = walk(message, func(number protowire.Number, value []byte, _ uint64) error {
		if number != 1 {
			return nil
		}
		return walk(value, func(number protowire.Number, _ []byte, n uint64) error {
			if number == 1 {
				code = n
			}
			return nil
		})
	})
	return code, err
}

// walk calls visit for each field of a message.
func walk(message []byte, visit func(protowire.Number, []byte, uint64) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		var value []byte
		var integer uint64
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			integer, n = protowire.ConsumeVarint(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := visit(number, value, integer); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}
