package redisconn

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// DialsOf counts the dials of a single server's client while do runs; c must not have dialled
// before.
func DialsOf(c *Client, do func()) int64 {
	var dials atomic.Int64
	o := c.universal.(*redis.Client).Options()
	dial := o.Dialer
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return dial(ctx, network, addr)
	}
	do()
	return dials.Load()
}

// DedicateTo gives a dedicated connection to a primary at an address, as a fail-over would make it.
func (c *Client) DedicateTo(addr string) (*redis.Conn, error) {
	o := *c.universal.(*redis.Client).Options()
	o.Addr = addr
	primary := redis.NewClient(&o)
	defer func() { _ = primary.Close() }()
	return c.dedicate(primary)
}

// Sources is how many primaries' addresses are kept.
func (c *Client) Sources() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.dedicated)
}

// Age makes all sources look as if they had given nothing for d.
func (c *Client) Age(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.dedicated {
		s.used = s.used.Add(-d)
	}
}

// Waiting is how many writes wait for a pipeline.
func (c *Client) Waiting() int {
	c.writes.mu.Lock()
	defer c.writes.mu.Unlock()
	n := 0
	for _, q := range c.writes.queues {
		n += len(q.waiting)
	}
	return n
}

// Queues is for how many primaries there are queues, of writes and of reads.
func (c *Client) Queues() int {
	c.writes.mu.Lock()
	defer c.writes.mu.Unlock()
	c.reads.mu.Lock()
	defer c.reads.mu.Unlock()
	return len(c.writes.queues) + len(c.reads.queues)
}

// MaxPipelines is how many pipelines are under way at a time.
const MaxPipelines = maxPipelines
