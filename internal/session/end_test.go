package session_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

func (w *world) end(sessionID string) (revocation.Receipt, error) {
	return w.End(w.t.Context(), sessionID, "logout", "alice")
}

func (w *world) mustEnd(sessionID string) revocation.Receipt {
	w.t.Helper()
	r, err := w.end(sessionID)
	if err != nil {
		w.t.Fatalf("ending: %v", err)
	}
	return r
}

func TestAnEndedSessionRefreshesNoMore(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g, bob := w.login("alice"), w.login("bob")
		receipt := w.mustEnd(g.Session.ID)
		if receipt.Seq == 0 || w.log.InLog(g.Session.ID) != 1 ||
			w.field(g.Session.ID, "state") != "ended" {
			t.Errorf("acknowledged %+v with %d entries and state %s", receipt,
				w.log.InLog(g.Session.ID), w.field(g.Session.ID, "state"))
		}
		w.refused(g.RefreshToken, session.ReasonEnded)
		w.mustRefresh(bob.RefreshToken)
	})
}

func TestEndingAgainIsAnsweredByTheLogAndNotByTheRecord(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		first := w.mustEnd(g.Session.ID)
		if again := w.mustEnd(g.Session.ID); again.Seq != first.Seq || w.log.InLog(g.Session.ID) != 1 {
			t.Errorf("the entry is live in the log, yet ending again gave %d after %d", again.Seq, first.Seq)
		}
		w.log.Forget() // the log was lost, the record was not
		if again := w.mustEnd(g.Session.ID); again.Seq == first.Seq || w.log.InLog(g.Session.ID) != 1 {
			t.Error("the session record alone earned an acknowledgement")
		}
	})
}

func TestAnEntryThatIsOnlyInTheIssuersOwnSetEarnsNoAnswer(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		w.log.Fail(func(call string) error {
			if call == "append" {
				return sessiontest.ErrInjected
			}
			return nil
		})
		for range 3 {
			if _, err := w.end(g.Session.ID); !errors.Is(err, sessiontest.ErrInjected) {
				t.Fatalf("acknowledged without the log: %v", err)
			}
			if _, err := w.refresh(g.RefreshToken); !errors.Is(err, sessiontest.ErrInjected) {
				t.Fatalf("a refresh of a session that is being ended: %v", err)
			}
		}
		if state := w.field(g.Session.ID, "state"); state != "ending" {
			t.Errorf("expected state ending, got %s", state)
		}
		w.log.Fail(nil)
		w.mustEnd(g.Session.ID)
		w.refused(g.RefreshToken, session.ReasonEnded)
	})
}

func TestASessionThatRedisHasLostIsRevokedAllTheSame(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		if err := w.redis.Universal().FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		w.refused(g.RefreshToken, session.ReasonMissing)
		w.mustEnd(g.Session.ID)
		if w.log.InLog(g.Session.ID) != 1 {
			t.Error("the session's access tokens were not revoked")
		}
	})
}

func TestASpentRefreshTokenStillLogsOut(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		next := w.mustRefresh(g.RefreshToken)
		id, receipt, err := w.EndByToken(t.Context(), g.RefreshToken, "logout")
		if err != nil || id != g.Session.ID || receipt.Seq == 0 {
			t.Fatalf("got %q, %+v, %v", id, receipt, err)
		}
		w.refused(next.RefreshToken, session.ReasonEnded)
		_, _, err = w.EndByToken(t.Context(), strings.Replace(g.RefreshToken, ".1.", ".2.", 1), "logout")
		wantRefusal(t, err, session.ReasonForged)
	})
}

func TestWhatIsNotASessionIDIsRefusedBeforeAnythingIsDone(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		for _, id := range []string{
			"", "x", "tag~short", "}x{~" + strings.Repeat("A", 22), strings.Repeat("A", 5000),
		} {
			if _, err := w.end(id); err == nil {
				t.Errorf("%q: accepted", id)
			}
		}
		if len(w.log.Entries()) != 0 {
			t.Error("something was appended")
		}
	})
}

