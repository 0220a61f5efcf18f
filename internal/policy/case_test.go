package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/token"
)

// caller is what a token says; no roles and no scopes, a bad token and none at all are callers
// too.
type caller struct {
	token, stale  bool
	bad           bool
	issuer        string
	roles, scopes []string
	login         string // what it says besides: of "old", "older", "gold" and "for r"
}

// passes says whether a rule lets a caller pass.
func (c caller) passes(r *Rule) bool {
	switch {
	case r == nil || r.Access == Nobody:
		return false
	case r.Access == Public:
		return true
	case c.bad:
		return false
	case !c.token:
		return r.Access == Optional
	case c.stale && !r.AllowStale:
		return false
	}
	claims := &token.Claims{
		Issuer: c.issuer, Roles: c.roles, Scope: c.scopes, AuthTime: noon.Add(-time.Minute).Unix(),
	}
	login := strings.Fields(c.login)
	if slices.Contains(login, "old") {
		claims.AuthTime = noon.Add(-time.Hour).Unix()
	}
	if slices.Contains(login, "older") {
		claims.AuthTime = noon.Add(-3 * time.Hour).Unix()
	}
	if slices.Contains(login, "gold") {
		claims.ACR = "gold"
	}
	if slices.Contains(login, "for") {
		claims.Audience = []string{"r"}
	}
	return r.Permits(&Caller{Claims: claims, Entry: c.entry(), Now: noon}).Reason == ""
}

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

// entry is the entry by which a caller's token is judged: one stands for all tenants.
func (c caller) entry() string {
	if strings.HasPrefix(c.issuer, "https://t/") {
		return anyTenant
	}
	return c.issuer
}

const (
	anyTenant = "https://t/{tenantid}/v2.0"
	tenantA   = "https://t/11111111-2222-3333-4444-555555555555/v2.0"
	tenantB   = "https://t/aaaaaaaa-2222-3333-4444-555555555555/v2.0"
)

// callers are all that the drawn policies can tell apart.
func callers() (all []caller) {
	for _, stale := range []bool{false, true} {
		for _, roles := range []string{"", "a", "b", "a b"} {
			for _, scopes := range []string{"", "r", "w", "r w"} {
				for _, issuer := range []string{"i", "j", tenantA, tenantB} {
					for _, login := range []string{
						"", "old", "older", "gold", "for r", "older gold", "older for r",
					} {
						all = append(all, caller{
							token: true, stale: stale, issuer: issuer, roles: strings.Fields(roles),
							scopes: strings.Fields(scopes), login: login,
						})
					}
				}
			}
		}
	}
	return append(all, caller{}, caller{bad: true})
}

var (
	words   = []string{"a", "A", "ab", "Ab", "AB", "k", "\u212A", "é", "É"}
	methods = []string{"GET", "PUT", "get", "Put"}
)

// forEachRequest goes through all methods and paths of at most two segments, and some of three.
func forEachRequest(do func(method, path string)) {
	paths := []string{"/", "/a/AB/k", "/A/ab/K", "/Ab/\u212A/É"}
	for _, one := range words {
		paths = append(paths, "/"+one)
		for _, two := range words {
			paths = append(paths, "/"+one+"/"+two)
		}
	}
	for _, method := range methods {
		for _, path := range paths {
			do(method, path)
		}
	}
}

func drawRoute(t *rapid.T) Route {
	segment := rapid.SampledFrom(append([]string{"*", "*"}, words...))
	allow := rapid.SampledFrom(
		[]string{"public", "optional", "authenticated", "authenticated", "nobody"})
	r := Route{
		Match: Match{Path: "/" + strings.Join(rapid.SliceOfN(segment, 0, 3).Draw(t, "path"), "/")},
		Allow: allow.Draw(t, "allow"),
	}
	if rapid.Bool().Draw(t, "rest") {
		r.Match.Path = strings.TrimSuffix(r.Match.Path, "/") + "/**"
	}
	if rapid.Bool().Draw(t, "with a method") {
		r.Match.Methods = []string{rapid.SampledFrom([]string{"GET", "PUT"}).Draw(t, "method")}
	}
	if r.Allow == "authenticated" {
		r.Require = drawRequire(t)
	}
	if r.Allow == "authenticated" || r.Allow == "optional" {
		r.AllowStale = rapid.Bool().Draw(t, "stale")
	}
	return r
}

