package policy

import "strings"

// node is a place in the tree of all patterns: one level a segment.
type node struct {
	literal map[string]*node
	one     *node  // `*`
	end     places // patterns that end here
	rest    places // patterns with `**` here
}

// places are routes whose patterns end at one place, each list with the earliest first.
type places struct {
	all  []*candidate
	wide []*candidate            // of these, those that do not name each of their hosts in full
	of   map[string][]*candidate // and the others, by each of their hosts
}

func (p *places) add(c *candidate) {
	p.all = append(p.all, c)
	if len(c.hosts.names) == 0 || len(c.hosts.suffixes) > 0 {
		p.wide = append(p.wide, c)
		return
	}
	if p.of == nil {
		p.of = map[string][]*candidate{}
	}
	for _, host := range c.hosts.names {
		p.of[host] = append(p.of[host], c)
	}
}

// named returns the routes that name a host in full, and no other hosts but in full. With a tenant a
// host there may be thousands of others.
func (p *places) named(host string) []*candidate {
	if p.of == nil {
		return nil
	}
	return p.of[host]
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

// insert adds a route. Routes are inserted in their order.
func (n *node) insert(segments []string, c *candidate) {
	if len(segments) == 0 {
		n.end.add(c)
		return
	}
	switch first := segments[0]; first {
	case anyRest:
		n.rest.add(c)
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
	s.consider(&n.rest)
	if path == "" {
		s.consider(&n.end)
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

func (s *search) consider(p *places) {
	s.earliest(p.wide)
	s.earliest(p.named(s.asked.host))
}

func (s *search) earliest(candidates []*candidate) {
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
	s.consider(n.rest.all)
	if len(segments) == 0 {
		s.consider(n.end.all)
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
