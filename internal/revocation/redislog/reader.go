package redislog

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/revocation"
)

// read follows the log over one dedicated connection until ctx ends: pages while a copy is loaded, then what comes.
func (f *follower) read(ctx context.Context) {
	r := reader{follower: f}
	defer r.drop()
	for ctx.Err() == nil {
		f.mu.Lock()
		next, position := f.machine.Next(), f.replica.Position()
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
			r.drop()
			f.client.Refresh(ctx)
			sleep(ctx, f.cfg.Heartbeat, nil)
		}
	}
}

// reader is the connection that reads, and the line last written over it.
type reader struct {
	*follower
	conn    *redis.Conn
	written revocation.Position
}

func (r *reader) drop() {
	closeConn(r.conn)
	r.conn = nil
}

// step does one read and hands what it returns to the machine.
func (r *reader) step(ctx context.Context, next revocation.Read, position revocation.Position) error {
	block := r.cfg.Heartbeat
	ctx, cancel := context.WithTimeout(ctx, block+max(r.cfg.Settle, r.client.Config().ReadTimeout))
	defer cancel()
	if r.conn == nil {
		conn, err := r.client.Dedicated(ctx, r.keys.log)
		if err != nil {
			return err
		}
		r.conn, r.written = conn, revocation.Position{}
	}
	entries, err := r.fetch(ctx, next, position, block)
	if err != nil {
		return err
	}
	out := r.change(func(now revocation.Instant) revocation.Outcome { return r.machine.Entries(next, entries, now) })
	r.tellKeys(out.Applied)
	if out.Resync != "" {
		// What was read contradicts what the heartbeat was told: this connection may lead to another server.
		r.drop()
	}
	return nil
}

// fetch reads, and while it waits for what comes it first says how far this process is: others wait for that.
func (r *reader) fetch(ctx context.Context, next revocation.Read, position revocation.Position, block time.Duration) ([]revocation.Entry, error) {
	pipe := r.conn.Pipeline()
	if next.Mode == revocation.ReadPage {
		raw := redis.NewRawCmd(ctx, "XRANGE", r.keys.log, fmt.Sprintf("%d-0", next.After+1), "+", "COUNT", next.Count)
		_ = pipe.Process(ctx, raw) // queues; Exec tells
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, fmt.Errorf("redislog: loading: %w", err)
		}
		return (&decoder{string(raw.Val())}).entries()
	}
	if r.written != position {
		pipe.Do(ctx, "HSET", r.lines, r.o.Name, r.line(position))
	}
	raw := redis.NewRawCmd(ctx, "XREAD", "COUNT", next.Count, "BLOCK", block.Milliseconds(), "STREAMS", r.keys.log,
		fmt.Sprintf("%d-0", next.After))
	_ = pipe.Process(ctx, raw) // queues; Exec tells
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("redislog: reading: %w", err)
	}
	r.written = position
	return (&decoder{string(raw.Val())}).streams()
}

// tellKeys reports the keys that entries revoke.
func (f *follower) tellKeys(entries []revocation.Entry) {
	if f.o.OnKeyRevoked == nil {
		return
	}
	for i := range entries {
		if e := &entries[i]; e.Kind == revocation.KindKID {
			f.o.OnKeyRevoked(e.Issuer, e.Value, time.UnixMilli(e.Expires))
		}
	}
}
