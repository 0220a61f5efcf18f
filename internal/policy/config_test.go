package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/policy"
)

// load reads a policy as a gate does.
func load(t *testing.T, yaml string) (policy.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "authz.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	var dst struct {
		Policy policy.Config `yaml:"policy"`
	}
	err := config.Load(&dst, config.Options{File: file})
	return dst.Policy, err
}

func TestAPolicyIsReadAsDocumented(t *testing.T) {
	c, err := load(t, `policy:
  routes:
    - {match: {path: /public}, allow: public}
    - match: {path: /admin/**, methods: [GET, PUT], hosts: [admin.example.com, "*.corp.example.com"]}
      require: {roles: [admin, root], scopes: [read], issuers: ["https://a"]}
      allow_stale: true
      path_parameters: true
    - {match: {path: /maybe}, allow: optional}
    - {match: {path: /**}, allow: authenticated}
`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	f := p.Find("PUT", "x.corp.example.com", "/admin;v=1/x")
	if f.Rule.Index != 1 || strings.Join(f.Rule.Roles, " ") != "admin root" ||
		strings.Join(f.Rule.Scopes, " ") != "read" ||
		strings.Join(f.Rule.Issuers, " ") != "https://a" ||
		!f.Rule.AllowStale {
		t.Errorf("got %+v", f.Rule)
	}
}

func TestMistakesAreRefusedAtLoad(t *testing.T) {
	route := func(s string) string { return "policy:\n  routes:\n    - " + s + "\n" }
	for name, row := range map[string]struct{ yaml, want string }{
		"no routes":   {"policy: {routes: []}\n", "at least one route"},
		"unknown key": {route("{match: {path: /a}, role: [x]}"), "role"},
		"unknown access": {
			route("{match: {path: /a}, allow: pubic}"), "public, optional, authenticated or nobody",
		},
		"no path": {
			route("{match: {methods: [GET]}, allow: public}"), "expected a path",
		},
		"path without slash":      {route("{match: {path: admin}}"), "does not begin with a slash"},
		"path with query":         {route("{match: {path: /a?b}}"), "without query"},
		"path with parameters":    {route("{match: {path: /a;b}}"), "without query and parameters"},
		"path with fragment":      {route(`{match: {path: "/a#b"}}`), "`#`"},
		"path that climbs":        {route("{match: {path: /a/../b}}"), "`..`"},
		"empty segment":           {route("{match: {path: /a//b}}"), "empty segment"},
		"encoded slash":           {route("{match: {path: /a%2Fb}}"), "encoded delimiter"},
		"star beside a name":      {route(`{match: {path: "/admin*"}}`), "segments of their own"},
		"two stars beside a name": {route(`{match: {path: "/admin**"}}`), "segments of their own"},
		"two stars in the middle": {route(`{match: {path: "/a/**/b"}}`), "only as the last segment"},
		"too many segments": {
			route("{match: {path: " + strings.Repeat("/a", 65) + "}}"), "at most 64 segments",
		},
		"a name beside a name":      {route(`{match: {path: "/a/x{id}"}}`), "{name} only as a segment of its own"},
		"an open brace":             {route(`{match: {path: "/a/{id"}}`), "%7B and %7D are literal braces"},
		"a name without letters":    {route(`{match: {path: "/a/{}"}}`), "{name} only as a segment"},
		"a name with a digit first": {route(`{match: {path: "/a/{1a}"}}`), "{name} only as a segment"},
		"a name in capitals":        {route(`{match: {path: "/a/{Id}"}}`), "small letters"},
		"a name for the rest":       {route(`{match: {path: "/a/{rest...}"}}`), "small letters"},
		"a name twice": {
			route(`{match: {path: "/a/{id}/b/{id}"}}`), "expected each name once, got {id} twice",
		},
		"grpc beside a path": {
			route(`{match: {path: /a, grpc: a.B/C}}`), "match.grpc: stands for a path and the method POST",
		},
		"grpc beside methods":     {route(`{match: {methods: [GET], grpc: a.B/C}}`), "leave path and methods"},
		"grpc without a method":   {route(`{match: {grpc: a.B}}`), "expected a service and its method"},
		"grpc with a slash":       {route(`{match: {grpc: /a.B/C}}`), "expected a service and its method"},
		"grpc of a whole package": {route(`{match: {grpc: "a.*/C"}}`), "expected a service and its method"},
		"grpc of every service":   {route(`{match: {grpc: "*/*"}}`), "expected a service and its method"},
		"grpc with two slashes":   {route(`{match: {grpc: a.B/C/D}}`), "expected a service and its method"},
		"grpc with two dots":      {route(`{match: {grpc: a..B/C}}`), "expected a service and its method"},
		"grpc hidden": {
			route("{match: {grpc: a.B/*}}\n    - {match: {grpc: a.B/C}}"),
			"never reached: routes[0] (a.B/*) matches everything that this route (a.B/C) matches",
		},
		"hidden by a name": {
			route("{match: {path: '/a/{id}'}}\n    - {match: {path: '/a/{other}'}}"), "never reached",
		},
		"method in lower case": {route("{match: {path: /a, methods: [get]}}"), "write GET"},
		"method that is none": {
			route(`{match: {path: /a, methods: ["GET,PUT"]}}`), "expected a method's name",
		},
		"method twice": {route("{match: {path: /a, methods: [GET, GET]}}"), "twice"},
		"host with port": {
			route(`{match: {path: /a, hosts: ["a.example:80"]}}`), "without it",
		},
		"host with scheme": {
			route(`{match: {path: /a, hosts: ["http://a.example"]}}`), "expected a host",
		},
		"host with star inside": {
			route(`{match: {path: /a, hosts: ["a.*.example"]}}`), "expected a host",
		},
		"host that is a star": {route(`{match: {path: /a, hosts: ["*"]}}`), "expected a host"},
		"host twice in other case": {
			route(`{match: {path: /a, hosts: [a.example, A.example.]}}`), "twice",
		},
		"empty role": {
			route(`{match: {path: /a}, require: {roles: [""]}}`), "empty string",
		},
		"role twice": {route(`{match: {path: /a}, require: {roles: [a, a]}}`), "twice"},
		"two scopes in one": {
			route(`{match: {path: /a}, require: {scopes: ["a b"]}}`), "write a list",
		},
		"public with roles": {
			route(`{match: {path: /a}, allow: public, require: {roles: [a]}}`), "needs a token",
		},
		"optional with scopes": {
			route(`{match: {path: /a}, allow: optional, require: {scopes: [a]}}`), "needs a token",
		},
		"empty issuer": {
			route(`{match: {path: /a}, require: {issuers: [""]}}`), "empty string",
		},
		"issuer twice": {route(`{match: {path: /a}, require: {issuers: [a, a]}}`), "twice"},
		"optional with issuers": {
			route(`{match: {path: /a}, allow: optional, require: {issuers: [a]}}`), "needs a token",
		},
		"public with issuers": {
			route(`{match: {path: /a}, allow: public, require: {issuers: [a]}}`), "needs a token",
		},
		"optional and fresh": {
			route(`{match: {path: /a}, allow: optional, require: {fresh: 1m}}`), "needs a token",
		},
		"optional with alternatives": {
			route(`{match: {path: /a}, allow: optional, require: {anyOf: [{roles: [a]}]}}`), "needs a token",
		},
		"fresh for less than a second": {
			route(`{match: {path: /a}, require: {fresh: 10ms}}`), "expected 1s or more, got 10ms",
		},
		"fresh for a negative time": {
			route(`{match: {path: /a}, require: {fresh: -1m}}`), "routes[0].require.fresh: expected 1s",
		},
		"acr with a quote": {
			route(`{match: {path: /a}, require: {acr: ['a"b']}}`), "require.acr[0]: expected printable",
		},
		"acr with a space": {
			route(`{match: {path: /a}, require: {acr: ["a b"]}}`), "without spaces",
		},
		"empty audience": {
			route(`{match: {path: /a}, require: {audiences: [""]}}`), "empty string",
		},
		"an alternative that asks for nothing": {
			route(`{match: {path: /a}, require: {anyOf: [{roles: [a]}, {}]}}`),
			"require.anyOf[1]: expected what it asks for",
		},
		"alternatives in an alternative": {
			route(`{match: {path: /a}, require: {anyOf: [{anyOf: [{roles: [a]}]}]}}`),
			"anyOf[0].anyOf: expected no alternatives",
		},
		"an alternative with an empty role": {
			route(`{match: {path: /a}, require: {anyOf: [{roles: [""]}]}}`),
			"authz.yaml:3:54: policy.routes[0].require.anyOf[0].roles[0]: expected a name",
		},
		"an alternative with a slip": {
			route(`{match: {path: /a}, require: {anyOf: [{role: [a]}]}}`), "roles",
		},
		"too many alternatives": {
			route(`{match: {path: /a}, require: {anyOf: [` + strings.Repeat("{roles: [a]},", 33) + `]}}`),
			"at most 32 alternatives",
		},
		"a condition with a slip": {
			route(`{match: {path: "/t/{tenant}"}, require: {when: "claims.t == path.tenat"}}`),
			"authz.yaml:3:54: policy.routes[0].require.when: at 1:17 of the condition: undeclared reference" +
				" to 'path.tenat' (did you mean 'path.tenant'?)",
		},
		"a condition of another route's name": {
			route(`{match: {path: "/t/{tenant}"}}` + "\n    - " +
				`{match: {path: "/u/*"}, require: {when: "path.tenant == ''"}}`),
			"authz.yaml:4:47: policy.routes[1].require.when: at 1:1 of the condition: undeclared reference",
		},
		"a condition of another type": {
			route(`{match: {path: /a}, require: {when: claims.level}}`), "which is true or false",
		},
		"an alternative's condition": {
			route(`{match: {path: /a}, require: {anyOf: [{when: nosuch}]}}`),
			"routes[0].require.anyOf[0].when: at 1:1 of the condition: undeclared reference to 'nosuch'",
		},
		"a condition of many lines": {
			"policy:\n  routes:\n    - match: {path: /a}\n      require:\n        when: |\n          claims.a == 1 &&\n" +
				"          nosuch\n",
			"authz.yaml:5:15: policy.routes[0].require.when: at 2:1 of the condition: undeclared reference",
		},
		"optional with a condition": {
			route(`{match: {path: /a}, allow: optional, require: {when: "true"}}`), "needs a token",
		},
		"nobody with roles": {
			route(`{match: {path: /a}, allow: nobody, require: {roles: [a]}}`), "needs a token",
		},
		"public that outlives": {
			route(`{match: {path: /a}, allow: public, outlives_token: true}`), "no meaning",
		},
		"a circle of roles": {
			"policy:\n  roles:\n    a: [x]\n    admin: [y, clerk]\n    clerk: [viewer]\n    viewer: [admin]\n" +
				"  routes: [{match: {path: /a}}]\n",
			"authz.yaml:4:5: policy.roles.admin: expected no role to bring itself along, got admin >" +
				" clerk > viewer > admin",
		},
		"a role that brings itself": {
			"policy: {roles: {admin: [admin]}, routes: [{match: {path: /a}}]}\n", "admin > admin",
		},
		"a role brought twice": {
			"policy: {roles: {admin: [clerk, clerk]}, routes: [{match: {path: /a}}]}\n",
			"policy.roles.admin[1]: \"clerk\" is there twice",
		},
		"an empty role brought": {
			"policy: {roles: {admin: [\"\"]}, routes: [{match: {path: /a}}]}\n",
			"policy.roles.admin[0]: expected a name",
		},
		"an empty role that brings": {
			"policy: {roles: {\"\": [admin]}, routes: [{match: {path: /a}}]}\n", "expected a role's name",
		},
		"path case": {
			"policy: {path_case: no, routes: [{match: {path: /a}}]}\n", "insensitive or sensitive",
		},
		"path case of a route": {
			route(`{match: {path: /a}, path_case: Sensitive}`), "insensitive or sensitive",
		},
		"public and stale": {
			route(`{match: {path: /a}, allow: public, allow_stale: true}`), "no meaning",
		},
		"hidden by a wider path": {
			route("{match: {path: /**}}\n    - {match: {path: /admin}, require: {roles: [a]}}"),
			"never reached",
		},
		"hidden by its equal": {
			route("{match: {path: /a/}}\n    - {match: {path: /%61}}"), "never reached",
		},
		"hidden by more methods": {
			route("{match: {path: /*, methods: [GET, PUT]}}\n    - {match: {path: /a, methods: [PUT]}}"),
			"never reached",
		},
		"hidden by a wider host": {
			route(`{match: {path: /a, hosts: ["*.example"]}}` + "\n    - " +
				`{match: {path: /a, hosts: ["*.a.example", b.example]}}`),
			"never reached",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, row.yaml)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "authz.yaml:") {
				t.Errorf("expected file, line and %q in %q", row.want, err)
			}
		})
	}
}

