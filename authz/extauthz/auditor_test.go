package extauthz

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

func TestARefusalHasAnAuditLine(t *testing.T) {
	b := start(t, authztest.New())
	tok := b.world.Token()
	ask := b.ask(t, false)
	ask(authztest.Get("/protected", "authorization", "Bearer "+tok))
	if n := len(b.lines.All()); n != 0 {
		t.Fatalf("an allowed request has %d lines", n)
	}
	b.world.Revocations.Revoke(func(*revocation.Facts) bool { return true })
	ask(authztest.Get("/protected?token=secret", "authorization", "Bearer "+tok, "user-agent",
		"curl", "x-request-id", "r-1"))
	want := audit.Event{
		Name:      audit.Deny,
		Outcome:   audit.Failure,
		Reason:    "revoked",
		Issuer:    authztest.Issuer,
		Subject:   "alice",
		SessionID: "session-1",
		TokenID:   "token-1",
		ClientID:  "sallyport",
		Address:   "192.0.2.1",
		UserAgent: "curl",
		Method:    "GET",
		Host:      authztest.Host,
		Path:      "/protected",
		RequestID: "r-1",
		Kind:      "sid",
		Seq:       7,
	}
	got := b.lines.All()
	if len(got) != 1 || len(got[0].DecisionID) != 32 {
		t.Fatalf("got %+v", got)
	}
	if want.DecisionID = got[0].DecisionID; got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAForgedTokenNamesNobody(t *testing.T) {
	b := start(t, authztest.New())
	for _, a := range b.world.Setup().SignatureAttacks() {
		b.ask(t, false)(authztest.Get("/protected", "authorization", "Bearer "+a.Token))
	}
	for _, e := range b.lines.All() {
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
		b.ask(t, false)(authztest.Get("/protected?access_token="+canary, "authorization",
			"Bearer "+a.Token+canary, "cookie", canary))
		b.ask(t, true)(authztest.Get("/protected", "x-access-token", canary, "x-access-token", a.Token))
	}
	for _, e := range b.lines.All() {
		if strings.Contains(fmt.Sprintf("%+v", e), canary) ||
			strings.Contains(fmt.Sprintf("%+v", e), "eyJ") {
			t.Fatalf("got %+v", e)
		}
	}
}

// TestAuditLinesAreBoundedAndTheRestIsCounted for each reason by itself: a flood of one does not
// hide another.
func TestAuditLinesAreBoundedAndTheRestIsCounted(t *testing.T) {
	var out bytes.Buffer
	log := audit.New(&out, audit.Options{Limit: audit.Limit{Rate: 0.001, Burst: 5}})
	b := start(t, authztest.New())
	b.server.checker.Audit = log
	for range 20 {
		b.ask(t, false)(authztest.Get("/protected"))
	}
	b.ask(t, false)(authztest.Get("/nowhere", "authorization", "Bearer "+b.world.Token()))
	if got := strings.Count(out.String(), `"reason":"no_token"`); got != 5 {
		t.Errorf("got %d lines of the flood", got)
	}
	if got := strings.Count(out.String(), `"reason":"no_route"`); got != 1 {
		t.Errorf("got %d lines of another reason", got)
	}
	if n := authztest.Value(t, b.registry, "sallyport_gate_audit_suppressed_total", "reason=no_token"); n != 15 {
		t.Errorf("counted %v", n)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"reason":"no_token","suppressed":15}`) {
		t.Errorf("no line tells of those that have none:\n%s", out.String())
	}
	quiet := start(t, authztest.New())
	quiet.server.checker.Audit = nil
	quiet.ask(t, false)(authztest.Get("/protected"))
	if n := len(quiet.lines.All()); n != 0 {
		t.Errorf("without a recorder: got %d lines", n)
	}
}

// TestALineOfARefusalSaysWhatWasExpected: which claim, role or scope; in words of the configuration
// and of fixed lists alone.
func TestALineOfARefusalSaysWhatWasExpected(t *testing.T) {
	w := authztest.New()
	b := start(t, w)
	with := func(change func(*token.Claims)) string { return "Bearer " + w.Token(change) }
	raw := func(name, value string) string {
		return "Bearer " + w.Key.Token(w.Key.Header("at+jwt").JSON(),
			w.Setup().Claims.With(name, value).JSON())
	}
	guest := with(func(c *token.Claims) { c.Roles, c.Scope = []string{"canary"}, nil })
	for want, r := range map[string]authz.Request{
		"expected aud to name one of things, got others": authztest.Get("/protected", "authorization",
			with(func(c *token.Claims) {
				c.Audience = []string{"canary"}
			})),
		"expected exp to be later than now, within clock_skew": authztest.Get("/protected",
			"authorization", with(func(c *token.Claims) {
				c.Expiry = w.Now.Add(-time.Hour / 4).Unix()
				c.IssuedAt = c.Expiry - 60
			})),
		"expected a lifetime of at most 1h0m0s": authztest.Get("/protected", "authorization",
			with(func(c *token.Claims) {
				c.Expiry = w.Now.Add(5 * time.Hour).Unix()
			})),
		"expected sub to be a string, got a number": authztest.Get("/protected", "authorization",
			raw("sub", "7")),
		"iss is none of the trusted issuers": authztest.Get("/protected", "authorization",
			raw("iss", `"https://canary.example"`)),
		`expected typ "at+jwt"`: authztest.Get("/protected", "authorization",
			"Bearer "+w.Key.Token(w.Key.Header("canary").JSON(), w.Setup().Claims.JSON())),
		"routes[6] (/admin/**) asks for one of the roles admin, root": authztest.Get("/admin/canary",
			"authorization", guest),
		"routes[7] (/scoped) asks for the scopes read, write": authztest.Get("/scoped?canary",
			"authorization", guest),
		"the path has an empty segment, `.` or `..`": authztest.Get("/canary//"),
		"the path or the method differs only in case from that of a stricter route: routes[4] (/api/closed/*)": authztest.Get("/api/Closed/canary", "authorization",
			guest),
	} {
		before := len(b.lines.All())
		b.ask(t, false)(r)
		lines := b.lines.All()[before:]
		if len(lines) != 1 || lines[0].Detail != want {
			t.Errorf("got %+v, want %q", lines, want)
		}
		if len(lines) == 1 && strings.Contains(lines[0].Detail, "canary") {
			t.Errorf("a word of the caller's is in %q", lines[0].Detail)
		}
	}
}

// silent has no line for anything.
type silent struct{ t *testing.T }

func (s silent) Offer(e audit.Event, _ func(*audit.Event)) bool {
	if e.Detail != "" || e.Path != "" {
		s.t.Errorf("put together for nothing: %+v", e)
	}
	return false
}

// TestARefusalWithoutALineCostsNoText: nothing is formatted or copied for a line that is not
// written.
func TestARefusalWithoutALineCostsNoText(t *testing.T) {
	b := start(t, authztest.New())
	b.server.checker.Audit = silent{t}
	r := &checkRequest{Request: check.Request{
		Request: authztest.Get("/protected", "user-agent", "curl", "authorization",
			"Bearer "+b.world.Token(func(c *token.Claims) {
				c.Expiry = b.world.Now.Add(-time.Minute * 5).Unix()
			})),
	}}
	to := make([]byte, 0, 1024)
	b.server.check(t.Context(), r, to)
	// the error, and what is handed to the recorder
	if n := testing.AllocsPerRun(100, func() { b.server.check(t.Context(), r, to) }); n > 3 {
		t.Errorf("a refusal without a line allocates %v times", n)
	}
}

// TestLongFieldsAreCut, and what a line keeps is no view of the request.
func TestLongFieldsAreCut(t *testing.T) {
	b := start(t, authztest.New())
	long := strings.Repeat("a", 5000)
	m := encoded(authztest.Do(long, "/"+long, "user-agent", long, "x-request-id", long), false)
	r := new(checkRequest)
	r.read(m)
	b.server.check(t.Context(), r, nil)
	clear(m)
	e := b.lines.All()[0]
	for _, s := range []string{e.Method, e.Path, e.UserAgent, e.RequestID} {
		if len(s) != 512 || strings.Contains(s, "\x00") {
			t.Errorf("got %d bytes: %.10q", len(s), s)
		}
	}
}
