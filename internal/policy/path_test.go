package policy

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAPathHasOneSpelling(t *testing.T) {
	for target, want := range map[string]string{
		"/":                      "/",
		"/a":                     "/a",
		"/a/":                    "/a/",
		"/a/b?x=/../y//z%2F":     "/a/b",
		"/a?":                    "/a",
		"/?":                     "/",
		"/a?b?c":                 "/a",
		"/%61dmin":               "/admin",
		"/a%2eb":                 "/a.b",
		"/a%20b":                 "/a b",
		"/caf%C3%A9":             "/café",
		"/café":                  "/café",
		"/100%25":                "/100%",
		"/100%25/x":              "/100%/x",
		"/...":                   "/...",
		"/.hidden":               "/.hidden",
		"/a..b":                  "/a..b",
		"/-._~!$&'()*+,=:@":      "/-._~!$&'()*+,=:@",
		"/%2A":                   "/*",
		"/[x]{y}|z^`\"<>":        "/[x]{y}|z^`\"<>",
		"/Admin":                 "/Admin",
		"/a:b@c":                 "/a:b@c",
		"/.well-known/jwks.json": "/.well-known/jwks.json",
	} {
		var p requestPath
		if problem := p.read(target); problem != "" || p.value != want || p.parameters {
			t.Errorf("%q: got %q, %q, parameters %v; want %q", target, p.value, problem, p.parameters, want)
		}
	}
}

func TestAmbiguousPathsAreRefused(t *testing.T) {
	for target, want := range map[string]pathProblem{
		"":                                      badForm,
		"*":                                     badForm,
		"?x":                                    badForm,
		"admin":                                 badForm,
		"pkg.Service/Method":                    badForm,
		"http://host/admin":                     badForm,
		"host:443":                              badForm,
		"\\admin":                               badForm,
		"%2Fadmin":                              badForm,
		"//":                                    badSegments,
		"//public/admin":                        badSegments,
		"///x":                                  badSegments,
		"/a//b":                                 badSegments,
		"/a//":                                  badSegments,
		"/.":                                    badSegments,
		"/..":                                   badSegments,
		"/a/.":                                  badSegments,
		"/a/./b":                                badSegments,
		"/a/..":                                 badSegments,
		"/a/../b":                               badSegments,
		"/public/../admin":                      badSegments,
		"/%2e%2e/admin":                         badSegments,
		"/a/%2E./b":                             badSegments,
		"/a/.%2e":                               badSegments,
		"/..;/admin":                            badSegments,
		"/a/..;x=1/b":                           badSegments,
		"/.;a=b/c":                              badSegments,
		"/;x=1/b":                               badSegments,
		"/a/;/b":                                badSegments,
		"/%2e%2e;x/b":                           badSegments,
		"/a%2Fb":                                badEncoding,
		"/a%2fb":                                badEncoding,
		"/a%5Cb":                                badEncoding,
		"/a%5cb":                                badEncoding,
		"/a\\b":                                 badEncoding,
		"/..%2fadmin":                           badEncoding,
		"/%252e%252e/admin":                     badEncoding,
		"/a%252Fb":                              badEncoding,
		"/a%255Cb":                              badEncoding,
		"/a%25252Fb":                            badEncoding,
		"/a%25%32%46b":                          badEncoding,
		"/a%25u002fb":                           badEncoding,
		"/a%u002fb":                             badEncoding,
		"/a%3Bb":                                badEncoding,
		"/a%3Fb":                                badEncoding,
		"/a%":                                   badEncoding,
		"/a%2":                                  badEncoding,
		"/a%zz":                                 badEncoding,
		"/a%2?b":                                badEncoding,
		"/public#/admin":                        badCharacters,
		"/admin#/public":                        badCharacters,
		"/admin?x#/public":                      badCharacters,
		"/public%23/admin":                      badCharacters,
		"/a b":                                  badCharacters,
		"/a\tb":                                 badCharacters,
		"/a\nb":                                 badCharacters,
		"/a\x00b":                               badCharacters,
		"/a\x7fb":                               badCharacters,
		"/a%00b":                                badCharacters,
		"/a%0d%0ab":                             badCharacters,
		"/a%7f":                                 badCharacters,
		"/a%C2%85":                              badCharacters,
		"/a\xff":                                badCharacters,
		"/a%ff":                                 badCharacters,
		"/a%c0%af":                              badCharacters,
		"/a%e2%28%a1":                           badCharacters,
		"/a%C3":                                 badCharacters,
		"/" + strings.Repeat("a", maxPath):      badLength,
		strings.Repeat("/a", maxPathSegments+1): badLength,
	} {
		var p requestPath
		if problem := p.read(target); problem != want || p != (requestPath{}) {
			t.Errorf("%.60q: got %q, %q; want %q", target, p.value, problem, want)
		}
	}
}

