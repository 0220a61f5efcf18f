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
	if f.Rule == nil { // nor is a path kept of what nobody may do
		return "", false
	}
	return variable(f.Rule.names, f.path, name)
}

// variable returns what a canonical path has in the segment of that name.
func variable(names []string, path, name string) (value string, ok bool) {
	at := slices.Index(names, name)
	if at < 0 || name == "" || path == "" {
		return "", false
	}
	rest := path[1:]
	for range at {
		_, rest, _ = strings.Cut(rest, "/")
	}
	value, _, _ = strings.Cut(rest, "/")
	return strings.ReplaceAll(value, encodedSlash, "/"), true
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

	Outgoing   *Outgoing // what is made of claims; nil: nothing
	QueryToken string    // the parameter in which a token may stand; "" for none

	Across *Across // who may read answers from elsewhere; nil: nobody

	refusals         Refusals
	pattern          string   // its path as written, for people
	names            []string // what segments of its path are called; "" for none
	permitParameters bool
	permitSlashes    bool // encoded ones, within a segment
	caseSensitive    bool // its upstream tells paths apart by case
}

// nobody is the rule behind the last route.
var nobody = &Rule{Access: Nobody, Index: -1}

// Policy is a compiled Config. The zero value lets nobody pass. It may be used from many
// goroutines.
type Policy struct {
	tree       node
	folded     node // the same patterns in small letters
	capitals   node // of those, the patterns that have other letters
	mixed      bool // there are some
	rules      []*Rule
	candidates []*candidate // one a rule
	roles      hierarchy
	reads      bool // some rule has a condition, or hands claims on
	judgeHosts bool // some route names hosts, so that a malformed host is refused
	matches    bool // some route goes by headers
	slashes    bool // some route permits encoded slashes

	claimHeaders []string
	metadata     []ClaimValue
	outgoing     map[string]*Outgoing
	tokens       []TokenSource
	refusals     Refusals
}

// Compile checks c as Validate does and makes it ready for matching.
func Compile(c Config) (*Policy, error) {
	p, _, err := CompileAll(c, nil)
	return p, err
}

// CompileAll is Compile for policies that are in force together: for all of them, or none.
func CompileAll(c Config, named map[string]Config) (*Policy, map[string]*Policy, error) {
	p, err := compileOne(c)
	if err != nil {
		return nil, nil, fmt.Errorf("policy: %w", err)
	}
	others := make(map[string]*Policy, len(named))
	for name, other := range named {
		if others[name], err = compileOne(other); err != nil {
			return nil, nil, fmt.Errorf("policies.%s: %w", name, err)
		}
	}
	conditions.turn()
	return p, others, nil
}

func compileOne(c Config) (*Policy, error) {
	c.Prepare()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := &Policy{
		roles: newHierarchy(c.Roles), outgoing: map[string]*Outgoing{},
		claimHeaders: c.claimHeaders(), metadata: claimValues(c.Metadata, false),
		tokens: slices.Clone(c.Tokens), refusals: c.Refusals,
	}
	for i, r := range c.Routes {
		r.PathCase = cmp.Or(r.PathCase, c.PathCase)
		if err := p.add(i, r); err != nil {
			return nil, fmt.Errorf("routes[%d]: %w", i, err)
		}
	}
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
		permitSlashes:    r.PathEncodedSlash == allowSlash,
		caseSensitive:    r.PathCase == caseSensitive,
		Outgoing:         r.outgoing(p.outgoing),
		QueryToken:       r.QueryToken,
		refusals:         r.Refusals,
		Across:           r.CORS.Compile("www-authenticate", "x-sallyport-reason", "x-sallyport-decision"),
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
	p.reads = p.reads || rule.Conditional() || rule.Outgoing != nil || len(p.metadata) > 0
	p.rules = append(p.rules, rule)
	p.judgeHosts = p.judgeHosts || !m.hosts.any()
	p.matches = p.matches || len(m.headers) > 0
	p.slashes = p.slashes || rule.permitSlashes
	small := foldedSegments(m.segments)
	c := m.candidate(rule)
	p.tree.insert(m.segments, c)
	p.folded.insert(small, c)
	if !slices.Equal(small, m.segments) {
		p.mixed = true
		p.capitals.insert(small, c)
	}
	p.candidates = append(p.candidates, c)
	return nil
}

// ReadsClaims reports whether callers have to be known by all claims of their tokens.
func (p *Policy) ReadsClaims() bool { return p.reads }

