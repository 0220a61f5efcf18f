package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/decisionlog"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// allLogged names all that the vectors' policy goes by.
var allLogged = []string{"sub", "roles", "scope", "aud", "acr", "auth_time", "tid", "sid"}

// vectorLog is what gates write that decide on all vectors, and the name of each by its ID.
func vectorLog(t *testing.T, claims []string) (text string, names map[string]string) {
	t.Helper()
	w := authztest.New()
	c := decisionlog.DefaultConfig()
	c.Enabled, c.Rate, c.Burst, c.SampleAllowed = true, 100_000, 100_000, 1
	c.Claims, c.Headers = claims, []string{"x-team"}
	var out bytes.Buffer
	log, err := decisionlog.New(c, decisionlog.Options{
		Now: func() time.Time { return w.Now }, Stdout: &out,
	})
	if err != nil {
		t.Fatal(err)
	}
	names = map[string]string{}
	for _, v := range authztest.Vectors(w) {
		world := w.Again()
		if v.Given != nil {
			v.Given(world)
		}
		checker, err := check.New(world.Engine(nil), check.Options{
			Instant:   func() revocation.Instant { return revocation.Instant{Mono: time.Minute} },
			Decisions: log,
		})
		if err != nil {
			t.Fatal(err)
		}
		d := checker.Check(t.Context(), &check.Request{Request: v.Request})
		names[d.ID.String()] = v.Name
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), names
}

// vectorConfig is the configuration of a gate that decides as the vectors' world does.
func vectorConfig() *gate.Config {
	c := gate.DefaultConfig()
	c.Policy = authztest.Routes()
	for _, p := range []*token.Profile{
		authztest.Profile(), authztest.ForeignProfile(), authztest.TenantsProfile(),
	} {
		c.Issuers = append(c.Issuers, keyset.Config{Profile: *p})
	}
	return &c
}

// again decides each line of a log again.
func again(t *testing.T, p *player, text string, each func(*decisionlog.Record, verdict)) {
	t.Helper()
	lines := decisionlog.NewReader(strings.NewReader(text))
	for {
		was, err := lines.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		now, err := p.decide(t.Context(), was)
		if err != nil {
			t.Fatal(err)
		}
		each(was, now)
	}
}

// TestNothingChangesByThePolicyThatHasDecided: of every vector, in every state of a gate.
func TestNothingChangesByThePolicyThatHasDecided(t *testing.T) {
	text, names := vectorLog(t, allLogged)
	p, err := newPlayer(vectorConfig(), nil)
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	again(t, p, text, func(was *decisionlog.Record, now verdict) {
		switch {
		case slices.Contains(was.Cut, "path") && now.unknown != "": // too long, not UTF-8, or a fragment
		case now.reason != was.Reason || now.unknown != "":
			t.Errorf("%s: was %q, %s; now %+v", names[was.ID], was.Reason, was.Token, now)
		default:
			same++
		}
	})
	if same < 150 {
		t.Errorf("only %d lines", same)
	}
}

// TestWhatIsNotLoggedIsUnknownAndNeverGuessed: without claims, no line says of a policy that goes by
// them what it does not know.
func TestWhatIsNotLoggedIsUnknownAndNeverGuessed(t *testing.T) {
	text, names := vectorLog(t, nil)
	p, err := newPlayer(vectorConfig(), nil)
	if err != nil {
		t.Fatal(err)
	}
	unknown := 0
	again(t, p, text, func(was *decisionlog.Record, now verdict) {
		if now.unknown != "" {
			unknown++
		} else if now.reason != was.Reason {
			t.Errorf("%s: was %q, %s; now %+v", names[was.ID], was.Reason, was.Token, now)
		}
	})
	if unknown < 15 {
		t.Errorf("%d lines are unknown", unknown)
	}
}

