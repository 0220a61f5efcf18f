package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/token"
)

// lacks returns what keeps a token that says c from passing a rule.
func lacks(r *Rule, c token.Claims) token.Reason { return r.Permits(&Caller{Claims: &c}).Reason }

func TestWhoHasARoleHasWhatItBringsAlong(t *testing.T) {
	p, err := Compile(Config{
		Roles: map[string][]string{
			"admin": {"clerk", "auditor"}, "clerk": {"viewer"}, "auditor": {"viewer"},
			"partner:admin": {"partner:clerk"},
		},
		Routes: []Route{
			{Match: Match{Path: "/viewer"}, Require: Require{Roles: []string{"viewer"}}},
			{Match: Match{Path: "/clerk"}, Require: Require{Roles: []string{"clerk", "x"}}},
			{Match: Match{Path: "/admin"}, Require: Require{Roles: []string{"admin"}}},
			{Match: Match{Path: "/partner"}, Require: Require{Roles: []string{"partner:clerk"}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for roles, want := range map[string]string{
		"":              "nnnn",
		"viewer":        "ynnn",
		"clerk":         "yynn",
		"auditor":       "ynnn",
		"admin":         "yyyn",
		"x":             "nynn",
		"Admin":         "nnnn",
		"admin2":        "nnnn",
		"partner:admin": "nnny", // another role than admin
		"partner:clerk": "nnny",
	} {
		got := ""
		for _, rule := range p.Rules() {
			if lacks(rule, token.Claims{Roles: strings.Fields(roles)}) == "" {
				got += "y"
			} else {
				got += "n"
			}
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", roles, got, want)
		}
	}
}

var drawnRoles = []string{"a", "b", "c", "d", "e", "f"}

// drawRoles draws roles that bring others along, which come later in the alphabet.
func drawRoles(t *rapid.T) map[string][]string {
	roles := map[string][]string{}
	for i, role := range drawnRoles[:len(drawnRoles)-1] {
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(drawnRoles[i+1:]), 0, 2, rapid.ID)
		if brings := some.Draw(t, role); len(brings) > 0 {
			roles[role] = brings
		}
	}
	return roles
}

// has is the plain reading of `roles`: a role is had if it is there, or brought by one that is had.
func has(direct map[string][]string, had []string, role string) bool {
	return slices.Contains(had, role) || slices.ContainsFunc(drawnRoles, func(senior string) bool {
		return slices.Contains(direct[senior], role) && has(direct, had, senior)
	})
}

// TestRolesAreFollowedToTheirEnd agrees with going up from the role that is asked for, step by step.
func TestRolesAreFollowedToTheirEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		direct := drawRoles(t)
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(drawnRoles), 1, 3, rapid.ID)
		asked, had := some.Draw(t, "asked"), some.Draw(t, "had")
		p, err := Compile(Config{Roles: direct, Routes: []Route{
			{Match: Match{Path: "/**"}, Require: Require{Roles: asked}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		want := slices.ContainsFunc(asked, func(role string) bool { return has(direct, had, role) })
		if got := lacks(p.Rules()[0], token.Claims{Roles: had}) == ""; got != want {
			t.Fatalf("%v: whoever has %v has one of %v: got %v, want %v", direct, had, asked, got, want)
		}
	})
}

// TestARouteIsStricterByWhatRolesBring: where admin brings clerk, a route for clerks is weaker than
// one for admins, and one for admins is as strict as one for clerks.
func TestARouteIsStricterByWhatRolesBring(t *testing.T) {
	roles := map[string][]string{"admin": {"clerk"}}
	at := func(path, role string) Route {
		return Route{Match: Match{Path: path}, Require: Require{Roles: []string{role}}}
	}
	for _, row := range []struct {
		strict, weak string
		refused      bool
	}{{"admin", "clerk", true}, {"clerk", "admin", false}, {"clerk", "clerk", false}} {
		p, err := Compile(Config{
			Roles: roles, Routes: []Route{at("/staff/**", row.strict), at("/**", row.weak)},
		})
		if err != nil {
			t.Fatal(err)
		}
		if f := p.Find("GET", "h", "/Staff/x"); (f.Reason == token.ReasonPathCase) != row.refused {
			t.Errorf("%s beside %s: got %q", row.weak, row.strict, f.Reason)
		}
	}
}

func TestRoleNotesSayWhatComesWithARole(t *testing.T) {
	p, err := Compile(Config{
		Roles: map[string][]string{
			"admin": {"clerk"}, "clerk": {"viewer"}, "partner:admin": {"partner:clerk", "clerk"},
		},
		Routes: []Route{{Match: Match{Path: "/**"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"note: who has the role admin has clerk, viewer, too",
		"note: who has the role clerk has viewer, too",
		"note: who has the role partner:admin has clerk, partner:clerk, viewer, too",
		"warning: the issuer whose roles begin with partner: decides by its role partner:admin who has" +
			" clerk, viewer: be sure that it may",
	}
	if got := p.RoleNotes([]string{"", "partner:"}); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := p.RoleNotes(nil); !slices.Equal(got, want[:3]) {
		t.Errorf("one issuer: got %q", got)
	}
}

// TestAThousandRolesInARowAreNoBurden: the longest chain there may be.
func TestAThousandRolesInARowAreNoBurden(t *testing.T) {
	direct := map[string][]string{}
	for i := range maxNames {
		direct[fmt.Sprint(i)] = []string{fmt.Sprint(i + 1)}
	}
	p, err := Compile(Config{Roles: direct, Routes: []Route{
		{Match: Match{Path: "/**"}, Require: Require{Roles: []string{fmt.Sprint(maxNames)}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if reason := lacks(p.Rules()[0], token.Claims{Roles: []string{"0"}}); reason != "" {
		t.Errorf("got %q", reason)
	}
}
