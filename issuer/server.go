package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/token"
)

// Keys sign access tokens and know the published keys; *keyring.Ring is one.
type Keys interface {
	SignUnless(revoked func(kid string) bool, typ string, claims []byte) (string, error)
	KeySet() []byte
	Public(kid string) (*jose.PublicKey, bool)
}

// Users check passwords and know who may go on; *credential.Store is one.
type Users interface {
	Verify(ctx context.Context, name, password string, from netip.Addr) (credential.User, error)
	Lookup(ctx context.Context, name string) (credential.User, error)
}

// Log is the revocation log beyond what sessions need of it; *redislog.Issuer is one.
type Log interface {
	Append(ctx context.Context, requests []revocation.Request) (revocation.Receipt, error)
	Live(requests []revocation.Request) (revocation.Receipt, bool)
	Check(f *revocation.Facts) revocation.Verdict
	Applied(ctx context.Context, r revocation.Receipt) (revocation.Applied, error)
}

// Recorder keeps security events; *audit.Log is one.
type Recorder interface{ Record(audit.Event) }

// Options are what a Server is made of. All fields down to Audit are required.
type Options struct {
	Config   Config
	Keys     Keys
	Users    Users
	Sessions *session.Store
	Log      Log
	Audit    Recorder

	// Directory lets what users lose while no issuer runs be noticed at the next start. nil: it is
	// not.
	Directory Directory

	// Inventory is required when an admin token is configured.
	Inventory Inventory

	// Open says whether passwords and tokens are to be taken yet; until it is nil they get 503.
	// nil: always.
	Open     func() error
	Logger   *slog.Logger          // nil: silent
	Registry prometheus.Registerer // nil: metrics go nowhere
	Now      func() time.Time      // for the throttle; nil: time.Now
	Files    *livefile.Files       // which looks after the admin token's file; nil: nobody does
}

// Server serves the issuer's endpoints.
type Server struct {
	cfg       Config
	keys      Keys
	users     Users
	sessions  *session.Store
	log       Log
	inventory Inventory
	audit     Recorder
	logger    *slog.Logger
	metrics   *metrics
	now       func() time.Time
	open      func() error

	adminToken              *livefile.File[config.Secret]
	failures                failures
	trusted                 []Network
	warned                  warnings      // of untrusted proxies
	profile                 token.Profile // how our own tokens are read at /logout
	throttle, adminThrottle *throttle
	// One for each request under way. Strangers must not keep operators out, nor those who log out.
	slots, logoutSlots, adminSlots chan struct{}

	waits     chan struct{} // one for each logout that waits for gates
	changes   *changes
	directory Directory
	// wereUsers is what users were when their sessions had last been held against it, of EndChanged
	// alone; nil: not read yet. It lies in Redis, so that what was lost while no issuer ran, or was
	// noticed by one that stopped before it was done, is found at the next start.
	wereUsers  map[string]string
	everywhere *everywhere
	unanswered *unanswered
	metadata   []byte
	crossing   *http.CrossOriginProtection
	http       *http.Server
}

