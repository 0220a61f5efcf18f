package extauthz

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/eventually"
)

func asIsOption() grpc.CallOption { return grpc.ForceCodecV2(asIs{encoding.GetCodecV2("proto")}) }

func TestAMessageOverTheLimitIsNotRead(t *testing.T) {
	b := start(t, authztest.New())
	err := b.conn.Invoke(t.Context(), "/"+serviceName+"/Check", message(make([]byte, 64<<20)),
		&authv3.CheckResponse{}, asIsOption())
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
	authztest.Compare(t, authztest.Anybody, b.ask(t, false)(authztest.Get("/public")))
}

func TestOtherMethodsAreNotServed(t *testing.T) {
	b := start(t, authztest.New())
	for _, method := range []string{
		"/" + serviceName + "/check", "/" + serviceName + "/",
		"/envoy.service.auth.v2.Authorization/Check",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/x/y",
	} {
		if err := b.conn.Invoke(t.Context(), method, message(nil), &authv3.CheckResponse{},
			asIsOption()); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: got %v", method, err)
		}
	}
}

// TestTwoMessagesInOneCheckAreNoCheck: neither is answered by a CheckResponse.
func TestTwoMessagesInOneCheckAreNoCheck(t *testing.T) {
	b := start(t, authztest.New())
	stream, err := b.conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true},
		"/"+serviceName+"/Check", asIsOption())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := stream.SendMsg(message(encoded(authztest.Get("/public"), false))); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var response authv3.CheckResponse
	if err := stream.RecvMsg(&response); status.Code(err) != codes.Internal {
		t.Errorf("got %v, %v", &response, err)
	}
	authztest.Compare(t, authztest.Anybody, b.ask(t, false)(authztest.Get("/public")))
}

// raw is a connection whose frames the test writes.
type raw struct {
	net.Conn
	*http2.Framer
	headers *hpack.Encoder
	block   *bytes.Buffer
}

func connect(t *testing.T, address string) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	block := &bytes.Buffer{}
	r := &raw{
		Conn: conn, Framer: http2.NewFramer(conn, conn), headers: hpack.NewEncoder(block),
		block: block,
	}
	if err := r.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return r
}

// open writes the headers of a check as stream id, and more of them as name, value.
func (r *raw) open(id uint32, more ...string) error {
	r.block.Reset()
	all := append([]string{
		":method",
		"POST",
		":scheme",
		"http",
		":path",
		"/" + serviceName + "/Check",
		":authority",
		"authz",
		"content-type",
		"application/grpc",
		"te",
		"trailers",
	}, more...)
	for h := range slices.Chunk(all, 2) {
		if err := r.headers.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			return err
		}
	}
	return r.WriteHeaders(
		http2.HeadersFrameParam{StreamID: id, BlockFragment: r.block.Bytes(), EndHeaders: true})
}

// trailer reads until some stream has ended, and returns a field of its trailer.
func (r *raw) trailer(t *testing.T, name string) (value string) {
	t.Helper()
	decoder := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == name {
			value = f.Value
		}
	})
	for {
		frame, err := r.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if headers, ok := frame.(*http2.HeadersFrame); ok {
			if _, err := decoder.Write(headers.HeaderBlockFragment()); err != nil {
				t.Fatal(err)
			}
			if headers.StreamEnded() {
				return value
			}
		}
	}
}

// rapidReset opens and resets streams for as long as the server takes it; what runs stays bounded,
// and honest requests are answered meanwhile.
func rapidReset(t *testing.T) {
	const streams = 20
	b := start(t, authztest.New(), func(c *Config) { c.MaxStreams = streams })
	honest := b.ask(t, false)
	authztest.Compare(t, authztest.Anybody, honest(authztest.Get("/public")))
	before := runtime.NumGoroutine()
	attacker := connect(t, b.address)
	go func() { _, _ = io.Copy(io.Discard, attacker.Conn) }()
	most := 0
	for i := range uint32(20_000) {
		if attacker.open(2*i+1) != nil || attacker.WriteRSTStream(2*i+1, http2.ErrCodeCancel) != nil {
			break // the server has had enough
		}
		if i%500 == 0 {
			most = max(most, runtime.NumGoroutine())
			authztest.Compare(t, authztest.Anybody, honest(authztest.Get("/public")))
		}
	}
	if limit := before + streams + 20; most > limit {
		t.Errorf("%d goroutines ran, want at most %d", most, limit)
	}
	authztest.Compare(t, authztest.Anybody, honest(authztest.Get("/public")))
}

// endlessContinuation sends a header list without end.
func endlessContinuation(t *testing.T) {
	b := start(t, authztest.New())
	attacker := connect(t, b.address)
	// literal fields that are not indexed
	fragment := []byte(strings.Repeat("\x00\x01x\x7f\x80\x01"+strings.Repeat("a", 255), 60))
	err := attacker.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: fragment})
	written := 0
	for ; err == nil && written < 64<<20; written += len(fragment) {
		err = attacker.WriteContinuation(1, false, fragment)
	}
	if err == nil {
		t.Errorf("the server took %d bytes of headers", written)
	}
	authztest.Compare(t, authztest.Anybody, b.ask(t, false)(authztest.Get("/public")))
}

// silentConnections say nothing, or one byte, and are closed.
func silentConnections(t *testing.T) {
	b := start(t, authztest.New())
	for _, word := range []string{"", "P", http2.ClientPreface[:23]} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", b.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, word); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(4 * handshake)); err != nil {
				t.Fatal(err)
			}
			var timeout net.Error
			if _, err := io.Copy(io.Discard, conn); errors.As(err, &timeout) && timeout.Timeout() {
				t.Error("the connection stays open")
			}
		})
	}
}

// TestConnectionsAreBounded: one more than allowed is refused, so that Envoy asks another gate, until
// there is a place. Those who say nothing have none of these places, however many they are.
func TestConnectionsAreBounded(t *testing.T) {
	b := start(t, authztest.New(), func(c *Config) { c.MaxConnections = 1 })
	for range 40 {
		conn, err := net.Dial("tcp", b.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	authztest.Compare(t, authztest.Anybody, b.ask(t, false)(authztest.Get("/public")))
	second := dial(t, b.address)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	request := message(encoded(authztest.Get("/public"), false))
	err := second.Invoke(ctx, "/"+serviceName+"/Check", request, &authv3.CheckResponse{}, asIsOption())
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a second connection: got %v", err)
	}
	for labels, least := range map[string]float64{"reason=connections": 1, "reason=strangers": 24} {
		if n := authztest.Value(t, b.registry, "sallyport_gate_connections_refused_total",
			labels); n < least {
			t.Errorf("%s: counted %v", labels, n)
		}
	}
	if err := b.conn.Close(); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the second connection is served", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return second.Invoke(ctx, "/"+serviceName+"/Check", request, &authv3.CheckResponse{},
			asIsOption()) == nil
	})
}

// TestACheckThatEnvoyGaveUpIsNoRefusal: nobody was refused, so nothing is counted and no audit line
// blames anybody.
func TestACheckThatEnvoyGaveUpIsNoRefusal(t *testing.T) {
	b := start(t, authztest.New())
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	answered, err := b.server.method().Wait(
		gone, encoded(authztest.Get("/protected"), false), nil)
	if answered != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", answered, err)
	}
	if n := authztest.Value(t, b.registry, "sallyport_gate_decisions_total", ""); n != 0 ||
		len(b.lines.All()) > 0 {
		t.Errorf("counted %v decisions and wrote %v", n, b.lines.All())
	}
}
