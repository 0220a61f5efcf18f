package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/sallyport/sallyport/internal/seeded"
)

func open(cfg Config) (redis.UniversalClient, error) {
	tlsConfig, err := cfg.TLS.load()
	if err != nil {
		return nil, err
	}
	switch cfg.Mode {
	case ModeSentinel:
		return redis.NewFailoverClient(sentinelOptions(cfg, tlsConfig)), nil
	case ModeCluster:
		return redis.NewClusterClient(clusterOptions(cfg, tlsConfig)), nil
	}
	o := singleOptions(cfg, tlsConfig)
	if seeded.On(seeded.CommandRetried) {
		o.MaxRetries = 3
	}
	return redis.NewClient(o), nil
}

// Retries are off everywhere: a client that repeats an append on another connection forges its acknowledgement.
const noRetries = -1

func singleOptions(cfg Config, t *tls.Config) *redis.Options {
	network := "tcp"
	if strings.HasPrefix(cfg.Address, "/") {
		network = "unix"
	}
	return &redis.Options{
		Network: network, Addr: cfg.Address, TLSConfig: t,
		Username: cfg.Username, Password: cfg.Password.Reveal(),
		DialTimeout: cfg.DialTimeout, ReadTimeout: cfg.ReadTimeout, WriteTimeout: cfg.WriteTimeout,
		PoolSize: cfg.PoolSize, MaxRetries: noRetries, ContextTimeoutEnabled: true, DialerRetries: 1,
		Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: noNotifications(),
	}
}

func sentinelOptions(cfg Config, t *tls.Config) *redis.FailoverOptions {
	return &redis.FailoverOptions{
		MasterName: cfg.MasterName, SentinelAddrs: cfg.Addresses, TLSConfig: t,
		SentinelUsername: cfg.SentinelUsername, SentinelPassword: cfg.SentinelPassword.Reveal(),
		Username: cfg.Username, Password: cfg.Password.Reveal(),
		DialTimeout: cfg.DialTimeout, ReadTimeout: cfg.ReadTimeout, WriteTimeout: cfg.WriteTimeout,
		PoolSize: cfg.PoolSize, MaxRetries: noRetries, ContextTimeoutEnabled: true, DialerRetries: 1,
		Protocol: 2, DisableIdentity: true,
	}
}

func clusterOptions(cfg Config, t *tls.Config) *redis.ClusterOptions {
	return &redis.ClusterOptions{
		Addrs: cfg.Addresses, TLSConfig: t,
		Username: cfg.Username, Password: cfg.Password.Reveal(),
		DialTimeout: cfg.DialTimeout, ReadTimeout: cfg.ReadTimeout, WriteTimeout: cfg.WriteTimeout,
		PoolSize: cfg.PoolSize, MaxRetries: noRetries, ContextTimeoutEnabled: true, DialerRetries: 1,
		Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: noNotifications(),
	}
}

func noNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

func (c TLSConfig) load() (*tls.Config, error) {
	if !c.Enabled {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := os.ReadFile(string(c.CAFile))
		if err != nil {
			return nil, fmt.Errorf("redisconn: tls.ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("redisconn: tls.ca_file %s holds no PEM certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(string(c.CertFile), string(c.KeyFile))
		if err != nil {
			return nil, fmt.Errorf("redisconn: tls.cert_file and tls.key_file: %w", err)
		}
		t.Certificates = []tls.Certificate{cert}
	}
	return t, nil
}

// silent takes what go-redis would write to standard error, past our logs: every error it tells of is also returned.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(silent{}) }
