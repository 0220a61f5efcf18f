package redisconn

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"
)

const (
	// maxTogether is how many writes share a pipeline and its WAIT.
	maxTogether = 100
	// maxPipelines is how many pipelines to one primary are under way at a time. While all are, writes
	// gather. More than one, so that one connection that is stuck holds up nobody but its own writes.
	maxPipelines = 4
)

// together has the writes that wait for their turn, by primary. It holds nothing of a primary that
// nothing is written to.
type together struct {
	mu     sync.Mutex
	queues map[*redis.Client]*queue
}

type queue struct {
	waiting   []*turn
	pipelines int // under way
}

// turn is a write that waits for its outcome.
type turn struct {
	ctx   context.Context
	write *Write
	done  chan outcome // takes one
}

// WriteAndWait is the function of this name over a pooled connection to the primary that holds key.
// Writes that come while others are under way share a connection and a WAIT: the answer to each is
// its own, an error of the connection is one of all. One whose ctx ends may be written later.
func (c *Client) WriteAndWait(ctx context.Context, key string, w Write) (Written, error) {
	primary, err := c.primary(ctx, key)
	if err != nil {
		return Written{}, err
	}
	t := &turn{ctx: ctx, write: &w, done: make(chan outcome, 1)}
	c.together.add(primary, t)
	select {
	case o := <-t.done:
		return o.written, o.err
	case <-ctx.Done():
		return Written{}, fmt.Errorf("redisconn: waiting for a write: %w", ctx.Err())
	}
}

func (g *together) add(primary *redis.Client, t *turn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.queues[primary]
	if q == nil {
		q = new(queue)
		g.queues[primary] = q
	}
	q.waiting = append(q.waiting, t)
	if q.pipelines < maxPipelines {
		q.pipelines++
		go g.run(primary, q)
	}
}

// run sends what waits for a primary until nothing does.
func (g *together) run(primary *redis.Client, q *queue) {
	for {
		turns := g.take(primary, q)
		if len(turns) == 0 {
			return
		}
		write(primary, turns)
	}
}

// take takes writes out of the queue, or ends a pipeline if there are none.
func (g *together) take(primary *redis.Client, q *queue) []*turn {
	g.mu.Lock()
	defer g.mu.Unlock()
	var turns []*turn
	for len(q.waiting) > 0 && len(turns) < maxTogether {
		if q.waiting[0].ctx.Err() == nil { // else nobody waits for it any more
			turns = append(turns, q.waiting[0])
		}
		q.waiting = q.waiting[1:]
	}
	if len(turns) > 0 {
		return turns
	}
	if q.pipelines--; q.pipelines == 0 {
		delete(g.queues, primary)
	}
	return nil
}

// write writes over one connection of the pool.
func write(primary *redis.Client, turns []*turn) {
	ctx, cancel := untilLast(turns)
	defer cancel()
	writes := make([]*Write, len(turns))
	for i, t := range turns {
		writes[i] = t.write
	}
	conn := primary.Conn()
	defer func() { _ = conn.Close() }() // it goes back to the pool, unless it is broken
	outcomes := make([]outcome, len(turns))
	writeAll(ctx, conn, writes, outcomes)
	for i, t := range turns {
		t.done <- outcomes[i]
	}
}

// untilLast returns a context that ends when nobody waits any more. Without a deadline of each it
// has none; the pool's read_timeout bounds every answer.
func untilLast(turns []*turn) (context.Context, context.CancelFunc) {
	last, bounded := turns[0].ctx.Deadline()
	for _, t := range turns[1:] {
		deadline, has := t.ctx.Deadline()
		if bounded = bounded && has; deadline.After(last) {
			last = deadline
		}
	}
	if !bounded {
		return context.Background(), func() {}
	}
	return context.WithDeadline(context.Background(), last)
}
