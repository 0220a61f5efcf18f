package unary_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sallyport/sallyport/internal/unary"
)

// piped is a listener of one connection, which is handed in.
type piped struct {
	conns chan net.Conn
	ended chan struct{}
}

func (l *piped) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

func (l *piped) Close() error {
	select {
	case <-l.ended:
	default:
		close(l.ended)
	}
	return nil
}

func (l *piped) Addr() net.Addr { return &net.UnixAddr{Name: "piped", Net: "unix"} }

// seed writes frames.
func seed(write func(f *http2.Framer, block func(...string) []byte)) []byte {
	var all, fields bytes.Buffer
	encoder := hpack.NewEncoder(&fields)
	write(http2.NewFramer(&all, nil), func(more ...string) []byte {
		fields.Reset()
		names := append([]string{
			":method", "POST", ":scheme", "http", ":path", path, "content-type", "application/grpc",
		}, more...)
		for n := 0; n < len(names); n += 2 {
			_ = encoder.WriteField(hpack.HeaderField{Name: names[n], Value: names[n+1]})
		}
		return fields.Bytes()
	})
	return all.Bytes()
}

// FuzzConnection: whatever a peer sends, nothing panics, what it is sent are frames, the connection
// ends when the peer has gone, and nothing is held any more.
func FuzzConnection(f *testing.F) {
	call := func(f *http2.Framer, id uint32, block []byte, message string) {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true})
		_ = f.WriteData(id, true, prefixed(message))
	}
	for _, write := range []func(*http2.Framer, func(...string) []byte){
		func(*http2.Framer, func(...string) []byte) {},
		func(f *http2.Framer, block func(...string) []byte) {
			_ = f.WriteSettings()
			for n, message := range []string{"q", "w", "x", "e", "E", "2", "3", "l", ""} {
				call(f, uint32(2*n+1), block(), message)
			}
			_ = f.WriteRSTStream(5, http2.ErrCodeCancel)
			_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
		},
		func(f *http2.Framer, block func(...string) []byte) {
			_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			call(f, 1, block("grpc-timeout", "1m"), "l")
			_ = f.WriteWindowUpdate(1, 20_000)
			_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
			_ = f.WriteWindowUpdate(0, 1<<20)
			_ = f.WritePing(false, [8]byte{1})
			_ = f.WritePriority(1, http2.PriorityParam{StreamDep: 3})
		},
		func(f *http2.Framer, block func(...string) []byte) {
			_ = f.WriteSettings()
			b := block("x", "y")
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:5]})
			_ = f.WriteContinuation(1, true, b[5:])
			for _, part := range prefixed("working") {
				_ = f.WriteDataPadded(1, false, []byte{part}, make([]byte, 3))
			}
			_ = f.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 1, BlockFragment: []byte("\x00\x01x\x01y"), EndHeaders: true, EndStream: true,
			})
		},
	} {
		f.Add(seed(write))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		var panics atomic.Int64
		o := options()
		o.MaxStreams, o.MaxMessage, o.MaxHeld = 8, 4096, 64<<10
		o.Panicked = func(error) { panics.Add(1) }
		o.Refused = func(net.Addr, bool) {}
		b := &bench{release: make(chan struct{})}
		s := unary.New(map[string]func() unary.Method{
			path: func() unary.Method { return careful{&method{b}} },
		}, o)
		l := &piped{make(chan net.Conn), make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(l) }()
		ours, its := net.Pipe()
		l.conns <- its
		_ = ours.SetDeadline(time.Now().Add(20 * time.Second))
		read := make(chan error, 1)
		go func() {
			framer := http2.NewFramer(nil, ours)
			for {
				if _, err := framer.ReadFrame(); err != nil {
					read <- err
					return
				}
			}
		}()
		if _, err := io.WriteString(ours, http2.ClientPreface); err == nil {
			_, _ = ours.Write(sent) // the server may have gone
		}
		_ = ours.Close()
		if err := <-read; !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) &&
			!errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the peer was sent no frame: %v", err)
		}
		s.Stop()
		if err := <-ended; !errors.Is(err, unary.ErrStopped) {
			t.Errorf("the server ended with %v", err)
		}
		if n := panics.Load(); n > 0 {
			t.Errorf("%d panics", n)
		}
		if n := s.Held(); n != 0 {
			t.Errorf("%d bytes are held", n)
		}
	})
}

// careful never panics.
type careful struct{ *method }

func (c careful) Quick(request, to []byte) ([]byte, bool) {
	if k := kind(request); k == panicsQ || k == panicsW || k == panicsX {
		return reply(request, to), true
	}
	return c.method.Quick(request, to)
}
