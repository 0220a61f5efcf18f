package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
)

// explained is a folder with a gate's configuration, its issuer's keys, and a token of zoe's.
type explained struct {
	world             *authztest.World
	dir, config, file string // the last has the token
}

const explainedPolicy = `
policy:
  roles: {admin: [clerk]}
  routes:
    - match: {path: /healthz, methods: [GET]}
      allow: public
    - match: {path: /api/orders/*, methods: [POST]}
      require: {roles: [admin]}
    - match: {path: "/api/orders/{id}", hosts: [shop.example.com]}
      require: {roles: [clerk], fresh: 10m, when: 'claims.tenant == "acme" && path.id != "8"'}
    - match: {path: /api/reports}
      require:
        anyOf: [{roles: [clerk]}, {scopes: ["reports:read"]}]
    - match: {path: /closed}
      allow: nobody
redis: {address: "127.0.0.1:1", username: gate, password_file: /nowhere}
`

func explainable(t *testing.T) *explained {
	t.Helper()
	x := &explained{world: authztest.New(), dir: t.TempDir()}
	set, err := jose.MarshalKeySet([]*jose.PublicKey{x.world.ForeignKey.Public()})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(x.dir, "jwks.json"), string(set))
	x.config = filepath.Join(x.dir, "authz.yaml")
	write(t, x.config, `issuers:
  - {issuer: "`+authztest.Foreign+`", audiences: [things], algorithms: [EdDSA], typ: JWT,
     token_id: none, role_prefix: "", jwks_file: jwks.json}
  - {issuer: "https://other.example.com", audiences: [things], role_prefix: "other:",
     jwks_url: "https://other.example.com/jwks"}
`+explainedPolicy)
	x.file = filepath.Join(x.dir, "token")
	x.give(t, "roles", `["clerk"]`, "tenant", `"acme"`, "secret_claim", `"hush"`, "auth_time",
		josetest.Seconds(x.world.Now))
	return x
}

// give writes a token with these claims besides.
func (x *explained) give(t *testing.T, claims ...string) {
	t.Helper()
	all := x.world.ForeignClaims()
	for i := 0; i < len(claims); i += 2 {
		all = all.And(claims[i], claims[i+1])
	}
	write(t, x.file, x.world.ForeignKey.Token(x.world.ForeignKey.Header("JWT").JSON(), all.JSON())+"\n")
}

// ask runs explain at the world's time and returns what it printed and its exit status.
func (x *explained) ask(t *testing.T, method, url string, more ...string) (out string, status int) {
	t.Helper()
	args := []string{"explain", method, url, "--config", x.config, "--at", "2030-01-02T03:04:05Z"}
	out, _, err := sallyport("", append(args, more...)...)
	if err != nil {
		return out + err.Error(), exitStatus(err)
	}
	return out, 0
}

// line reports whether the output has a line with all of these, whatever the blanks between.
func line(out, outcome, name, text string) bool {
	pattern := `(?m)^\s*` + outcome + `\s+` + regexp.QuoteMeta(name) + `\s+.*` + regexp.QuoteMeta(text)
	return regexp.MustCompile(pattern).MatchString(out)
}

func TestExplainShowsEachStepToAnAllow(t *testing.T) {
	x := explainable(t)
	out, status := x.ask(t, "GET", "https://shop.example.com/api/orders/7?all=1", "--token-file", x.file)
	if status != 0 {
		t.Fatalf("status %d: %s", status, out)
	}
	for _, want := range [][3]string{
		{"ok", "path", `read as "/api/orders/7"`},
		{"note", "route", "1 route is of another path"},
		{"note", "route", "routes[1] (/api/orders/*) has the path and does not match: its methods are POST"},
		{"ok", "route", "routes[2] (/api/orders/{id}) is the first that matches"},
		{"note", "route", `{id} is "7"`},
		{"ok", "token", "one token, in the header authorization"},
		{"ok", "form", `alg "EdDSA", kid "key-1", typ "JWT"`},
		{"note", "issuer", `iss is "https://foreign.example.com"`},
		{"ok", "issuer", "trusted by the entry https://foreign.example.com"},
		{"ok", "header", "alg and typ"},
		{"ok", "key", `the issuer's key "key-1"`},
		{"ok", "signature", "made by that key"},
		{"ok", "audience", `the token is for "things"`},
		{"note", "revocation", "not looked at"},
		{"note", "times", "it is 2030-01-02 03:04:05 UTC"},
		{"ok", "times", "it expires in 1m0s"},
		{"ok", "require", `asks for one of the roles clerk; the token has "clerk"`},
		{"ok", "require", `claims.tenant == "acme"`},
		{"ok", "require", "asks for a login within the last 10m0s"},
		{"note", "headers", "the upstream is told x-auth-subject"},
	} {
		if !line(out, want[0], want[1], want[2]) {
			t.Errorf("no line %v in\n%s", want, out)
		}
	}
	if !strings.Contains(out, "ALLOWED, by routes[2]") {
		t.Errorf("no verdict in\n%s", out)
	}
}