func TestLogOutEverywhereEndsAllSessionsOfOneUser(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		var mine []session.Grant
		for range 5 {
			mine = append(mine, w.login("alice"))
		}
		bob := w.login("bob")
		done, err := w.EndAll(t.Context(), "alice", "admin", "operator")
		if err != nil || done.Sessions != 5 || done.Receipt.Seq == 0 {
			t.Fatalf("got %+v, %v", done, err)
		}
		for _, g := range mine {
			w.refused(g.RefreshToken, session.ReasonEnded)
			if w.log.InLog(g.Session.ID) != 1 {
				t.Errorf("%s is not in the log once", g.Session.ID)
			}
		}
		entries := w.log.Entries()
		last := entries[len(entries)-1]
		if now, _ := w.log.Time(); last.Kind != revocation.KindSub || last.Value != "alice" ||
			!last.IssuedBefore.Equal(now) {
			t.Errorf("the batch ends in %+v, expected the subject's cutoff", last)
		}
		w.mustRefresh(bob.RefreshToken)
	})
}

// TestALoginInTheSameInstantAsALogOutEverywhereWorks: the log's clock does not move between the
// two, and at the issuer of the login it is even behind.
func TestALoginInTheSameInstantAsALogOutEverywhereWorks(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		w.login("alice")
		if _, err := w.EndAll(t.Context(), "alice", "admin", ""); err != nil {
			t.Fatal(err)
		}
		w.log.Advance(-20 * time.Millisecond)
		g := w.mustRefresh(w.login("alice").RefreshToken)
		w.log.Advance(time.Hour)
		w.mustRefresh(g.RefreshToken)
	})
}

// TestATokenTellsOfABeginningInALaterSecondThanTheLogOutEverywhereItFollowed: gates deny tokens
// that do not, since Redis may have lost the session, or the log out. The issuer of the login may
// have a clock that is a second behind.
func TestATokenTellsOfABeginningInALaterSecondThanTheLogOutEverywhereItFollowed(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		now, _ := w.log.Time()
		w.log.Advance(now.Truncate(time.Second).Add(1300 * time.Millisecond).Sub(now)) // within a second
		cutoff, _ := w.log.Time()
		check := func(name string, g session.Grant) {
			t.Helper()
			next := w.mustRefresh(g.RefreshToken)
			for _, began := range []time.Time{g.Session.Began, next.Session.Began} {
				if began.Unix() <= cutoff.Unix() || began.Unix() > cutoff.Unix()+1 {
					t.Errorf("%s: began %v, after the log out everywhere at %v", name, began, cutoff)
				}
			}
		}
		if _, err := w.EndAll(t.Context(), "alice", "admin", ""); err != nil {
			t.Fatal(err)
		}
		w.log.Advance(20 * time.Millisecond)
		g := w.login("alice")
		check("in the same second", g)
		tag, _, _ := strings.Cut(g.Session.ID, "~")
		w.redis.Universal().Del(t.Context(), "{"+tag+"}:user")
		check("in the same second, and Redis has lost the log out", w.login("alice"))
		if _, err := w.EndAll(t.Context(), "carol", "admin", ""); err != nil {
			t.Fatal(err)
		}
		w.log.Advance(-time.Second)
		check("by a clock that is behind", w.login("carol"))
		if bob := w.login("bob"); bob.Session.Began.After(cutoff) {
			t.Errorf("bob, whom nobody logged out, began %v, in the future", bob.Session.Began)
		}
	})
}

func TestALoginThatWasUnderWayDuringALogOutEverywhereBeginsNoSession(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		for _, loggedInBefore := range []bool{false, true} {
			name := "carol"
			if loggedInBefore {
				name = "alice"
				w.login(name)
			}
			a, err := w.StartLogin(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.EndAll(t.Context(), name, "admin", ""); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Begin(t.Context(), a, session.Login{Subject: name}); !errors.Is(err,
				session.ErrMoved) {
				t.Errorf("%s: got %v", name, err)
			}
			w.login(name)
		}
	})
}

