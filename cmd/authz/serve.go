package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/extauthz"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

func serveCommand(out, log io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "serve", Short: "Run the gate"}
	bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load(cmd)
		if err != nil {
			return err
		}
		ctx, stop := daemon.Signals(cmd.Context())
		defer stop()
		return serve(ctx, c, out, log, func() (*Config, error) { return load(cmd) })
	}
	return cmd
}

// serve runs a gate until ctx ends. again reads the configuration anew.
func serve(ctx context.Context, c *Config, out, log io.Writer, again func() (*Config, error)) error {
	if os.Getenv("GOGC") == "" {
		// Requests leave little behind and the cache is bounded: collecting less often saves a fifth of a check.
		debug.SetGCPercent(400)
	}
	g, err := newGate(ctx, c, out, daemon.NewLogger(log, c.Log))
	if err != nil {
		return err
	}
	g.again = again
	listener, err := extauthz.Listen(c.Listen, c.ExtAuthz)
	if err != nil {
		return errors.Join(err, g.close())
	}
	g.logger.Info("gate: starting", "name", c.Name, "listen", listener.Addr().String(), "version", daemon.BuildVersion(version))
	err = daemon.Run(ctx, g.options(), g.parts(func(ctx context.Context) error { return g.server.Run(ctx, listener) })...)
	return errors.Join(err, g.close())
}

// gate is all that runs in this process.
type gate struct {
	config      *Config
	logger      *slog.Logger
	registry    *prometheus.Registry
	redis       *redisconn.Client
	keys        *keyset.Sets
	revocations *redislog.Gate
	engine      *authz.Engine
	server      *extauthz.Server
	audit       *audit.Log
	again       func() (*Config, error)
	stopped     atomic.Bool // the server answers nobody any more
}

// newGate puts the gate together. stopping ends when the gate is asked to stop.
func newGate(stopping context.Context, c *Config, out io.Writer, logger *slog.Logger) (g *gate, err error) {
	g = &gate{config: c, logger: logger, registry: prometheus.NewRegistry()}
	g.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	g.audit = audit.New(out, audit.Options{
		Now: clock.Now, Logger: logger, Registry: g.registry, Queue: auditQueue, Limit: c.ExtAuthz.Audit.Limit(),
	})
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	if err := g.openKeys(); err != nil {
		return g, err
	}
	if err := g.openRevocations(); err != nil {
		return g, err
	}
	return g, g.openEngine(stopping)
}

// auditQueue is how many audit lines may wait to be written before one is dropped and counted.
const auditQueue = 4096

func (g *gate) openKeys() (err error) {
	g.keys, err = keyset.New(g.config.Issuers, keyset.Options{
		Now: time.Now, Logger: g.logger, Registry: g.registry, CacheDir: string(g.config.KeyCacheDir),
	})
	return err
}

func (g *gate) openRevocations() (err error) {
	if g.redis, err = redisconn.Open(g.config.Redis); err != nil {
		return err
	}
	g.revocations, err = redislog.NewGate(g.redis, g.config.Revocation.Config, redislog.Options{
		Name: g.config.Name, Version: daemon.BuildVersion(version), Logger: g.logger, Registry: g.registry,
		OnKeyRevoked: g.keys.RemoveKey, KeySetAge: g.keySetAge, Snapshot: g.config.Revocation.Snapshot,
		Instant: instant,
		Stopped: g.stopped.Load,
	})
	return err
}

func (g *gate) openEngine(stopping context.Context) error {
	rules, err := policy.Compile(g.config.Policy)
	if err != nil {
		return err
	}
	g.engine, err = authz.New(rules, authz.Options{
		Keys: keys{g.keys}, Revocations: g.revocations, Realm: g.config.Realm, Cache: g.config.Cache,
		Wire: extauthz.NewWire(g.config.ExtAuthz), KeepOverrides: g.config.ExtAuthz.KeepOverrides, OnPanic: g.panicked, MaxLifetime: g.revocations.MaxTokenLifetime,
	})
	if err != nil {
		return err
	}
	g.server, err = extauthz.New(g.engine, g.config.ExtAuthz, extauthz.Options{
		Instant: g.revocations.Instant, Ready: func() error { return g.ready(stopping) }, Keys: g.keys, Audit: g.audit,
		Logger: g.logger, Registry: g.registry,
	})
	return err
}

// errStopping keeps Envoy from sending more requests to a gate that is about to stop.
var errStopping = errors.New("stopping")

func (g *gate) ready(stopping context.Context) error {
	if stopping.Err() != nil {
		return errStopping
	}
	return errors.Join(g.keys.Ready(), g.revocations.Ready())
}

func (g *gate) panicked(what string, stack []byte) {
	g.logger.Error("gate: recovered from a panic; the request was refused", "panic", what, "stack", string(stack))
}

func (g *gate) options() daemon.Options {
	return daemon.Options{
		Name: "authz", Version: daemon.BuildVersion(version), Admin: g.config.Admin, Logger: g.logger, Registry: g.registry,
		DrainDelay: g.config.Drain.Delay, DrainTimeout: g.config.Drain.Timeout, Reload: g.reload,
	}
}

func (g *gate) parts(serve func(context.Context) error) []daemon.Part {
	run := func(ctx context.Context) error {
		err := serve(ctx)
		g.stopped.Store(true) // not after a panic: then nobody knows
		return err
	}
	return []daemon.Part{
		{Name: "keys", Run: g.keys.Run, Ready: g.keys.Ready},
		{Name: "revocation", Run: g.revocations.Run, Ready: g.revocations.Ready},
		{Name: "ext_authz", Run: run, Drain: g.server.Drain},
	}
}

// reload puts the file's policy in force and has all key sets fetched. A file that is not right changes nothing.
func (g *gate) reload(ctx context.Context) error {
	c, err := g.again()
	if err != nil {
		return fmt.Errorf("the former policy stays in force: %w", err)
	}
	rules, err := policy.Compile(c.Policy)
	if err != nil {
		return fmt.Errorf("the former policy stays in force: %w", err)
	}
	g.engine.SetPolicy(rules)
	g.logger.Info("gate: policy in force", "routes", len(c.Policy.Routes))
	c.Policy = g.config.Policy
	if !reflect.DeepEqual(c, g.config) {
		g.logger.Warn("gate: settings other than the policy have changed; they take a restart")
	}
	return g.keys.Reload(ctx)
}

func (g *gate) close() error {
	var errs []error
	if g.redis != nil {
		errs = append(errs, g.redis.Close())
	}
	return errors.Join(append(errs, g.audit.Close())...)
}

// instant reads this machine's clocks.
func instant() revocation.Instant {
	monotonic, wall := clock.Read()
	return revocation.Instant{Mono: monotonic, Wall: wall}
}
