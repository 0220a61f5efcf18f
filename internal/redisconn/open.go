package redisconn

import (
	"context"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

func open(cfg Config, d *dialer) redis.UniversalClient {
	switch cfg.Mode {
	case ModeSentinel:
		return openFailover(sentinelOptions(cfg, d))
	case ModeCluster:
		return redis.NewClusterClient(clusterOptions(cfg, d))
	}
	return redis.NewClient(singleOptions(cfg, d))
}

// openFailover opens a client for sentinels. go-redis dials sentinels and data nodes by one
// function; the network's name tells the dialer which of the two an address is. go-redis would also
// take the sentinels' password once, at the beginning, so the dialer sends it to them instead.
func openFailover(o *redis.FailoverOptions) redis.UniversalClient {
	c := redis.NewFailoverClient(o)
	find := c.Options().Dialer // asks the sentinels for the primary, and dials it
	c.Options().Dialer = func(ctx context.Context, _, addr string) (net.Conn, error) {
		return find(ctx, dataNode, addr)
	}
	return c
}

// Retries are off everywhere: a client that repeats an append on another connection forges its
// acknowledgement.
const noRetries = -1

func singleOptions(cfg Config, d *dialer) *redis.Options {
	network := "tcp"
	if strings.HasPrefix(cfg.Address, "/") {
		network = "unix"
	}
	return &redis.Options{
		Network:                    network,
		Addr:                       cfg.Address,
		Dialer:                     d.dialNode,
		CredentialsProviderContext: d.credentials,
		DialTimeout:                cfg.DialTimeout,
		ReadTimeout:                cfg.ReadTimeout,
		WriteTimeout:               cfg.WriteTimeout,
		PoolSize:                   cfg.PoolSize,
		MaxRetries:                 noRetries,
		ContextTimeoutEnabled:      true,
		DialerRetries:              1,
		Protocol:                   2,
		DisableIdentity:            true,
		MaintNotificationsConfig:   noNotifications(),
	}
}

func sentinelOptions(cfg Config, d *dialer) *redis.FailoverOptions {
	return &redis.FailoverOptions{
		MasterName:                 cfg.MasterName,
		SentinelAddrs:              cfg.Addresses,
		Dialer:                     d.dialAny,
		CredentialsProviderContext: d.credentials,
		DialTimeout:                cfg.DialTimeout,
		ReadTimeout:                cfg.ReadTimeout,
		WriteTimeout:               cfg.WriteTimeout,
		PoolSize:                   cfg.PoolSize,
		MaxRetries:                 noRetries,
		ContextTimeoutEnabled:      true,
		DialerRetries:              1,
		Protocol:                   2,
		DisableIdentity:            true,
	}
}

func clusterOptions(cfg Config, d *dialer) *redis.ClusterOptions {
	return &redis.ClusterOptions{
		Addrs: cfg.Addresses, Dialer: d.dialNode, CredentialsProviderContext: d.credentials,
		DialTimeout: cfg.DialTimeout, ReadTimeout: cfg.ReadTimeout, WriteTimeout: cfg.WriteTimeout,
		PoolSize: cfg.PoolSize, MaxRetries: noRetries, ContextTimeoutEnabled: true, DialerRetries: 1,
		Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: noNotifications(),
	}
}

func noNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// silent drops what go-redis would write to standard error, past our logs: every error that it
// reports there is also returned.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(silent{}) }
