package session_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/session"
)

func TestAUsersSessionsAreListedAndNothingIsChanged(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		first := w.login("alice")
		w.log.Advance(time.Minute)
		second := w.login("alice")
		w.login("bob")
		found, total, err := w.List(t.Context(), "alice", 10)
		if err != nil || total != 2 || len(found) != 2 || found[0].ID != first.Session.ID ||
			found[1].ID != second.Session.ID {
			t.Fatalf("%+v, %d in all, %v", found, total, err)
		}
		if f := found[0]; f.State != session.Active || f.Subject != "alice" ||
			!f.Began.Equal(first.Session.Began) ||
			!f.Expires.Equal(first.Session.Expires) {
			t.Errorf("got %+v", f)
		}
		if found, total, err := w.List(t.Context(), "alice", 1); err != nil || total != 2 ||
			len(found) != 1 {
			t.Errorf("at most one: %+v, %d in all, %v", found, total, err)
		}
		w.mustRefresh(first.RefreshToken)
		w.mustEnd(second.Session.ID)
		if found, total, err := w.List(t.Context(), "alice",
			10); err != nil || total != 1 || len(found) != 1 ||
			found[0].ID != first.Session.ID {
			t.Errorf("after one has ended: %+v, %d in all, %v", found, total, err)
		}
		if found, total, err := w.List(t.Context(), "nobody", 10); err != nil || total != 0 ||
			len(found) != 0 {
			t.Errorf("of nobody: %+v, %d in all, %v", found, total, err)
		}
	})
}

func TestASessionIsLookedAtByItsID(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		g := w.login("alice")
		if l, err := w.Look(t.Context(), g.Session.ID); err != nil || l.State != session.Active ||
			l.Subject != "alice" {
			t.Errorf("%+v, %v", l, err)
		}
		w.mustEnd(g.Session.ID)
		if l, err := w.Look(t.Context(), g.Session.ID); err != nil || l.State != session.Ended {
			t.Errorf("%+v, %v", l, err)
		}
		if l, err := w.Look(t.Context(), "dGFn~AAAAAAAAAAAAAAAAAAAAAA"); err != nil ||
			l.State != session.Missing {
			t.Errorf("%+v, %v", l, err)
		}
		if _, err := w.Look(t.Context(), "x"); err == nil {
			t.Error("no error for what is no id")
		}
	})
}
