package policy

import "strings"

// node is a place in the tree of all patterns: one level a segment.
type node struct {
	literal map[string]*node
	one     *node        // `*`
	end     []*candidate // patterns that end here
	rest    []*candidate // patterns with `**` here
}

// candidate is one route at the place where its pattern ends.
type candidate struct {
	rule     *Rule
	segments []string // of its pattern, as written
	methods  methodSet
	hosts    hostSet
	headers  headerSet
}

// asked is what a request is beside its path: the host in its canonical form.
type asked struct {
	method, host string
	header       Header // nil: it has none
}

// insert adds a route. Routes are inserted in their order, so that each list has the earliest
// first.
func (n *node) insert(segments []string, c *candidate) {
	if len(segments) == 0 {
		n.end = append(n.end, c)
		return
	}
	switch first := segments[0]; first {
	case anyRest:
		n.rest = append(n.rest, c)
	case anyOne:
		if n.one == nil {
			n.one = &node{}
		}
		n.one.insert(segments[1:], c)
	default:
		if n.literal == nil {
			n.literal = map[string]*node{}
		}
		if n.literal[first] == nil {
			n.literal[first] = &node{}
		}
		n.literal[first].insert(segments[1:], c)
	}
}

// find returns the earliest route that fits, or nil. path is canonical.
func (n *node) find(path string, a *asked) *Rule {
	s := search{asked: *a} // a copy, so that a stays on the caller's stack
	s.walk(n, strings.TrimSuffix(path[1:], "/"))
	return s.best
}

type search struct {
	asked asked
	best  *Rule
}

// walk visits every node that path reaches. Each node is reached by one way at most, so that the
// walk is bounded by the size of the policy.
func (s *search) walk(n *node, path string) {
	s.consider(n.rest)
	if path == "" {
		s.consider(n.end)
		return
	}
	segment, rest, _ := strings.Cut(path, "/")
	if child := n.literal[segment]; child != nil {
		s.walk(child, rest)
	}
	if n.one != nil {
		s.walk(n.one, rest)
	}
}

func (s *search) consider(candidates []*candidate) {
	for _, c := range candidates {
		// The rest of the list comes later still.
		if s.best != nil && s.best.Index < c.rule.Index {
			return
		}
		if c.methods.contains(s.asked.method) && c.hosts.contains(s.asked.host) &&
			(len(c.headers) == 0 || c.headers.fit(s.asked.header)) {
			s.best = c.rule
			return
		}
	}
}

// covering returns the earliest route that matches whatever m matches, or nil.
func (n *node) covering(m *matcher) *candidate {
	s := coverSearch{m: m}
	s.walk(n, m.segments)
	return s.best
}

type coverSearch struct {
	m    *matcher
	best *candidate
}

// walk visits the patterns that match all paths that the segments match.
func (s *coverSearch) walk(n *node, segments []string) {
	s.consider(n.rest)
	if len(segments) == 0 {
		s.consider(n.end)
		return
	}
	first := segments[0]
	if n.one != nil && first != anyRest {
		s.walk(n.one, segments[1:])
	}
	if child := n.literal[first]; child != nil {
		s.walk(child, segments[1:])
	}
}

func (s *coverSearch) consider(candidates []*candidate) {
	for _, c := range candidates {
		if s.best != nil && s.best.rule.Index < c.rule.Index {
			return
		}
		if c.methods.covers(s.m.methods) && c.hosts.covers(s.m.hosts) && c.headers.covers(s.m.headers) {
			s.best = c
			return
		}
	}
}
