package issuer

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

// following runs what ends the sessions of users who have changed, until the test's end.
func (h *house) following() *house {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.server.EndChanged(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Error(err)
		}
	})
	return h
}

// change changes a user in the directory, and has that noticed.
func (h *house) change(name string, change func(*credential.User)) {
	h.users.set(name, change)
	h.server.UsersChanged([]string{name})
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// TestWhoLosesSomethingLosesTheSessionsOfBefore, with their access tokens and without anybody asking; a login after the change works,
// and it lasts when the other issuer notices too.
func TestWhoLosesSomethingLosesTheSessionsOfBefore(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*credential.User)
		reason string
		barred bool
	}{
		"another password": {func(u *credential.User) { u.Credential = "new" }, "user_changed", false},
		"a role less":      {func(u *credential.User) { u.Roles, u.Rights = []string{"dev"}, "fewer" }, "user_changed", false},
		"disabled":         {func(u *credential.User) { u.Disabled = true }, "user_disabled", true},
	} {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, h *house) {
				h.following()
				first, second, bob := h.login("alice"), h.login("alice"), h.login("bob")
				sids := []string{h.claims(first.str("access_token")).SessionID, h.claims(second.str("access_token")).SessionID}
				h.change("alice", c.change)
				eventually(t, "both sessions to be revoked", func() bool { return h.log.InLog(sids[0]) == 1 && h.log.InLog(sids[1]) == 1 })
				for _, e := range h.log.Entries() {
					if e.Reason != c.reason || e.Actor != "users" {
						t.Errorf("got %+v", e)
					}
				}
				wantStatus(t, h.refresh(first.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
				wantStatus(t, h.refresh(bob.str("refresh_token")), http.StatusOK, "")
				if c.barred {
					return
				}
				after := h.login("alice")
				h.server.UsersChanged([]string{"alice"}) // as the other issuer does
				third := h.login("bob")
				h.change("bob", func(u *credential.User) { u.Credential = "new" })
				eventually(t, "bob's session to be revoked, which is behind alice's", func() bool {
					return h.log.InLog(h.claims(third.str("access_token")).SessionID) == 1
				})
				wantStatus(t, h.refresh(after.str("refresh_token")), http.StatusOK, "")
				if !strings.Contains(h.audited.String(), `"actor":"users"`) {
					t.Errorf("nothing is recorded: %s", h.audited)
				}
			})
		})
	}
}

// TestAChangeThatCouldNotBeStoredIsTriedAgain, until the log takes it; the failure is recorded once, not every second.
func TestAChangeThatCouldNotBeStoredIsTriedAgain(t *testing.T) {
	h := onMiniredis(t, nil).following()
	sid := h.claims(h.login("alice").str("access_token")).SessionID
	tries := 0
	failed := make(chan struct{})
	h.log.Fail(func(call string) error {
		if call != "append" {
			return nil
		}
		switch tries++; tries {
		case 1:
			return sessiontest.ErrInjected
		case 2:
			close(failed)
			return sessiontest.ErrInjected
		}
		return nil
	})
	h.change("alice", func(u *credential.User) { u.Disabled = true })
	<-failed
	eventually(t, "the session to be revoked after all, and that to be recorded", func() bool {
		return h.log.InLog(sid) == 1 && strings.Count(h.audited.String(), `"actor":"users"`) >= 2
	})
	if n := strings.Count(h.audited.String(), `"actor":"users"`); n != 2 {
		t.Errorf("%d events, expected one failure and one success: %s", n, h.audited)
	}
	other := h.claims(h.login("bob").str("access_token")).SessionID
	h.users.fail(errors.New("directory away"))
	h.change("bob", func(u *credential.User) { u.Credential = "new" })
	eventually(t, "the failure to be logged", func() bool { return strings.Contains(h.logged.String(), "directory away") })
	h.users.fail(nil)
	eventually(t, "bob's session to be revoked after all", func() bool { return h.log.InLog(other) == 1 })
}

// TestAChangeThatNobodyNoticedIsSeenByTheNextRefresh: the issuer was away while the users were edited.
func TestAChangeThatNobodyNoticedIsSeenByTheNextRefresh(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		a := h.login("alice")
		h.users.set("alice", func(u *credential.User) { u.Credential = "new" })
		wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
		if h.log.InLog(h.claims(a.str("access_token")).SessionID) != 1 {
			t.Error("the session's access tokens live on")
		}
		if !strings.Contains(h.audited.String(), "password_changed") {
			t.Errorf("the reason is not recorded: %s", h.audited)
		}
		wantStatus(t, h.refresh(h.login("alice").str("refresh_token")), http.StatusOK, "")
	})
}