// drawRequire draws what tokens are asked for, without alternatives.
func drawRequire(t *rapid.T) (r Require) {
	r.Roles = rapid.SampledFrom([][]string{nil, {"a"}, {"b"}, {"a", "b"}}).Draw(t, "roles")
	r.Scopes = rapid.SampledFrom([][]string{nil, {"r"}, {"w"}, {"r", "w"}}).Draw(t, "scopes")
	r.Issuers = rapid.SampledFrom([][]string{
		nil, nil, {"i"}, {tenantA}, {anyTenant}, {"i", tenantA}, {"i", anyTenant}, {tenantA, tenantB},
	}).Draw(t, "issuers")
	// Of the rest, each by itself: the callers are few.
	switch rapid.IntRange(0, 8).Draw(t, "more") {
	case 0:
		r.Audiences = []string{"r"}
	case 1:
		r.ACR = []string{"gold"}
	case 2:
		r.Fresh = 10 * time.Minute
	case 3:
		r.Fresh = 2 * time.Hour
	}
	return r
}

// drawAnyOf draws a route as drawRoute does, which may have alternatives.
func drawAnyOf(t *rapid.T) Route {
	r := drawRoute(t)
	if r.Allow == "authenticated" {
		some := rapid.SliceOfN(rapid.Custom(drawRequire).Filter(func(one Require) bool {
			return !one.isEmpty()
		}), 0, 3)
		r.Require.AnyOf = some.Draw(t, "anyOf")
	}
	return r
}

func drawConfig(t *rapid.T) Config { return drawConfigOf(t, drawRoute) }

func drawConfigOf(t *rapid.T, route func(*rapid.T) Route) Config {
	return Config{
		Routes: reachable(rapid.SliceOfN(rapid.Custom(route), 1, 6).Draw(t, "routes")),
		Roles: rapid.SampledFrom([]map[string][]string{nil, {"a": {"b"}}, {"b": {"a"}}}).
			Draw(t, "roles"),
	}
}

// matches reports whether a route matches a request, literally or as an upstream that ignores case reads
// it. It is the plain reading of docs/configuration.md, and shares no code with the tree.
func matches(r Route, method, path string, insensitive bool) bool {
	equal := func(a, b string) bool { return a == b || insensitive && folded(a) == folded(b) }
	if len(r.Match.Methods) > 0 &&
		!slices.ContainsFunc(r.Match.Methods, func(m string) bool { return equal(m, method) }) {
		return false
	}
	want := strings.Split(strings.Trim(r.Match.Path, "/"), "/")
	have := strings.Split(strings.Trim(path, "/"), "/")
	if len(have) == 1 && have[0] == "" {
		have = nil
	}
	for i, segment := range want {
		switch {
		case segment == "**":
			return true
		case segment == "" && len(want) == 1:
			return len(have) == 0
		case i >= len(have), segment != "*" && !equal(segment, have[i]):
			return false
		}
	}
	return len(have) == len(want)
}

func first(c Config, p *Policy, method, path string, insensitive bool) *Rule {
	for i, r := range c.Routes {
		if matches(r, method, path, insensitive) {
			return p.Rules()[i]
		}
	}
	return nil
}

// TestAnotherCaseNeverPermitsMore: nobody passes who, read without regard to case, would not pass.
func TestAnotherCaseNeverPermitsMore(t *testing.T) {
	everybody := callers()
	refused, passed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfigOf(t, drawAnyOf)
		p, err := Compile(c)
		if err != nil {
			t.Fatal(err)
		}
		forEachRequest(func(method, path string) {
			found, insensitive := p.Find(method, "h", path), first(c, p, method, path, true)
			for _, who := range everybody {
				if who.passes(found.Rule) && !who.passes(insensitive) {
					t.Fatalf(
						"%+v passes %s %s by route %d, and not by %v, without regard to case",
						who, method, path, found.Rule.Index, insensitive)
				}
			}
			switch {
			case found.Reason == token.ReasonPathCase:
				refused++
			case found.Rule.Access != Nobody:
				passed++
			}
		})
	})
	if refused == 0 || passed == 0 {
		t.Errorf("%d refused, %d passed: nothing was tried", refused, passed)
	}
}

