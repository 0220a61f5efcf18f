package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/daemon/command"
	"github.com/sallyport/sallyport/internal/keyring"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/ownfile"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/sender"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/ssf/stream"
	"github.com/sallyport/sallyport/issuer"
)

// serve puts the issuer together and runs it until ctx ends.
func serve(ctx context.Context, c command.Loaded[issuer.Config], out io.Writer,
	logger *slog.Logger) (err error) {
	cfg := c.Config
	registry := prometheus.NewRegistry()
	events, closeEvents, err := openAudit(cfg.Audit, out, logger, registry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEvents()) }()
	a, err := assemble(cfg, events, logger, registry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.redis.Close()) }()
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("issuer: listening on %s (setting listen): %w", cfg.Listen, err)
	}
	defer func() { _ = listener.Close() }() // the server has closed it already, unless it never ran
	logger.Info("issuer listens", "address", listener.Addr().String(), "issuer", cfg.Issuer,
		"version", daemon.BuildVersion(version))
	return daemon.Run(ctx, daemon.Options{
		Name:     "issuer",
		Version:  daemon.BuildVersion(version),
		Admin:    cfg.Admin.Config,
		Logger:   logger,
		Registry: registry,
		Handlers: a.issuer.Admin.Handlers(),
		Drain:    cfg.Drain,
		Reload: func(ctx context.Context) error {
			return errors.Join(a.keys.Reload(ctx), a.reloadUsers(ctx), a.files.Reload(ctx),
				a.senders.Reload(ctx))
		},
		InForce: a.inForce,
	}, a.parts(listener)...)
}

// check puts the issuer together as serve does, starts nothing and writes nothing, and returns what
// serve would have met.
func check(cfg *issuer.Config) (err error) {
	// The ring is only read: the lock of one that rotates is taken for a moment, as serve does.
	logger, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	events := audit.New(io.Discard, audit.Options{Now: clock.Now, Logger: logger})
	defer func() { err = errors.Join(err, events.Close()) }()
	a, err := assemble(cfg, events, logger, registry)
	if err == nil {
		err = errors.Join(a.senders.Check(context.Background()), a.redis.Close())
	}
	err = errors.Join(err, keyset.CheckCacheDir(string(cfg.KeyCacheDir)))
	if cfg.Audit.File != "" {
		if unwritable := ownfile.Writable(string(cfg.Audit.File)); unwritable != nil {
			err = errors.Join(err, fmt.Errorf("issuer: audit.file: %w", unwritable))
		}
	}
	return err
}

// assembly is everything an issuer is made of.
type assembly struct {
	cfg      *issuer.Config
	events   *audit.Log
	logger   *slog.Logger
	registry *prometheus.Registry

	files    *livefile.Files
	redis    *redisconn.Client
	keys     *keyring.Ring
	users    *credential.Store // nil: nobody logs in here
	senders  *sender.Senders
	log      *redislog.Issuer
	sessions *session.Store
	issuer   *issuer.Issuer
}

// assemble puts an issuer together and starts nothing. Whoever has it closes its Redis.
func assemble(cfg *issuer.Config, events *audit.Log, logger *slog.Logger,
	registry *prometheus.Registry) (*assembly, error) {
	a := &assembly{cfg: cfg, events: events, logger: logger, registry: registry}
	// Each of these stands on those before it.
	for _, open := range []func() error{
		a.openFiles, a.openKeys, a.openUsers, a.openRedis, a.openLog, a.openSessions, a.openSenders,
		a.openServer,
	} {
		if err := open(); err != nil {
			if a.redis != nil {
				err = errors.Join(err, a.redis.Close())
			}
			return nil, err
		}
	}
	return a, nil
}

func (a *assembly) openFiles() (err error) {
	a.files, err = livefile.New(a.logger, a.registry)
	return err
}

func (a *assembly) openKeys() (err error) {
	a.keys, err = keyring.Open(a.cfg.Keys, keyring.Options{
		Now:             clock.Now,
		Logger:          a.logger,
		Registry:        a.registry,
		PublishFor:      a.cfg.KeySetMaxAge,
		MaxLifetime:     a.cfg.AccessTokenLifetime,
		SessionLifetime: a.cfg.RefreshTokenLifetime,
		ClockSkew:       a.cfg.Revocation.ClockSkew,
	})
	return err
}

func (a *assembly) openUsers() (err error) {
	if a.cfg.Users.File == "" {
		a.logger.Info("no users.file: nobody can log in at this issuer, which revokes and receives only")
		return nil
	}
	a.users, err = credential.Open(a.cfg.Users, credential.Options{
		Now: clock.Steady, Logger: a.logger, Registry: a.registry, Limits: a.cfg.Limits,
		// No user changes before the parts run, and then there is a server.
		OnChange: func(names []string) { a.issuer.Users.Noticed(names) },
	})
	return err
}

func (a *assembly) openRedis() (err error) {
	a.redis, err = redisconn.OpenWith(a.cfg.Redis, a.files)
	return err
}

func (a *assembly) openLog() error {
	name, err := nameOf(a.cfg)
	if err != nil {
		return err
	}
	notALine := audit.Event{
		Name: audit.GateLine, Outcome: audit.Failure, Reason: "not_a_line", Issuer: a.cfg.Issuer,
	}
	a.log, err = redislog.NewIssuer(a.redis, a.cfg.Revocation, redislog.Options{
		Name:           name,
		Version:        daemon.BuildVersion(version),
		Logger:         a.logger,
		Registry:       a.registry,
		OnLinesDropped: func(int) { a.events.Record(notALine) },
		// The log lost entries of sessions that had ended, and their records may be lost as well: a
		// refresh token must not bring such a session back.
		SessionLifetime: a.cfg.SessionLifetime,
		OnReappend: func(ctx context.Context, refs []revocation.SessionRef) error {
			return a.sessions.EndAgain(ctx, refs)
		},
	})
	return err
}

