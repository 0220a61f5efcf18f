package session_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

const issuerName = "https://login.example"

// world is one issuer's store, with everything around it in the test's hands.
type world struct {
	*session.Store
	t     *testing.T
	log   *sessiontest.Log
	ring  *sessiontest.Ring
	redis *redisconn.Client
}

func config() session.Config {
	return session.Config{
		Issuer:      issuerName,
		ClientID:    "sallyport",
		Lifetime:    720 * time.Hour,
		Grace:       10 * time.Second,
		Retain:      time.Hour,
		MaxPerUser:  100,
		WaitTimeout: time.Second,
		EndTimeout:  10 * time.Second,
	}
}

func newWorld(t *testing.T, c *redisconn.Client) *world {
	t.Helper()
	return newWorldWith(t, c, config(), sessiontest.NewLog(), sessiontest.NewRing())
}

func newWorldWith(t *testing.T, c *redisconn.Client, cfg session.Config, log *sessiontest.Log,
	ring *sessiontest.Ring) *world {
	t.Helper()
	store, err := session.New(cfg, c, log, ring)
	if err != nil {
		t.Fatal(err)
	}
	return &world{Store: store, t: t, log: log, ring: ring, redis: c}
}

// eachRedis runs a test in a new world on a real Redis and on miniredis.
func eachRedis(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) { test(t, newWorld(t, c)) })
}

func (w *world) tryLogin(subject string) (session.Grant, error) {
	a, err := w.StartLogin(w.t.Context(), subject)
	if err != nil {
		return session.Grant{}, err
	}
	return w.Begin(
		w.t.Context(),
		a,
		session.Login{
			Subject: subject, Tenant: "acme", Scope: []string{"read", "write"},
			AMR: []string{"pwd"},
		},
	)
}

func (w *world) login(subject string) session.Grant {
	w.t.Helper()
	g, err := w.tryLogin(subject)
	if err != nil {
		w.t.Fatalf("login of %s: %v", subject, err)
	}
	return g
}

func admitAll(_ context.Context, s session.Session) (string, error) { return s.Rights, nil }

func (w *world) refresh(token string) (session.Grant, error) {
	return w.Refresh(w.t.Context(), token, admitAll)
}

func (w *world) mustRefresh(token string) session.Grant {
	w.t.Helper()
	g, err := w.refresh(token)
	if err != nil {
		w.t.Fatalf("refresh: %v", err)
	}
	return g
}

// refused wants a refusal for that reason and nothing else.
func (w *world) refused(token string, want session.Reason) *session.Refusal {
	w.t.Helper()
	_, err := w.refresh(token)
	return wantRefusal(w.t, err, want)
}

func wantRefusal(t *testing.T, err error, want session.Reason) *session.Refusal {
	t.Helper()
	var refused *session.Refusal
	if !errors.As(err, &refused) {
		t.Fatalf("expected a refusal (%s), got %v", want, err)
	}
	if refused.Reason != want {
		t.Fatalf("expected a refusal (%s), got %s", want, refused.Reason)
	}
	return refused
}

func (w *world) field(sessionID, name string) string {
	w.t.Helper()
	tag, unique, _ := strings.Cut(sessionID, "~")
	v, err := w.redis.Universal().HGet(context.Background(), "{"+tag+"}:s:"+unique, name).Result()
	if err != nil {
		w.t.Fatalf("reading %s: %v", name, err)
	}
	return v
}

func (w *world) setField(sessionID, name, value string) {
	w.t.Helper()
	tag, unique, _ := strings.Cut(sessionID, "~")
	if err := w.redis.Universal().
		HSet(context.Background(), "{"+tag+"}:s:"+unique, name, value).
		Err(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) counter(sessionID string) int {
	w.t.Helper()
	n, err := strconv.Atoi(w.field(sessionID, "n"))
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestASessionKeepsWhatItsLoginSaid(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		first := w.login("alice")
		w.log.Advance(time.Minute)
		g := w.mustRefresh(first.RefreshToken)
		s := g.Session
		if s.ID != first.Session.ID || s.Subject != "alice" || s.Tenant != "acme" ||
			strings.Join(s.Scope, " ") != "read write" ||
			strings.Join(s.AMR, " ") != "pwd" ||
			s.ClientID != "sallyport" {
			t.Errorf("the session changed: %+v", s)
		}
		if !s.Began.Equal(first.Session.Began) || !s.Expires.Equal(first.Session.Expires) {
			t.Errorf("began %v and expires %v, then %v and %v", first.Session.Began,
				first.Session.Expires, s.Began, s.Expires)
		}
		if now, _ := w.log.Time(); !g.Now.Equal(now) {
			t.Errorf("expected the log's time %v, got %v", now, g.Now)
		}
	})
}

