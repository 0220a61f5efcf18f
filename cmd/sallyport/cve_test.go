package main_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestCVE holds published vulnerabilities of systems like this one against what an operator does
// with this program, through the real Envoy, two issuers and two gates.
func TestCVE(t *testing.T) {
	o := operate(t, meshtest.Options{Gates: 2, Issuers: 2})
	for _, row := range []struct {
		id   string
		test func(o *operator)
	}{
		{"CVE-2021-41230", roleTakenAway},             // changed claims were not reflected in decisions
		{"GHSA-x4vh-j75g-268g", passwordSetByCommand}, // refresh tokens survived a password reset
		{"CVE-2026-43983", userDisabledByCommand},     // refresh ignored disabled accounts
	} {
		t.Run(row.id, func(t *testing.T) { row.test(&operator{t, o.stack.For(t), o.env}) })
	}
}

func (o *operator) usersFile() string { return filepath.Join(o.stack.Dir, "users.yaml") }

func (o *operator) refreshed(token string) *meshtest.Response {
	o.t.Helper()
	return o.stack.Post("/refresh", map[string]string{"refresh_token": token})
}

// dead wants neither the access nor the refresh token of a pair to be worth anything, at any gate
// or issuer.
func (o *operator) dead(pair meshtest.Tokens) {
	o.t.Helper()
	o.refused(pair.AccessToken)
	for range 2 * len(o.stack.Endpoints().Issuers) {
		if got := o.refreshed(pair.RefreshToken); got.Status != http.StatusUnauthorized {
			o.t.Fatalf("a refresh token from before was answered %d: %s", got.Status, got.Body)
		}
	}
}

// login logs a user in who was changed a moment ago: an issuer that notices only now, while a login
// is under way, has it tried again.
func (o *operator) login(name, password string) (answer *meshtest.Response) {
	o.stack.Eventually("an issuer to say whether "+name+" may log in", func() bool {
		answer = o.stack.Post("/login", map[string]string{"username": name, "password": password})
		return answer.Status != http.StatusServiceUnavailable
	})
	return answer
}

// roleTakenAway: when the command has ended, tokens with the role are denied at every gate, and new
// ones lack it.
func roleTakenAway(o *operator) {
	before, bob := o.stack.Login("alice"), o.stack.Login("bob")
	if got := o.stack.Call("/admin", before.AccessToken); got.Status != http.StatusOK {
		o.t.Fatalf("alice is no admin to begin with: %d", got.Status)
	}
	out := o.run(0, "users", "roles", "alice", "dev", "--file", o.usersFile(), "--now", "--wait", "5s")
	if !strings.Contains(out, "applied by 2/2") {
		o.t.Errorf("the command says %q", out)
	}
	o.dead(before)
	var after meshtest.Tokens
	o.login("alice", o.stack.User("alice").Password).JSON(&after)
	for _, token := range []string{after.AccessToken, o.stack.Refresh(after).AccessToken} {
		o.passes(token)
		if got := o.stack.Call("/admin", token); got.Status != http.StatusForbidden {
			o.t.Errorf("a token without the role gets %d at /admin", got.Status)
		}
	}
	o.passes(bob.AccessToken)
}

// passwordSetByCommand: all sessions from before end, a thief's among them; the old password opens
// nothing, the new one does.
func passwordSetByCommand(o *operator) {
	before, other := o.stack.Login("alice"), o.stack.Login("alice")
	old := o.stack.User("alice")
	const fresh = "a new and better password"
	cmd := o.command("passwd", "--file", o.usersFile(), "alice", "--now", "--wait", "5s")
	cmd.Stdin = strings.NewReader(fresh + "\n")
	if out, err := cmd.CombinedOutput(); err != nil ||
		!strings.Contains(string(out), "applied by 2/2") ||
		strings.Contains(string(out), fresh) {
		o.t.Fatalf("%v: %s", err, out)
	}
	o.dead(before)
	o.dead(other)
	if got := o.login("alice", old.Password); got.Status != http.StatusUnauthorized {
		o.t.Errorf("the old password: %d", got.Status)
	}
	var after meshtest.Tokens
	o.login("alice", fresh).JSON(&after)
	o.passes(after.AccessToken)
	o.passes(o.stack.Refresh(after).AccessToken)
}

// userDisabledByCommand without --now: the issuers notice by themselves. Enabled again, the old
// sessions stay dead.
func userDisabledByCommand(o *operator) {
	before := o.stack.Login("bob")
	o.run(0, "users", "disable", "bob", "--file", o.usersFile())
	o.stack.Eventually("every gate to refuse a disabled user", func() bool {
		for range 2 * len(o.stack.Endpoints().Gates) {
			if o.stack.Call("/protected", before.AccessToken).Status != http.StatusUnauthorized {
				return false
			}
		}
		return true
	})
	o.dead(before)
	login := func() int {
		return o.stack.Post("/login",
			map[string]string{"username": "bob", "password": o.stack.User("bob").Password}).Status
	}
	if got := login(); got != http.StatusUnauthorized {
		o.t.Errorf("a disabled user's login: %d", got)
	}
	o.run(0, "users", "enable", "bob", "--file", o.usersFile())
	o.dead(before)
	o.stack.Eventually("the user to get in again", func() bool { return login() == http.StatusOK })
}
