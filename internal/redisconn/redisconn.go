// Package redisconn opens the one Redis client a daemon uses, from configuration alone: a single
// server, Sentinel or Cluster, with TLS and an ACL user if asked. Each connection is made with the
// certificates, authorities and passwords that their files hold at that moment. What it hands out
// obeys its context's deadline, and never repeats a command by itself, so that an answer is always
// the answer to the one command that was sent. The one exception is Universal over a Cluster, which
// follows a slot that has moved or whose node is gone: what must happen once goes over Dedicated.
//
// What is to be acknowledged is written by [WriteAndWait], the one place where Redis is asked how
// many replicas have a write.
package redisconn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/livefile"
)

// Client is a Redis client for one configuration.
type Client struct {
	universal redis.UniversalClient
	cfg       Config
	dialer    *dialer
	writes    *together[*Write]
	reads     *together[redis.Cmder]

	mu        sync.Mutex
	dedicated map[string]*source // by the primary's address; nil once the client is closed
}

// source is where the dedicated connections to one primary come from.
type source struct {
	*redis.Client
	used time.Time // when a connection was last asked for
}

// Open makes a client. It does not connect: the first command does.
func Open(cfg Config) (*Client, error) { return OpenWith(cfg, nil) }

// OpenWith is Open for a process that watches its files, and reports a broken one before the next
// connection needs it.
func OpenWith(cfg Config, files *livefile.Files) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d, err := newDialer(cfg, files)
	if err != nil {
		return nil, err
	}
	return &Client{
		universal: open(cfg, d), cfg: cfg, dialer: d, dedicated: map[string]*source{},
		writes: newTogether(sendWrites), reads: newTogether(sendReads),
	}, nil
}

// Universal returns the pooled client, for commands that may go over any connection.
func (c *Client) Universal() redis.UniversalClient { return c.universal }

// Config returns what the client was opened with.
func (c *Client) Config() Config { return c.cfg }

// Dedicated returns one connection, newly dialled by its first command, to the primary that holds
// key. Every command on it goes over that connection; once it has had any error it stays broken:
// close it and take a new one. Its commands wait as long as their contexts let them: give each a
// deadline.
func (c *Client) Dedicated(ctx context.Context, key string) (*redis.Conn, error) {
	primary, err := c.primary(ctx, key)
	if err != nil {
		return nil, err
	}
	return c.dedicate(primary)
}

func (c *Client) dedicate(primary *redis.Client) (*redis.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dedicated == nil {
		return nil, errors.New("redisconn: the client is closed")
	}
	addr, now := primary.Options().Addr, time.Now()
	from, ok := c.dedicated[addr]
	if !ok {
		c.evict(now)
		from = &source{Client: redis.NewClient(dedicatedOptions(primary.Options()))}
		c.dedicated[addr] = from
	}
	from.used = now
	// An ephemeral connection is thrown away at its end, so the pool it comes from never has a used
	// one to give.
	return from.EphemeralConn(), nil
}

// keptSources is how many sources are kept without looking at them: primaries change their
// addresses at each fail-over, or with each new container, for as long as the process runs.
const keptSources = 16

// evict closes the sources without a connection, unless one was asked for so recently that it may
// be about to be dialled.
func (c *Client) evict(now time.Time) {
	if len(c.dedicated) < keptSources {
		return
	}
	for addr, s := range c.dedicated {
		if now.Sub(s.used) > longestWait && s.PoolStats().TotalConns == 0 {
			delete(c.dedicated, addr)
			_ = s.Close() // nothing is open on it
		}
	}
}

// EachPrimary calls f with a dedicated connection to every primary, one after the other, until f
// returns an error. node is a primary's address in a cluster, and empty elsewhere.
func (c *Client) EachPrimary(ctx context.Context,
	f func(node string, conn *redis.Conn) error) error {
	one := func(node string, primary *redis.Client) error {
		conn, err := c.dedicate(primary)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }() // nothing is lost with it
		return f(node, conn)
	}
	switch u := c.universal.(type) {
	case *redis.Client:
		return one("", u)
	case *redis.ClusterClient:
		var turn sync.Mutex // go-redis would call for all nodes at once
		return u.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
			turn.Lock()
			defer turn.Unlock()
			return one(node.Options().Addr, node)
		})
	}
	return errUnknownClient
}

var errUnknownClient = errors.New("redisconn: a client of unknown kind")

// primary returns the one server that everything about key goes to: a cluster's client would send a
// command without a key, such as WAIT, elsewhere.
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
	return nil, errUnknownClient
}

// longestWait bounds a command on a dedicated connection whose context has no deadline.
const longestWait = time.Minute

// dedicatedOptions copies the options of a client that has been made. In those a value that stands
// for "off" has become 0, which a new client would take for "unset": what must be off is set again.
func dedicatedOptions(from *redis.Options) *redis.Options {
	o := *from
	o.ReadTimeout, o.PoolSize, o.MinIdleConns = longestWait, 64, 0
	o.MaxRetries, o.DialerRetries, o.MaintNotificationsConfig = noRetries, 1, noNotifications()
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
