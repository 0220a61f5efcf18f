package extauthz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// Keys fetches what the engine misses.
type Keys interface {
	// Await has the keys of an issuer fetched, unless that was done lately, and reports whether the
	// key is there now. It returns when ctx ends at the latest.
	Await(ctx context.Context, issuer, keyID string) bool
}

// Recorder takes audit events, within a limit of its own: *audit.Log is one.
type Recorder interface {
	// Offer records an event of which only the name, the outcome and the reason are known, and
	// reports whether it has a line; fill, called before Offer returns, fills in the rest, and is
	// called only then. It must not block.
	Offer(e audit.Event, fill func(*audit.Event)) bool
}

// Options is what a Server needs beside its engine. Instant and Ready are needed.
type Options struct {
	Instant  func() revocation.Instant // the clocks by which the revocations' freshness is told
	Ready    func() error              // nil while the gate may be asked
	Keys     Keys                      // nil: what the gate has must do
	Audit    Recorder                  // nil: no audit lines
	Logger   *slog.Logger              // nil: silent
	Registry prometheus.Registerer     // nil: metrics go nowhere
}

// Server answers Envoy.
type Server struct {
	engine  *authz.Engine
	config  Config
	options Options
	answers answers
	broken  *answer // when all else fails
	waiting chan struct{}
	metrics *metrics
	audit   *auditor
	grpc    *grpc.Server

	byEnvoy    bool          // it is Envoy that removes misspelt identity headers
	unstripped *rate.Limiter // of log lines that it does not

	panics   *rate.Limiter
	unlogged atomic.Uint64 // panics since the last one that was logged
}

// New makes a server. engine must have been made with NewWire(c).
func New(engine *authz.Engine, c Config, o Options) (*Server, error) {
	if engine == nil || o.Instant == nil || o.Ready == nil {
		return nil, errors.New("extauthz: expected an engine, Instant and Ready, got none")
	}
	if err := errors.Join(c.Validate(), c.Streams.Validate()); err != nil {
		return nil, fmt.Errorf("extauthz: %w", err)
	}
	// Made ahead, so that there is a refusal to send whatever fails later.
	broken, ok := engine.Refusal(token.ReasonInternal).Wire.(*answer)
	if !ok {
		return nil, errors.New("extauthz: expected an engine made with NewWire")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		engine: engine, config: c, options: o, answers: newAnswers(c), broken: broken,
		waiting: make(chan struct{}, c.KeyWaiters),
		metrics: newMetrics(o.Registry),
		panics:  rate.NewLimiter(panicRate, panicBurst),
		byEnvoy: c.Strip == stripEnvoy, unstripped: rate.NewLimiter(rate.Every(time.Minute), 1),
	}
	s.audit = &auditor{recorder: o.Audit, metrics: s.metrics}
	s.grpc = grpc.NewServer(serverOptions(c)...)
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
	go func() { served <- s.grpc.Serve(netutil.LimitListener(l, s.config.MaxConnections)) }()
	select {
	case err := <-served: // Drain has stopped it, or it has failed
		if err != nil && ctx.Err() == nil {
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
		s.grpc.GracefulStop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
	}
}

// Panicked counts a panic that was recovered from, the engine's too, and logs it within a limit: if
// a request can bring one about, whoever has found it can send as many as they like.
func (s *Server) Panicked(what string, stack []byte) {
	s.metrics.panics.Inc()
	if !s.panics.Allow() {
		s.unlogged.Add(1)
		return
	}
	s.options.Logger.Error("recovered from a panic; the request was refused", "panic", what,
		"unlogged", s.unlogged.Swap(0), "stack", string(stack))
}

// Panics that are logged, a second and at once.
const (
	panicRate  = 1
	panicBurst = 10
)
