package policy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/token"
)

// TestAnEncodedSlashIsPartOfItsSegment where the route permits it, and nowhere else.
func TestAnEncodedSlashIsPartOfItsSegment(t *testing.T) {
	p := compile(t,
		Route{Match: Match{Path: "/admin/**"}, Require: Require{Roles: []string{"admin"}}},
		Route{Match: Match{Path: "/projects/{id}"}, PathEncodedSlash: "allow"},
		Route{
			Match: Match{Path: "/projects/{id}/files/{name}"}, PathEncodedSlash: "allow",
			PathParameters: true,
		},
		Route{Match: Match{Path: "/npm/**"}, PathEncodedSlash: "allow"},
		Route{Match: Match{Path: "/files/secret/**"}, Require: Require{Roles: []string{"admin"}}},
		Route{Match: Match{Path: "/files/{name}"}, PathEncodedSlash: "allow"},
		Route{Match: Match{Path: "/plain/**"}},
	)
	for _, row := range []struct {
		path string
		want int // -1: a bad path
		id   string
	}{
		{"/projects/group%2Fproject", 1, "group/project"},
		{"/projects/group%2fproject", 1, "group/project"},
		{"/projects/a%2Fb%2Fc", 1, "a/b/c"},
		{"/projects/plain", 1, "plain"},
		{"/projects/a%2Fb/files/c%2Fd", 2, "a/b"},
		{"/npm/@scope%2Fname/-/name.tgz", 3, ""},
		{"/files/a%2Fb", 5, ""},
		{"/plain/a%2Fb", -1, ""},
		{"/admin%2Fx", -1, ""},
		{"/nowhere/a%2Fb", -1, ""},
		// what climbs, or is empty, if the slash were a plain one
		{"/projects/a%2F..%2Fb", -1, ""},
		{"/projects/..%2Fadmin", -1, ""},
		{"/projects/%2E%2E%2Fadmin", -1, ""},
		{"/projects/a%2F.%2Fb", -1, ""},
		{"/projects/a%2F%2Fb", -1, ""},
		{"/projects/%2Fadmin", -1, ""},
		{"/projects/a%2F", -1, ""},
		{"/projects/a%2F/files/b", -1, ""},
		{"/projects%2F%2Fa", -1, ""},
		// what is encoded twice, or otherwise
		{"/projects/a%252Fb", -1, ""},
		{"/projects/a%25%32Fb", -1, ""},
		{"/projects/a%5Cb", -1, ""},
		{"/projects/a%00b", -1, ""},
		{"/projects/a%00%2Fb", -1, ""},
		{"/projects/a%2F%3Bb", -1, ""},
		// whose parameters readers do not agree on
		{"/projects/a;x%2Fy/files/b", -1, ""},
		// what would be a stricter route's, if the slash were a plain one
		{"/files/secret%2Fkey", -1, ""},
	} {
		f := p.Find("GET", "h", row.path)
		if f.Rule.Index != row.want || row.want < 0 && f.Reason != token.ReasonBadPath {
			t.Errorf("%s: falls under routes[%d], reason %q", row.path, f.Rule.Index, f.Reason)
		}
		if got, _ := f.Variable("id"); row.want >= 0 && got != row.id {
			t.Errorf("%s: id is %q, want %q", row.path, got, row.id)
		}
	}
}

// TestAnotherCaseIsNoWayAroundARouteByAnEncodedSlash.
func TestAnotherCaseIsNoWayAroundARouteByAnEncodedSlash(t *testing.T) {
	p := compile(t,
		Route{Match: Match{Path: "/Projects/{id}"}, Require: Require{Roles: []string{"admin"}}},
		Route{Match: Match{Path: "/projects/{id}"}, PathEncodedSlash: "allow"},
	)
	if f := p.Find("GET", "h", "/projects/a%2Fb"); f.Rule.Index >= 0 {
		t.Errorf("falls under routes[%d]", f.Rule.Index)
	}
}

// TestAnEncodedSlashIsNoWayAroundAStricterRouteInAnotherCase nor around one by another method's.
func TestAnEncodedSlashIsNoWayAroundAStricterRouteInAnotherCase(t *testing.T) {
	routes := []Route{
		{Match: Match{Path: "/files/secret/**"}, Require: Require{Roles: []string{"admin"}}},
		{Match: Match{Path: "/Files/Closed/**"}, Allow: "nobody"},
		{
			Match:   Match{Path: "/files/put/**", Methods: []string{"PUT"}},
			Require: Require{Roles: []string{"admin"}},
		},
		{Match: Match{Path: "/files/**"}, PathEncodedSlash: "allow"},
	}
	insensitive := compile(t, routes...)
	routes[3].PathCase = caseSensitive
	sensitive := compile(t, routes...)
	for _, row := range []struct {
		method, path     string
		either, bySpells bool // whether it passes: by default, and where case tells paths apart
	}{
		{"GET", "/files/secret%2Fkey", false, false},
		{"GET", "/files/SECRET%2Fkey", false, true},
		{"GET", "/files/Secret%2fkey", false, true},
		{"GET", "/files/%53ecret%2Fkey", false, true},
		{"GET", "/files/closed%2Fx", false, true},
		{"put", "/files/put%2Fx", false, false},
		{"GET", "/files/put%2Fx", true, true},
		{"GET", "/files/secrets%2Fx", true, true},
		{"GET", "/files/A%2FB", true, true},
	} {
		for p, want := range map[*Policy]bool{insensitive: row.either, sensitive: row.bySpells} {
			f := p.Find(row.method, "h", row.path)
			if (f.Rule.Index == 3) != want || !want && f.Reason != token.ReasonBadPath {
				t.Errorf("%s %s, told apart by case %v: falls under routes[%d], reason %q",
					row.method, row.path, p == sensitive, f.Rule.Index, f.Reason)
			}
		}
	}
}

