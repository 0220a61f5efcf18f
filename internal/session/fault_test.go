package session_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

// TestEachCallThatFailsIsNeverAnAnswer makes every call that an operation makes to Redis or the log
// fail in turn, before it happens and after, and wants no answer out of it; and wants the retry to
// succeed.
func TestEachCallThatFailsIsNeverAnAnswer(t *testing.T) {
	operations := map[string]func(w *world, g session.Grant) error{
		"arrive": func(w *world, _ session.Grant) error {
			_, err := w.StartLogin(w.t.Context(), "bob")
			return err
		},
		"login":   func(w *world, _ session.Grant) error { return second(w.tryLogin("bob")) },
		"refresh": func(w *world, g session.Grant) error { return second(w.refresh(g.RefreshToken)) },
		"end":     func(w *world, g session.Grant) error { return second(w.end(g.Session.ID)) },
		"end all": func(w *world, _ session.Grant) error {
			return second(w.EndAll(w.t.Context(), "alice", "admin", ""))
		},
		"end outdated": func(w *world, _ session.Grant) error {
			return second(w.EndOutdated(w.t.Context(), facts("alice", "new", ""), "user_changed", ""))
		},
		"owner": func(w *world, g session.Grant) error {
			return second(w.Owner(w.t.Context(), g.RefreshToken))
		},
		"end again": func(w *world, g session.Grant) error {
			return w.EndAgain(w.t.Context(), refsOf(g))
		},
	}
	for name, operation := range operations {
		t.Run(name, func(t *testing.T) {
			sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) {
				faults := sessiontest.Inject(c)
				calls := countCalls(t, c, faults, operation)
				if calls == 0 {
					t.Fatal("the operation makes no call to Redis")
				}
				for _, lose := range []bool{false, true} {
					for n := int64(1); n <= calls; n++ {
						w := newWorld(t, c)
						g := w.login("alice")
						faults.At(n, lose)
						if err := operation(w, g); !errors.Is(err, sessiontest.ErrInjected) {
							t.Errorf(
								"call %d of %d failed (answer lost: %t), and the operation answered %v",
								n, calls, lose, err)
						}
						faults.At(0, false)
						if err := operation(w, g); err != nil {
							t.Errorf("the retry after call %d of %d failed (answer lost: %t): %v", n, calls, lose, err)
						}
					}
				}
			})
		})
	}
}

func countCalls(t *testing.T, c *redisconn.Client, faults *sessiontest.Faults,
	operation func(*world, session.Grant) error) int64 {
	t.Helper()
	w := newWorld(t, c)
	g := w.login("alice")
	faults.At(0, false)
	if err := operation(w, g); err != nil {
		t.Fatal(err)
	}
	return faults.Calls()
}

func TestALogThatFailsIsNeverAnAnswer(t *testing.T) {
	for _, call := range []string{"append", "lost"} {
		t.Run(call, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, w *world) {
				g := w.login("alice")
				w.log.Fail(func(c string) error {
					if c == call {
						return sessiontest.ErrInjected
					}
					return nil
				})
				if _, err := w.end(g.Session.ID); !errors.Is(err, sessiontest.ErrInjected) {
					t.Errorf("end: %v", err)
				}
				if _, err := w.EndAll(t.Context(), "alice", "admin", ""); !errors.Is(err,
					sessiontest.ErrInjected) {
					t.Errorf("log out everywhere: %v", err)
				}
				w.log.Fail(nil)
				w.mustEnd(g.Session.ID)
			})
		})
	}
}

func TestCutoffsAndEndsThatCanNotBeReadGrantNothing(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		w.log.Fail(func(call string) error {
			if call == "remembered" {
				return sessiontest.ErrInjected
			}
			return nil
		})
		if _, err := w.refresh(g.RefreshToken); !errors.Is(err, sessiontest.ErrInjected) {
			t.Errorf("got %v", err)
		}
		w.log.Fail(nil)
		if w.counter(g.Session.ID) != 1 {
			t.Error("the token was spent")
		}
	})
}

