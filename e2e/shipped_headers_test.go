package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// folding is an upstream that hands on a request as a CGI program gets it (RFC 3875 section
// 4.1.18), and as servers do that make one sign of all (lighttpd, Apache before 2.4): what it
// is asked is answered with the environment that a real child process had.
func folding(t *testing.T) http.Handler {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "env.cgi")
	lines := "#!" + shell + "\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nexec env\n"
	if err := os.WriteFile(script, []byte(lines), 0o700); err != nil {
		t.Fatal(err)
	}
	program := &cgi.Handler{Path: script, Root: "/"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		folded := r.Clone(r.Context())
		folded.Header = http.Header{}
		for name, values := range r.Header {
			name = strings.Map(func(c rune) rune {
				if strings.ContainsRune(authztest.Signs, c) {
					return '-'
				}
				return c
			}, name)
			for _, value := range values {
				folded.Header.Add(name, value)
			}
		}
		program.ServeHTTP(w, folded)
	})
}

// TestNoHeaderOfAClientBecomesAnIdentity at an upstream that makes one name of many: for every
// sign that a name may have, on routes where the caller is known, may be known and is not,
// through the shipped file, through it without its first pattern, from which users may have to
// except names, and without any of its own (a gate with strip: all then sees to it), headers joined
// and raw. With the identity headers go those that ask for another method
// or path.
func TestNoHeaderOfAClientBecomesAnIdentity(t *testing.T) {
	raw := meshtest.Change{
		Old: "failure_mode_allow: false",
		New: "failure_mode_allow: false\n                      encode_raw_headers: true",
	}
	for name, changes := range map[string][]meshtest.Change{
		"joined headers":                 nil,
		"raw headers":                    {raw},
		"every sign excepted":            {withoutSigns},
		"the gate alone, joined headers": {withoutPatterns},
		"the gate alone, raw headers":    {withoutPatterns, raw},
	} {
		t.Run(name, func(t *testing.T) {
			s := meshtest.Start(t, with(func(o *mesh.Options) {
				o.Upstream = folding(t)
				if slices.Contains(changes, withoutPatterns) {
					o.GateArgs = []string{"--ext-authz-strip=all"}
				}
				o.Rewrite = func(name, content string) string {
					if name != "authz.yaml" {
						return content
					}
					const public = "  - match: {path: /public}\n"
					const optional = "  - match: {path: /optional}\n    allow: optional\n"
					return replace(t, content, public, optional+public)
				}
				meshtest.RunShipped(t, o, changes...)
			}))
			c := newCaller(t, s.Endpoints().Gateway)
			token := c.login(t, user(t, s, "bob")).Access // has no scope
			for _, sign := range "-" + authztest.Signs {
				for path, who := range map[string]edit{
					"/public": nil, "/optional": nil, "/protected": bearer(token),
				} {
					environment := spoof(t, c, path, string(sign), who)
					if strings.Contains(environment, "mallory") {
						t.Errorf("%s with %c: the program got\n%s", path, sign, lines(environment, "mallory"))
					}
					if known := strings.Contains(environment, "HTTP_X_AUTH_SUBJECT=bob\n"); known != (who != nil) {
						t.Errorf("%s with %c: the program knows bob: %v", path, sign, known)
					}
					if strings.Contains(environment, "HTTP_X_SALLYPORT") {
						t.Errorf("%s with %c: the program got Envoy's mark", path, sign)
					}
					if !strings.Contains(environment, "HTTP_X_AUTHOR=kept\n") {
						t.Errorf("%s with %c: a header of another name is gone", path, sign)
					}
				}
			}
		})
	}
}

// withoutPatterns leaves Envoy its patterns, which then match nothing.
var withoutPatterns = meshtest.Change{
	Old: "key_matcher: {safe_regex: {regex: \"",
	New: "key_matcher: {safe_regex: {regex: \"no",
}

// withoutSigns excepts every name from the first pattern, so that the second alone is left.
var withoutSigns = meshtest.Change{
	Old: `regex: "[^:]*[^a-z0-9:-][^:]*"`,
	New: `regex: "none"`,
}

// withoutMark has Envoy say nothing of what it removes.
var withoutMark = meshtest.Change{
	Old: `- append: {header: {key: x-sallyport-stripped, value: "1"}`,
	New: `- append: {header: {key: x-another, value: "1"}`,
}