// Rules returns the rules of all routes in their order.
func (p *Policy) Rules() []*Rule { return p.rules }

// ClaimHeaders lists the headers for the upstream that some rule makes of claims: none that a
// client sends may reach the upstream, on any route.
func (p *Policy) ClaimHeaders() []string { return p.claimHeaders }

// Metadata lists what the proxy's other filters are told of claims, on every route.
func (p *Policy) Metadata() []ClaimValue { return p.metadata }

// Tokens returns the places in which tokens may stand; none when the policy does not say.
func (p *Policy) Tokens() []TokenSource { return p.tokens }

// takesSlashes reports whether a path may have its encoded slashes under a rule. If an upstream took
// them for plain ones, after all, no stricter route may be walked around by it, in any case that
// such an upstream may take for the same, nor a condition on the path.
func (p *Policy) takesSlashes(rule *Rule, path *requestPath, a *asked) bool {
	if rule == nil || !rule.permitSlashes {
		return false
	}
	plain := *path
	plain.value, plain.slashes = strings.ReplaceAll(path.value, encodedSlash, "/"), false
	other := p.tree.find(plain.value, a)
	both := spellings{own: path.value, other: plain.value, sameMethod: true}
	return (other == nil || rule.atLeastAsStrictAs(other, both)) &&
		p.stricter(rule, a, path, &plain) == nil
}

// Refusals returns how a request is refused that falls under the rule, or under none when it is nil.
func (p *Policy) Refusals(r *Rule) Refusals {
	if r == nil || r.refusals.isEmpty() {
		return p.refusals
	}
	return r.refusals
}

// AllRefusals returns all ways of refusing that the policy has; none when that is in JSON alone.
func (p *Policy) AllRefusals() []Refusals {
	all := []Refusals{p.refusals}
	for _, r := range p.rules {
		all = append(all, r.refusals)
	}
	slices.SortFunc(all, func(a, b Refusals) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	return slices.DeleteFunc(slices.Compact(all), func(r Refusals) bool {
		return r.As == "" || r.As == RefuseJSON
	})
}

// AnswersAcross reports whether pages of other origins may read answers of some rule.
func (p *Policy) AnswersAcross() bool {
	return slices.ContainsFunc(p.rules, func(r *Rule) bool { return r.Across != nil })
}

// MatchesHeaders reports whether a request's headers decide which rule it falls under.
func (p *Policy) MatchesHeaders() bool { return p.matches }

// ReadHeaders lists the headers that some route goes by, those in which tokens may stand where that
// is not where they do without a word of the policy, and those by which refusals are told.
func (p *Policy) ReadHeaders() (names []string) {
	for _, s := range p.tokens {
		if name := s.In(); name != "authorization" && name != accessToken {
			names = append(names, name)
		}
	}
	for _, r := range p.AllRefusals() {
		if r.As == RefuseNegotiate {
			names = append(names, "accept", "content-type")
		}
	}
	if p.AnswersAcross() {
		names = append(names, "origin", "access-control-request-method")
	}
	for _, c := range p.candidates {
		for _, h := range c.headers {
			names = append(names, h.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Find is FindWith for a request without headers.
func (p *Policy) Find(method, host, path string) Finding {
	return p.FindWith(method, host, path, nil)
}

// FindWith returns the rule that a request falls under. path may carry a query, host a port. header
// is asked only if MatchesHeaders.
func (p *Policy) FindWith(method, host, path string, header Header) Finding {
	var canonical requestPath
	if problem := canonical.readWith(path, p.slashes); problem != "" {
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
	a := asked{method, name, header}
	rule := p.tree.find(canonical.value, &a)
	switch {
	case canonical.slashes && !p.takesSlashes(rule, &canonical, &a):
		return Finding{Rule: nobody, Reason: token.ReasonBadPath, Detail: string(badSlash)}
	case rule == nil:
		return Finding{Rule: nobody, Reason: token.ReasonNoRoute}
	// Only now: whether parameters are permitted is for the route to say.
	case canonical.parameters && !rule.permitParameters:
		return Finding{Rule: nobody, Reason: token.ReasonBadPath, Detail: string(badParameters)}
	case rule.Access == Nobody:
		return Finding{Rule: rule, Reason: token.ReasonDenied}
	}
	if stricter := p.stricter(rule, &a, &canonical, &canonical); stricter != nil {
		return Finding{Rule: nobody, Reason: token.ReasonPathCase, Detail: otherCase, Stricter: stricter}
	}
	return Finding{Rule: rule, path: canonical.value}
}
