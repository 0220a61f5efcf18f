package httpcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/token"
)

// Options is what a Server stands on. Checker and Engine are needed.
type Options struct {
	Checker *check.Checker
	Engine  *authz.Engine
	Streams check.StreamConfig // of Envoy: how long what a token has opened may last
	TLS     *tls.Config        // nil: no TLS; else of the protocol [Protocol]
}

// Protocol is what a connection within TLS has to be about (ALPN).
const Protocol = "http/1.1"

// Server answers proxies.
type Server struct {
	config  Config
	proxy   proxy
	checker *check.Checker
	streams check.StreamConfig
	tls     *tls.Config
	http    *http.Server
	broken  *authz.Refusal // when all else fails

	mark, peerHeader         string // headers in canonical form; "" for none
	badSource, badPeerHeader string

	asked     atomic.Uint32
	strangers *rate.Limiter // log lines about peers that are not trusted
}

// New makes a server. It answers once Run runs.
func New(c Config, o Options) (*Server, error) {
	if o.Checker == nil || o.Engine == nil {
		return nil, errors.New("httpcheck: expected a checker and its engine, got none")
	}
	if err := errors.Join(c.Validate(), c.TLS.Validate(), o.Streams.Validate()); err != nil {
		return nil, fmt.Errorf("httpcheck: %w", err)
	}
	// Without it, who is believed by certificate would not have shown one.
	if (c.TLS.CertFile != "") != (o.TLS != nil) {
		return nil, errors.New("httpcheck: expected TLS as its settings have it")
	}
	p, known := proxies[c.Proxy]
	if !known {
		return nil, errors.New("httpcheck: expected where to listen and which proxy asks, got neither")
	}
	s := &Server{
		config: c, proxy: p, streams: o.Streams, tls: o.TLS,
		broken:     o.Engine.Refusal(token.ReasonInternal),
		peerHeader: http.CanonicalHeaderKey(c.PeerHeader),
		mark:       http.CanonicalHeaderKey(check.HeaderStripped),
		badSource: fmt.Sprintf("expected %s, %s and %s once each, as http_check.proxy: %s has them",
			p.method, p.host, p.path, c.Proxy),
		badPeerHeader: fmt.Sprintf("expected %s at most once", c.PeerHeader),
		strangers:     rate.NewLimiter(rate.Every(time.Minute), 1),
	}
	s.checker = o.Checker.At(func(o *check.Options) {
		o.ProxyStrips, o.ProxyCannotStrip = p.own, !p.own
	})
	s.http = s.server()
	return s, nil
}

func (s *Server) server() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // one check at a time on a connection, so that these bound both
	return &http.Server{
		Handler:   s,
		Protocols: protocols,
		// Go takes 4 KiB more than it is told.
		MaxHeaderBytes:    s.config.MaxHeaders,
		ReadHeaderTimeout: s.config.ReadTimeout,
		ReadTimeout:       s.config.ReadTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(s.checker.Logger.Handler(), slog.LevelDebug),
	}
}

const (
	// writeTimeout is from a request's header to the end of its answer, longer than any key_wait.
	writeTimeout = 15 * time.Second
	// idleTimeout is longer than proxies keep a connection that nothing comes by: the one that closes
	// it knows that no request is under way.
	idleTimeout = 2 * time.Minute
)

// ServeHTTP answers one request of a proxy.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := s.check(r)
	if r.ContentLength != 0 {
		// Else the body would be read behind the answer, to use the connection again.
		w.Header().Set("Connection", "close")
	}
	a.write(w)
}

// check judges one request and accounts for it.
func (s *Server) check(r *http.Request) (a answer) {
	// Not recovered from, a panic would cut the connection, and leave the answer to the proxy.
	defer func() {
		if value := recover(); value != nil {
			d := s.checker.Recovered(value)
			a = s.answerTo(&d)
		}
	}()
	request := s.read(r)
	d := s.checker.Check(r.Context(), request)
	if request.Malformed == badPeer {
		s.warnOfStranger(r.RemoteAddr)
	}
	return s.answerTo(&d)
}

// warnOfStranger says now and then who asks and is not trusted: until somebody mends it, nothing
// passes that proxy.
func (s *Server) warnOfStranger(peer string) {
	if s.strangers.Allow() {
		s.checker.Logger.Warn("a request over HTTP is refused: its sender is no trusted proxy",
			"address", hostOf(peer), "write", fmt.Sprintf("http_check: {trusted_proxies: ['%s']}",
				hostOf(peer)))
	}
}

// Run answers on l until ctx ends. It returns nil after that, and an error when it cannot go on.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	l = netutil.LimitListener(l, s.config.MaxConnections)
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	served := make(chan error, 1)
	go func() { served <- daemon.Guard(func() error { return s.http.Serve(l) }) }()
	select {
	case err := <-served: // Drain has stopped it, or it has failed
		if !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			return fmt.Errorf("httpcheck: serve: %w", err)
		}
		<-ctx.Done()
		return nil
	case <-ctx.Done():
		err := s.http.Close()
		<-served
		return err
	}
}

// Drain takes no more connections and finishes the checks under way, until ctx ends; then it breaks
// them off.
func (s *Server) Drain(ctx context.Context) {
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // nothing is left to be told of it
	}
}
