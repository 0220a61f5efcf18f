package issuer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/session"
)

// How often one user is logged out everywhere by their own tokens. Each time costs an entry of the log at every gate for as long as an
// access token lives, and undoes logins under way: without a bound, whoever has one token could have both without end.
const (
	everywherePause = 100 * time.Millisecond // between one end and the next beginning
	everywhereIdle  = time.Second            // after one that had nothing to end
	everywhereQueue = 16                     // requests of one user that may wait
)

// everywhere logs users out everywhere, one user once at a time. Requests that come meanwhile share the next time: it begins
// after each of them came, so that it ends all that there was when they did.
type everywhere struct {
	end func(ctx context.Context, user string) (session.Everywhere, error)

	mu    sync.Mutex
	users map[string]*everywhereTurn // the next turn of users who had one just now; nil: nobody waits for it
}

// everywhereTurn is one time.
type everywhereTurn struct {
	waiting int
	done    chan struct{} // closed when the rest is there
	result  session.Everywhere
	err     error
}

func newEverywhere(end func(ctx context.Context, user string) (session.Everywhere, error)) *everywhere {
	return &everywhere{end: end, users: map[string]*everywhereTurn{}}
}

// do logs a user out everywhere, or waits for the time that does, as long as ctx allows.
func (e *everywhere) do(ctx context.Context, user string) (session.Everywhere, error) {
	turn, err := e.join(ctx, user)
	if err != nil {
		return session.Everywhere{}, err
	}
	select {
	case <-turn.done:
		return turn.result, turn.err
	case <-ctx.Done():
		return session.Everywhere{}, fmt.Errorf("issuer: waiting to log a user out everywhere: %w", ctx.Err())
	}
}

func (e *everywhere) join(ctx context.Context, user string) (*everywhereTurn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	turn, resting := e.users[user]
	if turn == nil {
		turn = &everywhereTurn{done: make(chan struct{})}
		if resting {
			e.users[user] = turn
		} else {
			e.users[user] = nil
			go e.run(context.WithoutCancel(ctx), user, turn)
		}
	}
	if turn.waiting == everywhereQueue {
		return nil, tooManyRequests(everywhereIdle)
	}
	turn.waiting++
	return turn, nil
}

// run takes a turn, and the next one after a pause if somebody waits for it by then.
func (e *everywhere) run(ctx context.Context, user string, turn *everywhereTurn) {
	turn.result, turn.err = e.end(ctx, user)
	close(turn.done)
	pause := everywherePause
	if turn.err == nil && turn.result.Sessions == 0 {
		pause = everywhereIdle
	}
	time.AfterFunc(pause, func() {
		e.mu.Lock()
		next := e.users[user]
		if next == nil {
			delete(e.users, user)
		} else {
			e.users[user] = nil
		}
		e.mu.Unlock()
		if next != nil {
			e.run(ctx, user, next)
		}
	})
}
