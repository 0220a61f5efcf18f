package policy

import (
	"fmt"
	"slices"
	"strings"
)

// CaseNotes returns, a sentence a route, what becomes of paths that differ only in case from those
// of a stricter route. What begins with "warning" deserves a second look: a route that takes such
// paths because it is said to be case-sensitive, and one whose own paths are refused.
func (p *Policy) CaseNotes() (notes []string) {
	for _, c := range p.candidates {
		var beside, own []*Rule
		for _, other := range p.candidates {
			// No list of requests would do: one is made that falls under c, and under other but for
			// its case, and it is asked what becomes of it.
			path, a, flipped, ok := between(c, other)
			if !ok || c.rule.atLeastAsStrictAs(other.rule, spellings{}) ||
				p.tree.find(path.value, &a) != c.rule {
				continue
			}
			stricter := p.searchStricter(c.rule, &a, &path, &path, &p.folded)
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

// notesOn writes the notes on r, of which own are the stricter rules that refuse paths as r spells
// them, and beside those that refuse other spellings of what its wildcards hold.
func notesOn(r *Rule, beside, own []*Rule) (notes []string) {
	note := func(format string, stricter []*Rule) {
		if len(stricter) > 0 {
			notes = append(notes, fmt.Sprintf(format, r, List(stricter), are(stricter)))
		}
	}
	if r.caseSensitive {
		note("warning: %s has path_case: sensitive, so it takes paths that differ only in case"+
			" from those of %s, which %s stricter: be sure that the upstream tells them apart",
			append(own, beside...))
		return notes
	}
	note("warning: %s differs only in case from %s, which %s stricter, so its requests are"+
		" refused (path_case): if the upstream tells them apart, write path_case: sensitive", own)
	note("note: %s does not take paths that differ only in case from those of %s, which %s"+
		" stricter: they are refused (path_case)", beside)
	return notes
}

// String names a rule by its place and its path.
func (r *Rule) String() string { return fmt.Sprintf("routes[%d] (%s)", r.Index, r.pattern) }

func are(rules []*Rule) string {
	if len(rules) == 1 {
		return "is"
	}
	return "are"
}

// listed is how many routes a note names.
const listed = 5

// List names the rules, the first few of them.
func List(rules []*Rule) string {
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

// between returns a request that falls under a as written, as far as other routes let it, and
// under b but for its case. flipped reports whether it is a wildcard of a that holds a name of b
// in another case.
func between(a, b *candidate) (path requestPath, r asked, flipped, ok bool) {
	segments, flipped, onPath := betweenPaths(a.segments, b.segments)
	method, byMethod := commonMethod(a.methods, b.methods)
	host, byHost := commonHost(a.hosts, b.hosts)
	header, byHeaders := commonHeaders(a.headers, b.headers)
	path = requestPath{value: "/" + strings.Join(segments, "/"), mixed: true}
	return path, asked{method, host, header}, flipped, onPath && byMethod && byHost && byHeaders
}

func betweenPaths(a, b []string) (segments []string, flipped, ok bool) {
	for i := range max(len(a), len(b)) {
		inA, inB := segmentAt(a, i), segmentAt(b, i)
		switch {
		case inA == "" || inB == "":
			return nil, false, false
		case inA == anyRest && inB == anyRest:
		case !isWild(inA) && !isWild(inB) && folded(inA) != folded(inB):
			return nil, false, false
		case !isWild(inA):
			segments = append(segments, inA)
		case isWild(inB):
			segments = append(segments, "x") // any name does
		default:
			segment := otherSpelling(inB)
			flipped = flipped || segment != inB
			segments = append(segments, segment)
		}
	}
	return segments, flipped, true
}

// segmentAt returns a pattern's segment, "" where it has none.
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
	for _, m := range slices.Concat([]string{"GET"}, a, b) {
		if a.contains(m) && b.contains(m) {
			return m, true
		}
	}
	return "", false
}

func commonHost(a, b hostSet) (string, bool) {
	hosts := slices.Concat([]string{""}, a.names, b.names)
	for _, suffix := range slices.Concat(a.suffixes, b.suffixes) {
		hosts = append(hosts, "x"+suffix)
	}
	for _, h := range hosts {
		if a.contains(h) && b.contains(h) {
			return h, true
		}
	}
	return "", false
}