const replayConfig = `issuers:
- {issuer: "https://issuer.example.com", audiences: [things], jwks_url: "https://issuer.example.com/keys", ours: true}
policy:
  routes:
  - {match: {path: /open}, allow: public}
  - {match: {path: /team/**, headers: [{name: x-team, exact: blue}]}, allow: public}
  - {match: {path: "/orders/{id}"}, require: {roles: [clerk]}}
  - {match: {path: /when}, require: {when: 'claims.tenant == "acme" && request.headers["x-beta"] == "1"'}}
  - {match: {path: /made-up}, require: {when: 'claims[request.method] == "x"'}}
  - {match: {path: /any}}
  - {match: {path: /closed}, allow: nobody}
  - match: {path: /handed}
    headers: {x-user-groups: groups}
    json_headers: {x-user-unit: unit}
    response_headers: {x-user-plan: /account/plan}
  - {match: {path: /cors}, cors: {origins: ["https://app.example.com"]}}
policies:
  told: {metadata: {team: team}, routes: [{match: {path: /any}}, {match: {path: /open}, allow: public}]}
  partner: {routes: [{match: {path: /**}, allow: public}]}
`

// TestWhichVerdictsChange, a line each: was, and what becomes of it.
func TestWhichVerdictsChange(t *testing.T) {
	const verified = `"token":"verified","token_from":"authorization","issuer":"https://issuer.example.com"`
	for _, row := range []struct {
		name, path, verdict, rest string
		want                      string // the kind of change; "same"
		text                      string
	}{
		{"a role that is enough now", "/orders/7", "insufficient_role", verified + `,"claims":{"roles":["clerk"]}`, "allows", `"now": "allowed"`},
		{"a role that is not", "/orders/7", "allowed", verified + `,"claims":{"roles":["admin"]}`, "refuses", `"now": "insufficient_role"`},
		{"no roles at all", "/orders/7", "allowed", verified + `,"no_claims":["roles"]`, "refuses", `"now": "insufficient_role"`},
		{"roles within a claim", "/orders/7", "insufficient_scope", verified + `,"claims":{"roles":["admin"]}`, "differs", `"now": "insufficient_role"`},
		{"no role was logged", "/orders/7", "allowed", verified + `,"claims":{"sub":"alice"}`, "unknown", "decision_log: {claims: [roles]}"},
		{"public now", "/open", "no_token", `"token":"none"`, "allows", `"now": "allowed"`},
		{"public now, with an expired token", "/open", "expired", verified, "allows", `"now": "allowed"`},
		{"public now, with a forged token", "/open", "signature", `"token":"refused","token_from":"authorization"`, "allows", `"now": "allowed"`},
		{"an expired token", "/any", "expired", verified, "same", ""},
		{"a forged token", "/any", "signature", `"token":"refused","token_from":"authorization"`, "same", ""},
		{"a revoked token", "/orders/7", "revoked", verified, "same", ""},
		{"a malformed request", "/open", "bad_request", `"token":"unasked"`, "same", ""},
		{"needs a token now", "/any", "allowed", `"token":"none"`, "refuses", `"now": "no_token"`},
		{"needs a token now, and none was looked at", "/any", "allowed", `"token":"unread"`, "unknown", "no token was looked at"},
		{"nobody may pass now", "/closed", "allowed", verified, "refuses", `"now": "denied"`},
		{"no route is left", "/gone", "allowed", verified, "refuses", `"now": "no_route"`},
		{"a header that was logged", "/team/x", "no_token", `"token":"none","headers":{"x-team":"blue"}`, "allows", ""},
		{"a header that was not there", "/team/x", "no_token", `"token":"none","no_headers":["x-team"]`, "same", ""},
		{"a header that was not logged", "/team/x", "no_token", `"token":"none"`, "unknown", "decision_log: {headers: [x-team]}"},
		{"a condition", "/when", "allowed", verified + `,"claims":{"tenant":"other"},"headers":{"x-beta":"1"}`, "refuses", `"now": "condition"`},
		{"a condition's header", "/when", "allowed", verified + `,"claims":{"tenant":"acme"}`, "unknown", "x-beta"},
		{"a condition's claim", "/when", "allowed", verified + `,"headers":{"x-beta":"1"}`, "unknown", "claims: [tenant]"},
		{"a condition that makes names up", "/made-up", "allowed", verified, "unknown", "names that it makes up"},
		{"an issuer that is trusted no more", "/any", "allowed", `"token":"verified","token_from":"authorization","issuer":"https://former.example.com"`, "refuses", `"now": "unknown_issuer"`},
		{"a path that was cut", "/orders/7", "allowed", verified + `,"cut":["path"]`, "unknown", "all of its path"},
		{"another policy", "/any", "no_token", `"token":"none","policy":"partner"`, "allows", ""},
		{"a policy that is gone", "/any", "allowed", `"token":"none","policy":"gone"`, "refuses", `"now": "no_route"`},
		{"a claim that is handed on and was too long", "/handed", "claim_size", verified + `,"claims":{"unit":1,"account":{}},"cut":["claims.groups"]`, "unknown", "all of its claim groups"},
		{"a claim that is handed on", "/handed", "claim_size", verified + `,"claims":{"unit":1,"account":{}}`, "unknown", "claims: [groups]"},
		{"one that is handed on as JSON", "/handed", "claim_size", verified + `,"claims":{"groups":[],"account":{}}`, "unknown", "claims: [unit]"},
		{"one that clients are told", "/handed", "claim_size", verified + `,"claims":{"groups":[],"unit":1}`, "unknown", "claims: [/account/plan]"},
		{"claims that are handed on", "/handed", "allowed", verified + `,"claims":{"groups":["a"],"unit":1},"no_claims":["account"]`, "same", ""},
		{"a claim that filters are told", "/any", "claim_size", verified + `,"policy":"told"`, "unknown", "claims: [team]"},
		{"what is public now hands no claims on", "/open", "no_token", `"token":"none","policy":"told"`, "allows", ""},
		{"what may be a preflight", "OPTIONS /cors", "no_token", `"token":"none"`, "unknown", "[access-control-request-method, origin]"},
		{"a preflight", "OPTIONS /cors", "no_token", `"token":"none","headers":{"origin":"https://app.example.com","access-control-request-method":"GET"}`, "differs", `"now": "preflight"`},
		{"a preflight with a bad token", "OPTIONS /cors", "signature", `"token":"refused","token_from":"authorization","headers":{"origin":"https://app.example.com","access-control-request-method":"GET"}`, "differs", `"now": "preflight"`},
		{"a header that was too long", "/team/x", "no_token", `"token":"none","cut":["headers.x-team"]`, "unknown", "all of its header x-team"},
		{"a token that is nearly over", "/orders/7", "allowed", verified + `,"claims":{"roles":["clerk"],"iat":1893549845,"sid":"s"}`, "same", ""},
	} {
		verdict, method := `"verdict":"allowed","status":200`, "GET"
		if path, ok := strings.CutPrefix(row.path, "OPTIONS "); ok {
			method, row.path = "OPTIONS", path
		}
		if row.verdict != "allowed" {
			verdict = `"verdict":"refused","status":403,"reason":"` + row.verdict + `"`
		}
		line := fmt.Sprintf(`{"event":"decision","time":"2030-01-02T03:04:05Z","id":"the-id",%s,"method":"%s",`+
			`"host":"shop.example.com","path":"%s","duration_us":1,%s}`+"\n", verdict, method, row.path, row.rest)
		dir := t.TempDir()
		file := filepath.Join(dir, "new.yaml")
		write(t, file, replayConfig)
		out, _, err := sallyport(line, "replay", "-", "--config", file, "--json")
		status := 0
		var own exitError
		if errors.As(err, &own) {
			status = own.status
		} else if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		want := map[string]int{"same": 0, "unknown": 2}
		if _, ok := want[row.want]; !ok {
			want[row.want] = 1
		}
		var result replayed
		if err := json.Unmarshal([]byte(out), &result); err != nil {
			t.Fatalf("%s: %v in %s", row.name, err, out)
		}
		kind := "same"
		if len(result.Changes) == 1 && result.Changes[0].Example == "the-id" {
			kind = result.Changes[0].Kind
		}
		if kind != row.want || status != want[row.want] || !strings.Contains(out, row.text) {
			t.Errorf("%s: exit status %d, want %s and %s\n%s", row.name, status, row.want, row.text, out)
		}
	}
}

