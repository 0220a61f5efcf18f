package redislog

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/revocation"
)

// read reads the log over one dedicated connection until ctx ends: page by page while the copy is
// loaded, then what is appended.
func (f *follower) read(ctx context.Context) {
	r := reader{follower: f}
	defer r.drop()
	for ctx.Err() == nil {
		f.mu.Lock()
		next, position := f.copy.Next(), f.copy.Position()
		f.mu.Unlock()
		if next.Mode == revocation.ReadNothing {
			sleep(ctx, f.cfg.Heartbeat, f.wake)
			continue
		}
		if f.renew.Swap(false) {
			r.drop()
		}
		if err := r.step(ctx, next, position); err != nil && ctx.Err() == nil {
			f.metrics.readFailed(err)
			// The copy stays as it is: the same read goes over the next connection.
			r.drop()
			f.client.Refresh(ctx)
			sleep(ctx, f.cfg.Heartbeat, nil)
		}
	}
}

// reader is the connection that reads, the line last written over it, and the page that is being
// fetched ahead.
type reader struct {
	*follower
	conn    *redis.Conn
	written revocation.Position
	ahead   *page
}

// page is a page of the log on its way: Redis makes the next one while this process works on the
// last.
type page struct {
	after uint64
	raw   []byte
	err   error
	done  chan struct{}
}

// drop gives the connection up.
func (r *reader) drop() {
	r.settleAhead()
	closeConn(r.conn)
	r.conn = nil
}

// settleAhead waits for the page that is being fetched, so that the connection is free.
func (r *reader) settleAhead() *page {
	p := r.ahead
	if p != nil {
		<-p.done
	}
	r.ahead = nil
	return p
}

// step does one read and hands what it returns to the copy.
func (r *reader) step(ctx context.Context, next revocation.Read,
	position revocation.Position) error {
	outer, block := ctx, r.cfg.Heartbeat
	ctx, cancel := r.bounded(outer, block)
	defer cancel()
	if r.conn == nil {
		conn, err := r.client.Dedicated(ctx, r.keys.log)
		if err != nil {
			return err
		}
		r.conn, r.written = conn, revocation.Position{}
	}
	var entries []revocation.Entry
	var err error
	if next.Mode == revocation.ReadPage {
		entries, err = r.loadPage(outer, next)
	} else {
		entries, err = r.tail(ctx, next, position, block)
	}
	if err != nil {
		return err
	}
	out := r.change(
		func(now revocation.Instant) revocation.Outcome { return r.events.Entries(next, entries, now) })
	r.tellKeys(out.Applied)
	if out.Resync != "" {
		// What was read contradicts what a heartbeat was answered: this connection may lead to
		// another server.
		r.drop()
	}
	return nil
}

// bounded bounds a read that may block for a time at Redis.
func (r *reader) bounded(ctx context.Context,
	block time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, block+max(r.cfg.Settle, r.client.Config().ReadTimeout))
}

// loadPage returns the page that was fetched ahead, if it is the one wanted, and has the next one
// fetched.
func (r *reader) loadPage(ctx context.Context, next revocation.Read) ([]revocation.Entry, error) {
	p := r.settleAhead()
	if p == nil || p.after != next.After {
		p = r.fetch(ctx, next.After, next.Count)
		<-p.done
	}
	if p.err != nil {
		return nil, fmt.Errorf("redislog: loading: %w", p.err)
	}
	d := &decoder{string(p.raw)}
	// A page that is not full was the last one.
	if n, err := (&decoder{d.rest}).array(); err == nil && n == next.Count {
		r.ahead = r.fetch(ctx, next.After+uint64(next.Count), next.Count)
	}
	return d.entries()
}

func (r *reader) fetch(ctx context.Context, after uint64, count int) *page {
	p, conn := &page{after: after, done: make(chan struct{})}, r.conn
	go func() {
		defer close(p.done)
		ctx, cancel := r.bounded(ctx, 0)
		defer cancel()
		p.err = daemon.Guard(func() error {
			raw := redis.NewRawCmd(ctx, "XRANGE", r.keys.log, fmt.Sprintf("%d-0", after+1), "+",
				"COUNT", count)
			err := conn.Process(ctx, raw)
			p.raw = raw.Val()
			return err
		})
	}()
	return p
}

// tail waits for what is appended. It first writes this process's line, which says how far it is:
// logouts and other issuers wait for that.
func (r *reader) tail(ctx context.Context, next revocation.Read, position revocation.Position,
	block time.Duration) ([]revocation.Entry, error) {
	r.settleAhead()
	pipe := r.conn.Pipeline()
	if r.written != position {
		if command := r.commandAt(position); command != nil {
			pipe.Do(ctx, command...)
		}
	}
	raw := redis.NewRawCmd(ctx, "XREAD", "COUNT", next.Count, "BLOCK", block.Milliseconds(),
		"STREAMS", r.keys.log, fmt.Sprintf("%d-0", next.After))
	_ = pipe.Process(ctx, raw) // queues; Exec tells
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("redislog: reading: %w", err)
	}
	r.written = position
	return (&decoder{string(raw.Val())}).streams()
}

// tellKeys reports the keys that entries revoke.
func (r *reader) tellKeys(entries []revocation.Entry) {
	if r.o.OnKeyRevoked == nil {
		return
	}
	for i := range entries {
		if e := &entries[i]; e.Kind == revocation.KindKID {
			r.o.OnKeyRevoked(e.Issuer, e.Value, time.UnixMilli(e.Expires))
		}
	}
}