// TestALogOutEverywhereThatRedisHasLostStillCounts: a failover took the user's record back; this
// issuer's own set knows better.
func TestALogOutEverywhereThatRedisHasLostStillCounts(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		tag, _, _ := strings.Cut(g.Session.ID, "~")
		under, err := w.StartLogin(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		before := w.redis.Universal().HGetAll(t.Context(), "{"+tag+"}:user").Val()
		w.log.Advance(time.Second)
		if _, err := w.EndAll(t.Context(), "alice", "admin", ""); err != nil {
			t.Fatal(err)
		}
		for name, value := range before {
			w.redis.Universal().HSet(t.Context(), "{"+tag+"}:user", name, value)
		}
		w.setField(g.Session.ID, "state", "active")
		w.log.LoseCutoffs()
		w.log.Advance(time.Second)
		w.refused(g.RefreshToken, session.ReasonRevoked)
		if _, err := w.Begin(t.Context(), under, session.Login{Subject: "alice"}); !errors.Is(err,
			session.ErrMoved) {
			t.Errorf("a login from before the log out everywhere: %v", err)
		}
		w.mustRefresh(w.login("alice").RefreshToken)
	})
}

func TestAnInterruptedLogOutEverywhereIsFinishedByTheNext(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		w.log.Fail(func(call string) error { return sessiontest.ErrInjected })
		if _, err := w.EndAll(t.Context(), "alice", "admin", ""); err == nil {
			t.Fatal("acknowledged without the log")
		}
		w.log.Fail(nil)
		w.log.Forget() // and this issuer restarts, so that its own set is gone too
		if done, err := w.EndAll(t.Context(), "alice", "admin", ""); err != nil || done.Sessions != 1 {
			t.Fatalf("got %+v, %v", done, err)
		}
		if w.log.InLog(g.Session.ID) != 1 {
			t.Error("the session was not revoked")
		}
	})
}

func TestASessionOfAnOlderGenerationIsRefusedAndRevoked(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		if _, err := w.EndAll(t.Context(), "alice", "admin", ""); err != nil {
			t.Fatal(err)
		}
		w.log.Lose()
		w.setField(g.Session.ID, "state", "active")
		w.refused(g.RefreshToken, session.ReasonLoggedOut)
		if w.log.InLog(g.Session.ID) != 1 {
			t.Error("the session was not revoked")
		}
	})
}

// TestASelectorKeepsSessionsFromRefreshing is about revocations that name more than one session:
// also long after their entries have expired.
func TestASelectorKeepsSessionsFromRefreshing(t *testing.T) {
	for name, request := range map[string]revocation.Request{
		"session": {Kind: revocation.KindSID},
		"subject": {Kind: revocation.KindSub, Value: "alice"},
		"client":  {Kind: revocation.KindClient, Value: "sallyport"},
		"tenant":  {Kind: revocation.KindTenant, Value: "acme"},
	} {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, w *world) {
				g, idle := w.login("alice"), w.login("alice")
				request.Issuer, request.Reason = issuerName, "admin"
				if request.Kind == revocation.KindSID {
					request.Value, idle = g.Session.ID, g
				}
				if _, err := w.log.Append(t.Context(), []revocation.Request{request}); err != nil {
					t.Fatal(err)
				}
				w.refused(g.RefreshToken, session.ReasonRevoked)
				w.log.Advance(48 * time.Hour)
				w.log.Forget()
				switch request.Kind {
				case revocation.KindClient, revocation.KindTenant, revocation.KindSub:
					if idle.Session.ID == g.Session.ID {
						t.Fatal("there is no session that idles")
					}
					w.refused(idle.RefreshToken, session.ReasonRevoked)
					if one := request.Kind == revocation.KindSub; (w.log.InLog(idle.Session.ID) == 1) != one {
						t.Errorf("the session was revoked by itself: %t", !one)
					}
				default:
					w.refused(g.RefreshToken, session.ReasonEnded)
				}
				w.mustRefresh(w.login("alice").RefreshToken)
			})
		})
	}
}

// TestTheIssuersOwnCopyIsEnough: an entry that this issuer holds counts, whatever Redis remembers
// of cutoffs.
func TestTheIssuersOwnCopyIsEnough(t *testing.T) {
	for _, request := range []revocation.Request{
		{Kind: revocation.KindClient, Issuer: issuerName, Value: "sallyport"},
		{Kind: revocation.KindTenant, Issuer: issuerName, Value: "acme"},
		{Kind: revocation.KindIss, Issuer: issuerName},
		{Kind: revocation.KindSub, Issuer: issuerName, Value: "alice"},
	} {
		t.Run(request.Kind.String(), func(t *testing.T) {
			eachRedis(t, func(t *testing.T, w *world) {
				g := w.login("alice")
				if _, err := w.log.Append(t.Context(), []revocation.Request{request}); err != nil {
					t.Fatal(err)
				}
				w.log.LoseCutoffs()
				w.refused(g.RefreshToken, session.ReasonRevoked)
			})
		})
	}
}