func TestPathParametersAreSetAside(t *testing.T) {
	for target, want := range map[string]string{
		"/a;v=1":         "/a",
		"/a;v=1/b;w=2,3": "/a/b",
		"/a;/b":          "/a/b",
		"/a;x;y/b?q;r":   "/a/b",
		"/a/b;":          "/a/b",
		"/a;..":          "/a",
		"/%61;x=%2e%2e":  "/a",
	} {
		var p requestPath
		if problem := p.read(target); problem != "" || p.value != want || !p.parameters {
			t.Errorf("%q: got %q, %q, parameters %v; want %q", target, p.value, problem, p.parameters, want)
		}
	}
	var p requestPath
	if p.read("/a?x;y"); p.parameters {
		t.Error("a semicolon in the query was taken for a path parameter")
	}
}

func TestOrdinaryPathsCostNothing(t *testing.T) {
	var p requestPath
	if n := testing.AllocsPerRun(100, func() { p.read("/api/v1/things/42?expand=all") }); n != 0 {
		t.Errorf("reading an ordinary path allocates %v times", n)
	}
}

// FuzzPath: what is accepted has one meaning, for us and for whoever decodes it once with a
// decoder of its own, and spelling that meaning out again gives the same path.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"/", "/a/b?c=d", "/a/../b", "/%2e%2e/a", "/a%2Fb", "/a%252Fb", "/..;/a", "/a;x=1/b", "//a",
		"/a#b", "/caf%C3%A9", "/100%25",
		"/a\\b", "http://h/p", "/a%00", "/%", "/a%u002f", "/x%3B", "/a/.%2e/b", "/\xff", "/a?#",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		var p requestPath
		problem := p.read(target)
		if problem != "" {
			if p != (requestPath{}) {
				t.Fatalf("%q: refused (%s), and yet read as %q", target, problem, p.value)
			}
			return
		}
		checkCanonical(t, target, p)
		checkStandardLibrary(t, target, p)
		var again requestPath
		// three bytes for one, which may be more than a path may have
		spelt := (&url.URL{Path: p.value}).EscapedPath()
		if problem := again.read(spelt); p.plain() && len(spelt) <= maxPath &&
			(problem != "" || again.value != p.value) {
			t.Fatalf("%q: read as %q, which spelt out again is %q (%s)", target, p.value,
				again.value, problem)
		}
	})
}

// plain reports whether net/url spells the path as we read it: it writes ; and a literal % in forms that
// we refuse as ambiguous.
func (p requestPath) plain() bool { return !strings.ContainsAny(p.value, "%;") }

func checkCanonical(t *testing.T, target string, p requestPath) {
	t.Helper()
	if !strings.HasPrefix(p.value, "/") || !utf8.ValidString(p.value) ||
		strings.ContainsAny(p.value, "\\;?#\x00\r\n\t\x7f") {
		t.Fatalf("%q: read as %q, which is not canonical", target, p.value)
	}
	segments := strings.Split(p.value[1:], "/")
	for i, s := range segments {
		if s == "." || s == ".." || (s == "" && i < len(segments)-1) {
			t.Fatalf("%q: read as %q, with the segment %q", target, p.value, s)
		}
	}
}

// checkStandardLibrary compares with net/url, which decodes once and has no idea of parameters.
func checkStandardLibrary(t *testing.T, target string, p requestPath) {
	t.Helper()
	if p.parameters {
		return
	}
	raw, _, _ := strings.Cut(target, "?")
	decoded, err := url.PathUnescape(raw)
	if err != nil || decoded != p.value {
		t.Fatalf("%q: read as %q, by net/url as %q (%v)", target, p.value, decoded, err)
	}
}