// TestAnEnvoyThatDoesNotStripCannotBeForgotten: by the shipped settings of the gate, one without
// the mark lets no honest request pass, whatever its client says; and one that has the mark and
// lost its patterns, or a line of one, lets pass none that tries.
func TestAnEnvoyThatDoesNotStripCannotBeForgotten(t *testing.T) {
	start := func(t *testing.T, changes ...meshtest.Change) (c *caller, token string) {
		s := meshtest.Start(t, with(func(o *mesh.Options) { meshtest.RunShipped(t, o, changes...) }))
		c = newCaller(t, s.Endpoints().Gateway)
		return c, c.login(t, user(t, s, "alice")).Access
	}
	refused := func(t *testing.T, a answer) {
		t.Helper()
		if a.status != http.StatusServiceUnavailable ||
			a.header.Get(authz.HeaderReason) != "not_stripped" {
			t.Errorf("got %d %s, expected 503 not_stripped", a.status, a.body)
		}
	}
	t.Run("no mark", func(t *testing.T) {
		c, token := start(t, withoutMark)
		refused(t, c.get(t, "/public"))
		refused(t, c.get(t, "/protected", bearer(token)))
		// The patterns that are left remove a client's own.
		refused(t, c.get(t, "/public", header("x-sallyport-stripped", "1")))
	})
	t.Run("a mark without patterns", func(t *testing.T) {
		c, token := start(t, withoutPatterns)
		if a := c.get(t, "/public"); a.status != http.StatusOK {
			t.Fatalf("an honest request: %d %s", a.status, a.body)
		}
		for _, sign := range authztest.Signs {
			for _, name := range append(authz.OverrideHeaders(), authz.HeaderSubject) {
				name = strings.ReplaceAll(name, "-", string(sign))
				for path, who := range map[string]edit{"/public": nil, "/protected": bearer(token)} {
					a := c.get(t, path, claiming(name, who)...)
					if sign != '_' { // which Envoy drops by another setting
						refused(t, a)
					} else if got := a.reached(t).Headers[name]; got != "" {
						t.Errorf("%s: the upstream received %s: %s", path, name, got)
					}
				}
			}
		}
		// Of identity headers in their own spelling an answer makes the gate's own.
		for _, name := range authz.OverrideHeaders() {
			refused(t, c.get(t, "/public", claiming(name, nil)...))
			refused(t, c.get(t, "/protected", claiming(name, bearer(token))...))
		}
	})
	for line, names := range map[string][]string{
		"(http[^a-z0-9])?method[^a-z0-9]override": {"x-http-method-override", "x-method-override"},
		"http[^a-z0-9]method|":                    {"x-http-method"},
		"(original|rewrite)[^a-z0-9]url":          {"x-original-url", "x-rewrite-url"},
		"(auth|sallyport)[^a-z0-9].*":             {"x.auth.subject", "x~auth~roles"},
	} {
		t.Run("a mark without "+line, func(t *testing.T) {
			c, token := start(t, withoutSigns, meshtest.Change{Old: line, New: "no" + line})
			for _, name := range names {
				refused(t, c.get(t, "/public", claiming(name, nil)...))
				refused(t, c.get(t, "/protected", claiming(name, bearer(token))...))
			}
			// The lines that are left remove what they name.
			for _, name := range append(authz.OverrideHeaders(), "x.auth.subject", "x~auth~roles") {
				if slices.Contains(names, name) {
					continue
				}
				a := c.get(t, "/protected", claiming(name, bearer(token))...)
				if got := a.reached(t).Headers[name]; got != "" {
					t.Errorf("the upstream received %s: %s", name, got)
				}
			}
		})
	}
}

// claiming sends a header of that name, exactly as it is spelt, in the name of who, if that is set.
func claiming(name string, who edit) []edit {
	edits := []edit{func(r *http.Request) { r.Header[name] = []string{"mallory"} }}
	if who != nil {
		edits = append(edits, who)
	}
	return edits
}

// spoof sends every identity header and every override with one sign between its words, and
// returns the program's environment.
func spoof(t *testing.T, c *caller, path, sign string, who edit) string {
	t.Helper()
	edits := []edit{header("x-author", "kept")}
	if who != nil {
		edits = append(edits, who)
	}
	for _, name := range append(authz.IdentityHeaders(), authz.OverrideHeaders()...) {
		every, first := strings.ReplaceAll(name, "-", sign), strings.Replace(name, "-", sign, 1)
		for _, spelt := range []string{every, first, strings.ToUpper(every)} {
			edits = append(edits, func(r *http.Request) { r.Header[spelt] = []string{"mallory"} })
		}
	}
	a := c.get(t, path, edits...)
	if a.status != http.StatusOK {
		t.Fatalf("%s with %s: %d %s", path, sign, a.status, a.body)
	}
	return string(a.body)
}

func lines(text, with string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, with) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// TestOverridesReachAnUpstreamThatNeedsThem: where a line has been taken out of the pattern and the
// setting says so, and nothing else with them.
func TestOverridesReachAnUpstreamThatNeedsThem(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.GateArgs = []string{"--ext-authz-keep-overrides=true"}
		meshtest.RunShipped(t, o, meshtest.Change{
			Old: "                            (http[^a-z0-9])?method[^a-z0-9]override|\\\n", New: "",
		})
	}))
	c := newCaller(t, s.Endpoints().Gateway)
	override, rewrite := header("X-HTTP-Method-Override", "DELETE"), header("X-Original-URL", "/admin")
	got := c.get(t, "/public", override, rewrite).reached(t)
	if got.Headers["x-http-method-override"] != "DELETE" || got.Headers["x-original-url"] != "" {
		out, err := json.Marshal(got.Headers)
		t.Errorf("the upstream received %s, %v", out, err)
	}
}
