package policy

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Some upstreams take /Admin and /admin for two resources, others for one. The gate matches letter
// by letter, so that at an upstream of the second kind another spelling of a protected path would
// reach the same resource under a weaker rule. A request is therefore refused when, spelt in the
// case that a stricter route is written in, it would fall under that route. Methods have case, too
// (RFC 9110 section 9.1), which frameworks of PHP ignore.

// What the setting `path_case` may say.
const (
	caseInsensitive = "insensitive"
	caseSensitive   = "sensitive"
)

func validateCase(setting string) error {
	switch setting {
	case "", caseInsensitive, caseSensitive:
		return nil
	}
	return fmt.Errorf("expected insensitive or sensitive, got %q", setting)
}

// otherCase is the Detail of a path that differs from a stricter route's only in case.
const otherCase = "the path or the method differs only in case from that of a stricter route"

// fold returns one rune for all that some server takes for the same letter in another case: to
// some the Kelvin sign is a k, and a dotless i an i.
func fold(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }

// appendFolded appends s with each letter folded.
func appendFolded(b []byte, s string) []byte {
	for _, r := range s {
		switch {
		case 'A' <= r && r <= 'Z':
			b = append(b, byte(r)+'a'-'A')
		case r < utf8.RuneSelf:
			b = append(b, byte(r))
		default:
			b = utf8.AppendRune(b, fold(r))
		}
	}
	return b
}

func folded(s string) string { return string(appendFolded(nil, s)) }

// foldedSegments returns a pattern's segments with the literals folded. A wildcard has no letters.
func foldedSegments(segments []string) []string {
	all := make([]string, len(segments))
	for i, s := range segments {
		all[i] = folded(s)
	}
	return all
}

// spellings are two of one request, of which one rule is asked about each. The zero value is of
// requests that nothing is known of but that they differ in case alone.
type spellings struct {
	own, other          string // the paths, canonical
	parameters, slashes bool   // the first one has some
	sameMethod          bool
}

// atLeastAsStrictAs reports whether everybody who may pass r by the one spelling may pass other by
// the other as well.
func (r *Rule) atLeastAsStrictAs(other *Rule, both spellings) bool {
	switch {
	case r.Access == Nobody:
		return true
	case r.Access > other.Access, // the constants go from the strictest to the weakest
		both.parameters && r.permitParameters && !other.permitParameters,
		both.slashes && r.permitSlashes && !other.permitSlashes,
		r.AllowStale && !other.AllowStale && other.Access != Public,
		r.OutlivesToken && !other.OutlivesToken && other.Access != Public:
		return false
	}
	return r.asksNoLess(other, &both)
}

// stricter returns the rule of a route that the request falls under when its path is the one that
// is given, spelt in that route's case, and that is stricter than the rule that it falls under by
// its own path; nil if there is none. Ordinary requests, in small letters under a policy in small
// letters, cost two comparisons.
func (p *Policy) stricter(rule *Rule, a *asked, own, path *requestPath) *Rule {
	tree := &p.tree
	switch upper := isUpper(a.method); {
	case !rule.caseSensitive && (path.mixed || p.mixed && !upper):
		tree = &p.folded
	case !rule.caseSensitive && p.mixed:
		tree = &p.capitals // a path in small letters is in another case than these alone
	case upper:
		return nil
	}
	return p.searchStricter(rule, a, own, path, tree)
}

func (p *Policy) searchStricter(rule *Rule, a *asked, own, path *requestPath, tree *node) *Rule {
	s := caseSearch{
		policy: p, rule: rule, own: own.value, path: path.value, parameters: path.parameters,
		slashes: path.slashes, asked: *a,
		upper: strings.ToUpper(a.method),
	}
	var buffer [256]byte // so that the folding of an ordinary path allocates nothing
	value := append(buffer[:0], path.value...)
	if path.mixed && tree != &p.tree {
		value = appendFolded(buffer[:0], path.value)
	}
	s.walk(tree, bytes.TrimSuffix(value[1:], []byte("/")))
	return s.found
}

// isUpper reports whether a method has no small letter.
func isUpper(method string) bool {
	for i := range len(method) {
		if c := method[i]; 'a' <= c && c <= 'z' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// caseSearch looks for a stricter rule.
type caseSearch struct {
	policy     *Policy
	rule       *Rule
	own        string // the path by which the request falls under rule
	path       string // that which is looked for in other cases: most often the same
	parameters bool   // the path had some
	slashes    bool   // and encoded slashes
	asked      asked
	upper      string // the method in capitals
	found      *Rule
}

// walk visits every node that the path reaches in a tree of folded patterns, as search does.
func (s *caseSearch) walk(n *node, path []byte) {
	s.consider(&n.rest)
	if len(path) == 0 {
		s.consider(&n.end)
		return
	}
	segment, rest, _ := bytes.Cut(path, []byte("/"))
	if child := n.literal[string(segment)]; child != nil {
		s.walk(child, rest)
	}
	if n.one != nil {
		s.walk(n.one, rest)
	}
}

func (s *caseSearch) consider(p *places) {
	s.look(p.wide)
	s.look(p.named(s.asked.host))
}

func (s *caseSearch) look(candidates []*candidate) {
	for _, c := range candidates {
		// By another path than its own, the request's own rule may ask for something else.
		if s.found == nil && (c.rule != s.rule || s.own != s.path) && s.isFor(c) {
			s.found = c.rule
		}
	}
}

// isFor reports whether the request, spelt as the route is written, falls under it and under no
// earlier route, and the route is stricter: "the first route that matches decides" holds for that
// spelling, too. What an ordinary request is told by costs least, and comes first.
func (s *caseSearch) isFor(c *candidate) bool {
	spelt := s.asked
	if !c.methods.contains(spelt.method) {
		spelt.method = s.upper
	}
	if !c.methods.contains(spelt.method) || !c.hosts.contains(spelt.host) ||
		!c.headers.fit(spelt.header) {
		return false
	}
	if spelt.method == s.asked.method && c.isSpelt(s.path) {
		return false // it is the request as it came, and Find has preferred an earlier route
	}
	// What the pattern has no literals for is the same in its spelling: so are variables.
	both := spellings{
		own: s.own, other: s.path, parameters: s.parameters, slashes: s.slashes,
		sameMethod: spelt.method == s.asked.method,
	}
	return !s.rule.atLeastAsStrictAs(c.rule, both) &&
		s.policy.tree.find(c.spell(s.path), &spelt) == c.rule
}

// isSpelt reports whether a path that matches c but for case has its literals letter by letter.
func (c *candidate) isSpelt(path string) bool {
	rest := strings.TrimSuffix(path[1:], "/")
	for _, segment := range c.segments {
		var got string
		got, rest, _ = strings.Cut(rest, "/")
		if !isWild(segment) && segment != got {
			return false
		}
	}
	return true
}

// spell returns a path that matches c but for case, with the literals of c.
func (c *candidate) spell(path string) string {
	segments := splitPath(path)
	for i, segment := range c.segments {
		if !isWild(segment) {
			segments[i] = segment
		}
	}
	return "/" + strings.Join(segments, "/")
}

func isWild(segment string) bool { return segment == anyOne || segment == anyRest }
