package session_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

// facts of a user whose password and rights have these names.
func facts(subject, password, rights string) session.Login {
	return session.Login{Subject: subject, Credential: password, Rights: rights}
}

func (w *world) loginWith(f session.Login) session.Grant {
	w.t.Helper()
	a, err := w.StartLogin(w.t.Context(), f.Subject)
	if err != nil {
		w.t.Fatal(err)
	}
	g, err := w.Begin(w.t.Context(), a, f)
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func (w *world) endOutdated(f session.Login) session.Everywhere {
	w.t.Helper()
	done, err := w.EndOutdated(w.t.Context(), f, "user_changed", "users")
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// TestWhatGoesByAnOlderPasswordOrOlderRightsEnds, whatever issuer notices, and however often; what
// goes by the present ones goes on.
func TestWhatGoesByAnOlderPasswordOrOlderRightsEnds(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		password, rights := w.loginWith(facts("alice", "old", "few")), w.loginWith(
			facts("alice", "new", "many"))
		current, bob := w.loginWith(facts("alice", "new", "few")), w.loginWith(
			facts("bob", "old", "many"))
		if done := w.endOutdated(facts("alice", "new", "few")); done.Sessions != 2 ||
			done.Receipt.Seq == 0 {
			t.Errorf("got %+v, expected two sessions", done)
		}
		w.refused(password.RefreshToken, session.ReasonEnded)
		w.refused(rights.RefreshToken, session.ReasonEnded)
		later := w.loginWith(facts("alice", "new", "few"))
		// the other issuer
		if done := w.endOutdated(facts("alice", "new", "few")); done.Sessions != 0 ||
			done.Receipt.Seq != 0 {
			t.Errorf("got %+v, expected nothing more to end", done)
		}
		for _, g := range []session.Grant{current, later, bob} {
			w.mustRefresh(w.mustRefresh(g.RefreshToken).RefreshToken)
			if w.log.InLog(g.Session.ID) != 0 {
				t.Error("a session that goes by what is in force was ended")
			}
		}
		if w.log.InLog(password.Session.ID) != 1 || w.log.InLog(rights.Session.ID) != 1 {
			t.Error("expected one entry for each session that ended")
		}
	})
}

// TestATokenOfRightsGivenAndTakenAgainDoesNotLiveOn: the session began with the rights that are in
// force again, and was refreshed while it had more.
func TestATokenOfRightsGivenAndTakenAgainDoesNotLiveOn(t *testing.T) {
	for name, between := range map[string][]string{
		"given, then taken": {"many"}, "and refreshed after": {"many", "few"},
	} {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, w *world) {
				g := w.loginWith(facts("alice", "p", "few"))
				token := g.RefreshToken
				for _, rights := range between {
					next, err := w.Refresh(t.Context(), token,
						func(context.Context, session.Session) (string, error) { return rights, nil })
					if err != nil {
						t.Fatal(err)
					}
					token = next.RefreshToken
				}
				if done := w.endOutdated(facts("alice", "p", "few")); done.Sessions != 1 {
					t.Errorf("got %+v: a token that carries more than the user has lives on", done)
				}
				w.refused(token, session.ReasonEnded)
			})
		})
	}
}

// TestALoginUnderWayWithTheOldPasswordBeginsNoSession: the password was checked before the change
// and the session begins after.
func TestALoginUnderWayWithTheOldPasswordBeginsNoSession(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		a, err := w.StartLogin(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		w.endOutdated(facts("alice", "new", "few"))
		if _, err := w.Begin(t.Context(), a, facts("alice", "old", "few")); !errors.Is(err,
			session.ErrMoved) {
			t.Errorf("got %v", err)
		}
		w.mustRefresh(w.loginWith(facts("alice", "new", "few")).RefreshToken)
	})
}

// TestAnInterruptedEndOfWhatIsOutdatedIsFinishedByTheNext, at another issuer.
func TestAnInterruptedEndOfWhatIsOutdatedIsFinishedByTheNext(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.loginWith(facts("alice", "old", "few"))
		w.log.Fail(func(string) error { return sessiontest.ErrInjected })
		if _, err := w.EndOutdated(t.Context(), facts("alice", "new", "few"), "user_changed",
			""); err == nil {
			t.Fatal("acknowledged without the log")
		}
		w.log.Fail(nil)
		w.log.Forget()
		if done := w.endOutdated(facts("alice", "new", "few")); done.Sessions != 1 ||
			w.log.InLog(g.Session.ID) != 1 {
			t.Errorf("got %+v", done)
		}
	})
}

// TestAnotherPasswordThanAtLoginIsRefusedAndTheSessionEnds also when nobody noticed the change.
func TestAnotherPasswordThanAtLoginIsRefusedAndTheSessionEnds(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.loginWith(facts("alice", "old", "few"))
		_, err := w.Refresh(
			t.Context(),
			g.RefreshToken,
			func(_ context.Context, s session.Session) (string, error) {
				if s.Credential != "old" || s.Rights != "few" {
					t.Errorf("asked about %q, %q", s.Credential, s.Rights)
				}
				return "", session.ErrPassword
			},
		)
		if refused := wantRefusal(t, err, session.ReasonPassword); !refused.Ended ||
			w.log.InLog(g.Session.ID) != 1 {
			t.Errorf("got %+v", refused)
		}
		w.refused(g.RefreshToken, session.ReasonEnded)
	})
}

