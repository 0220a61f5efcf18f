package sessiontest

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
)

// Faults makes calls to Redis fail. One command, or one pipeline, is one call; a script that Redis
// has forgotten makes no second one.
type Faults struct {
	calls  atomic.Int64
	failAt atomic.Int64 // 0: none
	lose   atomic.Bool  // let it happen and lose the answer, instead of losing the question
}

// Inject puts faults between a client and Redis; none is active yet.
func Inject(c *redisconn.Client) *Faults {
	f := &Faults{}
	c.Universal().AddHook(f)
	return f
}

// At makes the n-th call from now on fail, 1 being the next: before it reaches Redis, or, with
// lose, after. 0: none.
func (f *Faults) At(n int64, lose bool) {
	f.calls.Store(0)
	f.lose.Store(lose)
	f.failAt.Store(n)
}

// Calls is the number of calls since At.
func (f *Faults) Calls() int64 { return f.calls.Load() }

func (f *Faults) run(do func() error) error {
	if f.calls.Add(1) != f.failAt.Load() {
		err := do()
		if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
			f.calls.Add(-1) // nothing was done: the script is sent again, whole
		}
		return err
	}
	if f.lose.Load() {
		if err := do(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	return ErrInjected
}

// DialHook leaves connecting alone.
func (f *Faults) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return next(ctx, network, address)
	}
}

// ProcessHook counts single commands.
func (f *Faults) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := f.run(func() error { return next(ctx, cmd) })
		if err == ErrInjected {
			cmd.SetErr(err)
		}
		return err
	}
}

// ProcessPipelineHook counts pipelines.
func (f *Faults) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := f.run(func() error { return next(ctx, cmds) })
		if err == ErrInjected {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		}
		return err
	}
}
