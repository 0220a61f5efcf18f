package load_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/bench/load"
)

// server answers checks as the path says, and counts them.
type server struct {
	authv3.UnimplementedAuthorizationServer
	asked atomic.Int64
	slow  time.Duration
}

func (s *server) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	s.asked.Add(1)
	time.Sleep(s.slow)
	switch r.GetAttributes().GetRequest().GetHttp().GetPath() {
	case "/allow":
		return &authv3.CheckResponse{Status: &status.Status{}}, nil
	case "/refuse":
		return &authv3.CheckResponse{Status: &status.Status{Code: 7}}, nil
	}
	return nil, errors.New("broken")
}

func serve(t *testing.T, s *server) *load.HTTP2 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	authv3.RegisterAuthorizationServer(g, s)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	c, err := load.DialHTTP2(t.Context(), l.Addr().String(), load.CheckHeaders())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func check(t *testing.T, want load.Verdict, path string) *load.Request {
	t.Helper()
	message, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Path: path, Body: strings.Repeat("x", 1000)},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return load.Check(want, message)
}

func both(t *testing.T) []*load.Request {
	return []*load.Request{check(t, load.Allowed, "/allow"), check(t, load.Refused, "/refuse")}
}

// More bytes than a connection's window, so that credit is needed; several runs on one connection.
func TestEveryRequestIsSentOnceAndEveryAnswerCounted(t *testing.T) {
	s := new(server)
	c := serve(t, s)
	for _, plan := range []load.Plan{
		{Count: 1, InFlight: 1},
		{Count: 3001, InFlight: 64},
		{Count: 500, Rate: 5000, InFlight: 64},
		{Count: 500, Rate: 1e6, InFlight: 4}, // a rate that nobody can keep up with
	} {
		plan.Requests = both(t)
		before := s.asked.Load()
		r, err := c.Run(t.Context(), plan)
		if err != nil {
			t.Fatalf("%+v: %v", plan, err)
		}
		if asked := int(s.asked.Load() - before); asked != plan.Count || r.Sent != plan.Count {
			t.Errorf("expected %d, the server was asked %d, the result says %d", plan.Count, asked, r.Sent)
		}
		allowed := r.Latency[load.Allowed].TotalCount()
		if refused := r.Latency[load.Refused].TotalCount(); int(allowed) != (plan.Count+1)/2 ||
			int(refused) != plan.Count/2 {
			t.Errorf("expected half of %d each, got %d and %d", plan.Count, allowed, refused)
		}
	}
}

func TestOneWrongAnswerIsAnErrorAndNoFigure(t *testing.T) {
	right := both(t)
	for _, c := range []struct {
		name, says string
		request    *load.Request
	}{
		{"allowed", "expected refused, got allowed", check(t, load.Refused, "/allow")},
		{"refused", "expected allowed, got refused", check(t, load.Allowed, "/refuse")},
		{"an error of the server", "got broken", check(t, load.Refused, "/error")},
	} {
		for _, rate := range []float64{0, 10_000} {
			conn := serve(t, new(server))
			_, err := conn.Run(t.Context(), load.Plan{
				Requests: append([]*load.Request{c.request}, right...), First: 1, Count: 200, Rate: rate,
				InFlight: 16,
			})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s, at rate %v: expected an error with %q, got %v", c.name, rate, c.says, err)
			}
		}
	}
}

// A server that takes 20 ms for each of ten that are due at once, one at a time: the last one's
// latency counts from when it was due, not from when there was room to send it.
func TestLatencyCountsFromWhenARequestWasDue(t *testing.T) {
	c := serve(t, &server{slow: 20 * time.Millisecond})
	r, err := c.Run(t.Context(), load.Plan{Requests: both(t)[:1], Count: 10, Rate: 1e6, InFlight: 1})
	if err != nil {
		t.Fatal(err)
	}
	if longest := r.At(load.Allowed, 100); longest < 200*time.Millisecond {
		t.Errorf("expected 10 times 20 ms at least, got %v", longest)
	}
	if late := r.Late.Max(); late < int64(100*time.Millisecond) {
		t.Errorf("expected the generator to say how late it was, got %v", time.Duration(late))
	}
}

func TestARunEndsWithItsContext(t *testing.T) {
	for _, rate := range []float64{0, 1000} {
		c := serve(t, &server{slow: time.Minute})
		ctx, cancel := context.WithCancelCause(t.Context())
		told := errors.New("told to stop")
		time.AfterFunc(50*time.Millisecond, func() { cancel(told) })
		_, err := c.Run(ctx, load.Plan{Requests: both(t), Count: 100, Rate: rate, InFlight: 8})
		if !errors.Is(err, told) {
			t.Errorf("at rate %v: expected %v, got %v", rate, told, err)
		}
	}
}

func TestARunWithoutABoundIsRefused(t *testing.T) {
	c := serve(t, new(server))
	for _, p := range []load.Plan{
		{Count: 1, InFlight: 1},
		{Requests: both(t), InFlight: 1},
		{Requests: both(t), Count: 1},
		{Requests: both(t), Count: 1, InFlight: 1 << 20},
		{Requests: both(t), Count: 1, InFlight: 1, Rate: -1},
	} {
		if _, err := c.Run(t.Context(), p); err == nil {
			t.Errorf("%+v: expected an error", p)
		}
	}
}

func TestHTTP1RequestsAreCountedAndJudged(t *testing.T) {
	var asked atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch {
		case r.Header.Get("authorization") == "Bearer good" && r.Host == "shop" && r.URL.Path == "/a":
			_, _ = w.Write([]byte("served"))
		case r.URL.Path == "/a":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.WriteHeader(http.StatusBadGateway)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-served })
	good := load.GetHTTP1(load.Allowed, "shop", "/a", load.Header{Name: "authorization", Value: "Bearer good"})
	bad := load.GetHTTP1(load.Refused, "shop", "/a")
	dial := func() *load.HTTP1 {
		c, err := load.DialHTTP1(t.Context(), l.Addr().String(), 7)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	r, err := dial().Run(t.Context(), load.Plan{Requests: []*load.Request{good, bad}, Count: 701})
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent != 701 || asked.Load() != 701 {
		t.Errorf("expected 701, the server was asked %d, the result says %d", asked.Load(), r.Sent)
	}
	for _, wrong := range []*load.Request{
		load.GetHTTP1(load.Allowed, "shop", "/a"), load.GetHTTP1(load.Allowed, "shop", "/b"),
		load.GetHTTP1(load.Refused, "shop", "/b"),
		load.GetHTTP1(load.Refused, "shop", "/a", load.Header{Name: "authorization", Value: "Bearer good"}),
	} {
		_, err := dial().Run(t.Context(), load.Plan{Requests: []*load.Request{good, wrong}, Count: 50})
		if err == nil || !strings.Contains(err.Error(), "expected") {
			t.Errorf("expected an error, got %v", err)
		}
	}
}