// TestAnEncodedSlashIsNoWayAroundAConditionOnThePath: if the condition would see something else of
// the path with a plain slash, the gate does not know whether it held.
func TestAnEncodedSlashIsNoWayAroundAConditionOnThePath(t *testing.T) {
	for name, row := range map[string]struct {
		path, when, asked string
		passes            bool
	}{
		"a variable with the slash in it": {
			"/t/{tenant}/**", `path.tenant != "internal"`, "/t/internal%2Fx", false,
		},
		"a variable before it": {"/t/{tenant}/**", `path.tenant != "internal"`, "/t/open/x%2Fy", true},
		"a variable behind it": {"/t/*/{name}/**", `path.name != "x"`, "/t/a%2Fx/y", false},
		"a variable that is not read": {
			"/t/{tenant}/**", `claims.sub != "internal"`, "/t/internal%2Fx", true,
		},
		"the whole path": {"/t/**", `request.path != "/t/internal/x"`, "/t/internal%2Fx", false},
		"the method":     {"/t/**", `request.method == "GET"`, "/t/internal%2Fx", true},
		"a path that is no route's with a plain slash": {
			"/t/{tenant}", `path.tenant != "internal"`, "/t/internal%2Fx", true,
		},
		"a route's own other case": {"/{x}/b/**", `path.x != "q"`, "/q%2FB/b", false},
	} {
		for _, require := range []Require{{When: row.when}, {AnyOf: []Require{{When: row.when}}}} {
			rule := Route{Match: Match{Path: row.path}, PathEncodedSlash: "allow", Require: require}
			f := compile(t, rule).Find("GET", "h", row.asked)
			if (f.Rule.Index == 0) != row.passes || !row.passes && f.Reason != token.ReasonBadPath {
				t.Errorf("%s: falls under routes[%d], reason %q", name, f.Rule.Index, f.Reason)
			}
		}
	}
}

// TestAnEncodedSlashIsNoWayAroundAnotherRoutesSameCondition.
func TestAnEncodedSlashIsNoWayAroundAnotherRoutesSameCondition(t *testing.T) {
	when := Require{When: `path.x != "internal"`}
	p := compile(t,
		Route{Match: Match{Path: "/a/{x}/c"}, Require: when},
		Route{Match: Match{Path: "/a/{x}"}, PathEncodedSlash: "allow", Require: when})
	for path, want := range map[string]int{
		"/a/internal%2Fc": -1, "/a/INTERNAL%2FC": -1, "/a/internal%2Fd": 1, "/a/x": 1,
	} {
		if f := p.Find("GET", "h", path); f.Rule.Index != want {
			t.Errorf("%s: falls under routes[%d], reason %q", path, f.Rule.Index, f.Reason)
		}
	}
}

// TestWhoPassesWithAnEncodedSlashPassesWithAPlainOne where a route has the path with a plain one, and
// by the stricter route that this one is in another case, if there is one.
func TestWhoPassesWithAnEncodedSlashPassesWithAPlainOne(t *testing.T) {
	everybody := callers()
	compared, passed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfigOf(t, drawAnyOf)
		for i := range c.Routes {
			c.Routes[i].PathEncodedSlash = rapid.SampledFrom([]string{"", "allow"}).Draw(t, "slash")
		}
		p, err := Compile(c)
		if err != nil {
			t.Fatal(err)
		}
		forEachRequest(func(method, path string) {
			cut := strings.LastIndexByte(path, '/')
			found := p.Find(method, "h", path[:cut]+"%2F"+path[cut+1:])
			if cut == 0 || found.Rule.Index < 0 {
				return
			}
			passed++
			plain := p.Find(method, "h", path)
			asked := plain.Rule
			switch {
			case plain.Stricter != nil && !found.Rule.caseSensitive:
				asked = plain.Stricter
			case asked.Index < 0:
				return // no route's, or in doubt by path_case
			}
			compared++
			for _, who := range everybody {
				if who.passes(found.Rule) && !who.passes(asked) {
					t.Fatalf("%+v passes %s %s with its last slash encoded, and not with a plain one", who,
						method, path)
				}
			}
		})
	})
	if compared == 0 || passed == compared {
		t.Errorf("nothing was tried: %d passed, %d compared", passed, compared)
	}
}
