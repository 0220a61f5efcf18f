package extauthz

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/revocation"
)

func TestARefusalHasAnAuditLine(t *testing.T) {
	b := start(t, authztest.New())
	tok := b.world.Token()
	ask := b.ask(t, false)
	ask(authztest.Get("/protected", "authorization", "Bearer "+tok))
	if n := len(b.lines.all()); n != 0 {
		t.Fatalf("an allowed request has %d lines", n)
	}
	b.world.Revocations.Revoke(func(*revocation.Facts) bool { return true })
	ask(authztest.Get("/protected?token=secret", "authorization", "Bearer "+tok, "user-agent", "curl", "x-request-id", "r-1"))
	want := audit.Event{
		Name: audit.Deny, Outcome: audit.Failure, Reason: "revoked", Issuer: authztest.Issuer, Subject: "alice", SessionID: "session-1", TokenID: "token-1",
		ClientID: "sallyport", Address: "192.0.2.1", UserAgent: "curl", Method: "GET", Host: authztest.Host, Path: "/protected", RequestID: "r-1", Kind: "sid", Seq: 7,
	}
	if got := b.lines.all(); len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAForgedTokenNamesNobody(t *testing.T) {
	b := start(t, authztest.New())
	for _, a := range b.world.Setup().SignatureAttacks() {
		b.ask(t, false)(authztest.Get("/protected", "authorization", "Bearer "+a.Token))
	}
	for _, e := range b.lines.all() {
		if e.Subject != "" || e.Issuer != "" || e.TokenID != "" || e.SessionID != "" || e.ClientID != "" {
			t.Errorf("got %+v", e)
		}
	}
}

// TestNoTokenIsInAnAuditLine sends a canary in every place.
func TestNoTokenIsInAnAuditLine(t *testing.T) {
	b := start(t, authztest.New(), roomy)
	const canary = "canaryCanary"
	for _, a := range b.world.Setup().Attacks() {
		b.ask(t, false)(authztest.Get("/protected?access_token="+canary, "authorization", "Bearer "+a.Token+canary, "cookie", canary))
		b.ask(t, true)(authztest.Get("/protected", "x-access-token", canary, "x-access-token", a.Token))
	}
	for _, e := range b.lines.all() {
		if strings.Contains(fmt.Sprintf("%+v", e), canary) || strings.Contains(fmt.Sprintf("%+v", e), "eyJ") {
			t.Fatalf("got %+v", e)
		}
	}
}

func TestAuditLinesAreBoundedAndTheRestIsCounted(t *testing.T) {
	b := start(t, authztest.New(), func(c *Config) { c.Audit = AuditConfig{Rate: 0.001, Burst: 5} })
	for range 20 {
		b.ask(t, false)(authztest.Get("/protected"))
	}
	if n := len(b.lines.all()); n != 5 {
		t.Errorf("got %d lines", n)
	}
	if n := value(t, b.registry, "sallyport_gate_audit_suppressed_total", ""); n != 15 {
		t.Errorf("counted %v", n)
	}
	quiet := start(t, authztest.New(), func(c *Config) { c.Audit = AuditConfig{} })
	quiet.ask(t, false)(authztest.Get("/protected"))
	if n := len(quiet.lines.all()); n != 0 {
		t.Errorf("without a rate: got %d lines", n)
	}
}

// TestLongFieldsAreCut, and what a line keeps is no view of the request.
func TestLongFieldsAreCut(t *testing.T) {
	b := start(t, authztest.New())
	long := strings.Repeat("a", 5000)
	m := encoded(authztest.Do(long, "/"+long, "user-agent", long, "x-request-id", long), false)
	r := new(checkRequest)
	r.read(m)
	b.server.check(t.Context(), r)
	clear(m)
	e := b.lines.all()[0]
	for _, s := range []string{e.Method, e.Path, e.UserAgent, e.RequestID} {
		if len(s) != maxField || strings.Contains(s, "\x00") {
			t.Errorf("got %d bytes: %.10q", len(s), s)
		}
	}
}
