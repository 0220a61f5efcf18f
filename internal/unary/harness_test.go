package unary_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"github.com/sallyport/sallyport/internal/unary"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const path = "/test.Service/Ask"

// method answers by a request's first byte, with "re:" and the request, or as often as its second
// byte says.
type method struct{ *bench }

const (
	quickly = 'q'
	working = 'w'
	waiting = 'x' // until bench.release is closed, or the call ends
	failing = 'e'
	strange = 'E' // an error that is no status
	panicsQ = '1'
	panicsW = '2'
	panicsX = '3'
	long    = 'l' // quickly, 100,000 bytes
	hooked  = 'h' // quickly, after bench.hook of the rest
)

const longAnswer = 100_000

func reply(request, to []byte) []byte {
	if len(request) > 0 && request[0] == long {
		return append(to, bytes.Repeat(request[:1], longAnswer)...)
	}
	return append(append(to, "re:"...), request...)
}

func kind(request []byte) byte {
	if len(request) == 0 {
		return quickly
	}
	return request[0]
}

func (m *method) Quick(request, to []byte) ([]byte, bool) {
	switch kind(request) {
	case hooked:
		m.hook(string(request[1:]))
		return reply(request, to), true
	case quickly, long:
		return reply(request, to), true
	case panicsQ:
		panic("quick")
	}
	return append(to, "half"...), false
}

func (m *method) Work(request, to []byte) ([]byte, bool) {
	m.worked.Add(1)
	if n := m.working.Add(1); n > m.together.Load() {
		m.together.Store(n)
	}
	defer m.working.Add(-1)
	switch kind(request) {
	case working:
		return reply(request, to), true
	case panicsW:
		panic("work")
	}
	return append(to, "half"...), false
}

var errCause = &unary.Error{Code: codes.NotFound, Text: "there is none"}

func (m *method) Wait(ctx context.Context, request, to []byte) ([]byte, error) {
	switch kind(request) {
	case failing:
		return nil, errCause
	case strange:
		return nil, errors.New("a secret")
	case panicsX:
		panic("wait")
	}
	m.waits.Add(1)
	defer m.waits.Add(-1)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-m.release:
		return reply(request, to), nil
	}
}

// bench is a server on loopback.
type bench struct {
	server  *unary.Server
	address string
	release chan struct{}
	hook    func(string)
	ended   chan error

	worked, panics, refused, strangers atomic.Int64
	waits, working, together           atomic.Int64
}

func options() unary.Options {
	return unary.Options{
		MaxConnections: 100, MaxMessage: 256 << 10, MaxStreams: 100, MaxHeld: 16 << 20,
		Handshake: 10 * time.Second, Silence: time.Minute, Patience: time.Minute,
	}
}

// start runs a server until the test ends, after which it holds nothing.
func start(t testing.TB, change ...func(*unary.Options)) *bench {
	t.Helper()
	b := &bench{release: make(chan struct{}), ended: make(chan error, 1)}
	o := options()
	o.Panicked = func(error) { b.panics.Add(1) }
	o.Refused = func(_ net.Addr, stranger bool) {
		b.refused.Add(1)
		if stranger {
			b.strangers.Add(1)
		}
	}
	for _, f := range change {
		f(&o)
	}
	b.server = unary.New(map[string]func() unary.Method{
		path: func() unary.Method { return &method{b} },
	}, o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.address = l.Addr().String()
	go func() { b.ended <- b.server.Serve(l) }()
	t.Cleanup(func() {
		b.server.Stop()
		if err := <-b.ended; !errors.Is(err, unary.ErrStopped) {
			t.Errorf("the server ended with %v", err)
		}
		if n := b.server.Held(); n != 0 {
			t.Errorf("%d bytes are held when nothing runs", n)
		}
	})
	return b
}

// peer is a connection whose frames the test writes and reads.
type peer struct {
	net.Conn
	*http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer
	name    string // of a field whose value is to come
	decoder *hpack.Decoder
	fields  map[string]string // of the last block that was read
	streams map[uint32]*end   // that have begun to be answered
	bodies  map[uint32][]byte
}

// connect begins HTTP/2, and has read the server's settings.
func (b *bench) connect(t testing.TB, settings ...http2.Setting) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, conn)
	p.must(t, p.WriteSettings(settings...))
	return p
}

func newPeer(t testing.TB, conn net.Conn) *peer {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	p := &peer{
		Conn: conn, Framer: http2.NewFramer(conn, conn), streams: map[uint32]*end{},
		bodies: map[uint32][]byte{},
	}
	p.encoder = hpack.NewEncoder(&p.block)
	p.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { p.fields[f.Name] = f.Value })
	p.must(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err := io.WriteString(conn, http2.ClientPreface)
	p.must(t, err)
	return p
}