// New makes a Server; nothing is served yet.
func New(o Options) (*Server, error) {
	if o.Keys == nil || o.Users == nil || o.Sessions == nil || o.Log == nil || o.Audit == nil {
		return nil, errors.New("issuer: expected keys, users, sessions, a log and an audit log")
	}
	if o.Inventory == nil && !o.Config.Admin.Token.IsZero() {
		return nil, errors.New("issuer: expected an inventory for the admin API")
	}
	if err := errors.Join(o.Config.Validate(), o.Config.HTTP.Validate(),
		o.Config.Admin.Validate()); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Open == nil {
		o.Open = func() error { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		cfg:           o.Config,
		keys:          o.Keys,
		users:         o.Users,
		sessions:      o.Sessions,
		log:           o.Log,
		audit:         o.Audit,
		logger:        o.Logger,
		metrics:       newMetrics(o.Registry),
		now:           o.Now,
		trusted:       o.Config.HTTP.TrustedProxies,
		failures:      failures{logger: o.Logger, now: o.Now},
		open:          o.Open,
		profile:       ownProfile(o.Config),
		throttle:      newThrottle(o.Config.HTTP.Requests, o.Now()),
		adminThrottle: newThrottle(o.Config.HTTP.Requests, o.Now()),
		inventory:     o.Inventory,
		directory:     o.Directory,
		slots:         make(chan struct{}, o.Config.HTTP.MaxConcurrent),
		// Twice as many as may wait for gates, so that those that wait leave places too.
		logoutSlots: make(chan struct{}, max(1, o.Config.HTTP.MaxConcurrent/2)),
		adminSlots:  make(chan struct{}, o.Config.HTTP.MaxConcurrent),
		waits:       make(chan struct{}, max(1, o.Config.HTTP.MaxConcurrent/4)),
		crossing:    http.NewCrossOriginProtection(),
		changes:     newChanges(),
		unanswered:  newUnanswered(),
	}
	s.everywhere = newEverywhere(func(ctx context.Context, user string) (session.Everywhere, error) {
		return s.sessions.EndAll(ctx, user, "logout_everywhere", user)
	}, s.guarded)
	var err error
	if s.adminToken, err = o.Config.Admin.Token.Live(o.Files, "admin.token",
		checkAdminToken); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if s.metadata, err = makeMetadata(o.Config); err != nil {
		return nil, err
	}
	s.http = s.newHTTP()
	return s, nil
}

// endpoint is one line of the router. What is not said here is refused before its handler runs.
type endpoint struct {
	method string
	path   string
	name   string   // in metrics
	secret bool     // it takes a password or token, so it counts against its address
	query  []string // parameters it knows; any other is refused, since it might be a token
	handle func(*Server, *request) (reply, error)
}

// endpoints is everything that the issuer serves to strangers.
func endpoints(cfg Config) []endpoint {
	list := []endpoint{
		{method: http.MethodPost, path: "/login", name: "login", secret: true, handle: (*Server).login},
		{
			method: http.MethodPost, path: "/refresh", name: "refresh", secret: true,
			handle: (*Server).refresh,
		},
		{
			method: http.MethodPost, path: "/logout", name: "logout", secret: true,
			query: []string{"wait", "everywhere"}, handle: (*Server).logout,
		},
		{
			method: http.MethodGet, path: "/.well-known/jwks.json", name: "key_set",
			handle: (*Server).keySet,
		},
	}
	for _, path := range metadataPaths(cfg.Issuer) {
		list = append(list,
			endpoint{method: http.MethodGet, path: path, name: "metadata", handle: (*Server).serveMetadata})
	}
	return list
}

// Handler serves all endpoints.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	var known []string
	for _, e := range endpoints(s.cfg) {
		known = append(known, e.path)
		places := []chan struct{}{s.slots}
		if e.name == "logout" {
			places = []chan struct{}{s.logoutSlots, s.slots}
		}
		mux.Handle(e.method+" "+e.path, s.guard(e, places, s.client(e)))
		allow := e.method
		if allow == http.MethodGet {
			allow = "GET, HEAD"
		}
		mux.Handle(e.path, s.wrongMethod(e.name, allow))
	}
	return exactPaths(known, mux, s.answering("other", notFound))
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

func notFound(http.ResponseWriter, *http.Request) (reply, error) { return reply{}, errNotFound }

// guard is what every request passes before its handler: its origin, who may come in, the query,
// its body, and a free slot in one of places. A client that is slow to send its body holds a
// connection, but no slot.
func (s *Server) guard(e endpoint, places []chan struct{},
	admit func(*http.Request) (client, error)) http.Handler {
	return s.answering(e.name, func(w http.ResponseWriter, r *http.Request) (reply, error) {
		if s.crossing.Check(r) != nil {
			return reply{}, errForbidden
		}
		from, err := admit(r)
		if err != nil {
			return reply{}, err
		}
		if err := checkQuery(r, e.query); err != nil {
			return reply{}, err
		}
		received, err := s.receive(w, r, from)
		if err != nil {
			return reply{}, err
		}
		slot := take(places)
		if slot == nil {
			return reply{}, errBusy
		}
		defer func() { <-slot }()
		return e.handle(s, received)
	})
}

// take takes a slot in the first of places that has a free one, and gives that place; nil when
// there is none.
func take(places []chan struct{}) chan struct{} {
	for _, place := range places {
		select {
		case place <- struct{}{}:
			return place
		default:
		}
	}
	return nil
}

// client lets a stranger's request pass, unless its address has made too many or the issuer is not
// open yet.
func (s *Server) client(e endpoint) func(*http.Request) (client, error) {
	return func(r *http.Request) (client, error) {
		from := clientOf(r, s.trusted)
		if !e.secret {
			return from, nil
		}
		s.notice(from)
		if wait := s.throttle.take(from.counted, s.now()); wait > 0 {
			return from, tooManyRequests(wait)
		}
		if err := s.open(); err != nil {
			return from, fmt.Errorf("issuer: not open yet: %w", err)
		}
		return from, nil
	}
}

func (s *Server) wrongMethod(name, allow string) http.Handler {
	return s.answering(name, func(w http.ResponseWriter, _ *http.Request) (reply, error) {
		w.Header().Set("Allow", allow)
		return reply{}, errMethod
	})
}

// answering turns what a handler gives into an answer: a reply, a refusal, or, for anything that
// went wrong underneath, 503 with the cause in the log alone.
func (s *Server) answering(name string,
	handle func(http.ResponseWriter, *http.Request) (reply, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		sent := &recorded{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				s.metrics.panics.Inc()
				s.failures.log(slog.LevelError, "a request panicked", name,
					slog.String("panic", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
				if sent.status == 0 {
					errInternal.write(sent, s.cfg.Issuer)
				}
			}
			s.metrics.observe(name, sent.status, time.Since(start))
		}()
		rep, err := handle(sent, r)
		if err == nil {
			rep.write(sent)
			return
		}
		refused := refusalOf(err)
		if refused == errUnavailable && !errors.Is(err, errUnavailable) {
			s.failures.log(slog.LevelWarn, "a request failed", name, slog.Any("error", err))
		}
		refused.write(sent, s.cfg.Issuer)
	})
}

// guarded runs what a goroutine of its own does for a request: its panic is an error, which is
// answered with 503 and has been logged.
func (s *Server) guarded(f func() error) error {
	err := daemon.Guard(f)
	if errors.Is(err, daemon.ErrPanic) {
		s.metrics.panics.Inc()
		s.logger.Error("what a request had started panicked", "error", err)
		return errPanicked
	}
	return err
}

var errPanicked = errors.New("issuer: what the request had started panicked; the log has the stack")

// recorded remembers the status that was sent.
type recorded struct {
	http.ResponseWriter
	status int
}

func (r *recorded) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find the connection.
func (r *recorded) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// checkQuery refuses parameters that the endpoint does not know: a token in a URL ends up in logs.
func checkQuery(r *http.Request, known []string) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	for name, values := range query {
		if !slices.Contains(known, name) || len(values) != 1 {
			return invalidRequest(
				"the URL has a parameter that is not known here, or one twice; tokens never go into a URL")
		}
	}
	return nil
}

func (s *Server) newHTTP() *http.Server {
	c := s.cfg.HTTP
	return &http.Server{
		Handler:           s.Handler(),
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