func TestRedisHoldsNoTokenAndEverythingExpires(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		g2 := w.mustRefresh(g.RefreshToken)
		ctx := t.Context()
		keys, err := w.redis.Universal().Keys(ctx, "*").Result()
		if err != nil || len(keys) != 3 {
			t.Fatalf("expected three keys, got %q (%v)", keys, err)
		}
		tag, _, _ := strings.Cut(g.Session.ID, "~")
		for _, key := range keys {
			if !strings.HasPrefix(key, "{"+tag+"}:") {
				t.Errorf("%s lies in another slot than its user", key)
			}
			if ttl, err := w.redis.Universal().
				PTTL(ctx, key).
				Result(); err != nil || ttl <= 0 ||
				ttl > 721*time.Hour {
				t.Errorf("%s expires in %v (%v)", key, ttl, err)
			}
			all, err := w.redis.Universal().HGetAll(ctx, key).Result()
			if err != nil {
				continue // the index is no hash; it holds halves of ids
			}
			for name, value := range all {
				for _, token := range []string{g.RefreshToken, g2.RefreshToken} {
					if mac := token[strings.LastIndex(token, ".")+1:]; strings.Contains(value, mac) {
						t.Errorf("%s of %s holds a token's code", name, key)
					}
				}
			}
		}
	})
}

func TestARefreshTokenWorksOnce(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		token := w.login("alice").RefreshToken
		for n := 2; n < 12; n++ {
			g := w.mustRefresh(token)
			if g.RefreshToken == token || g.Repeated {
				t.Fatalf("refresh %d gave the old token, or said that it repeated", n)
			}
			if got := w.counter(g.Session.ID); got != n {
				t.Fatalf("expected counter %d, got %d", n, got)
			}
			token = g.RefreshToken
		}
	})
}

func TestARetryWithinTheGraceWindowGetsTheSameToken(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		first := w.login("alice")
		second := w.mustRefresh(first.RefreshToken)
		w.log.Advance(10 * time.Second)
		again := w.mustRefresh(first.RefreshToken)
		if again.RefreshToken != second.RefreshToken || !again.Repeated {
			t.Errorf("the retry gave another token, or did not say that it repeats")
		}
		if n := w.counter(first.Session.ID); n != 2 {
			t.Errorf("the retry moved the counter to %d", n)
		}
		w.mustRefresh(second.RefreshToken)
	})
}

func TestARetryDoesNotProlongTheGraceWindow(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		first := w.login("alice")
		w.mustRefresh(first.RefreshToken)
		w.log.Advance(6 * time.Second)
		w.mustRefresh(first.RefreshToken)
		w.log.Advance(6 * time.Second)
		w.refused(first.RefreshToken, session.ReasonReuse)
	})
}

// TestAClockThatWentBackLengthensNoGraceWindow (S5): a token spent while Redis' clock was ahead
// works no longer than any other.
func TestAClockThatWentBackLengthensNoGraceWindow(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		first := w.login("alice")
		w.log.Advance(25 * time.Second)
		w.mustRefresh(first.RefreshToken)
		w.log.Advance(-5 * time.Second)
		w.mustRefresh(first.RefreshToken)
		w.log.Advance(-20 * time.Second)
		w.refused(first.RefreshToken, session.ReasonReuse)
	})
}

