package extauthz

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
)

// usual is a check as Envoy sends it for an ordinary request: 20 headers, one of them a token.
func usual(w *authztest.World) []byte {
	r := authztest.Get("/api/v1/things/42?expand=all", "authorization", "Bearer "+w.Token())
	for _, name := range strings.Fields("accept accept-encoding accept-language cache-control " +
		"cookie dnt origin pragma referer sec-fetch-mode sec-fetch-site user-agent x-forwarded-for " +
		"x-forwarded-proto x-request-id x-b3-traceid") {
		r.Headers = append(r.Headers, authz.Header{Name: name, Value: "some value of ordinary length"})
	}
	return encoded(r, false)
}

// stock is an ext_authz server as one writes it with the generated types; without an engine it lets
// everything pass.
type stock struct {
	authv3.UnimplementedAuthorizationServer
	engine *authz.Engine
}

func (s stock) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if s.engine == nil {
		return &authv3.CheckResponse{
			Status:       &status.Status{},
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
		}, nil
	}
	http := r.GetAttributes().GetRequest().GetHttp()
	request := authz.Request{Method: http.GetMethod(), Host: http.GetHost(), Path: http.GetPath()}
	for name, value := range http.GetHeaders() {
		request.Headers = append(request.Headers, authz.Header{Name: name, Value: value})
	}
	d := s.engine.Decide(&request)
	if !d.Allow {
		return &authv3.CheckResponse{
			Status: &status.Status{Code: int32(codes.Unauthenticated)},
			HttpResponse: &authv3.CheckResponse_DeniedResponse{
				DeniedResponse: &authv3.DeniedHttpResponse{
					Status: &typev3.HttpStatus{Code: typev3.StatusCode(d.Refused().Status)},
					Body:   d.Refused().Body,
				},
			},
		}, nil
	}
	ok := &authv3.OkHttpResponse{HeadersToRemove: d.Identity.Remove}
	for _, h := range d.Identity.Set {
		ok.Headers = append(ok.Headers,
			&corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: h.Name, Value: h.Value}})
	}
	return &authv3.CheckResponse{
		Status: &status.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
	}, nil
}

func serveStock(b *testing.B, engine *authz.Engine) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, stock{engine: engine})
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	b.Cleanup(func() {
		s.Stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return l.Addr().String()
}

// BenchmarkCheck compares servers under the same load. cpu-us/check is the processor time of server
// and loader together; the loader's share is the same for all.
func BenchmarkCheck(b *testing.B) {
	w := authztest.New()
	b.Run("stock always ok", func(b *testing.B) { load(b, serveStock(b, nil), usual(w)) })
	b.Run("stock and engine", func(b *testing.B) { load(b, serveStock(b, w.Engine(nil)), usual(w)) })
	b.Run("gate", func(b *testing.B) { load(b, start(b, w).address, usual(w)) })
	b.Run("gate strip all", func(b *testing.B) {
		load(b, start(b, w, func(c *Config) { c.Strip = stripAll }).address, usual(w))
	})
	b.Run("gate refusing", func(b *testing.B) {
		gate := start(b, w)
		gate.server.checker.Audit = nil
		load(b, gate.address, encoded(authztest.Get("/protected", "user-agent", "x"), false))
	})
}

func load(b *testing.B, address string, request []byte) {
	l := newLoader(b, address, request)
	if err := l.run(100); err != nil {
		b.Fatal(err)
	}
	if len(l.first) < 7 {
		b.Fatalf("the answer has %d bytes", len(l.first))
	}
	b.ReportAllocs()
	before := cpu(b)
	b.ResetTimer()
	if err := l.run(b.N); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric((cpu(b)-before)/float64(b.N), "cpu-us/check")
}

// cpu is the processor time of this process in microseconds.
func cpu(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e3
}