func TestWhatIsNotHiddenIsAccepted(t *testing.T) {
	for name, yaml := range map[string]string{
		"narrower first": "policy:\n  routes:\n    - {match: {path: /admin}}\n" +
			"    - {match: {path: /**}}\n",
		"other methods": "policy:\n  routes:\n    - {match: {path: /a, methods: [GET]}}\n" +
			"    - {match: {path: /a}}\n",
		"other hosts": "policy:\n  routes:\n    - {match: {path: /a, hosts: [\"*.example\"]}}\n" +
			"    - {match: {path: /a, hosts: [example]}}\n",
		"star and rest": "policy:\n  routes:\n    - {match: {path: /a/*}}\n" +
			"    - {match: {path: /a/**}}\n",
		"rest and parent": "policy:\n  routes:\n    - {match: {path: /a/b/**}}\n" +
			"    - {match: {path: /a/*/c}}\n",
	} {
		if _, err := load(t, yaml); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCompileRefusesWhatLoadRefuses: whoever makes a Config in code meets the same checks.
func TestCompileRefusesWhatLoadRefuses(t *testing.T) {
	for name, r := range map[string]policy.Route{
		"path":   {Match: policy.Match{Path: "a"}},
		"access": {Match: policy.Match{Path: "/a"}, Allow: "everybody"},
		"role":   {Match: policy.Match{Path: "/a"}, Require: policy.Require{Roles: []string{""}}},
		"alternative": {Match: policy.Match{Path: "/a"}, Require: policy.Require{
			AnyOf: []policy.Require{{Scopes: []string{"a b"}}},
		}},
		"condition": {Match: policy.Match{Path: "/a"}, Require: policy.Require{When: "nosuch"}},
		"require": {
			Match: policy.Match{Path: "/a"}, Allow: "public", Require: policy.Require{Roles: []string{"a"}},
		},
	} {
		if _, err := policy.Compile(policy.Config{Routes: []policy.Route{r}}); err == nil ||
			!strings.Contains(err.Error(), "routes[0]") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	circle := policy.Config{
		Roles:  map[string][]string{"a": {"b"}, "b": {"a"}},
		Routes: []policy.Route{{Match: policy.Match{Path: "/a"}}},
	}
	if _, err := policy.Compile(circle); err == nil || !strings.Contains(err.Error(), "a > b > a") {
		t.Errorf("a circle of roles: got %v", err)
	}
	if _, err := policy.Compile(policy.Config{}); err == nil {
		t.Error("an empty policy was accepted")
	}
}
