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
		var p Path
		if problem := p.Read(target); problem != "" || p.Value != want || p.Parameters {
			t.Errorf("%q: got %q, %q, parameters %v; want %q", target, p.Value, problem, p.Parameters, want)
		}
	}
}

func TestAmbiguousPathsAreRefused(t *testing.T) {
	for target, want := range map[string]PathProblem{
		"":                                      BadForm,
		"*":                                     BadForm,
		"?x":                                    BadForm,
		"admin":                                 BadForm,
		"pkg.Service/Method":                    BadForm,
		"http://host/admin":                     BadForm,
		"host:443":                              BadForm,
		"\\admin":                               BadForm,
		"%2Fadmin":                              BadForm,
		"//":                                    BadSegments,
		"//public/admin":                        BadSegments,
		"///x":                                  BadSegments,
		"/a//b":                                 BadSegments,
		"/a//":                                  BadSegments,
		"/.":                                    BadSegments,
		"/..":                                   BadSegments,
		"/a/.":                                  BadSegments,
		"/a/./b":                                BadSegments,
		"/a/..":                                 BadSegments,
		"/a/../b":                               BadSegments,
		"/public/../admin":                      BadSegments,
		"/%2e%2e/admin":                         BadSegments,
		"/a/%2E./b":                             BadSegments,
		"/a/.%2e":                               BadSegments,
		"/..;/admin":                            BadSegments,
		"/a/..;x=1/b":                           BadSegments,
		"/.;a=b/c":                              BadSegments,
		"/;x=1/b":                               BadSegments,
		"/a/;/b":                                BadSegments,
		"/%2e%2e;x/b":                           BadSegments,
		"/a%2Fb":                                BadEncoding,
		"/a%2fb":                                BadEncoding,
		"/a%5Cb":                                BadEncoding,
		"/a%5cb":                                BadEncoding,
		"/a\\b":                                 BadEncoding,
		"/..%2fadmin":                           BadEncoding,
		"/%252e%252e/admin":                     BadEncoding,
		"/a%252Fb":                              BadEncoding,
		"/a%255Cb":                              BadEncoding,
		"/a%25252Fb":                            BadEncoding,
		"/a%25%32%46b":                          BadEncoding,
		"/a%25u002fb":                           BadEncoding,
		"/a%u002fb":                             BadEncoding,
		"/a%3Bb":                                BadEncoding,
		"/a%3Fb":                                BadEncoding,
		"/a%":                                   BadEncoding,
		"/a%2":                                  BadEncoding,
		"/a%zz":                                 BadEncoding,
		"/a%2?b":                                BadEncoding,
		"/public#/admin":                        BadCharacters,
		"/admin#/public":                        BadCharacters,
		"/admin?x#/public":                      BadCharacters,
		"/public%23/admin":                      BadCharacters,
		"/a b":                                  BadCharacters,
		"/a\tb":                                 BadCharacters,
		"/a\nb":                                 BadCharacters,
		"/a\x00b":                               BadCharacters,
		"/a\x7fb":                               BadCharacters,
		"/a%00b":                                BadCharacters,
		"/a%0d%0ab":                             BadCharacters,
		"/a%7f":                                 BadCharacters,
		"/a%C2%85":                              BadCharacters,
		"/a\xff":                                BadCharacters,
		"/a%ff":                                 BadCharacters,
		"/a%c0%af":                              BadCharacters,
		"/a%e2%28%a1":                           BadCharacters,
		"/a%C3":                                 BadCharacters,
		"/" + strings.Repeat("a", maxPath):      BadLength,
		strings.Repeat("/a", maxPathSegments+1): BadLength,
	} {
		var p Path
		if problem := p.Read(target); problem != want || p != (Path{}) {
			t.Errorf("%.60q: got %q, %q; want %q", target, p.Value, problem, want)
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
		var p Path
		if problem := p.Read(target); problem != "" || p.Value != want || !p.Parameters {
			t.Errorf("%q: got %q, %q, parameters %v; want %q", target, p.Value, problem, p.Parameters, want)
		}
	}
	var p Path
	if p.Read("/a?x;y"); p.Parameters {
		t.Error("a semicolon in the query was taken for a path parameter")
	}
}

func TestOrdinaryPathsCostNothing(t *testing.T) {
	var p Path
	if n := testing.AllocsPerRun(100, func() { p.Read("/api/v1/things/42?expand=all") }); n != 0 {
		t.Errorf("reading an ordinary path allocates %v times", n)
	}
}

// FuzzPath: what is accepted has one meaning, for us and for whoever decodes it once with a decoder
// of its own, and spelling that meaning out again gives the same path.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"/", "/a/b?c=d", "/a/../b", "/%2e%2e/a", "/a%2Fb", "/a%252Fb", "/..;/a", "/a;x=1/b", "//a", "/a#b", "/caf%C3%A9", "/100%25",
		"/a\\b", "http://h/p", "/a%00", "/%", "/a%u002f", "/x%3B", "/a/.%2e/b", "/\xff", "/a?#",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		var p Path
		problem := p.Read(target)
		if problem != "" {
			if p != (Path{}) {
				t.Fatalf("%q: refused (%s), and yet read as %q", target, problem, p.Value)
			}
			return
		}
		checkCanonical(t, target, p)
		checkStandardLibrary(t, target, p)
		var again Path
		// three bytes for one, which may be more than a path may have
		spelt := (&url.URL{Path: p.Value}).EscapedPath()
		if problem := again.Read(spelt); p.plain() && len(spelt) <= maxPath &&
			(problem != "" || again.Value != p.Value) {
			t.Fatalf("%q: read as %q, which spelt out again is %q (%s)", target, p.Value,
				again.Value, problem)
		}
	})
}

// plain says that net/url spells the path as we read it: it writes ; and a literal % in forms that
// we refuse as ambiguous.
func (p Path) plain() bool { return !strings.ContainsAny(p.Value, "%;") }

func checkCanonical(t *testing.T, target string, p Path) {
	t.Helper()
	if !strings.HasPrefix(p.Value, "/") || !utf8.ValidString(p.Value) ||
		strings.ContainsAny(p.Value, "\\;?#\x00\r\n\t\x7f") {
		t.Fatalf("%q: read as %q, which is not canonical", target, p.Value)
	}
	segments := strings.Split(p.Value[1:], "/")
	for i, s := range segments {
		if s == "." || s == ".." || (s == "" && i < len(segments)-1) {
			t.Fatalf("%q: read as %q, with the segment %q", target, p.Value, s)
		}
	}
}

// checkStandardLibrary compares with net/url, which decodes once and has no idea of parameters.
func checkStandardLibrary(t *testing.T, target string, p Path) {
	t.Helper()
	if p.Parameters {
		return
	}
	raw, _, _ := strings.Cut(target, "?")
	decoded, err := url.PathUnescape(raw)
	if err != nil || decoded != p.Value {
		t.Fatalf("%q: read as %q, by net/url as %q (%v)", target, p.Value, decoded, err)
	}
}
