package extauthz

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/extauthz/door"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/token"
)

// Server answers Envoy.
type Server struct {
	config  Config
	checker *check.Checker
	answers answers
	broken  *answer // when all else fails
	grpc    *grpc.Server
}

// New makes a server. engine must have been made with NewWire(c).
func New(engine *authz.Engine, c Config, o Options) (*Server, error) {
	if engine == nil || o.Ready == nil {
		return nil, errors.New("extauthz: expected an engine and Ready, got none")
	}
	if err := errors.Join(c.Validate(), c.Streams.Validate()); err != nil {
		return nil, fmt.Errorf("extauthz: %w", err)
	}
	// Made ahead, so that there is a refusal to send whatever fails later.
	broken, ok := engine.Refusal(token.ReasonInternal).Wire.(*answer)
	if !ok {
		return nil, errors.New("extauthz: expected an engine made with NewWire")
	}
	o.Check.KeyWait, o.Check.KeyWaiters = c.KeyWait, c.KeyWaiters
	o.Check.ProxyStrips = c.Strip == door.StripEnvoy
	checker, err := check.New(engine, o.Check)
	if err != nil {
		return nil, fmt.Errorf("extauthz: %w", err)
	}
	s := &Server{config: c, checker: checker, answers: newAnswers(c), broken: broken}
	options := serverOptions(c)
	if o.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s.grpc = grpc.NewServer(options...)
	s.grpc.RegisterService(&serviceDesc, s)
	healthpb.RegisterHealthServer(s.grpc, health{ready: o.Ready})
	return s, nil
}

// Measured against a saturated gate (bench/RESULTS.md): workers save the growing of a stack a
// stream, the write buffer most system calls, and fixed windows the pings that estimate them.
const (
	streamWorkers = 64
	bufferSize    = 128 << 10
	streamWindow  = 256 << 10
	connWindow    = 1 << 20
	headerList    = 16 << 10
	handshake     = 5 * time.Second // from a connection's beginning to its HTTP/2 preface
)

func serverOptions(c Config) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.WriteBufferSize(bufferSize),
		grpc.ReadBufferSize(bufferSize),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.MaxRecvMsgSize(c.MaxMessage),
		grpc.MaxConcurrentStreams(c.MaxStreams),
		grpc.MaxHeaderListSize(headerList),
		grpc.ConnectionTimeout(handshake),
		grpc.KeepaliveParams(
			keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		// Envoy's own keepalive may be as short as a deployment wants it.
		grpc.KeepaliveEnforcementPolicy(
			keepalive.EnforcementPolicy{MinTime: 100 * time.Millisecond, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	}
}

// Run answers on l until ctx ends. It returns nil after that, and an error when it cannot go on.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	l = netutil.LimitListener(l, s.config.MaxConnections)
	go func() { served <- daemon.Guard(func() error { return s.grpc.Serve(l) }) }()
	select {
	case err := <-served: // Drain has stopped it, perhaps before it began, or it has failed
		if err != nil && !errors.Is(err, grpc.ErrServerStopped) && ctx.Err() == nil {
			return fmt.Errorf("extauthz: serve: %w", err)
		}
		<-ctx.Done()
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		<-served
		return nil
	}
}

// Drain takes no more connections and finishes the checks under way, until ctx ends; then it breaks
// them off.
func (s *Server) Drain(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// What fails here, the hard stop that comes next does not need.
		_ = daemon.Guard(func() error { s.grpc.GracefulStop(); return nil })
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
	}
}

// Checker returns what checks the requests, so that other doors of the gate count with it.
func (s *Server) Checker() *check.Checker { return s.checker }

// Panicked counts and logs a panic of the engine's that was recovered from.
func (s *Server) Panicked(what string, stack []byte) { s.checker.Panicked(what, stack) }