// TestExplainSaysWhatWouldHelp where a request is refused, with exit status 1.
func TestExplainSaysWhatWouldHelp(t *testing.T) {
	x := explainable(t)
	with := []string{"--token-file", x.file}
	orders := "https://shop.example.com/api/orders/7"
	for name, row := range map[string]struct {
		method, url string
		flags       []string
		claims      []string
		want        [3]string
		help        string
		reason      string
	}{
		"no route": {
			"GET", "https://other.example.com/api/orders/7", with, nil,
			[3]string{"note", "route", "its hosts are shop.example.com"}, "Add a route", "403 no_route",
		},
		"a path in two ways": {
			"GET", "https://shop.example.com/api/../x", with, nil,
			[3]string{"FAILED", "path", "`.` or `..`"}, "plain spelling", "400 bad_path",
		},
		"nobody": {
			"GET", "https://x.example.com/closed", with, nil,
			[3]string{"FAILED", "route", "says deny"}, "Change the route", "403 denied",
		},
		"no token": {
			"GET", orders, nil, nil, [3]string{"FAILED", "token", "carries none"}, "Log in", "401 no_token",
		},
		"roles": {
			"GET", orders, with, []string{"tenant", `"acme"`, "roles", `["viewer"]`},
			[3]string{"FAILED", "require", `roles clerk; the token has "viewer"`},
			`one of the roles "admin", "clerk"`, "403 insufficient_role",
		},
		"a condition": {
			"GET", orders, with, []string{"tenant", `"other"`, "roles", `["clerk"]`},
			[3]string{"FAILED", "require", `claims.tenant == "acme"`}, "the condition is true",
			"403 condition",
		},
		"a condition that cannot be evaluated": {
			"GET", orders, with, []string{"roles", `["clerk"]`},
			[3]string{"FAILED", "require", `claims.tenant == "acme"`}, "has(...) in the condition",
			"403 condition_error",
		},
		"an old login": {
			"GET", orders, with,
			[]string{"roles", `["clerk"]`, "tenant", `"acme"`, "auth_time", "1893549600"},
			[3]string{"FAILED", "require", "that was at 2030-01-02 02:00:00 UTC"},
			"a login after 2030-01-02 02:54:05 UTC", "401 login_too_old",
		},
		"alternatives": {
			"GET", "https://x.example.com/api/reports", with, []string{"scope", `"profile"`},
			[3]string{"FAILED", "require.anyOf[1]", `the token has "profile"`},
			`also has the scopes "reports:read"`, "403 insufficient_scope",
		},
		"the time": {
			"GET", orders, append(with, "--at", "2030-01-03T00:00:00Z"), nil,
			[3]string{"FAILED", "times", "time is over"}, "Refresh it", "401 expired",
		},
	} {
		t.Run(name, func(t *testing.T) {
			x.give(t, row.claims...)
			out, status := x.ask(t, row.method, row.url, row.flags...)
			if status != 1 || !line(out, row.want[0], row.want[1], row.want[2]) ||
				!strings.Contains(out, row.help) || !strings.Contains(out, "REFUSED: "+row.reason) {
				t.Errorf("status %d:\n%s", status, out)
			}
		})
	}
}

// TestExplainTellsNoSecrets: neither the token nor any part of it, nor a claim that no step went by.
func TestExplainTellsNoSecrets(t *testing.T) {
	x := explainable(t)
	text, err := os.ReadFile(x.file)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(strings.TrimSpace(string(text)), ".")
	for _, url := range []string{
		"https://shop.example.com/api/orders/7", "https://x.example.com/api/reports",
		"https://x.example.com/closed", "https://x.example.com/nowhere", "/x",
	} {
		for _, more := range [][]string{nil, {"--json"}} {
			out, _ := x.ask(t, "GET", url, append(more, "--token-file", x.file)...)
			for _, secret := range append(parts, "hush", "secret_claim") {
				if strings.Contains(out, secret) {
					t.Errorf("%s %v tells %q", url, more, secret[:min(8, len(secret))])
				}
			}
		}
	}
}

