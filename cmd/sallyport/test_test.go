package main

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestThePolicyPagesTablesAreFilesOfTests: each policy of docs/policy.md with the lines of its
// tables that a token with claims can answer, as a file for `sallyport test`.
func TestThePolicyPagesTablesAreFilesOfTests(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	dir, asked := t.TempDir(), 0
	var block, rows, columns []string
	run := func() {
		if len(block) > 0 && len(rows) > 0 {
			file := filepath.Join(dir, "policy_test.yaml")
			write(t, file, strings.Join(block, "\n")+"\nnow: \"2030-01-02T03:04:05Z\"\ntests:\n"+
				strings.Join(rows, ""))
			if out, _, err := sallyport("", "test", file); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			asked += len(rows)
		}
		block, rows = nil, nil
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if line == "    policy:" {
			run()
		}
		if indented, ok := strings.CutPrefix(line, "    "); ok && len(rows) == 0 &&
			(len(block) > 0 || indented == "policy:") {
			block = append(block, indented)
		}
		cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "|"), "`", ""), "|")
		switch {
		case !strings.HasPrefix(line, "|"):
			columns = nil
		case columns == nil:
			columns = cells
		case len(block) > 0 && len(cells) == len(columns) && !strings.HasPrefix(line, "|-"):
			if row := rowOfThePage(columns, cells); row != "" {
				rows = append(rows, row)
			}
		}
	}
	run()
	if asked < 30 {
		t.Errorf("asked only %d requests", asked)
	}
}

// rowOfThePage returns a line of a table as one of a file of tests; "" when it is about something else than
// requests, or about more than the engine is asked here.
func rowOfThePage(columns, cells []string) string {
	row := map[string]string{}
	for i, column := range columns {
		row[strings.TrimSpace(column)] = strings.TrimSpace(cells[i])
	}
	name, value, hasHeader := strings.Cut(row["header"], ": ")
	if row["request"] == "" || row["answer"] == "" || row["asks for"] != "" ||
		strings.Contains(row["request"]+row["header"], "TOKEN") {
		return ""
	}
	line := fmt.Sprintf("  - {request: '%s', want: '%s', peer: '%s'", row["request"], row["answer"],
		row["peer"])
	if row["token"] != "none" {
		line += ", claims: " + row["token"]
	}
	if hasHeader {
		line += fmt.Sprintf(", headers: {%s: '%s'}", name, value)
	}
	return line + "}\n"
}

const orders = `policy:
  routes:
    - match: {path: /orders/*}
      require: {roles: [clerk], fresh: 10m}
now: "2030-01-02T03:04:05Z"
tests:
  - {request: GET /orders/7, want: 401 no_token}
  - request: GET /orders/7
    claims: {roles: [clerk], auth_time: 5m ago}
    want: allowed
  - {request: GET /orders/7, claims: {roles: [clerk], auth_time: 11m ago}, want: allowed}
  - {request: GET /orders/7, claims: {jti: null}, want: 401 token_id}
  - {request: GET /orders/7, claims: {iat: 9m ago, exp: 1m ago}, want: 401 expired}
  - {request: GET /<b>, claims: {nested: {list: [1, 2.5, true, null, "x"]}}, want: 403 denied}
`

// TestAFailedTestIsToldWithItsLine, by exit status 1 and in JUnit's XML.
func TestAFailedTestIsToldWithItsLine(t *testing.T) {
	dir := t.TempDir()
	file, junit := filepath.Join(dir, "policy_test.yaml"), filepath.Join(dir, "junit.xml")
	write(t, file, orders)
	out, _, err := sallyport("", "test", file, "--junit", junit)
	if err == nil || exitStatus(err) != 1 || !strings.Contains(err.Error(), "2 of 6 requests") {
		t.Errorf("got %v", err)
	}
	for _, want := range []string{
		file + ":11: GET /orders/7: expected allowed, got 401 login_too_old by routes[0] (/orders/*);" +
			" asks for a login within the last 10m0s",
		file + ":14: GET /<b>: expected 403 denied, got 403 no_route",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if lines := strings.Count(out, "\n"); lines != 2 {
		t.Errorf("got %d lines:\n%s", lines, out)
	}
	text, err := os.ReadFile(junit)
	if err != nil {
		t.Fatal(err)
	}
	var report junitReport
	if err := xml.Unmarshal(text, &report); err != nil || len(report.Suites) != 1 ||
		report.Suites[0].Tests != 6 || report.Suites[0].Failures != 2 ||
		report.Suites[0].Cases[5].Failure == nil || report.Suites[0].Cases[0].Failure != nil {
		t.Errorf("%v in %s", err, text)
	}
}

// TestAConfigurationsIssuersMakeTheTokens: of each kind, by keys of the run.
func TestAConfigurationsIssuersMakeTheTokens(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "authz.yaml"), `issuers:
  - {issuer: "http://ours", audiences: [a], ours: true, role_prefix: "", jwks_file: none.json}
  - {issuer: "https://hs.example.com", audiences: [a], algorithms: [HS256], typ: none, token_id: none,
     role_prefix: "hs:", secret_file: none, required_claims: [kind=access, extra]}
  - {issuer: "https://t.example.com/{tenantid}/", tenants: [72f988bf-86f1-41af-91ab-2d7cd011db47],
     audiences: [a], algorithms: [RS256], role_prefix: "t:", jwks_file: none.json}
policy:
  routes:
    - match: {path: /ours}
      require: {roles: [clerk], issuers: ["http://ours"]}
    - match: {path: /hs}
      require: {roles: ["hs:clerk"]}
    - match: {path: /t}
      require: {roles: ["t:clerk"]}
redis: {address: "127.0.0.1:1", username: gate, password_file: /nowhere}
`)
	file := filepath.Join(dir, "policy_test.yaml")
	write(t, file, `config: authz.yaml
tests:
  - {request: GET /ours, claims: {roles: [clerk]}, want: allowed}
  - {request: GET /ours, claims: {roles: [clerk]}, issuer: "https://hs.example.com", want: 403 policy}
  - {request: GET /hs, claims: {roles: [clerk]}, issuer: "https://hs.example.com", want: allowed}
  - request: GET /t
    claims: {roles: [clerk], tid: 72f988bf-86f1-41af-91ab-2d7cd011db47}
    issuer: https://t.example.com/72f988bf-86f1-41af-91ab-2d7cd011db47/
    want: allowed
  - {request: GET /ours, claims: {iss: "https://hs.example.com"}, want: 401 alg}
`)
	if out, _, err := sallyport("", "test", file); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

