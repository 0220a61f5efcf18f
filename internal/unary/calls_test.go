package unary_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
	"github.com/sallyport/sallyport/internal/unary"
)

// text sends and reads messages as they are.
type text struct{}

func (text) Name() string { return "proto" }
func (text) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*string))}, nil
}
func (text) Unmarshal(b mem.BufferSlice, v any) error {
	*v.(*string) = string(b.Materialize())
	return nil
}

func dial(t testing.TB, address string, c credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(c),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(text{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func ask(ctx context.Context, conn *grpc.ClientConn, message string, o ...grpc.CallOption) (string,
	error) {
	var answer string
	err := conn.Invoke(ctx, path, &message, &answer, o...)
	return answer, err
}

// TestGRPCsOwnClientIsAnswered, many calls at a time, quickly and by workers, of every size.
func TestGRPCsOwnClientIsAnswered(t *testing.T) {
	b := start(t, func(o *unary.Options) { o.MaxHeld = 1 << 30 })
	conn := dial(t, b.address, insecure.NewCredentials())
	var all sync.WaitGroup
	for n := range 64 {
		all.Go(func() {
			for i, size := range []int{0, 1, 100, 16 << 10, 16<<10 + 1, 100_000, 256<<10 - 1} {
				kind := string("qw"[(n+i)%2])
				message := kind + strings.Repeat("a", size)
				got, err := ask(t.Context(), conn, message)
				if err != nil || got != "re:"+message {
					t.Errorf("%s and %d bytes: got %d bytes, %v", kind, size, len(got), err)
				}
			}
		})
	}
	all.Wait()
	if got, err := ask(t.Context(), conn, ""); err != nil || got != "re:" {
		t.Errorf("an empty message: got %q, %v", got, err)
	}
	if got, err := ask(t.Context(), conn, "l"); err != nil || len(got) != longAnswer {
		t.Errorf("a long answer: got %d bytes, %v", len(got), err)
	}
}

func TestErrorsAreToldAndThoseThatAreNoStatusAreNot(t *testing.T) {
	b := start(t)
	conn := dial(t, b.address, insecure.NewCredentials())
	late, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for name, row := range map[string]struct {
		ctx     context.Context
		message string
		option  grpc.CallOption
		want    *status.Status
	}{
		"a status":       {t.Context(), "e", nil, status.New(codes.NotFound, "there is none")},
		"no status":      {t.Context(), "E", nil, status.New(codes.Internal, "internal error")},
		"a panic":        {t.Context(), "2", nil, status.New(codes.Internal, "internal error")},
		"a later panic":  {t.Context(), "3", nil, status.New(codes.Internal, "internal error")},
		"too long":       {t.Context(), strings.Repeat("q", 256<<10+1), nil, status.New(codes.ResourceExhausted, "the message is longer than allowed")},
		"compressed":     {t.Context(), "q", grpc.UseCompressor(gzip.Name), status.New(codes.Unimplemented, "expected a message that is not compressed")},
		"out of time":    {late, "x", nil, status.New(codes.DeadlineExceeded, "")},
		"another method": {t.Context(), "q", nil, status.New(codes.Unimplemented, "unknown method")},
	} {
		var options []grpc.CallOption
		if row.option != nil {
			options = append(options, row.option)
		}
		var err error
		if name == "another method" {
			err = conn.Invoke(t.Context(), path+"s", &row.message, new(string))
		} else {
			_, err = ask(row.ctx, conn, row.message, options...)
		}
		if got := status.Convert(err); got.Code() != row.want.Code() ||
			row.want.Message() != "" && got.Message() != row.want.Message() {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got, err := ask(t.Context(), conn, "q"); err != nil || got != "re:q" {
		t.Errorf("a call after all that: got %q, %v", got, err)
	}
	if n := b.panics.Load(); n != 2 {
		t.Errorf("%d panics were told of, want 2", n)
	}
}

// TestAPanicOfTheReaderEndsItsConnectionAlone.
func TestAPanicOfTheReaderEndsItsConnectionAlone(t *testing.T) {
	b := start(t)
	other := b.connect(t)
	p := b.connect(t)
	p.call(t, 1, "1")
	p.goAway(t)
	eventually.True(t, "the panic is told of", func() bool { return b.panics.Load() == 1 })
	other.asks(t, 1, "q")
}

// TestACallThatIsGivenUpIsToldSo: whoever waits for it need not wait on.
func TestACallThatIsGivenUpIsToldSo(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	p.call(t, 1, "x")
	eventually.True(t, "the call waits", func() bool { return b.waits.Load() == 1 })
	p.must(t, p.WriteRSTStream(1, http2.ErrCodeCancel))
	eventually.True(t, "the call has ended", func() bool { return b.waits.Load() == 0 })
	p.call(t, 3, "x")
	eventually.True(t, "the call waits", func() bool { return b.waits.Load() == 1 })
	p.must(t, p.Close())
	eventually.True(t, "the call has ended with its connection",
		func() bool { return b.waits.Load() == 0 })
}

// TestAQuickCallWaitsForNoOther: neither for those that wait, nor for those that are worked on.
func TestAQuickCallWaitsForNoOther(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	for n := range uint32(20) {
		p.call(t, 2*n+1, "x")
	}
	p.call(t, 41, "q")
	if id, e := p.next(t); id != 41 || e != answered("q") {
		t.Errorf("got %d, %+v", id, e)
	}
	close(b.release)
	for range 20 {
		if _, e := p.next(t); e != answered("x") {
			t.Errorf("got %+v", e)
		}
	}
}

// TestAnAnswerBehindOneThatWaitsIsSent: of calls that one worker has, the first must not wait for
// the last.
func TestAnAnswerBehindOneThatWaitsIsSent(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	for n, message := range []string{"w1", "x", "w2", "x", "w3"} {
		p.call(t, uint32(2*n+1), message)
	}
	for range 3 {
		if id, e := p.next(t); id%4 != 1 || !strings.HasPrefix(e.message, "re:w") {
			t.Errorf("got %d, %+v", id, e)
		}
	}
}

// TestWhatIsNoCallIsRefused, and the connection goes on.
func TestWhatIsNoCallIsRefused(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	id := uint32(1)
	one := "expected one whole message"
	for name, row := range map[string]struct {
		fields []string // in place of those of a call
		data   []byte
		want   end
	}{
		"a GET": {
			[]string{":method", "GET", ":scheme", "http", ":path", path}, nil, end{status: "405"},
		},
		"no gRPC": {
			[]string{":method", "POST", ":scheme", "http", ":path", path, "content-type", "text/html"},
			nil, end{status: "415"},
		},
		"nearly gRPC": {
			[]string{
				":method", "POST", ":scheme", "http", ":path", path, "content-type", "application/grpcs",
			},
			nil, end{status: "415"},
		},
		"a timeout that is none": {
			[]string{
				":method", "POST", ":scheme", "http", ":path", path, "content-type", "application/grpc",
				"grpc-timeout", "+1S",
			},
			nil, refused(codes.InvalidArgument, "grpc-timeout is malformed"),
		},
		"no message":        {nil, []byte{}, refused(codes.Internal, one)},
		"half a prefix":     {nil, []byte{0, 0}, refused(codes.Internal, one)},
		"half a message":    {nil, prefixed("quick")[:7], refused(codes.Internal, one)},
		"two messages":      {nil, append(prefixed("q"), prefixed("q")...), refused(codes.Internal, one)},
		"a flag of no kind": {nil, append([]byte{2}, prefixed("q")[1:]...), refused(codes.Internal, one)},
		"a compressed one": {
			nil, append([]byte{1}, prefixed("q")[1:]...),
			refused(codes.Unimplemented, "expected a message that is not compressed"),
		},
		"a long one": {
			nil, []byte{0, 0, 4, 0, 1}, refused(codes.ResourceExhausted, "the message is longer than allowed"),
		},
	} {
		if row.fields != nil {
			p.headers(t, id, true, row.fields...)
		} else {
			p.open(t, id, false)
			p.must(t, p.WriteData(id, true, row.data))
		}
		if got, e := p.next(t); got != id || e != row.want {
			t.Errorf("%s: got %+v, want %+v", name, e, row.want)
		}
		id += 2
	}
	p.call(t, id, "q")
	if _, e := p.next(t); e != answered("q") {
		t.Errorf("got %+v", e)
	}
}

func TestTimeouts(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "1H": time.Hour, "2M": 2 * time.Minute, "3S": 3 * time.Second, "4m": 4 * time.Millisecond,
		"5u": 5 * time.Microsecond, "6n": 6, "0S": 1, "99999999H": 1<<63 - 1, "99999999S": 99999999e9,
	} {
		if got, ok := unary.ParseTimeout(text); !ok || got != want {
			t.Errorf("%q: got %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"S", "1", "1s", "1h", "-1S", "+1S", "1.5S", " 1S", "1S ", "123456789S", "1SS", "\x001S"} {
		if got, ok := unary.ParseTimeout(text); ok {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// TestTLSIsForHTTP2Alone.
func TestTLSIsForHTTP2Alone(t *testing.T) {
	authority := redistest.NewAuthority(t)
	certificate, key := authority.Pair()
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, func(o *unary.Options) {
		o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
	})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM())
	conn := dial(t, b.address, credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "localhost"}))
	for _, message := range []string{"q", "w", "q" + strings.Repeat("a", 100_000)} {
		if got, err := ask(t.Context(), conn, message); err != nil || got != "re:"+message {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	}
	if _, err := ask(t.Context(), dial(t, b.address, insecure.NewCredentials()),
		"q"); status.Code(err) != codes.Unavailable {
		t.Errorf("without TLS: got %v", err)
	}
	plain, err := tls.Dial("tcp", b.address, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := fmt.Fprint(plain, http2.ClientPreface); err == nil {
		_ = plain.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := plain.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Error("a client that has not said h2 was answered")
		}
	}
}
