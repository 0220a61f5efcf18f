package issuer

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/session"
)

// TestWhoLogsOutEverywhereAgainAndAgainIsLoggedOutOnceASecond, and everybody who asked is answered by a time that began after they did.
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
		})
		var wait sync.WaitGroup
		for n := range 100 {
			wait.Go(func() {
				time.Sleep(time.Duration(n) * 70 * time.Millisecond)
				asked := time.Since(start)
				done, err := e.do(t.Context(), "alice")
				if err != nil {
					t.Error(err)
				} else if at := time.Duration(done.Receipt.Seq); at <= asked {
					t.Errorf("asked at %s, answered by the time of %s", asked, at)
				}
			})
		}
		if done, err := e.do(t.Context(), "bob"); err != nil || done.Receipt.Seq == 0 || time.Since(start) > 10*time.Millisecond {
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

// TestALogOutEverywhereThatEndsSomethingIsSoonFollowedByTheNext, also after a failure: it is to be tried again.
func TestALogOutEverywhereThatEndsSomethingIsSoonFollowedByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failure := errors.New("no Redis")
		for name, result := range map[string]error{"ended": nil, "failed": failure} {
			e := newEverywhere(func(context.Context, string) (session.Everywhere, error) {
				return session.Everywhere{Sessions: 1}, result
			})
			start := time.Now()
			for range 5 {
				if _, err := e.do(t.Context(), "alice"); !errors.Is(err, result) {
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

// TestNobodyFillsTheIssuerWithLogOutsEverywhere: of one user's requests few wait, and whoever waits no longer is let go.
func TestNobodyFillsTheIssuerWithLogOutsEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		e := newEverywhere(func(context.Context, string) (session.Everywhere, error) { <-hold; return session.Everywhere{}, nil })
		ctx, cancel := context.WithCancel(t.Context())
		refused, gone := 0, 0
		var mu sync.Mutex
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() {
				_, err := e.do(ctx, "alice")
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, context.Canceled):
					gone++
				case err != nil && refusalOf(err).status == http.StatusTooManyRequests:
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
