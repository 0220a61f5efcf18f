package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/listen"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// Relay is a whole relay, put together from its configuration.
type Relay struct {
	config   *Config
	version  string
	logger   *slog.Logger
	registry *prometheus.Registry
	files    *livefile.Files
	redis    *redisconn.Client
	log      *redislog.Relay
	server   *Server
}

// Open puts a relay together and starts nothing. Whoever does not run it closes it. logger nil:
// silent.
func Open(c *Config, version string, logger *slog.Logger) (r *Relay, err error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r = &Relay{config: c, version: version, logger: logger, registry: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.files, err = livefile.New(logger, r.registry); err != nil {
		return r, err
	}
	if r.redis, err = redisconn.OpenWith(c.Redis, r.files); err != nil {
		return r, err
	}
	r.log, err = redislog.NewRelay(r.redis, c.Revocation, redislog.Options{
		Name: c.Name, Version: version, Logger: logger, Registry: r.registry,
	})
	if err != nil {
		return r, err
	}
	err = r.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "sallyport", Subsystem: "relay", Name: "gates",
		Help: "Gates below that may still answer somebody.",
	}, func() float64 { return float64(r.log.Gates()) }))
	if err != nil {
		return r, err
	}
	r.server, err = New(r.log, c.Gates, Options{
		Names: r.log.Names(), Revocation: c.Revocation, Files: r.files, Logger: logger,
		Registry: r.registry,
	})
	return r, err
}

// Run opens the relay's ports and runs it until ctx ends. It closes the relay.
func (r *Relay) Run(ctx context.Context) error {
	l, err := r.server.Listen(r.config.Listen)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	r.logger.Info("relay: listening", "name", r.config.Name, "listen", l.Addr().String())
	err = daemon.Run(ctx, daemon.Options{
		Name: "relay", Version: r.version, Admin: r.config.Admin, Logger: r.logger,
		Registry: r.registry, Drain: r.config.Drain, Reload: r.files.Reload,
	},
		daemon.Part{Name: "files", Run: r.files.Run},
		daemon.Part{Name: "revocation", Run: r.log.Run, Ready: r.log.Ready},
		r.gates(l),
	)
	return errors.Join(err, r.Close())
}

func (r *Relay) gates(l net.Listener) daemon.Part {
	return daemon.Part{Name: "gates", Run: func(ctx context.Context) error {
		return r.server.Serve(ctx, l)
	}}
}

// Check returns what Run would meet. It starts nothing and changes nothing.
func Check(c *Config, version string) error {
	r, err := Open(c, version, nil)
	if err != nil {
		return err
	}
	return errors.Join(listen.CheckSocket(c.Listen), r.Close())
}

// Close closes what Open has opened.
func (r *Relay) Close() error {
	if r.redis == nil {
		return nil
	}
	return r.redis.Close()
}
