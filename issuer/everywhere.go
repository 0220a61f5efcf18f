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
// bound, whoever has one token could cause both without end.
const (
	everywherePause = 100 * time.Millisecond // between the end of one round and the next
	everywhereIdle  = time.Second            // the same, after a round that had nothing to end
	everywhereQueue = 16                     // requests of one user that may wait for a round
)

// everywhere logs users out everywhere, in rounds: of one user, one at a time. Requests that come
// while a user's round runs, or in the pause after it, share the next round. It begins after each
// of them came, so that it ends all that there was when they did.
type everywhere struct {
	end     func(ctx context.Context, user string) (session.Everywhere, error)
	guarded func(func() error) error // makes a panic an error

	mu sync.Mutex
	// users are those whose round runs or has just ended, each with the next one; nil: nobody waits
	// for that
	users map[string]*round
}

// round is one log out everywhere of one user.
type round struct {
	waiters []*waiter
	done    chan struct{} // closed once result, err and the waiters' refusals are set
	result  session.Everywhere
	err     error
}

// waiter is a request that waits for a round.
type waiter struct {
	may     func(context.Context) error // nil if its credential may log the user out
	refused error                       // what may returned when the round began
}

func newEverywhere(end func(ctx context.Context, user string) (session.Everywhere, error),
	guarded func(func() error) error) *everywhere {
	return &everywhere{end: end, guarded: guarded, users: map[string]*round{}}
}

// do logs a user out everywhere, or waits for the round that does, as long as ctx allows, if may
// returns nil. It is asked once more when a round that had to be waited for begins: the one before
// may have ended the very credential that asks.
func (e *everywhere) do(ctx context.Context, user string,
	may func(context.Context) error) (session.Everywhere, error) {
	if err := may(ctx); err != nil {
		return session.Everywhere{}, err
	}
	w := &waiter{may: may}
	r, err := e.join(ctx, user, w)
	if err != nil {
		return session.Everywhere{}, err
	}
	select {
	case <-r.done:
		// The round may have been for the others: this one's credential had ended by then.
		if w.refused != nil {
			return session.Everywhere{}, w.refused
		}
		return r.result, r.err
	case <-ctx.Done():
		return session.Everywhere{}, fmt.Errorf(
			"issuer: waiting to log a user out everywhere: %w", ctx.Err())
	}
}

// join begins a round of the user, or adds the waiter to the next one.
func (e *everywhere) join(ctx context.Context, user string, w *waiter) (*round, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next, pausing := e.users[user]
	switch {
	case !pausing:
		r := &round{waiters: []*waiter{w}, done: make(chan struct{})}
		e.users[user] = nil
		ctx := context.WithoutCancel(ctx) // what is begun is finished, although the client goes
		// The waiter has just been asked whether it may: a first round asks nobody again.
		go e.run(ctx, user, r, func() error { return e.endAll(ctx, user, r) })
		return r, nil
	case next == nil:
		next = &round{done: make(chan struct{})}
		e.users[user] = next
	case len(next.waiters) == everywhereQueue:
		return nil, httpapi.TooManyRequests(everywhereIdle)
	}
	next.waiters = append(next.waiters, w)
	return next, nil
}

// run runs a round, and the next one after a pause if somebody waits for it by then.
func (e *everywhere) run(ctx context.Context, user string, r *round, do func() error) {
	r.err = e.guarded(do)
	close(r.done)
	pause := everywherePause
	if r.err == nil && r.result.Sessions == 0 {
		pause = everywhereIdle // such a round cost every gate an entry for nothing
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
			e.run(ctx, user, next, func() error { return e.endAllIfAny(ctx, user, next) })
		}
	})
}

func (e *everywhere) endAll(ctx context.Context, user string, r *round) (err error) {
	r.result, err = e.end(ctx, user)
	return err
}

// endAllIfAny ends all if any of those who wait still may.
func (e *everywhere) endAllIfAny(ctx context.Context, user string, r *round) error {
	some := false
	for _, w := range r.waiters {
		w.refused = w.may(ctx)
		some = some || w.refused == nil
	}
	if !some {
		return nil
	}
	return e.endAll(ctx, user, r)
}

const (
	unansweredFor  = time.Minute
	unansweredMost = 1024
)

// unanswered remembers for a while which credentials asked to log their user out everywhere and got
// an error. The log out may have been stored all the same, and have ended the credential: then a
// second attempt is to be answered 200. It is bounded; a credential that is forgotten gets 401.
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
