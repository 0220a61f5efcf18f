package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/meshtest"
)

// repeated asks for a path with a token until Envoy answers from memory, which it must within a few
// requests, and returns the last answer.
func repeated(t *testing.T, s *meshtest.Stack, c *caller, path, token string) (last answer) {
	t.Helper()
	admin := newCaller(t, s.Endpoints().Gates[0].Admin)
	before := metric(t, admin, "sallyport_gate_answered_again_total")
	s.Eventually("an answer that is given again", func() bool {
		// As many as any number of workers need.
		for range 10 {
			if last = c.get(t, path, bearer(token)); last.status != http.StatusOK {
				t.Fatalf("%s: %d %s", path, last.status, last.body)
			}
		}
		return metric(t, admin, "sallyport_gate_answered_again_total") > before
	})
	return last
}

// TestAnAnswerGivenAgainIsTheSame to client and upstream, but for the decision's ID and how long the
// request may last.
func TestAnAnswerGivenAgainIsTheSame(t *testing.T) {
	s := inside(t)
	c := newCaller(t, s.Endpoints().Gateway)
	alice := c.login(t, user(t, s, "alice")).Access
	first := c.get(t, "/protected", bearer(alice))
	want := first.reached(t)
	ids := map[string]bool{}
	for range 30 {
		got := c.get(t, "/protected", bearer(alice))
		ids[got.header.Get("x-sallyport-decision")] = true
		reached := got.reached(t)
		for name := range want.Headers {
			if reached.Headers[name] != want.Headers[name] && name != "x-request-id" {
				t.Errorf("%s is %q, expected %q", name, reached.Headers[name], want.Headers[name])
			}
		}
		if len(reached.Headers) != len(want.Headers) || want.Headers["x-auth-subject"] != "alice" {
			t.Errorf("got %v, expected %v", reached.Headers, want.Headers)
		}
	}
	if len(ids) != 30 || ids[""] {
		t.Errorf("30 decisions have %d IDs", len(ids))
	}
	repeated(t, s, c, "/protected", alice)
	// The query is a part of the request, and so is who calls.
	bob := c.login(t, user(t, s, "bob")).Access
	if got := c.get(t, "/protected?a", bearer(bob)).reached(t); got.Headers["x-auth-subject"] != "bob" {
		t.Errorf("bob is %v", got.Headers)
	}
}

// TestAnAnswerIsNotGivenAgainOnceSomethingHasChanged: a logout, a revoked key, another policy.
func TestAnAnswerIsNotGivenAgainOnceSomethingHasChanged(t *testing.T) {
	s := inside(t)
	c := newCaller(t, s.Endpoints().Gateway)
	refused := func(what, token string) {
		t.Helper()
		s.Eventually(what, func() bool {
			return c.get(t, "/protected", bearer(token)).status != http.StatusOK
		})
		for range 30 { // whichever worker is asked
			if got := c.get(t, "/protected", bearer(token)); got.status == http.StatusOK {
				t.Errorf("%s: it has passed", what)
			}
		}
	}
	for range 5 {
		alice := c.login(t, user(t, s, "alice")).Access
		repeated(t, s, c, "/protected", alice)
		if got := c.post(t, "/logout", nil, bearer(alice)); got.status != http.StatusOK {
			t.Fatalf("logout: %d %s", got.status, got.body)
		}
		refused("a logout to be in force", alice)
	}

	bob := c.login(t, user(t, s, "bob")).Access
	repeated(t, s, c, "/protected", bob)
	file := filepath.Join(s.Dir, "authz.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	open := []byte("- match: {path: /protected}\n    allow: authenticated\n")
	if !bytes.Contains(content, open) {
		t.Fatalf("the policy has no %s", open)
	}
	closed := bytes.Replace(content, open, []byte("- match: {path: /protected}\n    allow: nobody\n"), 1)
	if err := os.WriteFile(file, closed, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("another policy to be in force", bob)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Eventually("the policy of before", func() bool {
		return c.get(t, "/protected", bearer(bob)).status == http.StatusOK
	})

	repeated(t, s, c, "/protected", bob)
	secret, err := os.ReadFile(s.Endpoints().AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	head, claims := decode(t, bob)
	entry, err := json.Marshal(map[string]any{
		"kind": "kid", "issuer": claims["iss"], "value": head["kid"], "reason": "stolen",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := newCaller(t, s.Endpoints().IssuerAdmin).send(t, "POST", "/admin/revocations", entry,
		bearer(strings.TrimSpace(string(secret))), header("Content-Type", "application/json"))
	if got.status/100 != 2 {
		t.Fatalf("revoking a key: %d %s", got.status, got.body)
	}
	refused("a revoked key to be out", bob)
}
