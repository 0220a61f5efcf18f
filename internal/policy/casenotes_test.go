package policy

import (
	"strings"
	"testing"
)

func TestCaseNotesNameTheRoutesConcerned(t *testing.T) {
	at := func(path, allow string, more ...string) Route {
		r := Route{Match: Match{Path: path}, Allow: allow}
		if len(more) > 0 {
			r.PathCase = more[0]
		}
		return r
	}
	get := Route{Match: Match{Path: "/a/**", Methods: []string{"GET"}}}
	put := Route{Match: Match{Path: "/**", Methods: []string{"PUT"}}, Allow: "public"}
	for name, row := range map[string]struct {
		routes []Route
		want   []string // what each note begins with and holds, between bars
	}{
		"nothing to tell apart":    {[]Route{at("/a/**", ""), at("/b/**", "public")}, nil},
		"the stricter one is wide": {[]Route{at("/a", "public"), at("/**", "")}, nil},
		"no letters":               {[]Route{at("/1/**", ""), at("/**", "public")}, nil},
		"equally strict":           {[]Route{at("/a/**", ""), at("/**", "")}, nil},
		"other methods":            {[]Route{get, put}, nil},
		"a weaker route around it": {
			[]Route{at("/a/**", ""), at("/b/*", "nobody"), at("/**", "public")},
			[]string{"note: routes[2] (/**)|routes[0] (/a/**), routes[1] (/b/*), which are stricter"},
		},
		"said to be sensitive": {
			[]Route{at("/a/**", ""), at("/**", "public", "sensitive")},
			[]string{
				"warning: routes[1] (/**) has path_case: sensitive|routes[0] (/a/**), which is stricter",
			},
		},
		"the same path in another case": {
			[]Route{at("/A/**", "public"), at("/a/**", "")},
			[]string{
				"warning: routes[0] (/A/**) differs only in case from routes[1] (/a/**)|refused (path_case)",
			},
		},
		"the same path in another case, sensitive": {
			[]Route{at("/A/**", "public", "sensitive"), at("/a/**", "")},
			[]string{"warning: routes[0] (/A/**) has path_case: sensitive|routes[1] (/a/**)"},
		},
		"many": {
			[]Route{
				at("/a", ""), at("/b", ""), at("/c", ""), at("/d", ""), at("/e", ""), at("/f", ""),
				at("/g", ""), at("/*", "public"),
			},
			[]string{"note: routes[7] (/*)|routes[4] (/e) and 2 more, which are stricter"},
		},
		"the root": {[]Route{at("/", ""), at("/*", "public")}, nil},
	} {
		got := compile(t, row.routes...).CaseNotes()
		if len(got) != len(row.want) {
			t.Errorf("%s: got %q", name, got)
			continue
		}
		for i, want := range row.want {
			begin, hold, _ := strings.Cut(want, "|")
			if !strings.HasPrefix(got[i], begin) || !strings.Contains(got[i], hold) {
				t.Errorf("%s: got %q, want %q", name, got[i], want)
			}
		}
	}
}

func TestCaseNotesLookAtHosts(t *testing.T) {
	strict := Route{Match: Match{Path: "/a", Hosts: []string{"*.example.com"}}}
	for host, notes := range map[string]int{
		"x.example.com": 1, "example.com": 0, "*.x.example.com": 1, "example.org": 0,
	} {
		open := Route{Match: Match{Path: "/**", Hosts: []string{host}}, Allow: "public"}
		if got := compile(t, strict, open).CaseNotes(); len(got) != notes {
			t.Errorf("%s: got %q", host, got)
		}
	}
}
