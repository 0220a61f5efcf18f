package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/token"
)

// Access is who may pass a rule.
type Access uint8

// The zero value lets nobody pass.
const (
	Nobody        Access = iota
	Authenticated        // a valid token that carries what the rule requires
	Optional             // no token at all, or a valid one
	Public               // anybody; no token is looked at
)

// Finding is what Find returns: the rule, and why nobody may pass when that is so.
type Finding struct {
	Rule   *Rule        // never nil
	Reason token.Reason // "" unless Rule.Access is Nobody
	Detail string       // for people: what is wrong with the path or host; from a fixed list, or ""
	// Stricter is the rule that the request would fall under in another case, when that is the
	// reason.
	Stricter *Rule

	path string // canonical
}

// Variable returns what the path has in the segment that the rule's pattern calls so, in the one
// spelling of a path: percent-decoded once.
func (f *Finding) Variable(name string) (value string, ok bool) {
	if f.Rule == nil || name == "" || f.path == "" { // no path is kept of what nobody may do
		return "", false
	}
	at := slices.Index(f.Rule.names, name)
	if at < 0 {
		return "", false
	}
	rest := f.path[1:]
	for range at {
		_, rest, _ = strings.Cut(rest, "/")
	}
	value, _, _ = strings.Cut(rest, "/")
	return value, true
}

// Rule is what one route asks for. It is never changed after Compile.
type Rule struct {
	Access Access
	Demand
	AnyOf      []*Demand // one of these besides, when there are any
	AllowStale bool
	// OutlivesToken is whether a request may go on after its token has expired.
	OutlivesToken bool

	Index int // the route's place in the policy; -1 is the rule behind the last one

	pattern          string   // its path as written, for people
	names            []string // what segments of its path are called; "" for none
	permitParameters bool
	caseSensitive    bool // its upstream tells paths apart by case
}

// nobody is the rule behind the last route.
var nobody = &Rule{Access: Nobody, Index: -1}

// Policy is a compiled Config. The zero value lets nobody pass. It may be used from many
// goroutines.
type Policy struct {
	tree       node
	folded     node // the same patterns in small letters
	mixed      bool // the two differ: some pattern has other letters
	rules      []*Rule
	candidates []*candidate // one a rule
	roles      hierarchy
	reads      bool // some rule has a condition
	judgeHosts bool // some route names hosts, so that a malformed host is refused
}

// Compile checks c as Validate does and makes it ready for matching.
func Compile(c Config) (*Policy, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	p := &Policy{roles: newHierarchy(c.Roles)}
	for i, r := range c.Routes {
		r.PathCase = cmp.Or(r.PathCase, c.PathCase)
		if err := p.add(i, r); err != nil {
			return nil, fmt.Errorf("policy: routes[%d]: %w", i, err)
		}
	}
	conditions.turn()
	return p, nil
}

func (p *Policy) add(index int, r Route) error {
	// config.Load has each part of a file validate itself. A Config that code has made has not been
	// through that, so the parts are checked here again.
	m, err := compileMatch(r.Match)
	if err != nil {
		return err
	}
	if err := r.Validate(); err != nil {
		return err
	}
	if err := r.Require.Validate(); err != nil {
		return err
	}
	access, err := parseAccess(r.Allow)
	if err != nil {
		return err
	}
	rule := &Rule{
		Access:           access,
		AllowStale:       r.AllowStale,
		OutlivesToken:    r.OutlivesToken,
		Index:            index,
		pattern:          r.Match.String(),
		names:            m.names,
		permitParameters: r.PathParameters,
		caseSensitive:    r.PathCase == caseSensitive,
	}
	if rule.Demand, err = newDemand(r.Require, p.roles, m.names); err != nil {
		return err
	}
	for i, one := range r.Require.AnyOf {
		if err := one.Validate(); err != nil {
			return fmt.Errorf("require.anyOf[%d]: %w", i, err)
		}
		d, err := newDemand(one, p.roles, m.names)
		if err != nil {
			return err
		}
		rule.AnyOf = append(rule.AnyOf, &d)
	}
	p.reads = p.reads || rule.Conditional()
	p.rules = append(p.rules, rule)
	p.judgeHosts = p.judgeHosts || !m.hosts.any()
	small := foldedSegments(m.segments)
	p.mixed = p.mixed || !slices.Equal(small, m.segments)
	c := &candidate{rule: rule, segments: m.segments, methods: m.methods, hosts: m.hosts}
	p.tree.insert(m.segments, c)
	p.folded.insert(small, c)
	p.candidates = append(p.candidates, c)
	return nil
}

// ReadsClaims reports whether callers have to be known by all claims of their tokens.
func (p *Policy) ReadsClaims() bool { return p.reads }

// Rules returns the rules of all routes in their order.
func (p *Policy) Rules() []*Rule { return p.rules }

// Find returns the rule that a request falls under. path may carry a query, host a port.
func (p *Policy) Find(method, host, path string) Finding {
	var canonical requestPath
	if problem := canonical.read(path); problem != "" {
		return Finding{Rule: nobody, Reason: token.ReasonBadPath, Detail: string(problem)}
	}
	// A policy without hosts does not look at them: a client may send what it likes there.
	var name string
	if p.judgeHosts {
		var ok bool
		if name, ok = canonicalHost(host); !ok {
			return Finding{
				Rule: nobody, Reason: token.ReasonBadRequest,
				Detail: "the host is not a host name",
			}
		}
	}
	rule := p.tree.find(canonical.value, method, name)
	switch {
	case rule == nil:
		return Finding{Rule: nobody, Reason: token.ReasonNoRoute}
	// Only now: whether parameters are permitted is for the route to say.
	case canonical.parameters && !rule.permitParameters:
		return Finding{Rule: nobody, Reason: token.ReasonBadPath, Detail: string(badParameters)}
	case rule.Access == Nobody:
		return Finding{Rule: rule, Reason: token.ReasonDenied}
	}
	if stricter := p.stricter(rule, method, name, &canonical); stricter != nil {
		return Finding{Rule: nobody, Reason: token.ReasonPathCase, Detail: otherCase, Stricter: stricter}
	}
	return Finding{Rule: rule, path: canonical.value}
}