// TestAGenuineRefreshTokenTellsWhoseItIs, whichever session it is of, spent or not; one that is not
// genuine, or whose session nobody remembers, does not. So its user is logged out everywhere by it.
func TestAGenuineRefreshTokenTellsWhoseItIs(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		first, second, bob := w.login("alice"), w.login("alice"), w.login("bob")
		next := w.mustRefresh(first.RefreshToken)
		of, err := w.Owner(t.Context(), first.RefreshToken) // a spent one
		if err != nil || of.Subject != "alice" || of.ID != first.Session.ID {
			t.Fatalf("got %+v, %v", of, err)
		}
		done, err := w.EndAll(t.Context(), of.Subject, "logout_everywhere", of.Subject)
		if err != nil || done.Sessions != 2 || done.Receipt.Seq == 0 {
			t.Fatalf("got %+v, %v", done, err)
		}
		if of, err = w.Owner(t.Context(), next.RefreshToken); err != nil || of.Subject != "alice" {
			t.Errorf("of a session that has ended: %+v, %v", of, err)
		}
		w.refused(next.RefreshToken, session.ReasonEnded)
		w.refused(second.RefreshToken, session.ReasonEnded)
		bob = w.mustRefresh(bob.RefreshToken)
		w.mustRefresh(w.login("alice").RefreshToken)
		_, err = w.Owner(t.Context(), bob.RefreshToken[:len(bob.RefreshToken)-2]+"AA")
		wantRefusal(t, err, session.ReasonForged)
		w.log.Advance(time.Minute)
		if err := w.redis.Universal().FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		_, err = w.Owner(t.Context(), bob.RefreshToken)
		wantRefusal(t, err, session.ReasonMissing)
	})
}

// TestASessionOfAnotherStampEndsThoughItGoesByTheSamePasswordAndRights: it missed a change, be it by
// a record that a failover took back.
func TestASessionOfAnotherStampEndsThoughItGoesByTheSamePasswordAndRights(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		missed, stays := w.loginWith(facts("alice", "p", "few")), w.loginWith(facts("alice", "p", "few"))
		w.setField(missed.Session.ID, "gen", "another")
		if done := w.endOutdated(facts("alice", "p", "few")); done.Sessions != 1 {
			t.Errorf("got %+v, want one session to end", done)
		}
		w.refused(missed.RefreshToken, session.ReasonEnded)
		w.mustRefresh(stays.RefreshToken)
	})
}

// TestWhatHasEndedIsNotMarkedAsEndingAgain: it would begin to be ended anew.
func TestWhatHasEndedIsNotMarkedAsEndingAgain(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		for name, end := range map[string]func(){
			"everywhere": func() {
				w.log.Fail(func(string) error { return sessiontest.ErrInjected })
				if _, err := w.EndAll(t.Context(), "alice", "admin", ""); err == nil {
					t.Error("acknowledged without the log")
				}
			},
			"what is outdated": func() {
				w.log.Fail(func(string) error { return sessiontest.ErrInjected })
				if _, err := w.EndOutdated(t.Context(), facts("alice", "new", "few"), "user_changed",
					""); err == nil {
					t.Error("acknowledged without the log")
				}
			},
		} {
			g := w.loginWith(facts("alice", "old", "few"))
			w.setField(g.Session.ID, "state", "ended") // and still in the index
			end()
			w.log.Fail(nil)
			if got := w.field(g.Session.ID, "state"); got != "ended" {
				t.Errorf("%s: it is marked as %s", name, got)
			}
		}
	})
}

// TestAUsersRecordLivesNoShorterForASessionThatBeginsOrEnds: another issuer's sessions may live
// longer than this one's.
func TestAUsersRecordLivesNoShorterForASessionThatBeginsOrEnds(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		const longer = 2000 * time.Hour
		g := w.login("alice")
		tag, _, _ := strings.Cut(g.Session.ID, "~")
		redis, user := w.redis.Universal(), "{"+tag+"}:user"
		for name, change := range map[string]func() error{
			"a login": func() error { w.login("alice"); return nil },
			"a log out everywhere": func() error {
				_, err := w.EndAll(t.Context(), "alice", "admin", "")
				return err
			},
			"the end of what is outdated": func() error {
				w.endOutdated(facts("alice", "new", "few"))
				return nil
			},
		} {
			if err := redis.PExpire(t.Context(), user, longer).Err(); err != nil {
				t.Fatal(err)
			}
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if left := redis.PTTL(t.Context(), user).Val(); left < longer-time.Hour {
				t.Errorf("%s: it has %s left of %s", name, left, longer)
			}
		}
	})
}
