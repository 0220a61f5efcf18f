package e2e_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// streaming is an upstream with a websocket, an event stream, a gRPC service and a request that
// is never answered.
type streaming struct {
	grpc   *grpc.Server
	events sync.Map // of the event streams by their names: what each says after its first event
}

// said returns what an event stream is to say.
func (s *streaming) said(name string) chan string {
	events, _ := s.events.LoadOrStore(name, make(chan string))
	return events.(chan string)
}

func newStreaming(t *testing.T) *streaming {
	s := &streaming{grpc: grpc.NewServer(grpc.UnknownServiceHandler(echoMessages))}
	t.Cleanup(s.grpc.Stop)
	return s
}

func echoMessages(_ any, stream grpc.ServerStream) error {
	for {
		m := &wrapperspb.StringValue{}
		if err := stream.RecvMsg(m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := stream.SendMsg(m); err != nil {
			return err
		}
	}
}

func (s *streaming) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
		s.grpc.ServeHTTP(w, r)
	case r.Header.Get("Upgrade") != "":
		echo := func(conn *websocket.Conn) { _, _ = io.Copy(conn, conn) }
		websocket.Server{Handler: echo}.ServeHTTP(w, r)
	case r.URL.Path == "/api/events":
		s.serveEvents(w, r)
	case r.URL.Path == "/api/forever":
		for r.Context().Err() == nil {
			fmt.Fprintln(w, "more")
			w.(http.Flusher).Flush()
			select {
			case <-time.After(100 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	case r.URL.Path == "/api/never":
		<-r.Context().Done()
	default:
		mesh.Echo.ServeHTTP(w, r)
	}
}

func (s *streaming) serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for event := "first"; ; {
		fmt.Fprintf(w, "data: %s\n\n", event)
		w.(http.Flusher).Flush()
		select {
		case event = <-s.said(r.URL.Query().Get("name")):
		case <-r.Context().Done():
			return
		}
	}
}

// conversation is an open stream of any kind. exchange has something go to and fro; ended
// returns when the stream has ended.
type conversation struct {
	exchange func() error
	ended    func() error
}

// openings are the ways to open a stream of each kind with a token.
var openings = map[string]func(t *testing.T, gateway, token string, up *streaming) conversation{
	"a websocket":                 openWebsocket,
	"an event stream":             openEvents,
	"a bidirectional gRPC stream": openGRPC,
}

func openWebsocket(t *testing.T, gateway, token string, _ *streaming) conversation {
	conn, err := dialWebsocket(t, gateway, "/api/websocket", token)
	if err != nil {
		t.Fatal(err)
	}
	return conversation{
		exchange: func() error {
			if err := websocket.Message.Send(conn, "hello"); err != nil {
				return err
			}
			var got string
			if err := websocket.Message.Receive(conn, &got); err != nil || got != "hello" {
				return fmt.Errorf("got %q, %w", got, err)
			}
			return nil
		},
		ended: func() error {
			var got string
			if err := websocket.Message.Receive(conn, &got); err == nil {
				return fmt.Errorf("got %q", got)
			}
			return nil
		},
	}
}

// dialWebsocket opens a websocket, which has half a minute for everything.
func dialWebsocket(t *testing.T, gateway, path, token string) (*websocket.Conn, error) {
	t.Helper()
	config, err := websocket.NewConfig("ws"+strings.TrimPrefix(gateway, "http")+path, gateway)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		config.Header.Set("Authorization", "Bearer "+token)
	}
	conn, err := websocket.DialConfig(config)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, conn.SetDeadline(time.Now().Add(30 * time.Second))
}

func openEvents(t *testing.T, gateway, token string, up *streaming) conversation {
	name := rand.Text()
	response := begin(t, gateway+"/api/events?name="+name, bearer(token),
		header("Accept", "text/event-stream"))
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the event stream was answered with %s", response.Status)
	}
	lines := bufio.NewScanner(response.Body)
	next := func(want string) error {
		for lines.Scan() {
			if event, is := strings.CutPrefix(lines.Text(), "data: "); is {
				if event != want {
					return fmt.Errorf("event %q, expected %q", event, want)
				}
				return nil
			}
		}
		return fmt.Errorf("the stream has ended: %w", errors.Join(lines.Err(), io.EOF))
	}
	if err := next("first"); err != nil {
		t.Fatal(err)
	}
	return conversation{
		exchange: func() error {
			select {
			case up.said(name) <- "later":
				return next("later")
			case <-time.After(10 * time.Second):
				return errors.New("the upstream's end of it is closed")
			}
		},
		ended: func() error {
			if lines.Scan() && lines.Text() != "" {
				return fmt.Errorf("got %q", lines.Text())
			}
			for lines.Scan() { // the end of the first event
			}
			return nil
		},
	}
}

