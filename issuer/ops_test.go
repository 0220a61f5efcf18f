package issuer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/revocation"
)

func (h *house) metrics() string {
	h.t.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			fmt.Fprintf(&all, "%s %v\n", f.GetName(), m.GetLabel())
		}
	}
	return all.String()
}

func TestStrangersMakeNoNewSeries(t *testing.T) {
	h := onMiniredis(t, nil)
	methods := []string{"GET", "POST", "PUT", "X"}
	visit := func(i int) {
		for _, e := range h.server.endpoints() {
			h.do(methods[i%len(methods)], h.url+e.Path, "")
		}
		h.do(fmt.Sprintf("M%d", i), h.url+fmt.Sprintf("/p%d", i), "",
			withHeader("User-Agent", fmt.Sprint(i)),
			func(r *http.Request) { r.Host = fmt.Sprintf("h%d", i) })
		h.post("/refresh", body("refresh_token", fmt.Sprint(i)))
		h.post("/login", body("username", fmt.Sprintf("u%d", i), "password", "x"))
	}
	for i := range len(methods) {
		visit(i)
	}
	before := h.metrics()
	for i := range 100 {
		visit(i + 1000)
	}
	if after := h.metrics(); after != before {
		t.Errorf("the series changed from\n%s to\n%s", before, after)
	}
}

// TestNoSecretIsInAnyLogEventOrMetric sends canaries through every path and looks for them
// everywhere.
func TestNoSecretIsInAnyLogEventOrMetric(t *testing.T) {
	h := onMiniredis(t, nil)
	a := h.login("alice")
	b := h.refresh(a.str("refresh_token"))
	secrets := []string{
		password,
		adminToken,
		a.str("access_token"),
		b.str("access_token"),
		a.str("refresh_token"),
		b.str("refresh_token"),
		"canary-password",
		"canary-admin-token",
	}
	h.post("/login", body("username", "alice", "password", "canary-password"))
	h.post("/login", body("username", "alice", "canary-password", "x"))
	h.post("/login", `{"username":"alice","password":"canary-password"`)
	h.refresh(a.str("refresh_token") + "x")
	h.log.Advance(time.Minute)
	h.refresh(a.str("refresh_token"))
	h.post("/logout", "", bearer(b.str("access_token")))
	h.post("/logout", "", bearer(flip(b.str("access_token"))))
	h.post("/logout", body("refresh_token", b.str("refresh_token")))
	h.do(http.MethodPost, h.admin+"/admin/users/alice/logout", "", bearer("canary-admin-token"))
	h.do(http.MethodPost, h.admin+"/admin/users/alice/logout", "", bearer(adminToken))
	h.users.onVerify = func() { panic(password) }
	h.post("/login", body("username", "alice", "password", password))
	everything := h.logged.String() + h.audited.String() + h.metrics()
	for i, secret := range secrets {
		if strings.Contains(everything, secret) {
			t.Errorf("secret %d is in a log, an event or a metric", i)
		}
	}
	if !strings.Contains(h.audited.String(), `"event":"login"`) {
		t.Error("there are no events at all")
	}
}

func TestEventsTellWhoDidWhat(t *testing.T) {
	h := onMiniredis(t, nil)
	a := h.login("alice")
	h.post("/login", body("username", "Alice\nforged", "password", "x"),
		withHeader("User-Agent", "a\"b\u2028"))
	h.refresh("x")
	h.post("/logout", "", bearer(a.str("access_token")))
	sid := h.claims(a.str("access_token")).SessionID
	want := []map[string]string{
		{
			"event": "login", "outcome": "success", "subject": "alice", "session_id": sid,
			"address": "127.0.0.1", "tenant": "acme", "client_id": "sallyport",
		},
		{"event": "login", "outcome": "failure", "reason": "invalid"},
		{"event": "refresh", "outcome": "failure", "reason": "malformed"},
		{"event": "logout", "outcome": "success", "subject": "alice", "session_id": sid},
	}
	lines := strings.Split(strings.TrimSpace(h.audited.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("expected %d lines, got %d:\n%s", len(want), len(lines), h.audited.String())
	}
	for i, line := range lines {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("line %d is not JSON: %v", i, err)
		}
		for name, value := range want[i] {
			if got[name] != value {
				t.Errorf("line %d: %s is %v, expected %s", i, name, got[name], value)
			}
		}
	}
}

