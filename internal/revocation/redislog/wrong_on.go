//go:build seededbugs

package redislog

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/seeded"
)

// appendWrongly is writeAndWait as somebody might write it who has not met Redis' traps.
func appendWrongly(ctx context.Context, f *follower, conn *redis.Conn, s script, keys []string, args []any, wait time.Duration) (any, int, error) {
	command := s.command(true, keys, args)
	switch {
	case seeded.On(seeded.WaitInMulti):
		return waitInMulti(ctx, f, conn, command, wait)
	case seeded.On(seeded.WaitElsewhere):
		other, err := otherConnection(ctx, f)
		if err != nil {
			return nil, 0, err
		}
		defer closeConn(other)
		did, err := conn.Do(ctx, command...).Result()
		if err != nil {
			return nil, 0, err
		}
		replicas, err := other.Do(ctx, f.waitCommand(wait)...).Int()
		return did, replicas, err
	case seeded.On(seeded.NoScriptOverlooked):
		did, waited, err := pipeline(ctx, f, conn, s.command(false, keys, args), wait)
		if isNoScript(did.Err()) && waited.Err() == nil {
			replicas, err := waited.Int()
			return storedAllTheSame(f, len(args)-9), replicas, err
		}
		return did.Val(), int(waited.Val().(int64)), err
	}
	return appendAndRetry(ctx, f, conn, command, wait)
}

func pipeline(ctx context.Context, f *follower, conn *redis.Conn, command []any, wait time.Duration) (did, waited *redis.Cmd, err error) {
	pipe := conn.Pipeline()
	did, waited = pipe.Do(ctx, command...), pipe.Do(ctx, f.waitCommand(wait)...)
	_, err = pipe.Exec(ctx)
	return did, waited, err
}

// appendAndRetry goes on over a new connection when the first one breaks: with the append and WAIT, or with WAIT alone.
func appendAndRetry(ctx context.Context, f *follower, conn *redis.Conn, command []any, wait time.Duration) (any, int, error) {
	did, waited, err := pipeline(ctx, f, conn, command, wait)
	if err != nil {
		other, failed := otherConnection(ctx, f)
		if failed != nil {
			return nil, 0, failed
		}
		defer closeConn(other)
		if seeded.On(seeded.AppendRetried) || did.Err() != nil {
			did, waited, err = pipeline(ctx, f, other, command, wait)
		} else {
			waited = other.Do(ctx, f.waitCommand(wait)...)
			err = waited.Err()
		}
	}
	if err != nil {
		return nil, 0, err
	}
	replicas, err := waited.Int()
	return did.Val(), replicas, err
}

// otherConnection is one that is there already: its WAIT does not wait for what is written from now on.
func otherConnection(ctx context.Context, f *follower) (*redis.Conn, error) {
	conn, err := f.client.Dedicated(ctx, f.keys.log)
	if err != nil {
		return nil, err
	}
	return conn, conn.Ping(ctx).Err()
}

func waitInMulti(ctx context.Context, f *follower, conn *redis.Conn, command []any, wait time.Duration) (any, int, error) {
	pipe := conn.TxPipeline()
	did := pipe.Do(ctx, command...)
	waited := pipe.Do(ctx, f.waitCommand(wait)...)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, 0, err
	}
	replicas, err := waited.Int()
	return did.Val(), replicas, err
}

// storedAllTheSame is what the script would have answered if it had run.
func storedAllTheSame(f *follower, entries int) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.replica.Position()
	return []any{"OK", p.Epoch.String(), int64(p.Seq) + 1, int64(p.Seq) + int64(entries), p.Chain.String(), int64(0), int64(0)}
}

// gateWrongly is multiAndWait with its WAIT inside the MULTI, or over another connection.
func gateWrongly(ctx context.Context, f *follower, conn *redis.Conn, commands [][]any) ([]any, int, error) {
	other, err := otherConnection(ctx, f)
	if err != nil {
		return nil, 0, err
	}
	defer closeConn(other)
	wait := f.waitCommand(f.cfg.Settle / 2)
	pipe := conn.TxPipeline()
	for _, c := range commands {
		pipe.Do(ctx, c...)
	}
	var waited *redis.Cmd
	if seeded.On(seeded.GateWaitsInMulti) {
		waited = pipe.Do(ctx, wait...)
	}
	done, err := pipe.Exec(ctx)
	if err != nil {
		return nil, 0, err
	}
	if waited == nil {
		waited = other.Do(ctx, wait...)
	}
	var answers []any
	for _, d := range done[:len(commands)] {
		answers = append(answers, d.(*redis.Cmd).Val())
	}
	replicas, err := waited.Int()
	return answers, replicas, err
}