// begin sends a GET and returns its answer unread. It has half a minute.
func begin(t *testing.T, url string, edits ...edit) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		e(r)
	}
	response, err := http.DefaultTransport.(*http.Transport).Clone().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func dialGRPC(t *testing.T, gateway string) *grpc.ClientConn {
	t.Helper()
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	conn, err := grpc.NewClient(strings.TrimPrefix(gateway, "http://"), plain)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func openGRPC(t *testing.T, gateway, token string, _ *streaming) conversation {
	ctx, stream := openGRPCStream(t, gateway, token)
	got := &wrapperspb.StringValue{}
	return conversation{
		exchange: func() error {
			if err := stream.SendMsg(wrapperspb.String("hello")); err != nil {
				return err
			}
			if err := stream.RecvMsg(got); err != nil || got.GetValue() != "hello" {
				return fmt.Errorf("got %q, %w", got.GetValue(), err)
			}
			return nil
		},
		ended: func() error {
			if err := stream.RecvMsg(got); err == nil || ctx.Err() != nil {
				return fmt.Errorf("got %q, %w", got.GetValue(), errors.Join(err, ctx.Err()))
			}
			return nil
		},
	}
}

// openGRPCStream opens a stream of the echoing service, which has half a minute.
func openGRPCStream(t *testing.T, gateway, token string) (context.Context, grpc.ClientStream) {
	t.Helper()
	conn := dialGRPC(t, gateway)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := conn.NewStream(ctx, both, "/api/Echo")
	if err != nil {
		t.Fatal(err)
	}
	return ctx, stream
}

// TestStreamsOutliveTheTimeOfARequest through the shipped file, with the times of a request cut
// to seconds: one that has begun after the streams is over for lack of an answer, another for
// taking too long, and the streams go on.
func TestStreamsOutliveTheTimeOfARequest(t *testing.T) {
	up := newStreaming(t)
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.Upstream = up
		meshtest.RunShipped(t, o,
			meshtest.Change{Old: "idle_timeout: 60s", New: "idle_timeout: 1s"},
			meshtest.Change{Old: "max_stream_duration: 360s", New: "max_stream_duration: 3s"})
	}))
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "bob")).Access
	open := map[string]conversation{}
	for name, dial := range openings {
		open[name] = dial(t, s.Endpoints().Gateway, token, up)
		if err := open[name].exchange(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a := c.get(t, "/api/never", bearer(token)); a.status != http.StatusGatewayTimeout {
		t.Errorf("a request that is not answered: %d, expected 504", a.status)
	}
	if a, err := c.try("GET", "/api/forever", nil, bearer(token)); err == nil {
		t.Errorf("an answer without an end was read to its end: %d", a.status)
	} else if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an answer without an end went on: %v", err)
	}
	for name, o := range open {
		if err := o.exchange(); err != nil {
			t.Errorf("%s, when the time of a request is over: %v", name, err)
		}
	}
}

// TestStreamsEndWithTheirToken through the shipped file: nobody closes them, and nobody says
// anything.
func TestStreamsEndWithTheirToken(t *testing.T) {
	up := newStreaming(t)
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.Upstream = up
		o.IssuerArgs = []string{"--access-token-lifetime=6s"}
		meshtest.RunShipped(t, o)
	}))
	token := newCaller(t, s.Endpoints().Gateway).login(t, user(t, s, "bob")).Access
	var wait sync.WaitGroup
	for name, dial := range openings {
		o := dial(t, s.Endpoints().Gateway, token, up)
		if err := o.exchange(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wait.Go(func() {
			if err := o.ended(); err != nil {
				t.Errorf("%s has not ended: %v", name, err)
			}
		})
	}
	wait.Wait()
}

// TestAStreamOpensWithATokenAlone: without one each kind is refused as any request is, with the
// reason; a public one opens.
func TestAStreamOpensWithATokenAlone(t *testing.T) {
	up := newStreaming(t)
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.Upstream = up
		meshtest.RunShipped(t, o)
	}))
	gateway := s.Endpoints().Gateway
	c := newCaller(t, gateway)
	upgrade := []edit{
		header("Connection", "Upgrade"), header("Upgrade", "websocket"),
		header("Sec-WebSocket-Version", "13"), header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
	}
	c.get(t, "/api/websocket", upgrade...).refused(t, 401, "unauthorized", "no_token")
	garbage := append(upgrade, bearer("garbage"))
	c.get(t, "/api/websocket", garbage...).refused(t, 401, "invalid_token", "segments")
	events := header("Accept", "text/event-stream")
	c.get(t, "/api/events", events).refused(t, 401, "unauthorized", "no_token")
	if conn, err := dialWebsocket(t, gateway, "/api/websocket", ""); err == nil {
		t.Errorf("a websocket has opened without a token: %v", conn.RemoteAddr())
	}
	// The issuer speaks no websocket.
	for _, path := range []string{"/login", "/logout", "/.well-known/jwks.json"} {
		if a := c.get(t, path, upgrade...); a.status != http.StatusForbidden {
			t.Errorf("%s: %d for a websocket, expected 403", path, a.status)
		}
	}
	if _, err := dialWebsocket(t, gateway, "/public", ""); err != nil {
		t.Errorf("a public websocket: %v", err)
	}
	token := c.login(t, user(t, s, "bob")).Access
	if _, err := dialWebsocket(t, gateway, "/api/websocket", token); err != nil {
		t.Errorf("a websocket with a token: %v", err)
	}
	conn := dialGRPC(t, gateway)
	err := conn.Invoke(t.Context(), "/api/Echo", wrapperspb.String("hello"), &wrapperspb.StringValue{})
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("gRPC without a token: %v, expected Unauthenticated", err)
	}
}

// TestTheGatewayAnswersOnIPv4AndIPv6, and knows clients by addresses of their own family.
func TestTheGatewayAnswersOnIPv4AndIPv6(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		meshtest.RunShipped(t, o, meshtest.OnEveryAddress)
	}))
	gateway := s.Endpoints().Gateway
	token := newCaller(t, gateway).login(t, user(t, s, "bob")).Access
	for host, client := range map[string]string{"127.0.0.1": "127.0.0.1", "[::1]": "::1"} {
		c := newCaller(t, strings.Replace(gateway, "127.0.0.1", host, 1))
		c.get(t, "/protected", bearer(token)).reached(t)
		c.get(t, "/protected").refused(t, 401, "unauthorized", "no_token")
		eventually.True(t, "Envoy to log a request of "+client, func() bool {
			log, err := os.ReadFile(s.Child("envoy").LogFile())
			return err == nil && strings.Contains(string(log), `{"client":"`+client+`",`)
		})
	}
}
