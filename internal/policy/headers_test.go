package policy_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/policy"
)

// headersOf returns a request's headers, given as "name: value" lines.
func headersOf(lines ...string) policy.Header {
	return func(name string) (value string, ok bool) {
		for _, line := range lines {
			if n, v, _ := strings.Cut(line, ": "); n == name {
				return v, true
			}
		}
		return "", false
	}
}

// compiled reads and compiles a policy as a gate does.
func compiled(t *testing.T, yaml string) *policy.Policy {
	t.Helper()
	c, err := load(t, yaml)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestARouteGoesByHeaders(t *testing.T) {
	p := compiled(t, `policy:
  routes:
    - match: {path: /a, headers: [{name: x-version, exact: "2"}, {name: x-beta, present: true}]}
    - match: {path: /a, headers: [{name: user-agent, prefix: Mobile/}]}
    - match: {path: /a, headers: [{name: x-beta, present: true}]}
    - match: {grpc: a.B/C, headers: [{name: x-beta, present: true}]}
`)
	if got := strings.Join(p.ReadHeaders(), " "); got != "user-agent x-beta x-version" {
		t.Errorf("goes by %s", got)
	}
	for name, row := range map[string]struct {
		path    string
		headers []string
		want    int
	}{
		"all of them":         {"/a", []string{"x-version: 2", "x-beta: "}, 0},
		"one of them":         {"/a", []string{"x-version: 2"}, -1},
		"another value":       {"/a", []string{"x-version: 2,2", "x-beta: y"}, 2},
		"in capitals":         {"/a", []string{"x-version: 2", "X-Beta: y"}, -1},
		"a beginning":         {"/a", []string{"user-agent: Mobile/7"}, 1},
		"not a beginning":     {"/a", []string{"user-agent: a Mobile/7"}, -1},
		"another case":        {"/a", []string{"user-agent: mobile/7"}, -1},
		"empty and there":     {"/a", []string{"x-beta: "}, 2},
		"none":                {"/a", nil, -1},
		"a gRPC call":         {"/a.B/C", []string{"x-beta: y"}, 3},
		"a gRPC call without": {"/a.B/C", nil, -1},
	} {
		if f := p.FindWith("POST", "h", row.path, headersOf(row.headers...)); f.Rule.Index != row.want {
			t.Errorf("%s: got routes[%d], want routes[%d]", name, f.Rule.Index, row.want)
		}
	}
	if f := p.Find("POST", "h", "/a"); f.Rule.Index != -1 {
		t.Errorf("without headers: got routes[%d]", f.Rule.Index)
	}
}

// TestAnotherCaseIsNoWayAroundARouteWithHeaders: of a request that has them.
func TestAnotherCaseIsNoWayAroundARouteWithHeaders(t *testing.T) {
	p := compiled(t, `policy:
  routes:
    - match: {path: /account, headers: [{name: x-staff, present: true}]}
      require: {roles: [staff]}
    - {match: {path: /**}, allow: public}
`)
	for header, want := range map[string]int{"x-staff: y": -1, "x-other: y": 1} {
		if f := p.FindWith("GET", "h", "/Account", headersOf(header)); f.Rule.Index != want {
			t.Errorf("%s: got routes[%d] %s", header, f.Rule.Index, f.Reason)
		}
	}
	if notes := p.CaseNotes(); len(notes) != 1 || !strings.Contains(notes[0], "routes[1]") {
		t.Errorf("notes: %q", notes)
	}
}

func TestMistakesWithHeadersAreRefusedAtLoad(t *testing.T) {
	match := func(s string) string { return "{match: {path: /a, headers: [" + s + "]}}" }
	for name, row := range map[string]struct{ route, want string }{
		"a name in capitals":    {match("{name: X-Beta, present: true}"), `match.headers[0]: names are compared in small letters: write "x-beta"`},
		"a pseudo-header":       {match(`{name: ":path", exact: /a}`), "expected a header's name"},
		"a secret":              {match("{name: authorization, present: true}"), "it is a secret"},
		"cookies":               {match("{name: cookie, prefix: a}"), "it is a secret"},
		"an identity header":    {match("{name: x-auth-subject, exact: root}"), "the gate's word"},
		"the mark":              {match("{name: x-sallyport-stripped, present: true}"), "a word to the gate"},
		"nothing asked":         {match("{name: x-beta}"), "expected one of exact, prefix and `present: true`"},
		"two things asked":      {match("{name: x-beta, exact: a, prefix: a}"), "expected one of"},
		"not there":             {match("{name: x-beta, present: false}"), "expected one of"},
		"a control character":   {match(`{name: x-beta, exact: "a\n"}`), "printable ASCII"},
		"the same twice":        {match("{name: x-beta, exact: a}, {name: x-beta, exact: b}"), "is there twice"},
		"made of a claim, too":  {"{match: {path: /a, headers: [{name: x-tenant, present: true}]}, headers: {x-tenant: /tenant}}", "is made of a claim by this policy"},
		"hidden by fewer":       {match("{name: x-beta, present: true}") + "\n    - " + match("{name: x-beta, exact: a}"), "never reached"},
		"hidden by a prefix":    {match("{name: x-beta, prefix: a}") + "\n    - " + match("{name: x-beta, prefix: ab}, {name: x-c, present: true}"), "never reached"},
		"header: not x-":        {"{match: {path: /a}, headers: {tenant: /tenant}}", "headers.tenant: expected a name that begins with x-"},
		"header: authorization": {"{match: {path: /a}, headers: {authorization: /t}}", "begins with x-"},
		"header: ours":          {"{match: {path: /a}, headers: {x-auth-subject: /email}}", "the gate's or a framework's own"},
		"header: Envoy's":       {"{match: {path: /a}, headers: {x-envoy-original-path: /p}}", "Envoy's, the gate's"},
		"header: forwarded":     {"{match: {path: /a}, headers: {x-forwarded-for: /ip}}", "Envoy's, the gate's"},
		"header: an override":   {"{match: {path: /a}, headers: {x-http-method-override: /m}}", "Envoy's, the gate's"},
		"header: a pseudo one":  {`{match: {path: /a}, headers: {":path": /p}}`, "expected a header's name"},
		"header: underscore":    {"{match: {path: /a}, headers: {x_tenant: /tenant}}", "single hyphens"},
		"header: capitals":      {"{match: {path: /a}, headers: {X-Tenant: /tenant}}", "small letters"},
		"header: many words":    {"{match: {path: /a}, headers: {x-a-b-c-d-e: /t}}", "at most 5 words"},
		"header: a broken path": {"{match: {path: /a}, headers: {x-tenant: /a//b}}", "expected a path as /realm_access/roles"},
		"header: no claim":      {`{match: {path: /a}, headers: {x-tenant: ""}}`, "expected a claim's name"},
		"header: public":        {"{match: {path: /a}, allow: public, headers: {x-tenant: /t}}", "`allow: public` does not look at"},
		"header: also as JSON":  {"{match: {path: /a}, headers: {x-t: /t}, json_headers: {x-t: /u}}", "is in headers, too"},
		"response: cookies":     {"{match: {path: /a}, response_headers: {set-cookie: /t}}", "begins with x-"},
		"tokens: two places":    {"{match: {path: /a}}\n  tokens: [{cookie: a, header: x-b}]", "tokens[0]: expected one of authorization"},
		"tokens: no place":      {"{match: {path: /a}}\n  tokens: [{remove: true}]", "expected one of authorization"},
		"tokens: capitals":      {"{match: {path: /a}}\n  tokens: [{header: X-Token}]", "tokens[0].header: write it in small letters"},
		"tokens: a space":       {`{match: {path: /a}}` + "\n  tokens: [{authorization: \"a b\"}]", "without spaces and separators"},
		"tokens: an own header": {"{match: {path: /a}}\n  tokens: [{header: x-auth-subject}]", "has a meaning of its own"},
		"tokens: cookie header": {"{match: {path: /a}}\n  tokens: [{header: cookie}]", "has a meaning of its own"},
		"tokens: twice":         {"{match: {path: /a}}\n  tokens: [{authorization: Bearer}, {authorization: bearer, remove: true}]", "tokens[1]: is there twice"},
		"tokens: of a claim":    {"{match: {path: /a}, headers: {x-b: /b}}\n  tokens: [{header: x-b}]", "is made of a claim"},
		"tokens: gone by":       {"{match: {path: /a, headers: [{name: x-b, present: true}]}}\n  tokens: [{header: x-b}]", "holds the token"},
		"refusals: no form": {
			"{match: {path: /a}, refusals: {as: xml}}", "refusals.as: expected one of json, problem",
		},
		"refusals: a page for programs": {
			"{match: {path: /a}, refusals: {login_page: /login}}", "write `as: html`",
		},
		"refusals: another scheme": {
			`{match: {path: /a}, refusals: {as: html, login_page: "javascript:alert(1)"}}`, "expected a URL",
		},
		"refusals: another host in a path": {
			`{match: {path: /a}, refusals: {as: html, login_page: "//evil.example.com/"}}`, "expected a URL",
		},
		"refusals: a password": {
			`{match: {path: /a}, refusals: {as: html, login_page: "https://a:b@c/"}}`, "expected a URL",
		},
		"refusals: the path as host": {
			`{match: {path: /a}, refusals: {as: html, login_page: "https://a/{path}"}}`, "in the query alone",
		},
		"refusals: a path twice": {
			`{match: {path: /a}, refusals: {as: html, login_page: "/a?b={path}&c={path}"}}`, "expected a URL",
		},
		"cors: origins": {
			`{match: {path: /a}, cors: {origins: ["*"]}}`, "name each page that is trusted",
		},
		"cors: null": {
			`{match: {path: /a}, cors: {origins: ["null"]}}`, "name each page that is trusted",
		},
		"cors: a pattern": {
			`{match: {path: /a}, cors: {origins: ["https://*.example.com"]}}`, "expected an origin as",
		},
		"cors: a path": {
			`{match: {path: /a}, cors: {origins: ["https://a.example.com/"]}}`, "expected an origin as",
		},
		"cors: capitals": {
			`{match: {path: /a}, cors: {origins: ["https://A.example.com"]}}`, "expected an origin as",
		},
		"cors: another scheme": {
			`{match: {path: /a}, cors: {origins: ["file://a"]}}`, "expected an origin as",
		},
		"cors: a usual port": {
			`{match: {path: /a}, cors: {origins: ["https://a.example.com:443"]}}`, "leave the usual port out",
		},
		"cors: no origin": {
			`{match: {path: /a}, cors: {credentials: true}}`, "expected at least one",
		},
		"cors: every header": {
			`{match: {path: /a}, cors: {origins: ["https://a.example.com"], headers: ["*"]}}`, "small letters",
		},
		"cors: for ever": {
			`{match: {path: /a}, cors: {origins: ["https://a.example.com"], max_age: 48h}}`, "at most 24h",
		},
		"cors: for nobody": {
			`{match: {path: /a}, allow: nobody, cors: {origins: ["https://a.example.com"]}}`,
			"has no meaning with `allow: nobody`",
		},
		"slash: another word": {
			"{match: {path: /a}, path_encoded_slash: keep}", "path_encoded_slash: expected allow",
		},
		"slash: no word": {
			"{match: {path: /a}, path_encoded_slash: true}",
			`path_encoded_slash: expected allow, or no such key, got "true"`,
		},
		"query: public":          {"{match: {path: /a}, allow: public, query_token: t}", "query_token: has no meaning with `allow: public`"},
		"query: an escape":       {"{match: {path: /a}, query_token: a%20b}", "expected the name of a parameter"},
		"metadata: a name":       {"{match: {path: /a}}\n  metadata: {Tenant: /tenant}", "small letters, digits and underscores"},
		"metadata: broken claim": {"{match: {path: /a}}\n  metadata: {tenant: /~2}", "expected a path"},
	} {
		_, err := load(t, "policy:\n  routes:\n    - "+row.route+"\n")
		if err == nil || !strings.Contains(err.Error(), row.want) ||
			!strings.Contains(err.Error(), "authz.yaml:") {
			t.Errorf("%s: expected %q with file and line, got %v", name, row.want, err)
		}
	}
}