func TestACutoffIsComparedWithTheSessionsBeginning(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		before := w.login("alice")
		w.log.Advance(time.Millisecond)
		at := w.login("bob")
		now, _ := w.log.Time()
		w.log.Advance(time.Millisecond)
		after := w.login("carol")
		request := []revocation.Request{
			{Kind: revocation.KindTenant, Issuer: issuerName, Value: "acme", IssuedBefore: now},
		}
		if _, err := w.log.Append(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		w.refused(before.RefreshToken, session.ReasonRevoked)
		w.refused(at.RefreshToken, session.ReasonRevoked)
		w.mustRefresh(after.RefreshToken)
	})
}

func TestASessionWhoseEntryIsAppendedAgainIsEndedAgain(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g, other := w.login("alice"), w.login("bob")
		w.mustEnd(g.Session.ID)
		w.setField(g.Session.ID, "state", "active") // a failover took the record back
		refs := []revocation.SessionRef{
			{Issuer: issuerName, SessionID: g.Session.ID},
			{Issuer: issuerName, SessionID: "not one of ours"},
			{Issuer: "https://another.example", SessionID: other.Session.ID},
		}
		if err := w.EndAgain(t.Context(), refs); err != nil {
			t.Fatal(err)
		}
		w.log.Forget()
		w.refused(g.RefreshToken, session.ReasonEnded)
		w.mustRefresh(other.RefreshToken)
	})
}

func TestAnEndedSessionsRecordGoesWithItsLastAccessToken(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		w.mustEnd(g.Session.ID)
		tag, unique, _ := strings.Cut(g.Session.ID, "~")
		ttl, err := w.redis.Universal().PTTL(t.Context(), "{"+tag+"}:s:"+unique).Result()
		if err != nil || ttl <= 59*time.Minute || ttl > time.Hour+time.Minute {
			t.Errorf("the record expires in %v (%v), expected about an hour", ttl, err)
		}
		if n := w.redis.Universal().ZCard(t.Context(), "{"+tag+"}:sessions").Val(); n != 0 {
			t.Errorf("the index still holds %d sessions", n)
		}
	})
}

// TestRefreshBesideRefresh: 50 clients at two issuers with one refresh token get one successor, and
// the counter moves once.
func TestRefreshBesideRefresh(t *testing.T) {
	sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) {
		log, ring := sessiontest.NewLog(), sessiontest.NewRing()
		one := newWorldWith(t, c, config(), log, ring)
		two := newWorldWith(t, c, config(), log, ring)
		g := one.login("alice")
		tokens, errs := make([]string, 50), make([]error, 50)
		var wg sync.WaitGroup
		for i := range tokens {
			w := []*world{one, two}[i%2]
			wg.Go(func() {
				var next session.Grant
				next, errs[i] = w.refresh(g.RefreshToken)
				tokens[i] = next.RefreshToken
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		for i := range tokens {
			if tokens[i] != tokens[0] || tokens[i] == g.RefreshToken {
				t.Fatalf("client %d got another successor", i)
			}
		}
		if n := one.counter(g.Session.ID); n != 2 {
			t.Errorf("the counter moved to %d", n)
		}
		two.mustRefresh(tokens[0])
	})
}

// TestRefreshBesideEnd: once an end is acknowledged no refresh begun afterwards passes, and one
// that passed meanwhile gave a token that works no more and a clock from before the end.
func TestRefreshBesideEnd(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		for range 20 {
			token := w.login("alice")
			next := make(chan session.Grant, 1)
			go func() {
				g, err := w.refresh(token.RefreshToken)
				var refused *session.Refusal
				if err != nil && !errors.As(err, &refused) {
					t.Error(err)
				}
				next <- g
			}()
			w.mustEnd(token.Session.ID)
			w.refused(token.RefreshToken, session.ReasonEnded)
			if g := <-next; g.RefreshToken != "" {
				w.refused(g.RefreshToken, session.ReasonEnded)
			}
		}
	})
}

