package policy

import (
	"fmt"
	"slices"
	"strings"
)

// CaseNotes tells, a sentence a route, what becomes of paths that differ only in case from those of
// a stricter route. What begins with "warning" deserves a second look: a route that takes such
// paths because it is said to be case-sensitive, and one whose own paths are refused.
func (p *Policy) CaseNotes() (notes []string) {
	for _, c := range p.candidates {
		var beside, own []*Rule
		for _, other := range p.candidates {
			path, method, host, flipped, ok := between(c, other)
			if !ok || c.rule.atLeastAsStrictAs(other.rule, false) ||
				p.tree.find(path.Value, method, host) != c.rule {
				continue
			}
			stricter := p.searchStricter(c.rule, method, host, &path, false)
			switch {
			case stricter == nil, slices.Contains(beside, stricter), slices.Contains(own, stricter):
			case flipped:
				beside = append(beside, stricter)
			default:
				own = append(own, stricter)
			}
		}
		notes = append(notes, notesOn(c.rule, beside, own)...)
	}
	return notes
}

func notesOn(r *Rule, beside, own []*Rule) (notes []string) {
	if r.caseSensitive {
		if all := append(own, beside...); len(all) > 0 {
			notes = append(
				notes,
				fmt.Sprintf("warning: %s has path_case: sensitive, so it takes paths that differ only in case"+
					" from those of %s, which %s stricter: be sure that the upstream tells them apart", r, list(all), are(all)),
			)
		}
		return notes
	}
	if len(own) > 0 {
		notes = append(
			notes,
			fmt.Sprintf("warning: %s differs only in case from %s, which %s stricter, so its requests are"+
				" refused (path_case): if the upstream tells them apart, write path_case: sensitive", r, list(own), are(own)),
		)
	}
	if len(beside) > 0 {
		notes = append(
			notes,
			fmt.Sprintf("note: %s does not take paths that differ only in case from those of %s, which %s"+
				" stricter: they are refused (path_case)", r, list(beside), are(beside)),
		)
	}
	return notes
}

// String names a rule by its place and its path.
func (r *Rule) String() string { return fmt.Sprintf("routes[%d] (%s)", r.Index, r.Pattern) }

func are(rules []*Rule) string {
	if len(rules) == 1 {
		return "is"
	}
	return "are"
}

// listed is how many routes a note names.
const listed = 5

func list(rules []*Rule) string {
	var names []string
	for _, r := range rules[:min(len(rules), listed)] {
		names = append(names, r.String())
	}
	text := strings.Join(names, ", ")
	if more := len(rules) - listed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// between gives a request that falls under a as written, as far as other routes let it, and under b
// but for its case. flipped says that it takes a change of case from how b is written for a
// wildcard of a to hold it.
func between(a, b *candidate) (path Path, method, host string, flipped, ok bool) {
	method, ok = commonMethod(a.methods, b.methods)
	if !ok {
		return path, "", "", false, false
	}
	if host, ok = commonHost(a.hosts, b.hosts); !ok {
		return path, "", "", false, false
	}
	var segments []string
	for i := range max(len(a.segments), len(b.segments)) {
		inA, inB := segmentAt(a.segments, i), segmentAt(b.segments, i)
		switch {
		case inA == "" || inB == "":
			return path, "", "", false, false
		case inA == anyRest && inB == anyRest:
		case !isWild(inA) && !isWild(inB) && folded(inA) != folded(inB):
			return path, "", "", false, false
		case !isWild(inA):
			segments = append(segments, inA)
		case isWild(inB):
			segments = append(segments, "x")
		default:
			segment := otherSpelling(inB)
			flipped = flipped || segment != inB
			segments = append(segments, segment)
		}
	}
	return Path{Value: "/" + strings.Join(segments, "/"), mixed: true}, method, host, flipped, true
}

// segmentAt gives a pattern's segment, "" where it has none.
func segmentAt(segments []string, i int) string {
	last := len(segments) - 1
	switch {
	case i <= last:
		return segments[i]
	case last >= 0 && segments[last] == anyRest:
		return anyRest
	}
	return ""
}

func otherSpelling(segment string) string {
	if upper := strings.ToUpper(segment); upper != segment {
		return upper
	}
	return strings.ToLower(segment)
}

func commonMethod(a, b methodSet) (string, bool) {
	for _, m := range append(append([]string{"GET"}, a...), b...) {
		if a.contains(m) && b.contains(m) {
			return m, true
		}
	}
	return "", false
}

func commonHost(a, b hostSet) (string, bool) {
	hosts := append(append([]string{""}, a.names...), b.names...)
	for _, suffix := range append(append([]string(nil), a.suffixes...), b.suffixes...) {
		hosts = append(hosts, "x"+suffix)
	}
	for _, h := range hosts {
		if a.contains(h) && b.contains(h) {
			return h, true
		}
	}
	return "", false
}
