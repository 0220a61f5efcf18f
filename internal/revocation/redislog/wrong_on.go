//go:build seededbugs

package redislog

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/seeded"
)

// waitsWrongly reports whether the append's WAIT is one of the seeded bugs' and not ours.
func waitsWrongly() bool {
	return seeded.On(seeded.WaitElsewhere) || seeded.On(seeded.WaitInMulti) || seeded.On(seeded.NoScriptOverlooked) ||
		seeded.On(seeded.WaitRetried)
}

// waitWrongly is writeAndWait as somebody might write it who has not met Redis' traps.
func (f *follower) waitWrongly(ctx context.Context, conn *redis.Conn, s script, keys []string, args []any, wait time.Duration) (any, int, error) {
	if seeded.On(seeded.WaitInMulti) {
		return f.waitInMulti(ctx, conn, s.command(true, keys, args), wait)
	}
	elsewhere := func() (int, error) {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
		defer cancel()
		return f.client.Universal().Do(bounded, f.waitCommand(wait)...).Int()
	}
	pipe := conn.Pipeline()
	did := pipe.Do(ctx, s.command(!seeded.On(seeded.NoScriptOverlooked), keys, args)...)
	waited := pipe.Do(ctx, f.waitCommand(wait)...)
	if seeded.On(seeded.WaitElsewhere) {
		pipe = conn.Pipeline()
		did = pipe.Do(ctx, s.command(true, keys, args)...)
	}
	_, err := pipe.Exec(ctx)
	switch {
	case isNoScript(did.Err()) && waited.Err() == nil:
		replicas, err := waited.Int()
		return f.storedAllTheSame(len(args) - 9), replicas, err
	case did.Err() != nil:
		return nil, 0, err
	case seeded.On(seeded.WaitElsewhere), seeded.On(seeded.WaitRetried) && waited.Err() != nil:
		replicas, err := elsewhere()
		return did.Val(), replicas, err
	}
	replicas, err := waited.Int()
	return did.Val(), replicas, err
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
