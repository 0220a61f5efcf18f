package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// timeouts of the admin port's connections.
type timeouts struct{ header, read, write, idle time.Duration }

var adminTimeouts = timeouts{
	header: 5 * time.Second, read: 10 * time.Second, write: 30 * time.Second,
	idle: 30 * time.Second,
}

const (
	maxAdminConnections = 128
	maxAdminHeader      = 16 << 10 // bytes
	maxAdminBody        = 64 << 10 // bytes
	maxScrapes          = 4        // at once
)

// admin is the admin port.
type admin struct {
	listener net.Listener
	server   *http.Server
}

func newAdmin(o Options, h *health) (*admin, error) {
	mux, err := adminMux(o, h)
	if err != nil {
		return nil, err
	}
	listener, err := adminListener(o)
	if err != nil {
		return nil, err
	}
	server := newAdminServer(protect(newHosts(o.Admin, o.Logger).guard(mux), o.Logger), adminTimeouts)
	server.ErrorLog = slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn)
	return &admin{listener: listener, server: server}, nil
}

func adminListener(o Options) (net.Listener, error) {
	if o.AdminListener != nil {
		return o.AdminListener, nil
	}
	return ListenAdmin(o.Admin)
}

// ListenAdmin opens the admin port, for Options.AdminListener: where Run runs beside what starts
// it, as inside Envoy, that hears at once that the port is taken.
func ListenAdmin(c Config) (net.Listener, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("daemon: admin: %w", err)
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("daemon: admin port: %w", err)
	}
	return listener, nil
}

// newAdminServer bounds what one connection can take. It speaks HTTP/1.1 only: no upgrade leads
// anywhere else.
func newAdminServer(h http.Handler, t timeouts) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           http.MaxBytesHandler(h, maxAdminBody),
		ReadHeaderTimeout: t.header,
		ReadTimeout:       t.read,
		WriteTimeout:      t.write,
		IdleTimeout:       t.idle,
		MaxHeaderBytes:    maxAdminHeader,
		Protocols:         protocols,
	}
}

func adminMux(o Options, h *health) (mux *http.ServeMux, err error) {
	// ServeMux panics on patterns that are malformed or in conflict.
	defer func() {
		if v := recover(); v != nil {
			mux, err = nil, fmt.Errorf("daemon: admin handlers: %v", v)
		}
	}()
	mux = http.NewServeMux()
	mux.HandleFunc("GET /livez", serveLive)
	mux.HandleFunc("GET /readyz", h.serveReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		EnableOpenMetrics:   true,
	}))
	for pattern, handler := range o.Handlers {
		mux.Handle(pattern, handler)
	}
	if o.Admin.Pprof {
		if err := o.Admin.Validate(); err != nil {
			return nil, fmt.Errorf("daemon: admin: %w", err)
		}
		profiles(mux)
	}
	return mux, nil
}

// profiles adds Go's profiles, without cmdline: a command line has been known to hold secrets.
func profiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/{$}", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", unhurried(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/trace", unhurried(pprof.Trace))
	for _, name := range []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
		mux.Handle("GET /debug/pprof/"+name, pprof.Handler(name))
	}
}

// unhurried lifts the write time-out from a profile, which takes as long as it was asked for and is
// written at its end.
func unhurried(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
			http.Error(w, "this connection cannot wait for a profile", http.StatusInternalServerError)
			return
		}
		h(w, r)
	}
}

// protect keeps answers out of caches and a handler's panic out of the log.
func protect(h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { // the handler's way to break off an answer
				panic(v)
			}
			log.Error("an admin handler has panicked", "error", panicError(v))
			http.Error(w, "internal error", http.StatusInternalServerError)
		}()
		h.ServeHTTP(w, r)
	})
}

// part returns the part that serves the port, until its context ends.
func (a *admin) part() Part {
	return Part{Name: "admin", Run: func(ctx context.Context) error {
		served := make(chan error, 1)
		l := netutil.LimitListener(a.listener, maxAdminConnections)
		go func() { served <- Guard(func() error { return a.server.Serve(l) }) }()
		select {
		case err := <-served:
			return err
		case <-ctx.Done():
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		err := a.server.Shutdown(bounded)
		if errors.Is(err, context.DeadlineExceeded) {
			err = a.server.Close() // a scrape or profile that is still going on
		}
		<-served
		return err
	}}
}
