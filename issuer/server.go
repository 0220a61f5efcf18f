package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

// Server is the public API: what strangers may ask for.
type Server struct {
	shared
	cfg      Config
	tokens   *tokens
	users    Users     // nil: nobody logs in
	receiver *receiver // nil: no messages are taken
	sessions *session.Store
	log      Log
	logger   *slog.Logger
	now      func() time.Time
	open     func() error

	proxies  *httpapi.Proxies
	throttle *httpapi.Throttle
	// One for each request under way. Logouts have some of their own, which a flood of logins cannot
	// take.
	slots, logoutSlots chan struct{}

	documents  *documents
	everywhere *everywhere
	unanswered *unanswered
	http       *http.Server
}

func newServer(o Options, shared shared) (*Server, error) {
	published, err := newDocuments(o.Config, o.Keys, o.Users != nil)
	if err != nil {
		return nil, err
	}
	c := o.Config.HTTP
	s := &Server{
		shared:   shared,
		cfg:      o.Config,
		tokens:   newTokens(o.Config, o.Keys, o.Log),
		users:    o.Users,
		sessions: o.Sessions,
		log:      o.Log,
		logger:   o.Logger,
		now:      o.Now,
		open:     o.Open,
		proxies:  httpapi.NewProxies(c.TrustedProxies, o.Logger, o.Registry),
		throttle: httpapi.NewThrottle(c.Requests, o.Now()),
		// A logout may take one of these when its own are taken; no other request takes a logout's.
		slots:       make(chan struct{}, c.MaxConcurrent),
		logoutSlots: make(chan struct{}, max(1, c.MaxConcurrent/2)),
		documents:   published,
		unanswered:  newUnanswered(),
	}
	s.everywhere = newEverywhere(func(ctx context.Context, user string) (session.Everywhere, error) {
		return s.sessions.EndAll(ctx, user, "logout_everywhere", user)
	}, s.handlers.Guard)
	if o.Senders != nil {
		s.receiver = newReceiver(o, shared, s.proxies)
		if err := s.receiver.openStreams(o); err != nil {
			return nil, err
		}
	}
	s.http = s.newHTTP()
	return s, nil
}

// endpoint is an Endpoint, and whether it takes a password or token: then it counts against its
// client's address, and is closed until the issuer is open. So does one that takes messages of other
// issuers, by limits of their own.
type endpoint struct {
	httpapi.Endpoint
	secret, message bool
}

// endpoints is everything that the issuer serves to strangers.
func (s *Server) endpoints() []endpoint {
	post := func(path, name string, handle func(*httpapi.Request) (httpapi.Reply, error),
		query ...string) endpoint {
		return endpoint{secret: true, Endpoint: httpapi.Endpoint{
			Method: http.MethodPost, Path: path, Name: name, Query: query, Handle: handle,
			Trusted: s.cfg.HTTP.TrustedOrigins,
		}}
	}
	get := func(path, name string, handle func(*httpapi.Request) (httpapi.Reply, error)) endpoint {
		return endpoint{Endpoint: httpapi.Endpoint{
			Method: http.MethodGet, Path: path, Name: name, Handle: handle,
			Trusted: s.cfg.HTTP.TrustedOrigins,
		}}
	}
	message := func(path, name, typ string,
		handle func(*httpapi.Request) (httpapi.Reply, error)) endpoint {
		return endpoint{message: true, Endpoint: httpapi.Endpoint{
			Method: http.MethodPost, Path: path, Name: name, Type: typ, Handle: handle,
		}}
	}
	list := []endpoint{
		get("/.well-known/jwks.json", "key_set", s.documents.keySet),
		get("/", "welcome", welcome),
	}
	if s.users != nil {
		list = append(list,
			post("/login", "login", s.login),
			post("/refresh", "refresh", s.refresh),
			post("/logout", "logout", s.logout, "wait", "everywhere"))
	}
	if s.receiver != nil {
		list = append(list, message("/backchannel-logout", "backchannel_logout", httpapi.FormType,
			s.receiver.backchannelLogout))
		if len(s.receiver.streams) > 0 {
			list = append(list, message("/security-events", "security_events", securityEventType,
				s.receiver.securityEvent))
		}
	}
	for _, path := range metadataPaths(s.cfg.Issuer) {
		list = append(list, get(path, "metadata", s.documents.metadata))
	}
	return list
}

// handler serves all endpoints.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	var known []string
	for _, e := range s.endpoints() {
		known = append(known, e.Path)
		places, admit := []chan struct{}{s.slots}, s.admitReader
		switch {
		case e.Name == "logout":
			places, admit = []chan struct{}{s.logoutSlots, s.slots}, s.admitSecret
		case e.secret:
			admit = s.admitSecret
		case e.message:
			// A flood of made-up messages takes no login's place, and no flood of logins a message's.
			places, admit = []chan struct{}{s.receiver.slots}, s.receiver.admit
		}
		pattern := e.Path
		if pattern == "/" {
			pattern = "/{$}" // and nothing below it
		}
		mux.Handle(e.Method+" "+pattern, s.handlers.Endpoint(e.Endpoint, places, admit))
		// The router answers HEAD wherever GET is offered.
		allow := e.Method
		if allow == http.MethodGet {
			allow = "GET, HEAD"
		}
		mux.Handle(pattern, s.handlers.Preflight(e.Endpoint, s.handlers.WrongMethod(e.Name, allow)))
	}
	return exactPaths(known, mux, s.handlers.NotFound("other",
		"This is an issuer of tokens, which says at "+metadataPath+" what it offers."))
}

// exactPaths lets through only known paths in their one spelling, as they stand in the request
// line, so that the router never redirects and no proxy's rule for /login is walked around by
// /%6cogin.
func exactPaths(known []string, next, otherwise http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		if !slices.Contains(known, path) {
			otherwise.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// admitReader lets everybody read what is public.
func (s *Server) admitReader(r *http.Request) (httpapi.Client, error) {
	return s.proxies.ClientOf(r), nil
}

// admitSecret lets a request with a password or token pass, unless its address has made too many or
// the issuer is not open yet.
func (s *Server) admitSecret(r *http.Request) (httpapi.Client, error) {
	from := s.proxies.ClientOf(r)
	s.proxies.Notice(from)
	// The throttle first: it is cheap, and a flood counts while the issuer is not open, too.
	if wait := s.throttle.Take(from.Counted, s.now()); wait > 0 {
		return from, httpapi.TooManyRequests(wait)
	}
	if err := s.open(); err != nil {
		return from, fmt.Errorf("issuer: not open yet: %w", err)
	}
	return from, nil
}

func (s *Server) newHTTP() *http.Server {
	c := s.cfg.HTTP
	return &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: min(c.ReadTimeout, 5*time.Second),
		ReadTimeout:       c.ReadTimeout,
		WriteTimeout:      c.WriteTimeout,
		IdleTimeout:       c.IdleTimeout,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
}

// Serve serves on l until ctx ends or Drain is called; then it returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = s.http.Close() })
	defer stop()
	err := s.http.Serve(netutil.LimitListener(l, s.cfg.HTTP.MaxConnections))
	if errors.Is(err, http.ErrServerClosed) {
		<-ctx.Done() // Drain may still be finishing what is under way
		return nil
	}
	return fmt.Errorf("issuer: serving: %w", err)
}

// Drain takes no more requests and waits for those under way, until ctx ends.
func (s *Server) Drain(ctx context.Context) { _ = s.http.Shutdown(ctx) }