func TestReuseEndsTheSession(t *testing.T) {
	for name, reuse := range map[string]func(w *world, first session.Grant) (thief string){
		"after the grace window": func(w *world, first session.Grant) string {
			thief := w.mustRefresh(first.RefreshToken).RefreshToken
			w.log.Advance(10*time.Second + time.Millisecond)
			return thief
		},
		"of an older token, after its own": func(w *world, first session.Grant) string {
			second := w.mustRefresh(first.RefreshToken)
			w.log.Advance(10 * time.Second)
			thief := w.mustRefresh(second.RefreshToken).RefreshToken
			w.log.Advance(time.Millisecond)
			return thief
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, w *world) {
				first := w.login("alice")
				thief := reuse(w, first)
				refused := w.refused(first.RefreshToken, session.ReasonReuse)
				if !refused.Ended || refused.Subject != "alice" || refused.SessionID != first.Session.ID ||
					refused.Seq == 0 {
					t.Errorf("the refusal does not say what ended: %+v", refused)
				}
				if n := w.log.InLog(first.Session.ID); n != 1 {
					t.Errorf("expected one entry in the log, got %d", n)
				}
				w.refused(thief, session.ReasonEnded)
				w.refused(first.RefreshToken, session.ReasonEnded)
				if n := w.log.InLog(first.Session.ID); n != 1 {
					t.Errorf("asking again appended again: %d entries", n)
				}
			})
		})
	}
}

func TestNoGraceWindowMeansNone(t *testing.T) {
	sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) {
		cfg := config()
		cfg.Grace = 0
		w := newWorldWith(t, c, cfg, sessiontest.NewLog(), sessiontest.NewRing())
		first := w.login("alice")
		w.mustRefresh(first.RefreshToken)
		w.log.Advance(time.Millisecond)
		w.refused(first.RefreshToken, session.ReasonReuse)
	})
}

func TestACounterAboveTheStoredOneEndsTheSession(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		token := w.mustRefresh(w.mustRefresh(g.RefreshToken).RefreshToken).RefreshToken
		// as after a failover to a replica that missed the last refresh
		w.setField(g.Session.ID, "n", "2")
		w.refused(token, session.ReasonAhead)
		if w.log.InLog(g.Session.ID) != 1 {
			t.Error("the session was not revoked")
		}
	})
}

func TestSpellingsThatAreNotGenuineChangeNothing(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		sid, rest, _ := strings.Cut(g.RefreshToken, ".")
		_, mac, _ := strings.Cut(rest, ".")
		for name, token := range map[string]string{
			"cut":             g.RefreshToken[:len(g.RefreshToken)-1],
			"extended":        g.RefreshToken + "A",
			"counter +1":      sid + ".+1." + mac,
			"counter 01":      sid + ".01." + mac,
			"counter huge":    sid + "." + strings.Repeat("9", 400) + "." + mac,
			"next counter":    sid + ".2." + mac,
			"an access token": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln",
			"empty":           "",
		} {
			_, err := w.refresh(token)
			var refused *session.Refusal
			if !errors.As(err, &refused) ||
				(refused.Reason != session.ReasonMalformed && refused.Reason != session.ReasonForged) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for i := range g.RefreshToken { // one bit of each byte, and each byte left out
			for name, token := range map[string]string{
				"flipped": g.RefreshToken[:i] + string(g.RefreshToken[i]^1) + g.RefreshToken[i+1:],
				"cut out": g.RefreshToken[:i] + g.RefreshToken[i+1:],
				"cut off": g.RefreshToken[:i],
			} {
				_, err := w.refresh(token)
				var refused *session.Refusal
				if !errors.As(err, &refused) ||
					(refused.Reason != session.ReasonMalformed && refused.Reason != session.ReasonForged) {
					t.Fatalf("byte %d %s: %v", i, name, err)
				}
				if _, _, err := w.EndByToken(t.Context(), token, "logout"); !errors.As(err, &refused) {
					t.Fatalf("byte %d %s: a logout by it: %v", i, name, err)
				}
			}
		}
		other := newWorldWith(t, w.redis, config(), w.log, sessiontest.NewRing())
		wantRefusal(t, second(other.refresh(g.RefreshToken)), session.ReasonForged)
		if w.field(g.Session.ID, "state") != "active" || w.counter(g.Session.ID) != 1 ||
			len(w.log.Entries()) != 0 {
			t.Error("a token that is not genuine changed the session")
		}
		w.mustRefresh(g.RefreshToken)
	})
}

func second[T any](_ T, err error) error { return err }

func TestAnotherClientsTokenIsRefusedAndStillWorksForItsOwn(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		cfg := config()
		cfg.ClientID = "another"
		other := newWorldWith(t, w.redis, cfg, w.log, w.ring)
		other.refused(g.RefreshToken, session.ReasonClient)
		if len(w.log.Entries()) != 0 || w.counter(g.Session.ID) != 1 {
			t.Error("another client changed the session")
		}
		w.mustRefresh(g.RefreshToken)
	})
}

