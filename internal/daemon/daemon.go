// Package daemon is the life of a process: start, be ready, reload, drain, stop; and its admin
// port.
//
// It promises:
//   - The process is ready only while every part is, and not ready from the moment it is told to
//     stop.
//   - It stops in order: not ready, Drain.Delay for load balancers to notice, then every part
//     drains, then every part stops, the last one first; the admin port answers until the end.
//     Each step has a bound in time.
//   - A part that panics, fails or just returns ends the process with an error: it never goes on
//     without one of its parts.
//   - The admin port serves /livez, /readyz, /metrics and what it was given, 404 for the rest, and
//     profiles only when the configuration asks for them on a loopback address.
//   - Logs hold no token: what has the shape of one, or a name like password, is redacted, whoever
//     logs it.
package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Part is one thing that runs in the process. Parts start in the order they are given in and stop
// in the reverse order, so a part may use those before it for as long as it runs.
type Part struct {
	// Name is its name in logs, in /readyz and in metrics.
	Name string
	// Run works until ctx ends. Returning earlier, with an error or without, is a failure that
	// stops the process. It may be nil.
	Run func(ctx context.Context) error
	// Ready returns nil, or why the part is not ready, in words that strangers may read. It is
	// called for every request of /readyz and must not block. It may be nil.
	Ready func() error
	// Drain stops taking work and returns when what is under way is done, or when ctx ends. Run
	// goes on meanwhile. It may be nil.
	Drain func(ctx context.Context)
}

// Options of Run. Name, Admin.Listen (or AdminListener) and Logger are needed.
type Options struct {
	Name, Version string // the program, in logs and in sallyport_build_info
	Admin         Config // the admin port
	// used, and closed by Run, instead of listening on Admin.Listen
	AdminListener net.Listener
	Logger        *slog.Logger            // nil logs nothing
	Registry      *prometheus.Registry    // what /metrics shows; nil makes a new one
	Handlers      map[string]http.Handler // more of the admin port, by the patterns of http.ServeMux
	Drain         DrainConfig             // how to stop
	Reload        func(context.Context) error
	// Guest is a daemon in a process of another program's, which has the signals to itself: SIGHUP
	// reloads nothing.
	Guest bool
	// InForce names what can change while the process runs, each with a digest of what is in force:
	// /readyz shows them, and a reload logs which have changed. nil: nothing can.
	InForce func() map[string]string
}

const defaultDrainTimeout = 10 * time.Second

// Run starts the admin port and the parts, and waits until ctx ends or a part fails. It then stops
// everything and returns nil if ctx had ended and every part stopped in order, else everything that
// went wrong. SIGHUP calls Options.Reload; when that fails, the process goes on as it was, and says
// so in its log and metrics.
func Run(ctx context.Context, o Options, parts ...Part) error {
	o.fill()
	h := newHealth(parts)
	h.inForce = o.InForce
	r := newReloader(o)
	if err := register(o, h, r); err != nil {
		return errors.Join(err, o.closeAdmin())
	}
	admin, err := newAdmin(o, h)
	if err != nil {
		return errors.Join(err, o.closeAdmin())
	}
	// The admin port is the first to start and the last to stop: it answers all the while.
	all := append([]Part{admin.part()}, parts...)
	if !o.Guest {
		all = append(all, r.part())
	}
	l := &life{log: o.Logger, health: h, delay: o.Drain.Delay, timeout: o.Drain.Timeout}
	o.Logger.Info("starting", "name", o.Name, "version", o.Version, "admin",
		admin.listener.Addr().String())
	err = l.run(ctx, all)
	if err != nil {
		o.Logger.Error("stopped", "name", o.Name, "error", err)
		return &toldError{err}
	}
	o.Logger.Info("stopped", "name", o.Name)
	return nil
}

// toldError is an error that is in the log already.
type toldError struct{ error }

// Unwrap returns what went wrong.
func (e *toldError) Unwrap() error { return e.error }

// Told reports whether an error of Run is in the log already, so that nobody needs to print it
// again.
func Told(err error) bool {
	var told *toldError
	return errors.As(err, &told)
}

// closeAdmin closes the listener that Run was given and that nothing serves.
func (o *Options) closeAdmin() error {
	if o.AdminListener == nil {
		return nil
	}
	return o.AdminListener.Close()
}

func (o *Options) fill() {
	if o.InForce == nil {
		o.InForce = func() map[string]string { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Drain.Timeout <= 0 {
		o.Drain.Timeout = defaultDrainTimeout
	}
}