func (h *house) operate(method, path, body string, options ...option) answer {
	h.t.Helper()
	return h.do(method, h.admin+path, body, append([]option{bearer(adminToken)}, options...)...)
}

func TestOnlyTheAdminTokenOperates(t *testing.T) {
	h := onMiniredis(t, nil)
	a := h.login("alice")
	for name, options := range map[string][]option{
		"none":         nil,
		"a guess":      {bearer("0123456789abcdef0123456789abcdeg")},
		"a prefix":     {bearer(adminToken[:31])},
		"longer":       {bearer(adminToken + "0")},
		"empty":        {bearer("")},
		"a user's":     {bearer(a.str("access_token"))},
		"twice":        {bearer(adminToken), bearer(adminToken)},
		"other scheme": {withHeader("Authorization", "Basic "+adminToken)},
	} {
		for _, e := range [][2]string{
			{http.MethodPost, "/admin/revocations"},
			{http.MethodGet, "/admin/revocations"},
			{http.MethodGet, "/admin/revocations/1"},
			{http.MethodPost, "/admin/users/alice/logout"},
			{http.MethodGet, "/admin/status"},
		} {
			got := h.do(e[0], h.admin+e[1], "", options...)
			if got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %s %s: got %d %s", name, e[0], e[1], got.status, got.text)
			}
		}
	}
	if len(h.log.Entries()) != 0 {
		t.Error("something was revoked")
	}
}

func TestWithoutAnAdminTokenThereIsNoAdminAPI(t *testing.T) {
	h := onMiniredis(t, func(c *Config) { c.Admin.Token = config.NewSecret("") })
	if handlers := h.issuer.Admin.Handlers(); len(handlers) != 0 {
		t.Errorf("got %d handlers", len(handlers))
	}
}

func TestAnOperatorRevokesByEverySelector(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		a := h.login("alice")
		sid := h.claims(a.str("access_token")).SessionID
		for _, c := range []struct {
			body string
			want revocation.Request
		}{
			{
				body("kind", "jti", "value", "j1", "reason", "leaked", "actor", "ops"),
				revocation.Request{
					Kind: revocation.KindJTI, Issuer: issuerURL, Value: "j1", Reason: "leaked", Actor: "ops",
				},
			},
			{
				body("kind", "sid", "value", sid),
				revocation.Request{
					Kind: revocation.KindSID, Issuer: issuerURL, Value: sid, Reason: "operator", Actor: "operator",
				},
			},
			{
				body("kind", "sid", "value", "s1", "issuer", "https://other.example"),
				revocation.Request{
					Kind: revocation.KindSID, Issuer: "https://other.example", Value: "s1", Reason: "operator",
					Actor: "operator",
				},
			},
			{
				body(
					"kind", "sub", "value", "u1", "issuer", "https://other.example", "issued_before",
					"2026-01-31T12:00:00Z",
				),
				revocation.Request{
					Kind: revocation.KindSub, Issuer: "https://other.example", Value: "u1",
					IssuedBefore: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), Reason: "operator",
					Actor: "operator",
				},
			},
			{
				body("kind", "client", "value", "app"),
				revocation.Request{
					Kind: revocation.KindClient, Issuer: issuerURL, Value: "app", Reason: "operator",
					Actor: "operator",
				},
			},
			{
				body("kind", "tenant", "value", "umbrella"),
				revocation.Request{
					Kind: revocation.KindTenant, Issuer: issuerURL, Value: "umbrella", Reason: "operator",
					Actor: "operator",
				},
			},
			{
				body("kind", "kid", "value", "k1"),
				revocation.Request{
					Kind: revocation.KindKID, Issuer: issuerURL, Value: "k1", Reason: "operator",
					Actor: "operator",
				},
			},
			{
				body("kind", "iss", "issuer", "https://other.example"),
				revocation.Request{
					Kind: revocation.KindIss, Issuer: "https://other.example", Reason: "operator",
					Actor: "operator",
				},
			},
		} {
			out := h.operate(http.MethodPost, "/admin/revocations", c.body)
			wantStatus(t, out, http.StatusOK, "")
			entries := h.log.Entries()
			got := entries[len(entries)-1]
			if c.want.IssuedBefore.IsZero() {
				got.IssuedBefore = time.Time{}
			}
			if got.Request != c.want || !got.InLog || out.json["seq"] != float64(got.Seq) {
				t.Errorf("%s: got %+v, %s", c.body, got, out.text)
			}
		}
		wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
	})
}

