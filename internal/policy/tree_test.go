package policy

import (
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
