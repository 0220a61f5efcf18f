package redisconn

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// DialsOf counts the dials of a single server's client while do runs; c must not have dialled before.
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