// TestALogThatIsNoneIsAnError, and what can be read of it is decided all the same.
func TestALogThatIsNoneIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new.yaml")
	write(t, file, replayConfig)
	const good = `{"event":"decision","time":"2030-01-02T03:04:05Z","id":"1","verdict":"refused","status":401,` +
		`"reason":"no_token","method":"GET","host":"h","path":"/any","token":"none","duration_us":1,"dropped":3}` + "\n"
	for in, want := range map[string]string{
		"":                           "expected lines of a decision log, got none",
		"what is this\n":             "1 lines cannot be read; the first: -: line 1",
		good + "{}\n" + good:         "1 lines cannot be read; the first: -: line 2",
		good[:50] + "\n" + good:      "line 1",
		good + good[:len(good)-1]:    "line break",
		`{"event":"deny"}` + "\n":    "got none",
		strings.Repeat("x", 100_000): "at most",
	} {
		out, _, err := sallyport(in, "replay", "-", "--config", file)
		var own exitError
		if !errors.As(err, &own) || own.status != 2 || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %s\n%s", in, err, want, out)
		}
	}
	out, _, err := sallyport(good+`{"event":"deny"}`+"\n", "replay", "-", "--config", file)
	if err != nil || !strings.Contains(out, "1 decisions by "+file+": 1 as they were") ||
		!strings.Contains(out, "3 more have no line") || !strings.Contains(out, "1 lines are of other events") {
		t.Errorf("got %v\n%s", err, out)
	}
	if _, _, err := sallyport(good, "replay", "-"); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("without a configuration: %v", err)
	}
}