func TestAnOperatorLogsAUserOutEverywhere(t *testing.T) {
	for name, do := range map[string]func(h *house) answer{
		"by name": func(h *house) answer {
			return h.operate(http.MethodPost, "/admin/users/Alice/logout?wait=1s", "")
		},
		"by selector": func(h *house) answer {
			return h.operate(
				http.MethodPost, "/admin/revocations?wait=1s", body("kind", "sub", "value", "alice"),
			)
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, h *house) {
				first, second, bob := h.login("alice"), h.login("alice"), h.login("bob")
				h.log.SetApplied(revocation.Applied{Applied: 1, Total: 1})
				out := do(h)
				wantStatus(t, out, http.StatusOK, "")
				if out.str("applied") != "1/1" {
					t.Errorf("got %s", out.text)
				}
				wantStatus(t, h.refresh(first.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
				wantStatus(t, h.refresh(second.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
				wantStatus(t, h.refresh(bob.str("refresh_token")), http.StatusOK, "")
				wantStatus(t, h.refresh(h.login("alice").str("refresh_token")), http.StatusOK, "")
			})
		})
	}
}

func TestARevocationThatMeansNothingIsRefused(t *testing.T) {
	h := onMiniredis(t, nil)
	for name, text := range map[string]string{
		"no kind":            body("value", "x"),
		"unknown kind":       body("kind", "ip", "value", "x"),
		"the log's own kind": body("kind", "epoch", "value", "x"),
		"no value":           body("kind", "jti"),
		"a value for iss":    body("kind", "iss", "value", "x"),
		"no session":         body("kind", "sid", "value", "x"),
		"a cutoff for a jti": body(
			"kind", "jti", "value", "x", "issued_before", "2026-01-31T12:00:00Z",
		),
		"a cutoff for a user": body(
			"kind", "sub", "value", "alice", "issued_before", "2026-01-31T12:00:00Z",
		),
		"no time":              body("kind", "client", "value", "x", "issued_before", "yesterday"),
		"a reason with blanks": body("kind", "jti", "value", "x", "reason", "no good"),
		"a line in the actor":  body("kind", "jti", "value", "x", "actor", "a\nb"),
		"an unknown member":    body("kind", "jti", "value", "x", "force", "yes"),
	} {
		got := h.operate(http.MethodPost, "/admin/revocations", text)
		if got.status != http.StatusBadRequest || got.str("error") != "invalid_request" {
			t.Errorf("%s: got %d %s", name, got.status, got.text)
		}
	}
	wantStatus(t, h.operate(http.MethodPost, "/admin/users/a%20b/logout", ""),
		http.StatusBadRequest, "invalid_request")
	if len(h.log.Entries()) != 0 {
		t.Error("something was revoked")
	}
}

func TestAnOperatorSeesGatesAndEntries(t *testing.T) {
	h := onMiniredis(t, nil)
	status := h.operate(http.MethodGet, "/admin/status", "")
	wantStatus(t, status, http.StatusOK, "")
	if !strings.Contains(status.text, `"name":"gate-1"`) ||
		!strings.Contains(status.text, `"issuers":[]`) {
		t.Errorf("got %s", status.text)
	}
	list := h.operate(http.MethodGet, "/admin/revocations?after=0&limit=10", "")
	wantStatus(t, list, http.StatusOK, "")
	if !strings.Contains(list.text, `"kind":"client"`) ||
		!strings.Contains(list.text, `"issued_before":"2023-11-14T22:13:20Z"`) {
		t.Errorf("got %s", list.text)
	}
	want503(t, h.operate(http.MethodGet, "/admin/revocations?after=1", ""))
	for _, query := range []string{
		"after=x", "after=-1", "limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "x=1",
	} {
		wantStatus(t, h.operate(http.MethodGet, "/admin/revocations?"+query, ""),
			http.StatusBadRequest, "invalid_request")
	}
	wrong := h.operate(http.MethodDelete, "/admin/revocations", "")
	if wrong.status != http.StatusMethodNotAllowed || wrong.header.Get("Allow") != "POST, GET" {
		t.Errorf("got %d, Allow %q", wrong.status, wrong.header.Get("Allow"))
	}
	wantStatus(t, h.operate(http.MethodGet, "/admin/nothing", ""), http.StatusNotFound, "not_found")
}

// TestAPasswordInTheNameFieldIsNotRecorded: a failed login's event names a user there is, and no
// other name.
func TestAPasswordInTheNameFieldIsNotRecorded(t *testing.T) {
	h := onMiniredis(t, nil)
	h.post("/login", body("username", "correct-horse-battery", "password", "x"))
	h.post("/login", body("username", "alice", "password", "x"))
	events := h.audited.String()
	if strings.Contains(events, "correct-horse-battery") {
		t.Errorf("recorded what is nobody's name:\n%s", events)
	}
	if !strings.Contains(events, `"subject":"alice"`) {
		t.Errorf("did not record whose password was guessed at:\n%s", events)
	}
}

// TestARevocationsAuditLineNamesWhoOrderedItAndWhy: by selector and by a user's name alike, also
// when it fails.
func TestARevocationsAuditLineNamesWhoOrderedItAndWhy(t *testing.T) {
	h := onMiniredis(t, nil)
	ordered := body("reason", "left_the_company", "actor", "dana")
	for path, text := range map[string]string{
		"/admin/users/alice/logout": ordered,
		"/admin/revocations": body(
			"kind", "sub", "value", "alice", "reason", "left_the_company", "actor", "dana",
		),
	} {
		for _, fails := range []bool{false, true} {
			before := len(h.audited.String())
			h.log.Fail(func(call string) error {
				if fails && call == "append" {
					return revocation.ErrUnavailable
				}
				return nil
			})
			h.operate(http.MethodPost, path, text)
			line := h.audited.String()[before:]
			for _, want := range []string{
				`"event":"revoke"`, `"actor":"dana"`, `"revocation_reason":"left_the_company"`,
				`"kind":"sub"`, `"value":"alice"`,
				map[bool]string{
					false: `"outcome":"success"`, true: `"outcome":"failure","reason":"unavailable"`,
				}[fails],
			} {
				if !strings.Contains(line, want) {
					t.Errorf("%s, fails %t: no %s in %s", path, fails, want, line)
				}
			}
		}
	}
	for name, text := range map[string]string{
		"a reason with blanks": body(
			"reason", "no good",
		), "a line in the actor": body("actor", "a\nb"), "a member too many": body("value", "bob"),
	} {
		got := h.operate(http.MethodPost, "/admin/users/alice/logout", text)
		if got.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", name, got.status, got.text)
		}
	}
}

