package issuer

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

// TestWhoLogsOutEverywhereAgainAndAgainIsLoggedOutOnceASecond, and everybody who asked is answered
// by a time that began after they did.
func TestWhoLogsOutEverywhereAgainAndAgainIsLoggedOutOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times atomic.Int64
		start := time.Now()
		e := newEverywhere(func(context.Context, string) (session.Everywhere, error) {
			times.Add(1)
			var done session.Everywhere
			done.Receipt.Seq = uint64(time.Since(start)) + 1
			time.Sleep(5 * time.Millisecond)
			return done, nil
		}, daemon.Guard)
		var wait sync.WaitGroup
		for n := range 100 {
			wait.Go(func() {
				time.Sleep(time.Duration(n) * 70 * time.Millisecond)
				asked := time.Since(start)
				done, err := e.do(t.Context(), "alice", anybody)
				if err != nil {
					t.Error(err)
				} else if at := time.Duration(done.Receipt.Seq); at <= asked {
					t.Errorf("asked at %s, answered by the time of %s", asked, at)
				}
			})
		}
		if done, err := e.do(t.Context(), "bob", anybody); err != nil || done.Receipt.Seq == 0 ||
			time.Since(start) > 10*time.Millisecond {
			t.Errorf("bob waited for alice: %+v, %v", done, err)
		}
		wait.Wait()
		if n := times.Load(); n < 9 || n > 11 { // bob's is one of them
			t.Errorf("%d times in 7 seconds", n)
		}
		time.Sleep(2 * everywhereIdle)
		synctest.Wait()
		if len(e.users) != 0 {
			t.Errorf("%d users are remembered", len(e.users))
		}
	})
}

// TestALogOutEverywhereThatEndsSomethingIsSoonFollowedByTheNext, also after a failure: it is to be
// tried again.
func TestALogOutEverywhereThatEndsSomethingIsSoonFollowedByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failure := errors.New("no Redis")
		for name, result := range map[string]error{"ended": nil, "failed": failure} {
			e := newEverywhere(func(context.Context, string) (session.Everywhere, error) {
				return session.Everywhere{Sessions: 1}, result
			}, daemon.Guard)
			start := time.Now()
			for range 5 {
				if _, err := e.do(t.Context(), "alice", anybody); !errors.Is(err, result) {
					t.Error(err)
				}
			}
			if took := time.Since(start); took != 4*everywherePause {
				t.Errorf("%s: five times took %s", name, took)
			}
			time.Sleep(everywhereIdle)
		}
	})
}

// TestNobodyFillsTheIssuerWithLogOutsEverywhere: of one user's requests few wait, and whoever waits
// no longer is let go.
func TestNobodyFillsTheIssuerWithLogOutsEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		e := newEverywhere(
			func(context.Context, string) (session.Everywhere, error) {
				<-hold
				return session.Everywhere{}, nil
			},
			daemon.Guard)
		ctx, cancel := context.WithCancel(t.Context())
		refused, gone := 0, 0
		var mu sync.Mutex
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() {
				_, err := e.do(ctx, "alice", anybody)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, context.Canceled):
					gone++
				case err != nil && isTooMany(err):
					refused++
				}
			})
		}
		synctest.Wait()
		cancel()
		wait.Wait()
		close(hold)
		if gone > 2*everywhereQueue || gone+refused != 100 {
			t.Errorf("%d waited, %d were refused", gone, refused)
		}
		time.Sleep(2 * everywhereIdle)
		synctest.Wait()
	})
}

func isTooMany(err error) bool {
	var refused *httpapi.Refusal
	return errors.As(err, &refused) && refused.Status == http.StatusTooManyRequests
}

func anybody(context.Context) error { return nil }

// TestWhoWaitsForATurnThatEndsTheirCredentialHasNoOther: the first log out everywhere has ended it,
// and what has begun since is not its to end.
func TestWhoWaitsForATurnThatEndsTheirCredentialHasNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times atomic.Int64
		e := newEverywhere(func(context.Context, string) (session.Everywhere, error) {
			time.Sleep(5 * time.Millisecond)
			times.Add(1)
			return session.Everywhere{Sessions: 1}, nil
		}, daemon.Guard)
		untilEnded := func(context.Context) error {
			if times.Load() > 0 {
				return errInvalidToken
			}
			return nil
		}
		var wait sync.WaitGroup
		var good, dead atomic.Int64
		for range 10 {
			wait.Go(func() {
				switch _, err := e.do(t.Context(), "alice", untilEnded); {
				case err == nil:
					good.Add(1)
				case errors.Is(err, errInvalidToken):
					dead.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if times.Load() != 1 || good.Load() != 1 || dead.Load() != 9 {
			t.Errorf("logged out %d times, for %d; %d were told that their token has ended",
				times.Load(), good.Load(), dead.Load())
		}
		time.Sleep(2 * everywhereIdle)
		synctest.Wait()
		if len(e.users) != 0 {
			t.Errorf("%d users are remembered", len(e.users))
		}
	})
}

// TestAPanicInALogOutEverywhereIsA503AndNothingElse: it happens in a goroutine of its own, where it
// would end the issuer.
func TestAPanicInALogOutEverywhereIsA503AndNothingElse(t *testing.T) {
	h := onMiniredis(t, nil)
	good := h.server.everywhere.end
	h.server.everywhere.end = func(context.Context, string) (
		session.Everywhere, error,
	) {
		panic("a " + password)
	}
	a := h.login("alice")
	want503(t, h.post("/logout?everywhere=true", "", bearer(a.str("access_token"))))
	if logged := h.logged.String(); !strings.Contains(logged, "everywhere_test.go") ||
		strings.Contains(logged, password) ||
		strings.Contains(logged, a.str("access_token")) {
		t.Errorf("the log has no stack, or a secret: %s", logged)
	}
	h.server.everywhere.end = good
	wantStatus(t, h.post("/logout?everywhere=true", "", bearer(a.str("access_token"))),
		http.StatusOK, "")
}

// TestNobodyFillsTheIssuerWithFailedLogOutsEverywhere: how many it remembers is bounded, and for
// how long.
func TestNobodyFillsTheIssuerWithFailedLogOutsEverywhere(t *testing.T) {
	u, now := newUnanswered(), time.Now()
	for n := range 2 * unansweredMost {
		u.note(strconv.Itoa(n), now, now)
	}
	if len(u.asked) != unansweredMost {
		t.Errorf("%d are remembered", len(u.asked))
	}
	later := now.Add(unansweredFor + time.Second)
	u.note("another", later, later)
	if _, asked := u.since("0", later); asked || len(u.asked) != 1 {
		t.Errorf("%d are remembered for too long", len(u.asked))
	}
	u.note("another", later.Add(time.Second), later)
	if since, asked := u.since("another", later); !asked || !since.Equal(later) {
		t.Errorf("asked at %s first, remembered %s", later, since)
	}
}
