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
	"golang.org/x/time/rate"

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
	places   *listen.Places

	connections prometheus.Gauge
	refused     *prometheus.CounterVec
	crowded     *rate.Limiter // log lines about connections for which there was no place
}

// Why something was refused, of which each has its count.
const (
	refusedPassword  = "password"
	refusedCommand   = "command"
	refusedStrangers = "strangers"
	refusedGates     = "gates"
)

// Protocol is the name that a relay's TLS has for what is spoken in it (ALPN), if a client asks.
const Protocol = "redis"

// New makes a server of log. It does not listen yet.
func New(log Log, c GatesConfig, o Options) (*Server, error) {
	s := &Server{
		log: log, names: o.Names, maxGates: o.Revocation.MaxGates, settle: o.Revocation.Settle,
		username: c.Username, config: c, logger: o.Logger, places: listen.NewPlaces(c.MaxConnections),
		crowded: rate.NewLimiter(rate.Every(time.Minute), 1),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "sallyport", Subsystem: "relay", Name: "connections",
			Help: "Connections, of gates and of those who have not said yet that they are; a gate has two.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "sallyport", Subsystem: "relay", Name: "refused_total",
			Help: "What was refused, by reason: a wrong password, a command that no gate sends, one of " +
				"too many strangers, or a gate beyond max_connections.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{
		refusedPassword, refusedCommand, refusedStrangers, refusedGates,
	} {
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
	// Whoever has lost its place counts until it is no longer served.
	served := make(chan struct{}, s.places.All())
	for pause := time.Duration(0); ; {
		select {
		case served <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
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
			<-served
			continue
		}
		pause = 0
		place := s.enter(conn)
		serving.Go(func() {
			defer func() { <-served }()
			s.take(ctx, conn, place)
		})
	}
}

// enter gives a connection the place of a stranger, who may have to make room for it.
func (s *Server) enter(conn net.Conn) *listen.Place {
	entered, lost := s.places.Enter(conn)
	if lost != nil {
		_ = lost.Conn.Close()
		s.noPlace(refusedStrangers, lost.Conn)
	}
	return entered
}

// noPlace counts a connection for which there is no place, and now and then logs why: whoever
// connects could fill the log.
func (s *Server) noPlace(reason string, conn net.Conn) {
	s.refused.WithLabelValues(reason).Inc()
	if !s.crowded.Allow() {
		return
	}
	from := conn.RemoteAddr().String()
	if reason == refusedGates {
		s.logger.Warn("relay: there are more gates than gates.max_connections has places for: a "+
			"connection is refused", "from", from, "max_connections", s.config.MaxConnections)
		return
	}
	s.logger.Warn("relay: too many connections that do not say who they are: the oldest one of the "+
		"address that has most of them is cut off", "from", from)
}

// take serves a connection to its end.
func (s *Server) take(ctx context.Context, conn net.Conn, place *listen.Place) {
	s.connections.Inc()
	defer s.connections.Dec()
	defer s.places.Leave(place)
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	session := &session{
		Server: s, conn: conn, r: bufio.NewReaderSize(conn, 4096), w: bufio.NewWriter(conn),
		began: time.Now(), place: place,
	}
	err := daemon.Guard(func() error { return session.serve(ctx) })
	if ctx.Err() == nil {
		s.logger.Debug("relay: a connection has ended", "from", conn.RemoteAddr().String(),
			"error", err)
	}
}
