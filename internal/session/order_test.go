package session_test

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/session"
)

// TestTheClockIsReadBeforeAnythingElse: were it read after the counter moved, a token could outlive
// the revocation of a session that was ended in between.
func TestTheClockIsReadBeforeAnythingElse(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		first := w.login("alice")
		before, _ := w.log.Time()
		g, err := w.Refresh(
			t.Context(),
			first.RefreshToken,
			func(context.Context, session.Session) (string, error) {
				w.log.Advance(time.Hour)
				return "", nil
			},
		)
		if err != nil || !g.Now.Equal(before) {
			t.Errorf("expected the time from before the user was looked up, %v, got %v (%v)",
				before, g.Now, err)
		}
	})
}

func TestASessionBeganBeforeItsPasswordWasChecked(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		before, _ := w.log.Time()
		a, err := w.StartLogin(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		w.log.Advance(5 * time.Second) // the password is hashed
		g, err := w.Begin(t.Context(), a, session.Login{Subject: "alice"})
		if err != nil || !g.Session.Began.Equal(before) || !g.Now.Equal(before.Add(5*time.Second)) {
			t.Errorf("began %v, now %v (%v), expected %v and 5s later", g.Session.Began, g.Now, err, before)
		}
	})
}

// TestNoRefreshPassesOnceTheEntryIsOnItsWay looks at the record at the moment of the append.
func TestNoRefreshPassesOnceTheEntryIsOnItsWay(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g, other := w.login("alice"), w.login("alice")
		appends := 0
		w.log.Fail(func(call string) error {
			if call != "append" {
				return nil
			}
			appended := []session.Grant{g, other}[appends]
			if appends++; w.field(appended.Session.ID, "state") != "ending" {
				t.Error("the entry is appended before the session is marked")
			}
			return nil
		})
		w.mustEnd(g.Session.ID)
		if _, err := w.EndAll(t.Context(), "alice", "admin", ""); err != nil {
			t.Fatal(err)
		}
		if appends != 2 || w.field(other.Session.ID, "state") != "ended" {
			t.Errorf("%d appends, state %s", appends, w.field(other.Session.ID, "state"))
		}
	})
}

// TestWhatChangesBetweenLookAndMoveCounts: the record is read first and moved later, and the move
// looks again by itself.
func TestWhatChangesBetweenLookAndMoveCounts(t *testing.T) {
	for want, change := range map[session.Reason]func(w *world, sessionID string){
		session.ReasonEnded: func(w *world, sessionID string) { w.mustEnd(sessionID) },
		session.ReasonClient: func(w *world, sessionID string) {
			w.setField(sessionID, "client", "another")
		},
		session.ReasonMissing: func(w *world, _ string) { w.redis.Universal().FlushAll(w.t.Context()) },
	} {
		t.Run(string(want), func(t *testing.T) {
			eachRedis(t, func(t *testing.T, w *world) {
				g := w.login("alice")
				_, err := w.Refresh(
					t.Context(),
					g.RefreshToken,
					func(_ context.Context, s session.Session) (string, error) {
						change(w, s.ID)
						return "", nil
					},
				)
				wantRefusal(t, err, want)
			})
		})
	}
}