const placed = `issuers:
  - {issuer: "http://ours", audiences: [a], ours: true, role_prefix: "", jwks_file: none.json}
policy:
  tokens: [{cookie: session}, {header: x-token}]
  routes:
    - match: {path: /exports/*}
      query_token: access_token
    - match: {path: /shared}
      cors: {origins: ["https://app.example.com"]}
    - match: {path: /**}
policies:
  partner:
    tokens: [{authorization: Token}]
    routes: [{match: {path: /partner}, require: {roles: [partner]}}]
redis: {address: "127.0.0.1:1", username: gate, password_file: /nowhere}
`

// TestATestsTokenStandsWhereThePolicyLooks, or where the test says, and by which policy it is asked.
func TestATestsTokenStandsWhereThePolicyLooks(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "authz.yaml"), placed)
	file := filepath.Join(dir, "policy_test.yaml")
	write(t, file, `config: authz.yaml
tests:
  - {request: GET /x, claims: {}, want: allowed}
  - {request: GET /x, claims: {}, token_in: header=x-token, want: allowed}
  - {request: GET /x, claims: {}, token_in: authorization=Bearer, want: 401 no_token}
  - {request: GET /x, claims: {}, token_in: query=access_token, want: 401 no_token}
  - {request: GET /exports/7, claims: {}, token_in: query=access_token, want: allowed}
  - {request: GET /exports/7?all=1, claims: {}, token_in: query=access_token, want: allowed}
  - {request: GET /partner, claims: {roles: [partner]}, policy: partner, want: allowed}
  - {request: GET /partner, claims: {}, policy: partner, want: 403 insufficient_role}
  - {request: GET /partner, claims: {}, policy: partner, token_in: cookie=session, want: 401 no_token}
  - {request: GET /x, claims: {}, policy: partner, want: 403 no_route}
  - {request: GET /x, claims: null, want: 401 no_token}
  - {request: GET /x, claims: , want: 401 no_token}
  - request: OPTIONS /shared
    headers: {origin: "https://app.example.com", access-control-request-method: GET}
    want: 204 preflight
  - request: OPTIONS /shared
    headers: {origin: "https://other.example.com", access-control-request-method: GET}
    want: 401 no_token
`)
	if out, _, err := sallyport("", "test", file); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestAMistakeInAFileOfTestsIsNoFailure: its exit status is 2, and the place is told.
func TestAMistakeInAFileOfTestsIsNoFailure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy_test.yaml")
	for text, want := range map[string]string{
		strings.Replace(orders, "401 no_token", "401 no_tokn", 1):                             ":7:",
		strings.Replace(orders, "want: allowed", "wants: allowed", 1):                         ":10:",
		strings.Replace(orders, "auth_time: 5m ago", "exp: soon", 1):                          ":8:",
		strings.Replace(orders, "GET /orders/7, want", "/x, want", 1):                         ":7:",
		strings.Replace(orders, "want: allowed", "want: allowed by all", 1):                   ":10:11: tests[1].want",
		strings.Replace(orders, "want: allowed", "want: 200 no_token", 1):                     ":10:11: tests[1].want",
		strings.Replace(orders, "401 no_token", "204 no_token", 1):                            ":7:",
		strings.Replace(orders, "401 no_token", "401 preflight", 1):                           ":7:",
		strings.Replace(orders, "401 no_token", "no_token no_token", 1):                       ":7:",
		strings.Replace(orders, "want: 401 no", "issuer: i, want: 401 no", 1):                 ":7:",
		strings.Replace(orders, "want: allowed", "policy: none\n    want: allowed", 1):        "one of the",
		strings.Replace(orders, "want: 401 no", "token_in: cookie=c, want: 401 no", 1):        "claims beside",
		strings.Replace(orders, "want: allowed", "token_in: cookies=c\n    want: allowed", 1): ":10:15: ",
		"tests: [{request: GET /, want: allowed}]\n":                                          "expected config",
		"policy: {routes: [{match: {path: /**}}]}\n":                                          "expected at least one test",
	} {
		write(t, file, text)
		_, _, err := sallyport("", "test", file)
		if err == nil || exitStatus(err) != statusUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("expected %q, got %v for\n%s", want, err, text)
		}
	}
	if _, _, err := sallyport("", "test"); err == nil || exitStatus(err) != statusUsage {
		t.Errorf("without a file: %v", err)
	}
}