// TestARequestIsRefusedForItsCaseOnlyBesideAStricterRoute: a route that it falls under when it is
// spelt so, and that somebody does not pass who passes its own. Spelt as that route is written, it
// is not refused for its case.
func TestARequestIsRefusedForItsCaseOnlyBesideAStricterRoute(t *testing.T) {
	everybody := callers()
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		p, err := Compile(c)
		if err != nil {
			t.Fatal(err)
		}
		forEachRequest(func(method, path string) {
			found, own := p.Find(method, "h", path), first(c, p, method, path, false)
			if found.Reason != token.ReasonPathCase {
				if own != nil && found.Rule != own {
					t.Fatalf("%s %s: got route %d, want %d", method, path, found.Rule.Index, own.Index)
				}
				return
			}
			stricter := found.Stricter
			if !matches(c.Routes[stricter.Index], method, path, true) {
				t.Fatalf("%s %s: refused for route %d, which is another path", method, path, stricter.Index)
			}
			if !slices.ContainsFunc(everybody,
				func(who caller) bool { return who.passes(own) && !who.passes(stricter) }) {
				t.Fatalf("%s %s: refused for route %d, which is no stricter than %d", method,
					path, stricter.Index, own.Index)
			}
		})
	})
}

// TestSmallLettersAreNeverRefusedForTheirCase under a policy in small letters.
func TestSmallLettersAreNeverRefusedForTheirCase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		for i := range c.Routes {
			c.Routes[i].Match.Path = folded(c.Routes[i].Match.Path)
		}
		c.Routes = reachable(c.Routes)
		p, err := Compile(c)
		if err != nil {
			t.Fatal(err)
		}
		forEachRequest(func(method, path string) {
			method, path = strings.ToUpper(method), folded(path)
			if f := p.Find(method, "h", path); f.Reason == token.ReasonPathCase {
				t.Fatalf("%s %s: refused for its case", method, path)
			}
		})
	})
}

func TestACaseSensitiveUpstreamHasItsWay(t *testing.T) {
	admin := Route{
		Match: Match{Path: "/files/private/**"}, Require: Require{Roles: []string{"admin"}},
	}
	open := Route{Match: Match{Path: "/files/**"}, Allow: "public"}
	strictAgain, sensitive := open, open
	strictAgain.PathCase, sensitive.PathCase = "insensitive", "sensitive"
	for name, row := range map[string]struct {
		config  Config
		refused bool
	}{
		"by default": {Config{Routes: []Route{admin, open}}, true},
		"said so": {
			Config{PathCase: "insensitive", Routes: []Route{admin, open}}, true,
		},
		"the policy's": {
			Config{PathCase: "sensitive", Routes: []Route{admin, open}}, false,
		},
		"the route's": {Config{Routes: []Route{admin, sensitive}}, false},
		"the policy's, but not the route's": {
			Config{PathCase: "sensitive", Routes: []Route{admin, strictAgain}}, true,
		},
	} {
		p, err := Compile(row.config)
		if err != nil {
			t.Fatal(err)
		}
		if f := p.Find("GET", "h",
			"/files/Private/x"); (f.Reason == token.ReasonPathCase) != row.refused {
			t.Errorf("%s: got route %d, reason %q", name, f.Rule.Index, f.Reason)
		}
		if f := p.Find("GET", "h", "/files/private/X"); f.Rule.Index != 0 {
			t.Errorf("%s: as written: got route %d, reason %q", name, f.Rule.Index, f.Reason)
		}
	}
}

