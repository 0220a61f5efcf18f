package relay

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/listen"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// Options are what a Server is given besides its settings. Names is needed.
type Options struct {
	Names      redislog.Names
	Revocation redislog.Config
	Files      *livefile.Files      // watches certificates and the password
	Logger     *slog.Logger         // nil: silent
	Registry   *prometheus.Registry // nil: none
}

// Server answers gates.
type Server struct {
	log      Log
	names    redislog.Names
	maxGates int
	settle   time.Duration
	username string
	password *livefile.File[config.Secret]
	tls      *tls.Config // nil: none
	config   GatesConfig
	logger   *slog.Logger

	connections prometheus.Gauge
	refused     *prometheus.CounterVec
}

// Protocol is the name that a relay's TLS has for what is spoken in it (ALPN), if a client asks.
const Protocol = "redis"

// New makes a server of log. It does not listen yet.
func New(log Log, c GatesConfig, o Options) (*Server, error) {
	s := &Server{
		log: log, names: o.Names, maxGates: o.Revocation.MaxGates, settle: o.Revocation.Settle,
		username: c.Username, config: c, logger: o.Logger,
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "sallyport", Subsystem: "relay", Name: "connections",
			Help: "Connections of gates; a gate has two.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "sallyport", Subsystem: "relay", Name: "refused_total",
			Help: "What was refused, by reason: a wrong password, or a command that no gate sends.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{"password", "command"} {
		s.refused.WithLabelValues(reason)
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.password, err = c.Password.Live(o.Files, "gates.password", nil); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	if s.tls, err = c.TLS.Open(o.Files, "gates.tls", Protocol); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	if o.Registry == nil {
		return s, nil
	}
	return s, errors.Join(o.Registry.Register(s.connections), o.Registry.Register(s.refused))
}

// Listen opens the address at which gates ask.
func (s *Server) Listen(address string) (net.Listener, error) {
	l, err := listen.Open(address, s.config.Config)
	if err != nil {
		return nil, err
	}
	l = netutil.LimitListener(l, s.config.MaxConnections)
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	return l, nil
}

// Serve answers whoever connects to l until ctx ends. It closes l and all connections, and returns
// when none is served any more.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for pause := time.Duration(0); ; {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				_ = conn.Close() // it has not been answered
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("relay: %w", err)
		case err != nil:
			// Too many open files, for one: it passes, and gates that are here go on meanwhile.
			pause = min(2*pause+5*time.Millisecond, time.Second)
			s.logger.Warn("relay: no connection can be taken", "error", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		}
		pause = 0
		serving.Go(func() { s.take(ctx, conn) })
	}
}

// take serves a connection to its end.
func (s *Server) take(ctx context.Context, conn net.Conn) {
	s.connections.Inc()
	defer s.connections.Dec()
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	session := &session{
		Server: s, conn: conn, r: bufio.NewReaderSize(conn, 4096), w: bufio.NewWriter(conn),
		began: time.Now(),
	}
	err := daemon.Guard(func() error { return session.serve(ctx) })
	if ctx.Err() == nil {
		s.logger.Debug("relay: a connection has ended", "from", conn.RemoteAddr().String(),
			"error", err)
	}
}