// TestWhatStandsInAURLsQueryIsNotPrinted: a token may. Nor are a fragment, a user and a password.
func TestWhatStandsInAURLsQueryIsNotPrinted(t *testing.T) {
	x := explainable(t)
	file, junit := filepath.Join(x.dir, "policy_test.yaml"), filepath.Join(x.dir, "junit.xml")
	for _, url := range []string{
		"https://shop.example.com/api/orders/7?access_token=hush-hush", "/x?access_token=hush-hush",
		"https://shop.example.com?access_token=hush-hush", "/x#access_token=hush-hush",
		"https://hush:hush-hush@shop.example.com/x", "shop.example.com/x?access_token=hush-hush",
		"hush:hush-hush@shop.example.com/x",
	} {
		out, _ := x.ask(t, "GET", url)
		for _, request := range []string{"GET " + url, url} {
			write(t, file, "policy: {routes: [{match: {path: /**}}]}\ntests: [{request: '"+request+
				"', want: allowed}]\n")
			tested, _, err := sallyport("", "test", file, "--junit", junit)
			out += tested + err.Error()
		}
		if text, err := os.ReadFile(junit); err == nil {
			out += string(text)
		}
		if strings.Contains(out, "hush") || !strings.Contains(out, "/x") &&
			!strings.Contains(out, "https://shop.example.com") {
			t.Errorf("%s: got\n%s", url, out)
		}
	}
}

// TestExplainPutsATokenWhereThePolicyLooks, or where --token-in says, and asks the policy that is
// named.
func TestExplainPutsATokenWhereThePolicyLooks(t *testing.T) {
	x := explainable(t)
	text, err := os.ReadFile(x.config)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), "\npolicy:")
	_, policies, _ := strings.Cut(placed, "\npolicy:")
	write(t, x.config, head+"\npolicy:"+policies)
	for name, row := range map[string]struct {
		method, url string
		flags       []string
		want        string
	}{
		"a cookie":           {"GET", "/x", nil, "ALLOWED, by routes[2]"},
		"a header":           {"GET", "/x", []string{"--token-in", "header=x-token"}, "ALLOWED, by routes[2]"},
		"the wrong place":    {"GET", "/x", []string{"--token-in", "authorization=Bearer"}, "REFUSED: 401 no_token"},
		"a parameter":        {"GET", "/exports/7?a=b", []string{"--token-in", "query=access_token"}, "ALLOWED, by routes[0]"},
		"another policy":     {"GET", "/partner", []string{"--policy", "partner"}, "ALLOWED, by routes[0] (/partner)"},
		"no such policy":     {"GET", "/partner", []string{"--policy", "gone"}, "REFUSED: 403 no_route"},
		"no such kind":       {"GET", "/x", []string{"--token-in", "cookies=c"}, "expected a place as"},
		"no name":            {"GET", "/x", []string{"--token-in", "query="}, "expected a place as"},
		"a preflight":        {"OPTIONS", "/shared", []string{"--header", "access-control-request-method=GET", "--header", "origin=https://app.example.com"}, "ANSWERED: 204 preflight"},
		"a stranger's, none": {"OPTIONS", "/shared", []string{"--header", "access-control-request-method=GET", "--header", "origin=https://other.example.com"}, "ALLOWED"},
	} {
		x.give(t, "roles", `["partner"]`)
		out, status := x.ask(t, row.method, row.url, append(row.flags, "--token-file", x.file)...)
		wanted := 0
		switch {
		case strings.HasPrefix(row.want, "REFUSED"):
			wanted = 1
		case strings.HasPrefix(row.want, "expected"):
			wanted = statusUsage
		}
		if !strings.Contains(out, row.want) || status != wanted {
			t.Errorf("%s: status %d:\n%s", name, status, out)
		}
	}
}