// TestARevocationSaysHowManySessionsWereKnown: who misspells a name is told that it ended nothing.
func TestARevocationSaysHowManySessionsWereKnown(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		h.login("alice")
		sid := h.claims(h.login("alice").str("access_token")).SessionID
		gone := strings.Repeat("A", 22) + sid[22:]
		for _, c := range []struct {
			body string
			want any
		}{
			{body("kind", "sid", "value", sid), float64(1)},
			{body("kind", "sub", "value", "alice"), float64(1)},
			{body("kind", "sub", "value", "alcie"), float64(0)},
			{body("kind", "sid", "value", gone), float64(0)},
			{body("kind", "sub", "value", "alice", "issuer", "https://other.example"), nil},
			{body("kind", "client", "value", "app"), nil},
		} {
			got := h.operate(http.MethodPost, "/admin/revocations", c.body)
			decode(t, got, &adminapi.Revoked{})
			if got.json["sessions"] != c.want {
				t.Errorf("%s: sessions %v, expected %v", c.body, got.json["sessions"], c.want)
			}
			issuer := issuerURL
			if strings.Contains(c.body, "other.example") {
				issuer = "https://other.example"
			}
			if got.str("issuer") != issuer {
				t.Errorf("%s: issuer %q", c.body, got.str("issuer"))
			}
		}
	})
}

// decode reads an answer into dst, strictly: every member is one that dst declares.
func decode(t *testing.T, a answer, dst any) {
	t.Helper()
	wantStatus(t, a, http.StatusOK, "")
	d := json.NewDecoder(strings.NewReader(a.text))
	d.DisallowUnknownFields()
	if err := d.Decode(dst); err != nil {
		t.Fatal(err)
	}
}

