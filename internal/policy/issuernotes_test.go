package policy

import (
	"slices"
	"testing"
)

// TestIssuerNotesSayWhoseTokensARouteTakes: where it says whose, and where it asks for scopes and
// does not say whose although there are several issuers.
func TestIssuerNotesSayWhoseTokensARouteTakes(t *testing.T) {
	p := compile(t,
		Route{Match: Match{Path: "/a"}, Require: Require{Issuers: []string{"https://a", "https://b"}}},
		Route{Match: Match{Path: "/b"}, Require: Require{Scopes: []string{"w"}}},
		Route{Match: Match{Path: "/c"}, Require: Require{
			Scopes: []string{"w"}, Issuers: []string{"https://a"},
		}},
		Route{Match: Match{Path: "/d"}, Require: Require{Roles: []string{"admin"}}},
		Route{Match: Match{Path: "/e"}, Require: Require{Scopes: []string{"r"}}},
		Route{Match: Match{Path: "/f"}, Require: Require{AnyOf: []Require{
			{Scopes: []string{"w"}, Issuers: []string{"https://a"}}, {ACR: []string{"gold"}},
		}}},
		Route{Match: Match{Path: "/g"}, Require: Require{When: `"x" in claims.groups`}},
		Route{Match: Match{Path: "/h"}, Require: Require{When: `request.method == "GET"`}},
	)
	whose := []string{
		"note: routes[0] (/a) takes tokens of no issuers but https://a, https://b",
		"note: routes[2] (/c) takes tokens of no issuers but https://a",
	}
	if got := p.IssuerNotes(false); !slices.Equal(got, whose) {
		t.Errorf("one issuer: got %q", got)
	}
	several := append(slices.Clone(whose), "warning: routes[1] (/b), routes[4] (/e) take their scopes"+
		" from every issuer: if not all of them may give these, write require.issuers",
		"warning: a condition of routes[6] (/g) goes by the claims of every issuer, as each has written"+
			" them, without role_prefix: if not all of them may decide this, write require.issuers",
		"warning: what every issuer says of a login (acr, auth_time) counts for routes[5] (/f): if you do"+
			" not trust all of them in this, write require.issuers")
	if got := p.IssuerNotes(true); !slices.Equal(got, several) {
		t.Errorf("several issuers: got %q", got)
	}
}