// TestThePageOnPoliciesShowsWhatReplayPrints, and its settings and its line are such.
func TestThePageOnPoliciesShowsWhatReplayPrints(t *testing.T) {
	page, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## What was decided\n")
	if section, _, _ = strings.Cut(section, "\n## "); !found {
		t.Fatal("docs/policy.md has no such section")
	}
	block := func(kind string) string {
		_, text, ok := strings.Cut(section, "```"+kind+"\n")
		text, _, closed := strings.Cut(text, "```")
		if !ok || !closed {
			t.Fatalf("the section has no block of %s", kind)
		}
		return text
	}
	line := strings.ReplaceAll(block("json"), "\n ", "")
	if r, err := decisionlog.NewReader(strings.NewReader(line)).Next(); err != nil || r.Reason != "insufficient_role" {
		t.Errorf("the line is read as %+v, %v", r, err)
	}
	var settings []string
	before, _, _ := strings.Cut(section, "```json")
	for text := range strings.Lines(before) {
		if setting, ok := strings.CutPrefix(text, "    "); ok {
			settings = append(settings, setting)
		}
	}
	t.Chdir(t.TempDir())
	write(t, "new.yaml", `issuers:
- {issuer: "https://issuer.example.com", audiences: [things], jwks_url: "https://issuer.example.com/keys", ours: true}
policy:
  routes:
  - {match: {path: /healthz}, allow: public}
  - {match: {path: /api/orders/*}, require: {roles: [auditor]}}
  - {match: {path: /api/**}, require: {acr: [gold]}}
`+strings.Join(settings, ""))
	var log strings.Builder
	for i, path := range []string{"/api/orders/7", "/api/orders/8", "/api/reports", "/healthz"} {
		route := map[int]string{2: "routes[2] (/api/**)", 3: "routes[0] (/healthz)"}[i]
		fmt.Fprintf(&log, `{"event":"decision","time":"2030-01-02T03:04:05Z","id":"%032d","verdict":"allowed","status":200,`+
			`"route":"%s","method":"GET","host":"shop.example.com","path":"%s","token":"verified","token_from":"authorization",`+
			`"issuer":"https://issuer.example.com","claims":{"roles":["clerk"]},"duration_us":7}`+"\n",
			i+1, cmp.Or(route, "routes[1] (/api/orders/*)"), path)
	}
	write(t, "decisions.jsonl", log.String())
	out, _, err := sallyport("", "replay", "decisions.jsonl", "--config", "new.yaml")
	if want := block("text"); out != want || err == nil {
		t.Errorf("%v: replay prints\n%s\nthe page has\n%s", err, out, want)
	}
}
