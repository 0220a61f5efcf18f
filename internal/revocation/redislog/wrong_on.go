//go:build seededbugs

package redislog

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/seeded"
)

// appendsWrongly reports whether one of the seeded bugs appends, and not we.
func appendsWrongly() bool {
	return seeded.On(seeded.WaitElsewhere) || seeded.On(seeded.WaitInMulti) || seeded.On(seeded.NoScriptOverlooked) ||
		seeded.On(seeded.AppendRetried) || seeded.On(seeded.WaitRetried)
}

// appendWrongly is writeAndWait as somebody might write it who has not met Redis' traps.
func (f *follower) appendWrongly(ctx context.Context, conn *redis.Conn, s script, keys []string, args []any, wait time.Duration) (any, int, error) {
	command := s.command(true, keys, args)
	switch {
	case seeded.On(seeded.WaitInMulti):
		return f.waitInMulti(ctx, conn, command, wait)
	case seeded.On(seeded.WaitElsewhere):
		other, err := f.otherConnection(ctx)
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
		did, waited, err := f.pipeline(ctx, conn, s.command(false, keys, args), wait)
		if isNoScript(did.Err()) && waited.Err() == nil {
			replicas, err := waited.Int()
			return f.storedAllTheSame(len(args) - 9), replicas, err
		}
		return did.Val(), int(waited.Val().(int64)), err
	}
	return f.appendAndRetry(ctx, conn, command, wait)
}

func (f *follower) pipeline(ctx context.Context, conn *redis.Conn, command []any, wait time.Duration) (did, waited *redis.Cmd, err error) {
	pipe := conn.Pipeline()
	did, waited = pipe.Do(ctx, command...), pipe.Do(ctx, f.waitCommand(wait)...)
	_, err = pipe.Exec(ctx)
	return did, waited, err
}

// appendAndRetry goes on over a new connection when the first one breaks: with the append and WAIT, or with WAIT alone.
func (f *follower) appendAndRetry(ctx context.Context, conn *redis.Conn, command []any, wait time.Duration) (any, int, error) {
	did, waited, err := f.pipeline(ctx, conn, command, wait)
	if err != nil {
		other, failed := f.otherConnection(ctx)
		if failed != nil {
			return nil, 0, failed
		}
		defer closeConn(other)
		if seeded.On(seeded.AppendRetried) || did.Err() != nil {
			did, waited, err = f.pipeline(ctx, other, command, wait)
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
func (f *follower) otherConnection(ctx context.Context) (*redis.Conn, error) {
	conn, err := f.client.Dedicated(ctx, f.keys.log)
	if err != nil {
		return nil, err
	}
	return conn, conn.Ping(ctx).Err()
}

func (f *follower) waitInMulti(ctx context.Context, conn *redis.Conn, command []any, wait time.Duration) (any, int, error) {
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
func (f *follower) storedAllTheSame(entries int) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.replica.Position()
	return []any{"OK", p.Epoch.String(), int64(p.Seq) + 1, int64(p.Seq) + int64(entries), p.Chain.String(), int64(0), int64(0)}
}

// gateBeatsWrongly reports whether one of the seeded bugs sends a gate's heartbeat, and not we.
func gateBeatsWrongly() bool {
	return seeded.On(seeded.GateWaitsElsewhere) || seeded.On(seeded.GateWaitsInMulti) || seeded.On(seeded.BeatByRead)
}

// gateWrongly is multiAndWait without its WAIT behind it, or without its write.
func (f *follower) gateWrongly(ctx context.Context, conn *redis.Conn, commands [][]any) ([]any, int, error) {
	wait := f.waitCommand(f.cfg.Settle / 2)
	switch {
	case seeded.On(seeded.BeatByRead):
		commands[1] = commands[0]
	case seeded.On(seeded.GateWaitsInMulti):
		pipe := conn.TxPipeline()
		var answers []any
		for _, c := range append(commands, wait) {
			pipe.Do(ctx, c...)
		}
		done, err := pipe.Exec(ctx)
		if err != nil {
			return nil, 0, err
		}
		for _, d := range done {
			answers = append(answers, d.(*redis.Cmd).Val())
		}
		n := len(answers) - 1
		return answers[:n], int(answers[n].(int64)), nil
	case seeded.On(seeded.GateWaitsElsewhere):
		other, err := f.otherConnection(ctx)
		if err != nil {
			return nil, 0, err
		}
		defer closeConn(other)
		answers, _, err := f.multiAndWait(ctx, conn, commands)
		if err != nil {
			return nil, 0, err
		}
		replicas, err := other.Do(ctx, wait...).Int()
		return answers, replicas, err
	}
	return f.multiAndWait(ctx, conn, commands)
}
