package extauthz

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/extauthz/door"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/internal/unary"
)

// Server answers Envoy.
type Server struct {
	config  Config
	checker *check.Checker
	answers answers
	broken  *answer // when all else fails
	calls   *unary.Server
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
	crowd := newCrowd(c.MaxConnections, checker.Logger, o.Check.Registry)
	s.calls = unary.New(s.methods(o.Ready), unary.Options{
		MaxConnections: c.MaxConnections, MaxMessage: c.MaxMessage, MaxStreams: c.MaxStreams, MaxHeld: int64(max(maxHeld, 4*c.MaxMessage)),
		Handshake: handshake, Silence: silence, Patience: patience, TLS: o.TLS,
		Refused:  crowd.noPlace,
		Panicked: func(err error) { s.Panicked("a connection of ext_authz", []byte(err.Error())) },
	})
	return s, nil
}

const (
	// A connection may be silent for longer than Envoy's own keepalive ever is.
	silence   = 30 * time.Second
	patience  = 10 * time.Second
	handshake = 5 * time.Second // from a connection's beginning to its HTTP/2 preface
	// Of messages that have not come or gone in full, for all connections together. Checks of some KB
	// come and go at once.
	maxHeld = 64 << 20
)

func (s *Server) methods(ready func() error) map[string]func() unary.Method {
	of := func(answer func(health, []byte, []byte) ([]byte, error)) func() unary.Method {
		return func() unary.Method { return health{ready, answer} }
	}
	return map[string]func() unary.Method{
		"/" + serviceName + "/Check":   s.method,
		"/grpc.health.v1.Health/Check": of(health.check),
		"/grpc.health.v1.Health/List":  of(health.list),
	}
}

// Run answers on l until ctx ends. It returns nil after that, and an error when it cannot go on.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- daemon.Guard(func() error { return s.calls.Serve(l) }) }()
	select {
	case err := <-served: // Drain has stopped it, perhaps before it began, or it has failed
		if err != nil && !errors.Is(err, unary.ErrStopped) && ctx.Err() == nil {
			return fmt.Errorf("extauthz: serve: %w", err)
		}
		<-ctx.Done()
		return nil
	case <-ctx.Done():
		s.calls.Stop()
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
		_ = daemon.Guard(func() error { s.calls.Drain(); return nil })
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.calls.Stop()
		<-done
	}
}

// Checker returns what checks the requests, so that other doors of the gate count with it.
func (s *Server) Checker() *check.Checker { return s.checker }

// Panicked counts and logs a panic of the engine's that was recovered from.
func (s *Server) Panicked(what string, stack []byte) { s.checker.Panicked(what, stack) }
