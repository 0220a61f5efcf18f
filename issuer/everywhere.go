package issuer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

// How often one user is logged out everywhere by their own tokens. Each time costs an entry of the
// log at every gate for as long as an access token lives, and undoes logins under way: without a
// bound, whoever has one token could have both without end.
const (
	everywherePause = 100 * time.Millisecond // between one end and the next beginning
	everywhereIdle  = time.Second            // after one that had nothing to end
	everywhereQueue = 16                     // requests of one user that may wait
)

// everywhere logs users out everywhere, one user once at a time. Requests that come meanwhile share
// the next time: it begins after each of them came, so that it ends all that there was when they
// did.
type everywhere struct {
	end     func(ctx context.Context, user string) (session.Everywhere, error)
	guarded func(func() error) error // makes a panic an error

	mu sync.Mutex
	// users are those who had a turn just now, each with the next one; nil: nobody waits for it
	users map[string]*everywhereTurn
}

// everywhereTurn is one log out everywhere of one user, and those who share it.
type everywhereTurn struct {
	asking []*asking
	done   chan struct{} // closed when the rest is there
	result session.Everywhere
	err    error
}

// asking is a request that waits for a turn.
type asking struct {
	may func(context.Context) error // whether the credential that asks may
	err error                       // then it may not, when its turn came
}

func newEverywhere(end func(ctx context.Context, user string) (session.Everywhere, error),
	guarded func(func() error) error) *everywhere {
	return &everywhere{end: end, guarded: guarded, users: map[string]*everywhereTurn{}}
}

// do logs a user out everywhere, or waits for the time that does, as long as ctx allows. Whoever
// may not takes no turn; and a turn that had to be waited for looks again: the one before it may
// have ended the very credential that asks.
func (e *everywhere) do(ctx context.Context, user string,
	may func(context.Context) error) (session.Everywhere, error) {
	if err := may(ctx); err != nil {
		return session.Everywhere{}, err
	}
	me := &asking{may: may}
	turn, err := e.join(ctx, user, me)
	if err != nil {
		return session.Everywhere{}, err
	}
	select {
	case <-turn.done:
		// Its own credential may have ended while it waited, and the turn may have been taken for others.
		if me.err != nil {
			return session.Everywhere{}, me.err
		}
		return turn.result, turn.err
	case <-ctx.Done():
		return session.Everywhere{}, fmt.Errorf(
			"issuer: waiting to log a user out everywhere: %w", ctx.Err())
	}
}

func (e *everywhere) join(ctx context.Context, user string, me *asking) (*everywhereTurn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	turn, resting := e.users[user]
	switch {
	case !resting: // at once; what is begun is finished, although the client goes
		turn = &everywhereTurn{asking: []*asking{me}, done: make(chan struct{})}
		e.users[user] = nil
		go e.run(context.WithoutCancel(ctx), user, turn,
			func() error { return e.take(context.WithoutCancel(ctx), user, turn) })
		return turn, nil
	case turn == nil:
		turn = &everywhereTurn{done: make(chan struct{})}
		e.users[user] = turn
	case len(turn.asking) == everywhereQueue:
		return nil, httpapi.TooManyRequests(everywhereIdle)
	}
	turn.asking = append(turn.asking, me)
	return turn, nil
}

// run takes a turn, and the next one after a pause if somebody waits for it by then.
func (e *everywhere) run(ctx context.Context, user string, turn *everywhereTurn,
	take func() error) {
	turn.err = e.guarded(take)
	close(turn.done)
	// Who had nothing to end waits longer: that is what costs an entry at every gate for nothing.
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
			e.run(ctx, user, next, func() error { return e.takeIfAny(ctx, user, next) })
		}
	})
}

func (e *everywhere) take(ctx context.Context, user string, turn *everywhereTurn) (err error) {
	turn.result, err = e.end(ctx, user)
	return err
}

// takeIfAny takes a turn if any of those who wait for it may still have it.
func (e *everywhere) takeIfAny(ctx context.Context, user string, turn *everywhereTurn) error {
	some := false
	for _, one := range turn.asking {
		one.err = one.may(ctx)
		some = some || one.err == nil
	}
	if !some {
		return nil
	}
	return e.take(ctx, user, turn)
}

const (
	unansweredFor  = time.Minute
	unansweredMost = 1024
)

// unanswered remembers for a while which credentials asked to log their user out everywhere and got
// an error: it may have been stored all the same, and then whoever asks again is to be told. It is
// bounded; who is forgotten gets 401 for a token that has ended.
type unanswered struct {
	mu    sync.Mutex
	asked map[string]unansweredAsk
}

type unansweredAsk struct {
	since time.Time // the log's time when it first asked
	until time.Time
}

func newUnanswered() *unanswered { return &unanswered{asked: map[string]unansweredAsk{}} }

func (u *unanswered) note(credential string, since, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if before, asked := u.asked[credential]; asked {
		since = before.since
	} else if len(u.asked) >= unansweredMost {
		u.expire(now)
		if len(u.asked) >= unansweredMost {
			return
		}
	}
	u.asked[credential] = unansweredAsk{since: since, until: now.Add(unansweredFor)}
}

func (u *unanswered) expire(now time.Time) {
	for credential, ask := range u.asked {
		if now.After(ask.until) {
			delete(u.asked, credential)
		}
	}
}

func (u *unanswered) since(credential string, now time.Time) (time.Time, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	ask, asked := u.asked[credential]
	return ask.since, asked && !now.After(ask.until)
}

func (u *unanswered) drop(credential string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.asked, credential)
}
