package policy_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/policy"
)

func TestWhatLiesOpenWithinWhatDoesNotIsNoted(t *testing.T) {
	at := func(path, allow string, hosts ...string) policy.Route {
		return policy.Route{Match: policy.Match{Path: path, Hosts: hosts}, Allow: allow}
	}
	when := func(path, condition string) policy.Route {
		return policy.Route{
			Match: policy.Match{Path: path}, Require: policy.Require{When: condition},
		}
	}
	for name, row := range map[string]struct {
		routes []policy.Route
		want   string // of the only note; "" for none
	}{
		"public within":      {[]policy.Route{at("/admin/login", "public"), at("/admin/**", "")}, "note: routes[0] (/admin/login) needs no token, and lies within routes[1] (/admin/**)"},
		"optional within":    {[]policy.Route{at("/admin/x/**", "optional"), at("/admin/**", "nobody")}, "lies within routes[1]"},
		"within all":         {[]policy.Route{at("/login", "public"), at("/**", "")}, ""},
		"beside":             {[]policy.Route{at("/public/**", "public"), at("/admin/**", "")}, ""},
		"within what is not": {[]policy.Route{at("/files/x", "public"), at("/files/**", "public")}, ""},
		"on another host":    {[]policy.Route{at("/a/x", "public", "x"), at("/a/**", "", "y")}, ""},
		"never true":         {[]policy.Route{when("/a", "1 > 2")}, "warning: routes[0] (/a) has a condition that never holds, whatever the request: 1 > 2"},
		"an error":           {[]policy.Route{when("/a", "1 / 0 == 1")}, "never holds"},
		"always true":        {[]policy.Route{when("/a", "1 < 2")}, ""},
		"by the claims":      {[]policy.Route{when("/a", "claims.x == 1")}, ""},
		"by a segment":       {[]policy.Route{when("/{a}", `path.a == "1"`)}, ""},
		"by the time":        {[]policy.Route{when("/a", `now < timestamp("2000-01-01T00:00:00Z")`)}, ""},
	} {
		p, err := policy.Compile(policy.Config{Routes: row.routes})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		notes := policy.OpenNotes(p)
		if row.want == "" && len(notes) == 0 ||
			row.want != "" && len(notes) == 1 && strings.Contains(notes[0], row.want) {
			continue
		}
		t.Errorf("%s: got %q", name, notes)
	}
}
