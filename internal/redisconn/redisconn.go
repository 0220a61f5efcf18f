// Package redisconn opens the one Redis client a daemon uses, from configuration alone: a single server, Sentinel or
// Cluster, with TLS and an ACL user if asked. What it hands out never repeats a command by itself and obeys its
// context's deadline, so that an answer is always the answer to the one command that was sent.
package redisconn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Client is a Redis client for one configuration.
type Client struct {
	universal redis.UniversalClient
	cfg       Config

	mu        sync.Mutex
	dedicated map[string]*redis.Client // by the primary's address: the source of dedicated connections
}

// Open makes a client. It does not connect: the first command does.
func Open(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	u, err := open(cfg)
	if err != nil {
		return nil, err
	}
	return &Client{universal: u, cfg: cfg, dedicated: map[string]*redis.Client{}}, nil
}

// Universal is the pooled client, for commands that may go over any connection.
func (c *Client) Universal() redis.UniversalClient { return c.universal }

// Config is what the client was opened with.
func (c *Client) Config() Config { return c.cfg }

// Dedicated gives one connection, newly dialled by its first command, to the primary that holds key. Every command on
// it goes over that connection; once it has had any error it stays broken: close it and take a new one. Its commands
// wait as long as their contexts let them: give each a deadline.
func (c *Client) Dedicated(ctx context.Context, key string) (*redis.Conn, error) {
	primary, err := c.primary(ctx, key)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dedicated == nil {
		return nil, errors.New("redisconn: the client is closed")
	}
	source, ok := c.dedicated[primary.Options().Addr]
	if !ok {
		source = redis.NewClient(dedicatedOptions(primary.Options()))
		c.dedicated[primary.Options().Addr] = source
	}
	// An ephemeral connection is thrown away at its end, so the pool it comes from never has a used one to give.
	return source.EphemeralConn(), nil
}

func (c *Client) primary(ctx context.Context, key string) (*redis.Client, error) {
	switch u := c.universal.(type) {
	case *redis.Client:
		return u, nil
	case *redis.ClusterClient:
		node, err := u.MasterForKey(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("redisconn: finding the primary of %s: %w", key, err)
		}
		return node, nil
	}
	return nil, errors.New("redisconn: a client of unknown kind")
}

// longestWait bounds a command on a dedicated connection whose context has no deadline.
const longestWait = time.Minute

func dedicatedOptions(from *redis.Options) *redis.Options {
	o := *from
	o.ReadTimeout, o.PoolSize, o.MinIdleConns = longestWait, 64, 0
	return &o
}

// Refresh makes a Cluster client read the slots anew, after an error that says they have moved.
func (c *Client) Refresh(ctx context.Context) {
	if u, ok := c.universal.(*redis.ClusterClient); ok {
		u.ReloadState(ctx)
	}
}

// Close closes every connection.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := []error{c.universal.Close()}
	for _, d := range c.dedicated {
		errs = append(errs, d.Close())
	}
	c.dedicated = nil
	return errors.Join(errs...)
}
