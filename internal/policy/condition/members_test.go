package condition

import (
	"slices"
	"testing"
)

// TestWhatAConditionReadsOfAVariableIsKnown, unless it makes up names: then any may matter.
func TestWhatAConditionReadsOfAVariableIsKnown(t *testing.T) {
	for text, want := range map[string]struct {
		claims []string
		all    bool
	}{
		`claims.tenant == "a"`:                        {[]string{"tenant"}, false},
		`claims["https://example.com/team"] == "a"`:   {[]string{"https://example.com/team"}, false},
		`has(claims.team) && claims.team.name == "a"`: {[]string{"team", "team"}, false},
		`"team" in claims`:                            {[]string{"team"}, false},
		`claims[request.method] == "a"`:               {nil, true},
		`request.method in claims`:                    {nil, true},
		`claims.exists(name, name == "a")`:            {nil, true},
		`size(claims) > 3 && claims.a == "b"`:         {[]string{"a"}, true},
		`request.path == "/x"`:                        {nil, false},
		// A name of the condition's own is taken for the variable that it hides, which is safe.
		`claims.groups.exists(claims, claims == "a") && claims.b == "c"`: {[]string{"b", "groups"}, true},
	} {
		p, err := Compile(text, nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, all := p.Members("claims")
		got = slices.Sorted(slices.Values(got))
		if !slices.Equal(got, want.claims) || all != want.all {
			t.Errorf("%s: reads %q, and any: %v", text, got, all)
		}
	}
	p, err := Compile(`request.headers["x-a"] == "1" && "x-b" in request.headers`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, all := p.Members("request.headers"); !slices.Equal(got, []string{"x-a", "x-b"}) || all {
		t.Errorf("headers: %q, %v", got, all)
	}
}