// TestMethodsHaveCaseWhateverThePathsHave: `post` is not POST (RFC 9110 section 9.1), and PHP's
// frameworks take it for that.
func TestMethodsHaveCaseWhateverThePathsHave(t *testing.T) {
	for _, setting := range []string{"insensitive", "sensitive"} {
		p, err := Compile(Config{PathCase: setting, Routes: []Route{
			{
				Match:   Match{Path: "/x", Methods: []string{"POST"}},
				Require: Require{Roles: []string{"admin"}},
			},
			{Match: Match{Path: "/x"}, Allow: "public"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, method := range []string{"post", "Post", "pOST"} {
			if f := p.Find(method, "h", "/x"); f.Reason != token.ReasonPathCase || f.Stricter.Index != 0 {
				t.Errorf("%s, %s: got route %d, reason %q", setting, method, f.Rule.Index, f.Reason)
			}
		}
		if f := p.Find("patch", "h", "/x"); f.Rule.Index != 1 {
			t.Errorf("%s, patch: got reason %q", setting, f.Reason)
		}
	}
}

// TestRoutesThatDifferInCaseAlone: the weaker one is refused, whichever comes first.
func TestRoutesThatDifferInCaseAlone(t *testing.T) {
	strict := Route{Match: Match{Path: "/files/**"}, Require: Require{Roles: []string{"admin"}}}
	weak := Route{Match: Match{Path: "/Files/**"}, Allow: "public"}
	for _, routes := range [][]Route{{strict, weak}, {weak, strict}} {
		p := compile(t, routes...)
		if f := p.Find("GET", "h", "/Files/x"); f.Reason != token.ReasonPathCase {
			t.Errorf("the weaker: got route %d, reason %q", f.Rule.Index, f.Reason)
		}
		if f := p.Find("GET", "h", "/files/x"); len(f.Rule.Roles) == 0 {
			t.Errorf("the stricter: got route %d, reason %q", f.Rule.Index, f.Reason)
		}
	}
}

// TestAHiddenSpellingCountsForNothing: /admin/health is public as written, though /admin/** is
// not.
func TestAHiddenSpellingCountsForNothing(t *testing.T) {
	p := compile(t,
		Route{Match: Match{Path: "/admin/health"}, Allow: "public"},
		Route{Match: Match{Path: "/admin/**"}, Require: Require{Roles: []string{"admin"}}},
		Route{Match: Match{Path: "/**"}},
	)
	for path, want := range map[string]int{
		"/admin/health": 0, "/admin/Health": 1, "/ADMIN/health": 2, "/ADMIN/Health": -1, "/Admin": -1,
		"/Other": 2,
	} {
		if f := p.Find("GET", "h", path); f.Rule.Index != want {
			t.Errorf("%s: got route %d (%s), want %d", path, f.Rule.Index, f.Reason, want)
		}
	}
}

func TestPathParametersOfAWeakerRouteAreNoWayIn(t *testing.T) {
	p := compile(t, Route{Match: Match{Path: "/account/**"}},
		Route{Match: Match{Path: "/**"}, PathParameters: true})
	for path, refused := range map[string]bool{
		"/Account;x/y": true, "/Account/y": false, "/other;x": false,
	} {
		if f := p.Find("GET", "h", path); (f.Reason == token.ReasonPathCase) != refused {
			t.Errorf("%s: got route %d, reason %q", path, f.Rule.Index, f.Reason)
		}
	}
}

// TestWhatAnyServerTakesForTheSameLetterIsFolded: every letter that Unicode's simple folding, or a
// change to capitals or to small letters, makes equal to another.
func TestWhatAnyServerTakesForTheSameLetterIsFolded(t *testing.T) {
	for r := range unicode.MaxRune + 1 {
		for _, same := range []rune{
			unicode.SimpleFold(r), unicode.ToUpper(r), unicode.ToLower(r), unicode.ToTitle(r),
		} {
			if fold(same) != fold(r) {
				t.Errorf("%U and %U are taken for two letters", r, same)
			}
		}
		if fold(fold(r)) != fold(r) {
			t.Errorf("%U: folding twice is not folding once", r)
		}
	}
	if got := folded("/API/\u212Aé\u0130\u0131/%"); got != "/api/kéii/%" {
		t.Errorf("got %q", got)
	}
}

func TestCapitalLettersCostNoMemory(t *testing.T) {
	p := compile(t,
		Route{Match: Match{Path: "/api/orderItems/refund"}, Require: Require{Roles: []string{"admin"}}},
		Route{Match: Match{Path: "/api/orderItems/**"}},
		Route{Match: Match{Path: "/**"}, Allow: "public"},
	)
	for path, want := range map[string]int{
		"/api/orderItems/A-17": 1, "/api/orderItems/refund": 0, "/Pictures/A.png": 2,
	} {
		if n := testing.AllocsPerRun(100, func() {
			if p.Find("GET", "h", path).Rule.Index != want {
				t.Fatal(path)
			}
		}); n != 0 {
			t.Errorf("%s allocates %v times", path, n)
		}
	}
}

// BenchmarkFindCapitals is BenchmarkFind with capital letters in the policy and in the path.
func BenchmarkFindCapitals(b *testing.B) {
	var routes []Route
	for i := range 1000 {
		routes = append(routes, Route{Match: Match{Path: fmt.Sprintf("/api/V%d/*/things/**", i),
			Methods: []string{"GET", "PUT"}}})
	}
	p := compile(b, routes...)
	b.ReportAllocs()
	for b.Loop() {
		if p.Find("PUT", "a.example.com:443", "/api/V700/x/things/42?expand=all").Rule.Index != 700 {
			b.Fatal("another route")
		}
	}
}