func (p *peer) must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open begins a call; more are header fields by name and value.
func (p *peer) open(t testing.TB, id uint32, end bool, more ...string) {
	t.Helper()
	all := append([]string{
		":method", "POST", ":scheme", "http", ":path", path, "content-type", "application/grpc",
		"te", "trailers",
	}, more...)
	p.headers(t, id, end, all...)
}

func (p *peer) headers(t testing.TB, id uint32, end bool, all ...string) {
	t.Helper()
	p.block.Reset()
	for f := range slices.Chunk(all, 2) {
		p.must(t, p.encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	p.must(t, p.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: p.block.Bytes(), EndHeaders: true, EndStream: end,
	}))
}

// fieldPair adds a name to the block, and with the next text its value.
func (p *peer) fieldPair(text string) {
	if p.name == "" {
		p.name = text
		return
	}
	_ = p.encoder.WriteField(hpack.HeaderField{Name: p.name, Value: text})
	p.name = ""
}

// prefixed is a message as it goes over the wire.
func prefixed(message string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// call sends a whole call.
func (p *peer) call(t testing.TB, id uint32, message string) {
	t.Helper()
	p.open(t, id, false)
	p.must(t, p.WriteData(id, true, prefixed(message)))
}

// asks sends a whole call that is the next to be answered, and wants its answer.
func (p *peer) asks(t testing.TB, id uint32, message string) {
	t.Helper()
	p.call(t, id, message)
	if got, e := p.next(t); got != id || e != answered(message) {
		t.Errorf("got %d, %+v", got, e)
	}
}

// end is how a stream ended.
type end struct {
	status  string // of HTTP
	code    string // of gRPC
	text    string
	message string
	reset   http2.ErrCode
	isReset bool
}

// next reads until a stream has ended, and tells how. Windows are given back as frames come.
func (p *peer) next(t testing.TB) (id uint32, e end) {
	t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			t.Fatalf("no stream has ended: %v", err)
		}
		id = f.Header().StreamID
		if p.streams[id] == nil {
			p.streams[id] = &end{}
		}
		s := p.streams[id]
		switch f := f.(type) {
		case *http2.HeadersFrame:
			p.fields = map[string]string{}
			_, err := p.decoder.Write(f.HeaderBlockFragment())
			p.must(t, errors.Join(err, p.decoder.Close()))
			s.status += p.fields[":status"]
			s.code, s.text = p.fields["grpc-status"], p.fields["grpc-message"]
			if f.StreamEnded() {
				if body := p.bodies[id]; len(body) >= 5 {
					s.message = string(body[5:])
				}
				return id, *s
			}
		case *http2.DataFrame:
			p.bodies[id] = append(p.bodies[id], f.Data()...)
			if f.Length > 0 {
				p.must(t, errors.Join(p.WriteWindowUpdate(0, f.Length), p.WriteWindowUpdate(id, f.Length)))
			}
		case *http2.RSTStreamFrame:
			s.reset, s.isReset = f.ErrCode, true
			return id, *s
		case *http2.SettingsFrame:
			if !f.IsAck() {
				p.must(t, p.WriteSettingsAck())
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				p.must(t, p.WritePing(true, f.Data))
			}
		}
	}
}

// goAway reads until the server says that it goes, or is gone, and returns what it says.
func (p *peer) goAway(t testing.TB) (code http2.ErrCode, said bool) {
	t.Helper()
	for {
		f, err := p.ReadFrame()
		if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
			t.Fatal("the connection stays open")
		}
		if err != nil {
			return 0, false
		}
		if f, ok := f.(*http2.GoAwayFrame); ok {
			return f.ErrCode, true
		}
	}
}

func answered(message string) end {
	return end{status: "200", code: "0", message: "re:" + message}
}

func refused(code codes.Code, text string) end {
	return end{status: "200", code: strconv.Itoa(int(code)), text: text}
}

// goAwayOr reads until the server says that it goes, or answers a ping.
func (p *peer) goAwayOr(t testing.TB) (code http2.ErrCode, said bool) {
	t.Helper()
	p.must(t, p.WritePing(false, [8]byte{9}))
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return 0, true
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			return f.ErrCode, true
		case *http2.PingFrame:
			return 0, false
		}
	}
}

func isTimeout(err error) bool {
	late := net.Error(nil)
	return errors.As(err, &late) && late.Timeout()
}
