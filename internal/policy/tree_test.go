package policy

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestTheRouteThatHidesAnotherIsTheFirstThatDoes: what the tree finds is what holding each route
// against each earlier one finds.
func TestTheRouteThatHidesAnotherIsTheFirstThatDoes(t *testing.T) {
	segment := rapid.SampledFrom([]string{"a", "b", "*", "{x}"})
	draw := rapid.Custom(func(t *rapid.T) Match {
		m := Match{
			Methods: rapid.SampledFrom([][]string{nil, {"GET"}, {"GET", "POST"}}).Draw(t, "methods"),
			Hosts:   rapid.SampledFrom([][]string{nil, {"h"}, {"*.h"}, {"x.h"}}).Draw(t, "hosts"),
			Headers: rapid.SampledFrom([][]HeaderMatch{
				nil, nil, {{Name: "x", Present: true}}, {{Name: "x", Exact: "1"}},
			}).Draw(t, "headers"),
		}
		var path []string
		for i := range rapid.IntRange(0, 3).Draw(t, "segments") {
			// A name may stand once.
			path = append(path, strings.Replace(segment.Draw(t, "segment"), "x", "xyz"[i:i+1], 1))
		}
		if rapid.Bool().Draw(t, "rest") {
			path = append(path, "**")
		}
		m.Path = "/" + strings.Join(path, "/")
		return m
	})
	hidden := 0
	rapid.Check(t, func(t *rapid.T) {
		var tree node
		var before []*matcher
		for i, one := range rapid.SliceOfN(draw, 1, 8).Draw(t, "routes") {
			m, err := compileMatch(one)
			if err != nil {
				t.Fatal(err)
			}
			want := -1
			for j, earlier := range before {
				if coversPath(earlier.segments, m.segments) && earlier.methods.covers(m.methods) &&
					earlier.hosts.covers(m.hosts) && earlier.headers.covers(m.headers) {
					want = j
					break
				}
			}
			got := -1
			if first := tree.covering(m); first != nil {
				got = first.rule.Index
				hidden++
			}
			if got != want {
				t.Fatalf("routes[%d] (%+v) is hidden by %d, and the tree says %d", i, one, want, got)
			}
			before = append(before, m)
			tree.insert(m.segments, m.candidate(&Rule{Index: i}))
		}
	})
	if hidden == 0 {
		t.Error("no route was hidden: the test does not see what it should")
	}
}

// TestOfAThousandHostsARequestIsHeldAgainstItsOwn: a tenant a host may be a thousand routes of one
// path, and costs as much as ten.
func TestOfAThousandHostsARequestIsHeldAgainstItsOwn(t *testing.T) {
	var c Config
	for i := range 1000 {
		c.Routes = append(c.Routes, Route{Match: Match{
			Path: "/api/{id}", Hosts: []string{fmt.Sprintf("t%d.example.com", i)},
		}})
	}
	c.Routes = append(c.Routes, Route{Match: Match{Path: "/api/*", Hosts: []string{"*.example.com"}}})
	p, err := Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	for host, index := range map[string]int{
		"t0.example.com": 0, "T999.Example.com:443": 999, "u.example.com": 1000,
	} {
		if found := p.Find("GET", host, "/api/7"); found.Rule.Index != index {
			t.Errorf("%s: got %v", host, found.Rule)
		}
	}
	end := &p.tree.literal["api"].one.end
	if n := len(end.wide) + len(end.named("t7.example.com")); n != 2 {
		t.Errorf("%d routes are looked at", n)
	}
}