func (h *house) preview(members ...string) (p adminapi.Preview) {
	h.t.Helper()
	decode(h.t, h.operate(http.MethodPost, "/admin/revocations?dry_run=true", body(members...)), &p)
	if !p.DryRun || p.Effect == "" || p.Sessions == nil {
		h.t.Errorf("got %+v", p)
	}
	return p
}

func TestADryRunTellsWhatWouldEndAndEndsNothing(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		first, second := h.login("alice"), h.login("alice")
		h.login("bob")
		sid := h.claims(first.str("access_token")).SessionID

		p := h.preview("kind", "sid", "value", sid)
		if !p.SessionsKnown || p.SessionsTotal != 1 || p.Sessions[0].ID != sid ||
			p.Sessions[0].Subject != "alice" ||
			p.Sessions[0].State != "active" ||
			*p.Revoked {
			t.Errorf("a session: %+v", p)
		}
		p = h.preview("kind", "sub", "value", "Alice")
		if !p.SessionsKnown || p.SessionsTotal != 2 || len(p.Sessions) != 2 || p.Value != "alice" {
			t.Errorf("a user: %+v", p)
		}
		if p = h.preview("kind", "sub", "value", "nobody"); !p.SessionsKnown || p.SessionsTotal != 0 {
			t.Errorf("a user without sessions: %+v", p)
		}
		if p = h.preview("kind", "jti", "value", "x"); !p.SessionsKnown || p.SessionsTotal != 0 ||
			*p.Revoked {
			t.Errorf("a token: %+v", p)
		}
		for _, members := range [][]string{
			{"kind", "client", "value", "x"}, {"kind", "tenant", "value", "x"},
			{"kind", "iss", "issuer", "https://other.example"},
			{"kind", "sub", "value", "x", "issuer", "https://other.example"},
		} {
			if p = h.preview(members...); p.SessionsKnown || p.SessionsTotal != 0 || p.Revoked != nil {
				t.Errorf("%v: %+v", members, p)
			}
		}

		if entries := h.log.Entries(); len(entries) != 0 {
			t.Fatalf("a dry run has revoked %+v", entries)
		}
		wantStatus(t, h.refresh(second.str("refresh_token")), http.StatusOK, "")
		done := h.operate(http.MethodPost, "/admin/revocations?dry_run=false",
			body("kind", "sid", "value", sid))
		wantStatus(t, done, http.StatusOK, "")
		if p = h.preview("kind", "sid", "value", sid); !*p.Revoked || p.Sessions[0].State != "ended" {
			t.Errorf("a session that has ended: %+v", p)
		}
		if p = h.preview("kind", "sub", "value", "alice"); p.SessionsTotal != 1 {
			t.Errorf("a user after one session has ended: %+v", p)
		}
	})
}

func TestADryRunRefusesWhatWouldBeRefused(t *testing.T) {
	h := onMiniredis(t, nil)
	for name, members := range map[string][]string{
		"no session":         {"kind", "sid", "value", "x"},
		"a cutoff of a user": {"kind", "sub", "value", "alice", "issued_before", "2026-01-31T12:00:00Z"},
		"no user":            {"kind", "sub", "value", "a\u2028b"},
		"no kind":            {"value", "x"},
	} {
		got := h.operate(http.MethodPost, "/admin/revocations?dry_run=true", body(members...))
		if got.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", name, got.status, got.text)
		}
	}
	for _, text := range []string{"1", "yes", "TRUE"} { // who meant a dry run must not get a real one
		got := h.operate(http.MethodPost, "/admin/revocations?dry_run="+url.QueryEscape(text),
			body("kind", "jti", "value", "x"))
		wantStatus(t, got, http.StatusBadRequest, "invalid_request")
	}
	if len(h.log.Entries()) != 0 {
		t.Error("something was revoked")
	}
}

func TestAUserIsRevokedUnderTheOneSpellingOfTheName(t *testing.T) {
	h := onMiniredis(t, nil)
	a := h.login("alice")
	wantStatus(t,
		h.operate(http.MethodPost, "/admin/revocations", body("kind", "sub", "value", "ALICE")),
		http.StatusOK, "")
	wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
}