// TestAnEndThatOnlyTheSessionsShardHasLostStaysInForce (S6): in a cluster the session's record lies
// on another shard than the log. That shard restarts with an older disk, the log does not, so
// nothing is appended again; the session idles until its entry has expired.
func TestAnEndThatOnlyTheSessionsShardHasLostStaysInForce(t *testing.T) {
	for name, end := range map[string]func(w *world, g session.Grant){
		"log out": func(w *world, g session.Grant) { w.mustEnd(g.Session.ID) },
		"reuse": func(w *world, g session.Grant) {
			w.log.Advance(time.Minute)
			w.refused(g.RefreshToken, session.ReasonReuse)
		},
		"log out everywhere": func(w *world, _ session.Grant) {
			if _, err := w.EndAll(w.t.Context(), "alice", "admin", ""); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, sessiontest.Open(t, sessiontest.RealRedis(t)))
			g := w.login("alice")
			next := w.mustRefresh(g.RefreshToken)
			older := w.snapshot(g.Session.ID)
			end(w, g)
			older.restore()
			w.log.Advance(48 * time.Hour)
			w.log.Forget()
			w.refused(next.RefreshToken, session.ReasonRevoked)
			if w.log.InLog(g.Session.ID) != 1 || w.field(g.Session.ID, "state") != "ended" {
				t.Error("the session that came back was not ended again")
			}
			w.mustRefresh(w.login("alice").RefreshToken)
		})
	}
}

// disk is everything of a user's slot at one time.
type disk struct {
	w    *world
	keys map[string]string // DUMP by key
}

func (w *world) snapshot(sessionID string) disk {
	w.t.Helper()
	tag, _, _ := strings.Cut(sessionID, "~")
	d := disk{w: w, keys: map[string]string{}}
	keys, err := w.redis.Universal().Keys(w.t.Context(), "{"+tag+"}:*").Result()
	if err != nil || len(keys) == 0 {
		w.t.Fatalf("found %q, %v", keys, err)
	}
	for _, key := range keys {
		if d.keys[key], err = w.redis.Universal().Dump(w.t.Context(), key).Result(); err != nil {
			w.t.Fatal(err)
		}
	}
	return d
}

func (d disk) restore() {
	d.w.t.Helper()
	for key, content := range d.keys {
		if err := d.w.redis.Universal().
			RestoreReplace(d.w.t.Context(), key, 720*time.Hour, content).
			Err(); err != nil {
			d.w.t.Fatal(err)
		}
	}
}

// TestWhatAPartlyFailedLogOutEverywhereHasStoredIsNotAppendedAgain: the next attempt appends the
// rest, and the user's cutoff.
func TestWhatAPartlyFailedLogOutEverywhereHasStoredIsNotAppendedAgain(t *testing.T) {
	const sessions, stored = 35, 2 * sessiontest.Part
	for name, end := range map[string]func(w *world) (session.Everywhere, error){
		"log out everywhere": func(w *world) (session.Everywhere, error) {
			return w.EndAll(w.t.Context(), "alice", "admin", "")
		},
		"outdated": func(w *world) (session.Everywhere, error) {
			return w.EndOutdated(w.t.Context(), facts("alice", "new", ""), "user_changed", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, w *world) {
				var all []session.Grant
				for range sessions {
					all = append(all, w.login("alice"))
				}
				parts := 0
				w.log.Fail(func(call string) error {
					if call == "part" {
						if parts++; parts == stored/sessiontest.Part {
							return sessiontest.ErrInjected
						}
					}
					return nil
				})
				if _, err := end(w); !errors.Is(err, sessiontest.ErrInjected) {
					t.Fatalf("got %v", err)
				}
				w.log.Fail(nil)
				before := len(w.log.Entries())
				late := w.login("alice")
				done, err := end(w)
				if err != nil || done.Sessions != sessions+1 || done.Receipt.Seq == 0 {
					t.Fatalf("got %+v, %v", done, err)
				}
				again := 0
				for _, e := range w.log.Entries()[before:] {
					if e.Kind == revocation.KindSID {
						again++
					}
				}
				if again != sessions+1-stored {
					t.Errorf("%d sessions were appended, expected the %d that were not stored",
						again, sessions+1-stored)
				}
				for _, g := range append(all, late) {
					if n := w.log.InLog(g.Session.ID); n != 1 {
						t.Errorf("%s is in the log %d times", g.Session.ID, n)
					}
				}
			})
		})
	}
}