func (a *assembly) openSessions() (err error) {
	cfg := a.cfg
	a.sessions, err = session.New(session.Config{
		Issuer:      cfg.Issuer,
		ClientID:    cfg.ClientID,
		Lifetime:    cfg.RefreshTokenLifetime,
		Grace:       cfg.RefreshGrace,
		Retain:      cfg.Revocation.MaxTokenLifetime + 2*cfg.Revocation.ClockSkew,
		MaxPerUser:  cfg.MaxSessionsPerUser,
		MinReplicas: cfg.Revocation.MinReplicas,
		// Shorter than the connection's own time-out, which would leave the outcome unknown.
		WaitTimeout: min(cfg.Revocation.AppendTimeout, cfg.Redis.ReadTimeout*4/5),
		EndTimeout:  2*cfg.Revocation.AppendTimeout + 4*cfg.Redis.ReadTimeout,
	}, a.redis, a.log, a.keys)
	return err
}

func (a *assembly) openSenders() (err error) {
	a.senders, err = sender.New(a.cfg.Senders, sender.Options{
		Now: clock.Now, Logger: a.logger, Registry: a.registry, CacheDir: string(a.cfg.KeyCacheDir),
		Files: a.files, Revoked: a.keyRevoked,
	})
	return err
}

// keyRevoked reports whether a key of another issuer is revoked.
func (a *assembly) keyRevoked(iss, kid string) bool {
	return a.log.Check(&revocation.Facts{Issuer: iss, KeyID: kid}).OfKey()
}

func (a *assembly) openServer() (err error) {
	door := &opening{ready: a.log.Ready}
	o := issuer.Options{
		Config:    *a.cfg,
		Keys:      a.keys,
		Sessions:  a.sessions,
		Log:       a.log,
		Inventory: a.log,
		Audit:     a.events,
		Open:      door.check,
		Logger:    a.logger,
		Registry:  a.registry,
		Now:       clock.Steady,
		Files:     a.files,
	}
	// A nil pointer in an interface would be somebody.
	if a.users != nil {
		o.Users, o.Directory = a.users, a.users
	}
	if len(a.cfg.Senders) > 0 {
		o.Senders = a.senders
		o.Lease = func(sender string) stream.Lease {
			return stream.NewLease(a.redis, a.cfg.Revocation.Prefix, sender)
		}
	}
	a.issuer, err = issuer.New(o)
	return err
}

func (a *assembly) reloadUsers(ctx context.Context) error {
	if a.users == nil {
		return nil
	}
	return a.users.Reload(ctx)
}

// inForce names the versions of what is read again while the issuer runs.
func (a *assembly) inForce() map[string]string {
	digests := map[string]string{"keys": a.keys.Digest()}
	if a.users != nil {
		digests["users"] = a.users.Digest()
	}
	return digests
}

// opening keeps the issuer from serving until the log has been ready once: until then Redis may not
// have been checked, and is perhaps one that loses what it acknowledges. Afterwards each request
// finds out for itself what it needs.
type opening struct {
	ready  func() error
	opened atomic.Bool
}

func (o *opening) check() error {
	if o.opened.Load() {
		return nil
	}
	err := o.ready()
	if err == nil {
		o.opened.Store(true)
	}
	return err
}

func (a *assembly) parts(l net.Listener) []daemon.Part {
	parts := []daemon.Part{
		{Name: "files", Run: a.files.Run},
		{Name: "keys", Run: a.keys.Run},
	}
	if a.users != nil {
		parts = append(parts, daemon.Part{Name: "users", Run: a.users.Run},
			daemon.Part{Name: "changed_users", Run: a.issuer.Users.Run})
	}
	for n, s := range a.issuer.Streams {
		parts = append(parts, daemon.Part{Name: fmt.Sprint("stream_", n+1), Run: s.Run})
	}
	return append(parts,
		// Not asked whether it is ready: a sender that is away must not take this issuer away.
		daemon.Part{Name: "senders", Run: a.senders.Run},
		daemon.Part{Name: "log", Run: a.log.Run, Ready: a.log.Ready},
		daemon.Part{
			Name: "http", Run: func(ctx context.Context) error { return a.issuer.Public.Serve(ctx, l) },
			Drain: a.issuer.Public.Drain,
		},
	)
}

// nameOf returns this issuer's name among the issuers, each of which must have its own.
func nameOf(cfg *issuer.Config) (string, error) {
	if cfg.Name != "" {
		return cfg.Name, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("issuer: this machine has no name, so set name: %w", err)
	}
	return host + "/" + cfg.Listen, nil
}

// openAudit opens where security events go, apart from the log.
func openAudit(cfg issuer.AuditConfig, stdout io.Writer, logger *slog.Logger,
	registry prometheus.Registerer) (*audit.Log, func() error, error) {
	o := audit.Options{
		Now:      clock.Now,
		Logger:   logger,
		Registry: registry,
		Limit:    audit.Limit{Rate: cfg.Rate, Burst: cfg.Burst},
	}
	if cfg.File == "" {
		events := audit.New(stdout, o)
		return events, events.Close, nil
	}
	f, err := os.OpenFile(string(cfg.File), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("issuer: opening audit.file: %w", err)
	}
	events := audit.New(f, o)
	// The lines that still wait go into the file before it is closed.
	return events, func() error { return errors.Join(events.Close(), f.Close()) }, nil
}
