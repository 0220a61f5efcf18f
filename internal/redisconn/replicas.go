package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/config"
)

// EachReplica calls f with a connection to every replica that could become a primary, one after the
// other, with its address. It calls f for a replica that does not answer as well: whatever f does
// with the connection is then an error.
func (c *Client) EachReplica(ctx context.Context, f func(node string, conn *redis.Conn)) error {
	nodes, err := c.replicas(ctx)
	for _, node := range nodes {
		one, openErr := Open(c.ConfigAt(node))
		if openErr != nil {
			return openErr
		}
		conn, openErr := one.Dedicated(ctx, "")
		if openErr != nil {
			return errors.Join(openErr, one.Close())
		}
		f(node, conn)
		_, _ = conn.Close(), one.Close() // nothing is lost with them
	}
	return err
}

// ConfigAt returns a configuration for one server of this Redis by its address, with the same user
// and certificates.
func (c *Client) ConfigAt(address string) Config {
	cfg := c.cfg
	cfg.Mode, cfg.Address, cfg.Addresses, cfg.MasterName = ModeSingle, address, nil, ""
	cfg.SentinelUsername, cfg.SentinelPassword = "", config.Secret{}
	return cfg
}

// replicas returns the addresses of all replicas, in order: those that a cluster's nodes name, or
// those that the primary of sentinels names, from where sentinels learn of them as well.
func (c *Client) replicas(ctx context.Context) (nodes []string, err error) {
	if u, ok := c.universal.(*redis.ClusterClient); ok {
		var mu sync.Mutex // go-redis calls for all nodes at once
		err = u.ForEachSlave(ctx, func(_ context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			nodes = append(nodes, node.Options().Addr)
			return nil
		})
	} else {
		var info string
		info, err = c.universal.Info(ctx, "replication").Result()
		nodes = replicasIn(info)
	}
	slices.Sort(nodes)
	if err != nil {
		err = fmt.Errorf("redisconn: finding the replicas: %w", err)
	}
	return nodes, err
}

// replicasIn reads the lines slave0:ip=...,port=... of a primary's INFO.
func replicasIn(info string) (nodes []string) {
	for line := range strings.Lines(info) {
		name, facts, _ := strings.Cut(strings.TrimSpace(line), ":")
		number, found := strings.CutPrefix(name, "slave")
		if !found || strings.Trim(number, "0123456789") != "" {
			continue
		}
		var host, port string
		for fact := range strings.SplitSeq(facts, ",") {
			switch key, value, _ := strings.Cut(fact, "="); key {
			case "ip":
				host = value
			case "port":
				port = value
			}
		}
		if host != "" && port != "" {
			nodes = append(nodes, net.JoinHostPort(host, port))
		}
	}
	return nodes
}