func TestASessionDoesNotOutliveItsTime(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		w.log.Advance(720*time.Hour - time.Second)
		g = w.mustRefresh(g.RefreshToken)
		w.log.Advance(time.Second)
		w.refused(g.RefreshToken, session.ReasonExpired)
	})
}

func TestASessionOfAnOlderEraMustLogInAgain(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		w.log.Set(true, true, "era-2")
		w.refused(g.RefreshToken, session.ReasonEra)
		w.mustRefresh(w.login("alice").RefreshToken)
	})
}

// TestReuseEndsASessionOfAnOlderEraToo (S5): its refresh tokens are refused anyway, and its access
// tokens are still good.
func TestReuseEndsASessionOfAnOlderEraToo(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		w.mustRefresh(g.RefreshToken)
		w.log.Advance(time.Minute)
		w.log.Set(true, true, "era-2")
		if refused := w.refused(g.RefreshToken, session.ReasonReuse); !refused.Ended {
			t.Errorf("the session goes on: %+v", refused)
		}
	})
}

func TestNothingIsGrantedWithoutClockEraOrAFreshCopy(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		for name, set := range map[string]func(){
			"no clock":    func() { w.log.Set(false, true, "era-1") },
			"no era":      func() { w.log.Set(true, true, "") },
			"not fresh":   func() { w.log.Set(true, false, "era-1") },
			"out of step": func() { w.log.Set(true, true, "era-1"); w.log.OutOfStep(true) },
		} {
			set()
			if _, err := w.refresh(g.RefreshToken); !errors.Is(err, session.ErrNotFresh) {
				t.Errorf("refresh, %s: %v", name, err)
			}
			if _, err := w.tryLogin("bob"); name != "not fresh" && !errors.Is(err, session.ErrNotFresh) {
				t.Errorf("login, %s: %v", name, err)
			}
			w.log.OutOfStep(false)
		}
		w.log.Set(true, true, "era-1")
		if w.counter(g.Session.ID) != 1 {
			t.Error("a refresh that was not granted spent the token")
		}
		w.mustRefresh(g.RefreshToken)
	})
}

func TestABarredUserIsRefusedAndTheirSessionEnds(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		_, err := w.Refresh(
			t.Context(),
			g.RefreshToken,
			func(_ context.Context, s session.Session) (string, error) {
				if s.Subject != "alice" || s.ID != g.Session.ID {
					t.Errorf("asked about another session: %+v", s)
				}
				return "", session.ErrBarred
			},
		)
		wantRefusal(t, err, session.ReasonBarred)
		w.refused(g.RefreshToken, session.ReasonEnded) // enabled again: the old session stays dead
		if w.log.InLog(g.Session.ID) != 1 {
			t.Error("the session was not revoked")
		}
	})
}

func TestAUserDirectoryThatFailsLeavesTheTokenUnspent(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		broken := errors.New("directory away")
		if _, err := w.Refresh(t.Context(), g.RefreshToken,
			func(context.Context, session.Session) (string, error) { return "", broken }); !errors.Is(
			err,
			broken,
		) {
			t.Errorf("got %v", err)
		}
		if w.counter(g.Session.ID) != 1 || len(w.log.Entries()) != 0 {
			t.Error("the session changed")
		}
	})
}

func TestTheOldestSessionMakesRoom(t *testing.T) {
	sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) {
		cfg := config()
		cfg.MaxPerUser = 2
		w := newWorldWith(t, c, cfg, sessiontest.NewLog(), sessiontest.NewRing())
		var g []session.Grant
		for range 4 {
			g = append(g, w.login("alice"))
			w.log.Advance(time.Second)
		}
		w.refused(g[0].RefreshToken, session.ReasonEnded)
		w.refused(g[1].RefreshToken, session.ReasonEnded)
		w.mustRefresh(g[2].RefreshToken)
		w.mustRefresh(g[3].RefreshToken)
		if w.log.InLog(g[0].Session.ID) != 1 || w.log.InLog(g[3].Session.ID) != 0 {
			t.Error("the wrong session was revoked")
		}
	})
}
