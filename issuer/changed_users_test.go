package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

// following runs what ends the sessions of users who have changed, until the test's end.
func (h *house) following() *house {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.issuer.Users.Run(ctx) }()
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
	h.issuer.Users.Noticed([]string{name})
}

// TestWhoLosesSomethingLosesTheSessionsOfBefore, with their access tokens and without anybody
// asking; a login after the change works, and it lasts when the other issuer notices too.
func TestWhoLosesSomethingLosesTheSessionsOfBefore(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*credential.User)
		reason string
		barred bool
	}{
		"another password": {func(u *credential.User) { u.Credential = "new" }, "user_changed", false},
		"a role less": {
			func(u *credential.User) { u.Roles, u.Rights = []string{"dev"}, "fewer" }, "user_changed",
			false,
		},
		"disabled": {func(u *credential.User) { u.Disabled = true }, "user_disabled", true},
	} {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, h *house) {
				h.following()
				first, second, bob := h.login("alice"), h.login("alice"), h.login("bob")
				sids := []string{
					h.claims(first.str("access_token")).SessionID,
					h.claims(second.str("access_token")).SessionID,
				}
				h.change("alice", c.change)
				eventually.True(t, "both sessions to be revoked",
					func() bool { return h.log.InLog(sids[0]) == 1 && h.log.InLog(sids[1]) == 1 })
				for _, e := range h.log.Entries() {
					if e.Reason != c.reason || e.Actor != "users" {
						t.Errorf("got %+v", e)
					}
				}
				eventually.True(t, "the end and its reason to be recorded", func() bool {
					return strings.Contains(h.audited.String(), `"revocation_reason":"`+c.reason+`"`)
				})
				wantStatus(t, h.refresh(first.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
				wantStatus(t, h.refresh(bob.str("refresh_token")), http.StatusOK, "")
				if c.barred {
					return
				}
				after := h.login("alice")
				h.issuer.Users.Noticed([]string{"alice"}) // as the other issuer does
				third := h.login("bob")
				h.change("bob", func(u *credential.User) { u.Credential = "new" })
				eventually.True(t, "bob's session to be revoked, which is behind alice's", func() bool {
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

// TestAChangeThatCouldNotBeStoredIsTriedAgain, until the log takes it; the failure is recorded
// once, not every second.
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
	eventually.True(t, "the session to be revoked after all, and that to be recorded", func() bool {
		return h.log.InLog(sid) == 1 && strings.Count(h.audited.String(), `"actor":"users"`) >= 2
	})
	if n := strings.Count(h.audited.String(), `"actor":"users"`); n != 2 {
		t.Errorf("%d events, expected one failure and one success: %s", n, h.audited)
	}
	other := h.claims(h.login("bob").str("access_token")).SessionID
	h.users.fail(errors.New("directory away"))
	h.change("bob", func(u *credential.User) { u.Credential = "new" })
	eventually.True(t, "the failure to be logged",
		func() bool { return strings.Contains(h.logged.String(), "directory away") })
	h.users.fail(nil)
	eventually.True(t, "bob's session to be revoked after all",
		func() bool { return h.log.InLog(other) == 1 })
}

// TestAChangeThatNobodyNoticedIsSeenByTheNextRefresh: the issuer was away while the users were
// edited.
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

// restarted is the issuer as it is after a restart, with the same Redis, log and users.
func (h *house) restarted() *house {
	h.t.Helper()
	again := *h
	var err error
	again.issuer, err = New(Options{
		Config:    h.cfg,
		Keys:      h.keys,
		Users:     h.users,
		Directory: h.users,
		Sessions:  h.server.sessions,
		Log:       h.log,
		Inventory: inventory{},
		Audit:     audit.New(h.audited, audit.Options{}),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	again.server = again.issuer.Public
	return &again
}

// during has changes ended until do returns.
func (h *house) during(do func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.issuer.Users.Run(ctx) }()
	do()
	cancel()
	if err := <-ended; err != nil {
		h.t.Error(err)
	}
}

func (h *house) awaitKnown(name, want string) {
	h.t.Helper()
	eventually.True(h.t, name+" to be remembered as "+want, func() bool {
		known, err := h.server.sessions.KnownUsers(h.t.Context())
		return err == nil && strings.Contains(known[name], want)
	})
}

// TestWhatASoleIssuerDidNotGetToIsDoneAfterItsNextStart: it had noticed that a user was disabled,
// could not store the end, and stopped.
func TestWhatASoleIssuerDidNotGetToIsDoneAfterItsNextStart(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		var alice, bob answer
		h.during(func() {
			h.awaitKnown("alice", "{")
			alice, bob = h.login("alice"), h.login("bob")
			failed := make(chan struct{})
			h.log.Fail(func(call string) error {
				if call != "append" {
					return nil
				}
				select {
				case <-failed:
				default:
					close(failed)
				}
				return sessiontest.ErrInjected
			})
			h.change("alice", func(u *credential.User) { u.Disabled = true })
			<-failed
		})
		h.log.Fail(nil)
		again := h.restarted()
		again.during(func() {
			sid := h.claims(alice.str("access_token")).SessionID
			eventually.True(t, "the session to be revoked", func() bool { return h.log.InLog(sid) == 1 })
			again.awaitKnown("alice", `"d":true`)
		})
		wantStatus(t, h.refresh(bob.str("refresh_token")), http.StatusOK, "")
		before := len(h.log.Entries())
		third := h.restarted()
		third.users.set("bob", func(u *credential.User) { u.Scopes = []string{"read"} }) // got more
		third.during(func() { third.awaitKnown("bob", "read") })
		if n := len(h.log.Entries()); n != before {
			t.Errorf("a start with nothing to end appended %d entries", n-before)
		}
	})
}

// TestManyChangedUsersAreDoneAtOnce, a bounded number of them at a time.
func TestManyChangedUsersAreDoneAtOnce(t *testing.T) {
	h := onMiniredis(t, nil)
	var names []string
	for n := range 10 * changesAtOnce {
		names = append(names, fmt.Sprintf("user-%d", n))
	}
	var inside, most atomic.Int64
	full := make(chan struct{})
	h.users.onLookup = func(string) {
		now := inside.Add(1)
		defer inside.Add(-1)
		for {
			before := most.Load()
			if now <= before || most.CompareAndSwap(before, now) {
				break
			}
		}
		if now == changesAtOnce {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		select {
		case <-full:
		case <-time.After(20 * time.Second):
			t.Error("they come one after the other")
		}
	}
	done := make(map[string]bool, len(names))
	for _, name := range names {
		done[name] = false
	}
	if !h.issuer.Users.end(t.Context(), done) {
		t.Error("not all was done")
	}
	if n := most.Load(); n != changesAtOnce {
		t.Errorf("%d at a time", n)
	}
}

// TestAPanicOverAChangedUserIsTriedAgain, and does not end the issuer.
func TestAPanicOverAChangedUserIsTriedAgain(t *testing.T) {
	h := onMiniredis(t, nil)
	var times atomic.Int64
	h.users.onLookup = func(name string) {
		if name == "alice" && times.Add(1) == 1 {
			panic(password)
		}
	}
	h.following()
	sid := h.claims(h.login("alice").str("access_token")).SessionID
	h.change("alice", func(u *credential.User) { u.Disabled = true })
	eventually.True(t, "the session to be revoked", func() bool { return h.log.InLog(sid) == 1 })
	if logged := h.logged.String(); !strings.Contains(logged, "changed_users_test.go") ||
		strings.Contains(logged, password) {
		t.Errorf("the log has no stack, or a secret: %s", logged)
	}
}
