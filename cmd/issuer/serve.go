package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/keyring"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/ownfile"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/issuer"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the issuer until SIGINT or SIGTERM; SIGHUP reads keys and users again",
		Args:  cobra.NoArgs,
	}
	load := configured(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		return serve(cmd.Context(), cfg, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// serve composes the issuer and runs it until ctx ends.
func serve(ctx context.Context, cfg issuer.Config, stdout, stderr io.Writer) (err error) {
	logger := daemon.NewLogger(stderr, cfg.Log)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	events, closeEvents, err := openAudit(cfg.Audit, stdout, logger, registry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEvents()) }()
	h, err := build(cfg, events, logger, registry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.redis.Close()) }()
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("issuer: listening on %s (setting listen): %w", cfg.Listen, err)
	}
	defer func() { _ = listener.Close() }() // the server has closed it already, unless it never ran
	logger.Info("issuer listens", "address", listener.Addr().String(), "issuer", cfg.Issuer,
		"version", daemon.BuildVersion(version))
	return daemon.Run(ctx, daemon.Options{
		Name:         "issuer",
		Version:      daemon.BuildVersion(version),
		Admin:        cfg.Admin.Config,
		Logger:       logger,
		Registry:     registry,
		Handlers:     h.issuer.Admin.Handlers(),
		DrainDelay:   cfg.HTTP.DrainDelay,
		DrainTimeout: cfg.HTTP.DrainTimeout,
		Reload: func(ctx context.Context) error {
			return errors.Join(h.keys.Reload(ctx), h.users.Reload(ctx), h.files.Reload(ctx))
		},
		InForce: func() map[string]string { return map[string]string{"keys": h.keys.Digest(), "users": h.users.Digest()} },
	}, h.parts(listener)...)
}

// check puts the issuer together as serve does, starts nothing and writes nothing, and returns what
// serve would have met.
func check(cfg issuer.Config) (err error) {
	// The ring is only read: the lock of one that rotates is taken for a moment, as serve does.
	logger, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	events := audit.New(io.Discard, audit.Options{Now: clock.Now, Logger: logger})
	defer func() { err = errors.Join(err, events.Close()) }()
	h, err := build(cfg, events, logger, registry)
	if err == nil {
		err = h.redis.Close()
	}
	if cfg.Audit.File != "" {
		if unwritable := ownfile.Writable(string(cfg.Audit.File)); unwritable != nil {
			err = errors.Join(err, fmt.Errorf("issuer: audit.file: %w", unwritable))
		}
	}
	return err
}

// house is everything an issuer is made of.
type house struct {
	files    *livefile.Files
	redis    *redisconn.Client
	keys     *keyring.Ring
	users    *credential.Store
	log      *redislog.Issuer
	sessions *session.Store
	issuer   *issuer.Issuer
}

func build(cfg issuer.Config, events *audit.Log, logger *slog.Logger,
	registry *prometheus.Registry) (*house, error) {
	var (
		h   = &house{}
		err error
	)
	if h.files, err = livefile.New(logger, registry); err != nil {
		return nil, err
	}
	if h.keys, err = keyring.Open(cfg.Keys, keyringOptions(cfg, logger, registry)); err != nil {
		return nil, err
	}
	if h.users, err = credential.Open(cfg.Users, credential.Options{
		Now: clock.Steady, Logger: logger, Registry: registry, Limits: cfg.Limits,
		OnChange: func(names []string) { h.issuer.Users.Noticed(names) }, // not before the parts run
	}); err != nil {
		return nil, err
	}
	if h.redis, err = redisconn.OpenWith(cfg.Redis, h.files); err != nil {
		return nil, err
	}
	if err := h.buildOnRedis(cfg, events, logger, registry); err != nil {
		return nil, errors.Join(err, h.redis.Close())
	}
	return h, nil
}

func (h *house) buildOnRedis(cfg issuer.Config, events *audit.Log, logger *slog.Logger,
	registry *prometheus.Registry) (err error) {
	name, err := nameOf(cfg)
	if err != nil {
		return err
	}
	h.log, err = redislog.NewIssuer(h.redis, cfg.Revocation, redislog.Options{
		Name:     name,
		Version:  daemon.BuildVersion(version),
		Logger:   logger,
		Registry: registry,
		Instant:  instant,
		OnLinesDropped: func(int) {
			events.Record(
				audit.Event{
					Name: audit.GateLine, Outcome: audit.Failure, Reason: "not_a_line",
					Issuer: cfg.Issuer,
				},
			)
		},
		OnReappend: func(ctx context.Context, refs []revocation.SessionRef) error { return h.sessions.EndAgain(ctx, refs) },
	})
	if err != nil {
		return err
	}
	if h.sessions, err = session.New(sessionConfig(cfg), h.redis, h.log, h.keys); err != nil {
		return err
	}
	door := &opening{ready: h.log.Ready}
	h.issuer, err = issuer.New(issuer.Options{
		Config:    cfg,
		Keys:      h.keys,
		Users:     h.users,
		Directory: h.users,
		Sessions:  h.sessions,
		Log:       h.log,
		Inventory: h.log,
		Audit:     events,
		Open:      door.check,
		Logger:    logger,
		Registry:  registry,
		Now:       clock.Steady,
		Files:     h.files,
	})
	return err
}

func (h *house) parts(l net.Listener) []daemon.Part {
	return []daemon.Part{
		{Name: "files", Run: h.files.Run},
		{Name: "keys", Run: h.keys.Run},
		{Name: "users", Run: h.users.Run},
		{Name: "changed_users", Run: h.issuer.Users.Run},
		{Name: "log", Run: h.log.Run, Ready: h.log.Ready},
		{
			Name: "http", Run: func(ctx context.Context) error { return h.issuer.Public.Serve(ctx, l) },
			Drain: h.issuer.Public.Drain,
		},
	}
}

func keyringOptions(cfg issuer.Config, logger *slog.Logger,
	registry prometheus.Registerer) keyring.Options {
	return keyring.Options{
		Now:             clock.Now,
		Logger:          logger,
		Registry:        registry,
		PublishFor:      cfg.KeySetMaxAge,
		MaxLifetime:     cfg.AccessTokenLifetime,
		SessionLifetime: cfg.RefreshTokenLifetime,
		ClockSkew:       cfg.Revocation.ClockSkew,
	}
}

func sessionConfig(cfg issuer.Config) session.Config {
	return session.Config{
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
	}
}

// nameOf gives this issuer's name among the issuers, each of which must have its own.
func nameOf(cfg issuer.Config) (string, error) {
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
	return events, func() error { return errors.Join(events.Close(), f.Close()) }, nil
}

// instant reads this machine's clocks.
func instant() revocation.Instant {
	monotonic, wall := clock.Read()
	return revocation.Instant{Mono: monotonic, Wall: wall}
}