// TestExplainTellsAMistakeFromARefusal by its exit status.
func TestExplainTellsAMistakeFromARefusal(t *testing.T) {
	x := explainable(t)
	t.Setenv(adminTokenVariable, "")
	for name, args := range map[string][]string{
		"no URL":               {"GET"},
		"no URL's form":        {"GET", "shop.example.com/x"},
		"an unknown flag":      {"GET", "/", "--nothing"},
		"no file":              {"GET", "/", "--config", filepath.Join(x.dir, "none.yaml")},
		"a header without =":   {"GET", "/", "--header", "x"},
		"no time":              {"GET", "/", "--at", "noon"},
		"no token's file":      {"GET", "/", "--token-file", filepath.Join(x.dir, "none")},
		"a gate without token": {"GET", "/", "--gate", "http://127.0.0.1:1"},
		"a gate and a time": {
			"GET", "/", "--gate", "http://127.0.0.1:1", "--at", "2030-01-02T03:04:05Z",
		},
		"a gate and fetch": {"GET", "/", "--gate", "http://127.0.0.1:1", "--fetch"},
		"no gate's URL":    {"GET", "/", "--gate", "127.0.0.1:1"},
	} {
		_, _, err := sallyport("", append([]string{"explain", "--config", x.config}, args...)...)
		if err == nil || exitStatus(err) != statusUsage {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestExplainFetchesKeysOnlyWhenItIsTold.
func TestExplainFetchesKeysOnlyWhenItIsTold(t *testing.T) {
	x := explainable(t)
	var asked atomic.Int32
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.ServeFile(w, r, filepath.Join(x.dir, "jwks.json"))
	}))
	defer issuer.Close()
	text, err := os.ReadFile(x.config)
	if err != nil {
		t.Fatal(err)
	}
	by := strings.Replace(string(text), "jwks_file: jwks.json",
		`jwks_url: "`+issuer.URL+`/jwks.json"`, 1)
	write(t, x.config, strings.Replace(by, "https://other.example.com/jwks", issuer.URL+"/jwks", 1))
	url := "https://shop.example.com/api/orders/7"
	out, status := x.ask(t, "GET", url, "--token-file", x.file)
	if status != 1 || asked.Load() != 0 || !strings.Contains(out, "503 no_keys") {
		t.Errorf("status %d, asked %d times:\n%s", status, asked.Load(), out)
	}
	if out, status = x.ask(t, "GET", url, "--token-file", x.file, "--fetch"); status != 0 || asked.Load() == 0 {
		t.Errorf("status %d, asked %d times:\n%s", status, asked.Load(), out)
	}
}

// TestExplainAsksAGate with its admin token, and shows what that says.
func TestExplainAsksAGate(t *testing.T) {
	x := explainable(t)
	admin := filepath.Join(x.dir, "admin")
	write(t, admin, strings.Repeat("a", 32))
	var got adminapi.Question
	answer := adminapi.Explanation{
		Status: 401, Reason: "revoked", Route: "routes[2]",
		Steps: []adminapi.Step{{Name: "revocation", Outcome: "failed", Text: "by sid\x1b[2J", Remedy: "Log in again."}},
	}
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != adminapi.ExplainPath ||
			r.Header.Get("Authorization") != "Bearer "+strings.Repeat("a", 32) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if err := errors.Join(json.NewDecoder(r.Body).Decode(&got),
			json.NewEncoder(w).Encode(answer)); err != nil {
			t.Error(err)
		}
	}))
	defer gate.Close()
	out, _, err := sallyport("", "explain", "GET", "https://shop.example.com:8443/a/%2e?x=y", "--gate",
		gate.URL, "--admin-token-file", admin, "--token-file", x.file, "--peer", "spiffe://a/b",
		"--header", "x-team=blue=1")
	if err == nil || exitStatus(err) != 1 || !line(out, "FAILED", "revocation", "by sid\uFFFD[2J") ||
		!strings.Contains(out, "REFUSED: 401 revoked, by routes[2]") {
		t.Errorf("got %v:\n%s", err, out)
	}
	if got.Host != "shop.example.com:8443" || got.Path != "/a/%2e?x=y" || got.Peer != "spiffe://a/b" ||
		len(got.Headers) != 2 || got.Headers[0] != (adminapi.Header{Name: "x-team", Value: "blue=1"}) {
		t.Errorf("asked %s %s %s", got.Host, got.Path, got.Peer)
	}
	write(t, admin, strings.Repeat("b", 32))
	_, _, err = sallyport("", "explain", "GET", "/", "--gate", gate.URL, "--admin-token-file", admin)
	if err == nil || exitStatus(err) != statusUsage || !strings.Contains(err.Error(), "--admin-token-file") {
		t.Errorf("with another token: %v", err)
	}
}
