package redisconn

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/daemon"
)

const (
	// maxTogether is how many writes, or reads, share a pipeline.
	maxTogether = 100
	// maxPipelines is how many pipelines to one primary are under way at a time. While all are, what
	// comes gathers. More than one, so that one connection that is stuck holds up no other's.
	maxPipelines = 4
)

// together has what waits for its turn at a primary: T is a write or a read. It holds nothing of a
// primary that nothing is sent to.
type together[T any] struct {
	mu     sync.Mutex
	queues map[*redis.Client]*queue[T]
	// send sends turns over one connection, and puts what became of each into its place.
	send func(ctx context.Context, conn *redis.Conn, turns []*turn[T], outcomes []outcome)
}

type queue[T any] struct {
	waiting   []*turn[T]
	pipelines int // under way
}

// turn is a write or a read that waits for its outcome.
type turn[T any] struct {
	ctx  context.Context
	what T
	done chan outcome // takes one
}

func newTogether[T any](
	send func(context.Context, *redis.Conn, []*turn[T], []outcome)) *together[T] {
	return &together[T]{queues: map[*redis.Client]*queue[T]{}, send: send}
}

// WriteAndWait is the function of this name over a pooled connection to the primary that holds key.
// Writes that come while others are under way share a connection and a WAIT: the answer to each is
// its own, an error of the connection is one of all. One whose ctx ends may be written later.
func (c *Client) WriteAndWait(ctx context.Context, key string, w Write) (Written, error) {
	primary, err := c.primary(ctx, key)
	if err != nil {
		return Written{}, err
	}
	o := c.writes.do(ctx, primary, &w)
	return o.written, o.err
}

// Read runs a command that only reads, as Universal does, but together with others that come
// meanwhile. The error is the command's, which is not to be looked at after an error of ctx.
func (c *Client) Read(ctx context.Context, command redis.Cmder) error {
	if single, ok := c.universal.(*redis.Client); ok {
		return c.reads.do(ctx, single, command).err
	}
	return c.universal.Process(ctx, command) // follows a slot that has moved
}

// do waits for its turn and for the outcome.
func (g *together[T]) do(ctx context.Context, primary *redis.Client, what T) outcome {
	t := &turn[T]{ctx: ctx, what: what, done: make(chan outcome, 1)}
	g.add(primary, t)
	select {
	case o := <-t.done:
		return o
	case <-ctx.Done():
		return outcome{err: fmt.Errorf("redisconn: waiting for an answer: %w", ctx.Err())}
	}
}

func (g *together[T]) add(primary *redis.Client, t *turn[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.queues[primary]
	if q == nil {
		q = new(queue[T])
		g.queues[primary] = q
	}
	q.waiting = append(q.waiting, t)
	if q.pipelines < maxPipelines {
		q.pipelines++
		go g.run(primary, q)
	}
}

// run sends what waits for a primary until nothing does.
func (g *together[T]) run(primary *redis.Client, q *queue[T]) {
	for {
		turns := g.take(primary, q)
		if len(turns) == 0 {
			return
		}
		outcomes := make([]outcome, len(turns))
		// A panic would be that of a request's own goroutine, were it alone: it ends no process.
		err := daemon.Guard(func() error {
			ctx, cancel := untilLast(turns)
			defer cancel()
			// Not a pipeline of the client: those have connections of their own, past pool_size.
			conn := primary.Conn()
			// It goes back to the pool, unless it is broken, before whoever waits can want it again.
			defer func() { _ = conn.Close() }()
			g.send(ctx, conn, turns, outcomes)
			return nil
		})
		for i, t := range turns {
			if err != nil {
				outcomes[i] = outcome{err: err}
			}
			t.done <- outcomes[i]
		}
	}
}

// take takes turns out of the queue, or ends a pipeline if there are none.
func (g *together[T]) take(primary *redis.Client, q *queue[T]) []*turn[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	var turns []*turn[T]
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

func sendWrites(ctx context.Context, conn *redis.Conn, turns []*turn[*Write],
	outcomes []outcome) {
	writes := make([]*Write, len(turns))
	for i, t := range turns {
		writes[i] = t.what
	}
	writeAll(ctx, conn, writes, outcomes)
}

func sendReads(ctx context.Context, conn *redis.Conn, turns []*turn[redis.Cmder],
	outcomes []outcome) {
	pipe := conn.Pipeline()
	for _, t := range turns {
		_ = pipe.Process(ctx, t.what) // queues it
	}
	commands, err := pipe.Exec(ctx)
	all := ofAll(err, commands)
	for i, t := range turns {
		if outcomes[i].err = all; all == nil {
			outcomes[i].err = t.what.Err()
		}
	}
}

// ofAll returns a pipeline's error, unless it is what Redis has answered to one of its commands. A
// connection that could not be set up, as with a wrong password, is an error of none of them in
// go-redis.
func ofAll(err error, commands []redis.Cmder) error {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return err
	}
	for _, command := range commands {
		if command.Err() != nil {
			return nil
		}
	}
	return err
}

// untilLast returns a context that ends when nobody waits any more. Without a deadline of each it
// has none; the pool's read_timeout bounds every answer.
func untilLast[T any](turns []*turn[T]) (context.Context, context.CancelFunc) {
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