// TestARefreshAsksRedisThreeTimes: for the record, for what is remembered of it beside the log, and
// to move the counter; in that order, and no more often after something was cut off.
func TestARefreshAsksRedisThreeTimes(t *testing.T) {
	sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) {
		faults := sessiontest.Inject(c)
		w := newWorldWith(t, c, config(), sessiontest.NewLog(), sessiontest.NewRing())
		token := w.login("alice").RefreshToken
		cut, _ := w.log.Time()
		for _, cutoff := range []time.Time{{}, cut.Add(-time.Hour)} {
			if !cutoff.IsZero() {
				request := revocation.Request{
					Kind: revocation.KindTenant, Issuer: issuerName, Value: "acme",
					IssuedBefore: cutoff,
				}
				if _, err := w.log.Append(t.Context(), []revocation.Request{request}); err != nil {
					t.Fatal(err)
				}
			}
			var before []int64 // calls made when the log was asked
			faults.At(0, false)
			w.log.Fail(func(string) error { before = append(before, faults.Calls()); return nil })
			token = w.mustRefresh(token).RefreshToken
			w.log.Fail(nil)
			if !slices.Equal(before, []int64{1}) || faults.Calls() != 2 {
				t.Errorf("the log was asked after %d calls, of %d", before, faults.Calls())
			}
		}
	})
}

// TestAWriteThatTooFewReplicasHaveIsNoAnswer: a Redis without replicas can not fulfil WAIT 1, not
// even for an answer that only repeats what an earlier call has written.
func TestAWriteThatTooFewReplicasHaveIsNoAnswer(t *testing.T) {
	sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) {
		log, ring := sessiontest.NewLog(), sessiontest.NewRing()
		alone := newWorldWith(t, c, config(), log, ring)
		cfg := config()
		cfg.MinReplicas, cfg.WaitTimeout = 1, 20*time.Millisecond
		w := newWorldWith(t, c, cfg, log, ring)
		spent, ended := alone.login("alice"), alone.login("alice")
		alone.mustRefresh(spent.RefreshToken)
		alone.mustEnd(ended.Session.ID)
		for name, operation := range map[string]func() error{
			"login":           func() error { return second(w.tryLogin("bob")) },
			"refresh":         func() error { return second(w.refresh(alone.login("alice").RefreshToken)) },
			"repeated":        func() error { return second(w.refresh(spent.RefreshToken)) },
			"end":             func() error { return second(w.end(spent.Session.ID)) },
			"end of an ended": func() error { return second(w.end(ended.Session.ID)) },
			"end all":         func() error { return second(w.EndAll(t.Context(), "alice", "admin", "")) },
		} {
			err := operation()
			var refused *session.Refusal
			if err == nil || errors.As(err, &refused) {
				t.Errorf("%s: answered without a replica: %v", name, err)
			}
		}
	})
}

// TestAClientThatLeavesDoesNotStopAnEndHalfway: a session that is marked and not appended would be
// revoked nowhere.
func TestAClientThatLeavesDoesNotStopAnEndHalfway(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := w.End(gone, g.Session.ID, "logout", ""); err != nil {
			t.Fatal(err)
		}
		if w.log.InLog(g.Session.ID) != 1 {
			t.Error("the session was not revoked")
		}
		if _, err := w.Refresh(gone, g.RefreshToken, admitAll); err == nil {
			t.Error("a refresh without a client was granted")
		}
	})
}

func TestABrokenRecordGrantsNothing(t *testing.T) {
	for name, breakIt := range map[string]func(w *world, id string){
		"unknown state": func(w *world, id string) { w.setField(id, "state", "merry") },
		"no number":     func(w *world, id string) { w.setField(id, "begun", "yesterday") },
		"counter":       func(w *world, id string) { w.setField(id, "n", "many") },
	} {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, w *world) {
				g := w.login("alice")
				breakIt(w, g.Session.ID)
				_, err := w.refresh(g.RefreshToken)
				var refused *session.Refusal
				if err == nil || errors.As(err, &refused) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestAStoreWithoutItsSettingsIsNotMade(t *testing.T) {
	for name, change := range map[string]func(*session.Config){
		"issuer":   func(c *session.Config) { c.Issuer = "" },
		"client":   func(c *session.Config) { c.ClientID = "" },
		"lifetime": func(c *session.Config) { c.Lifetime = 0 },
		"grace":    func(c *session.Config) { c.Grace = -1 },
		"retain":   func(c *session.Config) { c.Retain = 0 },
		"users":    func(c *session.Config) { c.MaxPerUser = 0 },
		"replicas": func(c *session.Config) { c.MinReplicas = -1 },
		"wait":     func(c *session.Config) { c.WaitTimeout = 0 },
		"end":      func(c *session.Config) { c.EndTimeout = 0 },
	} {
		cfg := config()
		change(&cfg)
		if _, err := session.New(cfg, nil, sessiontest.NewLog(), sessiontest.NewRing()); err == nil {
			t.Errorf("%s: made all the same", name)
		}
	}
}

func refsOf(g session.Grant) []revocation.SessionRef {
	return []revocation.SessionRef{{Issuer: issuerName, SessionID: g.Session.ID}}
}
