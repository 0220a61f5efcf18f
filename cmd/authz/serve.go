package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"reflect"
	"runtime/debug"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/extauthz"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

func serveCommand(out, log io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "serve", Short: "Run the gate"}
	bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, from, err := configured(cmd)
		if err != nil {
			return err
		}
		ctx, stop := daemon.Signals(cmd.Context())
		defer stop()
		return serve(ctx, c, from, out, log)
	}
	return cmd
}

// serve runs a gate until ctx ends. c was read from from, whose policy is put in force when it
// changes.
func serve(ctx context.Context, c *Config, from source, out, log io.Writer) error {
	if os.Getenv("GOGC") == "" {
		// Requests leave little behind and the cache is bounded: collecting less often saves a
		// fifth of a check.
		debug.SetGCPercent(400)
	}
	g, err := newGate(ctx, c, from, out, daemon.NewLogger(log, c.Log))
	if err != nil {
		return err
	}
	listener, err := extauthz.Listen(c.Listen, c.ExtAuthz)
	if err != nil {
		return errors.Join(err, g.close())
	}
	g.logger.Info("gate: starting", "name", c.Name, "listen", listener.Addr().String(), "version",
		daemon.BuildVersion(version))
	err = daemon.Run(ctx, g.options(),
		g.parts(func(ctx context.Context) error { return g.server.Run(ctx, listener) })...)
	return errors.Join(err, g.close())
}

// gate is all that runs in this process.
type gate struct {
	config      *Config
	logger      *slog.Logger
	registry    *prometheus.Registry
	files       *livefile.Files
	policy      *livefile.File[*ruled]
	redis       *redisconn.Client
	keys        *keyset.Sets
	revocations *redislog.Gate
	engine      *authz.Engine
	server      *extauthz.Server
	audit       *audit.Log
	stopped     atomic.Bool // the server answers nobody any more
}

// newGate puts the gate together. stopping ends when the gate is asked to stop.
func newGate(stopping context.Context, c *Config, from source, out io.Writer,
	logger *slog.Logger) (g *gate, err error) {
	g = &gate{config: c, logger: logger, registry: prometheus.NewRegistry()}
	g.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	g.audit = audit.New(out, audit.Options{
		Now:      clock.Now,
		Logger:   logger,
		Registry: g.registry,
		Queue:    auditQueue,
		Limit:    c.ExtAuthz.Audit.Limit(),
	})
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	if g.files, err = livefile.New(logger, g.registry); err != nil {
		return g, err
	}
	if err := g.openKeys(); err != nil {
		return g, err
	}
	if err := g.openRevocations(); err != nil {
		return g, err
	}
	if err := g.openPolicy(from); err != nil {
		return g, err
	}
	return g, g.openEngine(stopping)
}

// ruled is a configuration with its policy compiled.
type ruled struct {
	config *Config
	rules  *policy.Policy
}

// openPolicy reads the policy out of the configuration's file, and again when that changes. Of a
// file that is being written, a part may read like a policy that lets more through, so a change
// must stay as it is from one look to the next.
func (g *gate) openPolicy(from source) (err error) {
	// a pipe is read once
	if info, statErr := os.Stat(from.file); statErr == nil && !info.Mode().IsRegular() {
		rules, err := policy.Compile(g.config.Policy)
		g.policy = livefile.Fixed(&ruled{g.config, rules})
		return err
	}
	g.policy, err = livefile.Open(g.files, livefile.Spec[*ruled]{
		Setting: "policy", Paths: []string{from.file}, Quiet: true, Then: g.inForce,
		Parse: func(contents [][]byte) (*ruled, error) {
			c, err := from.read(contents[0])
			if err != nil {
				return nil, err
			}
			rules, err := policy.Compile(c.Policy)
			return &ruled{c, rules}, err
		},
	})
	return err
}

// inForce puts another policy in force, and tells of other settings that have changed with it.
func (g *gate) inForce(r *ruled) {
	g.engine.SetPolicy(r.rules)
	g.logger.Info("gate: policy in force", "routes", len(r.config.Policy.Routes))
	if !reflect.DeepEqual(r.config.apartFromPolicy(), g.config.apartFromPolicy()) {
		g.logger.Warn("gate: settings other than the policy have changed; they take a restart")
	}
}

// auditQueue is how many audit lines may wait to be written before one is dropped and counted.
const auditQueue = 4096

func (g *gate) openKeys() (err error) {
	g.keys, err = keyset.New(g.config.Issuers, keyset.Options{
		Now:      clock.Now,
		Logger:   g.logger,
		Registry: g.registry,
		CacheDir: string(g.config.KeyCacheDir),
		Files:    g.files,
	})
	return err
}

func (g *gate) openRevocations() (err error) {
	if g.redis, err = redisconn.OpenWith(g.config.Redis, g.files); err != nil {
		return err
	}
	g.revocations, err = redislog.NewGate(g.redis, g.config.Revocation.Config, redislog.Options{
		Name:         g.config.Name,
		Version:      daemon.BuildVersion(version),
		Logger:       g.logger,
		Registry:     g.registry,
		OnKeyRevoked: g.keys.RemoveKey,
		KeySetAge:    g.keySetAge,
		Snapshot:     g.config.Revocation.Snapshot,
		Instant:      instant,
		Stopped:      g.stopped.Load,
	})
	return err
}

func (g *gate) openEngine(stopping context.Context) (err error) {
	g.engine, err = authz.New(g.policy.Value().rules, authz.Options{
		Keys:          g.keys,
		Revocations:   g.revocations,
		Realm:         g.config.Realm,
		Cache:         g.config.Cache,
		Wire:          extauthz.NewWire(g.config.ExtAuthz),
		KeepOverrides: g.config.ExtAuthz.KeepOverrides,
		OnPanic:       g.panicked,
		MaxLifetime:   g.revocations.MaxTokenLifetime,
	})
	if err != nil {
		return err
	}
	g.server, err = extauthz.New(g.engine, g.config.ExtAuthz, extauthz.Options{
		Instant:  g.revocations.Instant,
		Ready:    func() error { return g.ready(stopping) },
		Keys:     g.keys,
		Audit:    g.audit,
		Logger:   g.logger,
		Registry: g.registry,
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
	g.server.Panicked(what, stack) // nobody asks the engine before there is a server
}

func (g *gate) options() daemon.Options {
	return daemon.Options{
		Name:         "authz",
		Version:      daemon.BuildVersion(version),
		Admin:        g.config.Admin,
		Logger:       g.logger,
		Registry:     g.registry,
		DrainDelay:   g.config.Drain.Delay,
		DrainTimeout: g.config.Drain.Timeout,
		Reload:       g.reload,
		InForce:      func() map[string]string { return map[string]string{"policy": g.policy.Digest()} },
	}
}

func (g *gate) parts(serve func(context.Context) error) []daemon.Part {
	run := func(ctx context.Context) error {
		err := serve(ctx)
		g.stopped.Store(true) // not after a panic: then nobody knows
		return err
	}
	return []daemon.Part{
		{Name: "files", Run: g.files.Run},
		{Name: "keys", Run: g.keys.Run, Ready: g.keys.Ready},
		{Name: "revocation", Run: g.revocations.Run, Ready: g.revocations.Ready},
		{Name: "ext_authz", Run: run, Drain: g.server.Drain},
	}
}

// reload puts in force what all files hold now, the policy's too, and has all key sets fetched. A
// file that is not right changes nothing.
func (g *gate) reload(ctx context.Context) error {
	return errors.Join(g.files.Reload(ctx), g.keys.Reload(ctx))
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
