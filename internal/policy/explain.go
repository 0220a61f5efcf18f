package policy

import (
	"strings"

	"github.com/sallyport/sallyport/internal/token"
)

// What follows is for people who ask why: it asks the functions that decide, for less at a time,
// and decides nothing itself.

// Considered is a route that a request was held against.
type Considered struct {
	Rule *Rule
	// Misfit is what of its match is not the request's, for people; "" when it matches.
	Misfit string
	// Near means that the path fits, and something else does not.
	Near bool
}

// Consider returns a policy's routes in their order, up to the first that matches; none for a request
// that is refused before routes are looked at.
func Consider(p *Policy, method, host, path string, header Header) (all []Considered) {
	var canonical requestPath
	if canonical.readWith(path, p.slashes) != "" {
		return nil
	}
	name, ok := canonicalHost(host)
	if p.judgeHosts && !ok {
		return nil
	}
	for _, c := range p.candidates {
		misfit, near := c.misfit(canonical.value, &asked{method, name, header})
		all = append(all, Considered{Rule: c.rule, Misfit: misfit, Near: near})
		if misfit == "" {
			break
		}
	}
	return all
}

// misfit returns what keeps a request from falling under the route, were it the only one.
func (c *candidate) misfit(path string, a *asked) (misfit string, near bool) {
	var alone node
	alone.insert(c.segments, &candidate{rule: c.rule}) // any method, any host, any headers
	switch {
	case alone.find(path, a) == nil:
		return "its path is another", false
	case !c.methods.contains(a.method):
		return "its methods are " + strings.Join(c.methods, ", "), true
	case !c.hosts.contains(a.host):
		hosts := c.hosts.names
		for _, suffix := range c.hosts.suffixes {
			hosts = append(hosts[:len(hosts):len(hosts)], "*"+suffix)
		}
		return "its hosts are " + strings.Join(hosts, ", "), true
	case !c.headers.fit(a.header):
		var names []string
		for _, h := range c.headers {
			names = append(names, h.Name)
		}
		return "it goes by the headers " + strings.Join(names, ", ") + ", which are others", true
	}
	return "", false
}

// Variables returns the names of the segments that the rule's pattern has names for, in order.
func (r *Rule) Variables() (names []string) {
	for _, name := range r.names {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// Judged is one thing that a demand asks for, and what became of it.
type Judged struct {
	Asked  Lack         // as it would be told if it were not met
	Reason token.Reason // why it is not met; "" when it is
}

// Judge holds the caller against each thing that the demand asks for, by itself, in the order in
// which the demand is judged.
func (d *Demand) Judge(c *Caller) (all []Judged) {
	for _, part := range d.parts() {
		reason := part.Demand.lacks(c)
		if reason != "" {
			part.Reason = reason // a condition has two
		}
		all = append(all, Judged{Asked: part, Reason: reason})
	}
	return all
}

// parts takes the demand apart into demands that ask for one thing each.
func (d *Demand) parts() (all []Lack) {
	add := func(is bool, reason token.Reason, part Demand) {
		if is {
			all = append(all, Lack{Reason: reason, Demand: &part})
		}
	}
	add(len(d.Issuers) > 0, token.ReasonPolicy, Demand{Issuers: d.Issuers})
	add(len(d.Audiences) > 0, token.ReasonAudience, Demand{Audiences: d.Audiences})
	add(len(d.enough) > 0, token.ReasonInsufficientRole, Demand{Roles: d.Roles, enough: d.enough})
	add(len(d.Scopes) > 0, token.ReasonInsufficientScope, Demand{Scopes: d.Scopes})
	add(d.When != nil, token.ReasonCondition,
		Demand{When: d.When, names: d.names, brings: d.brings})
	add(len(d.ACR) > 0, token.ReasonACR, Demand{ACR: d.ACR})
	add(d.Fresh > 0, token.ReasonLoginTooOld, Demand{Fresh: d.Fresh})
	return all
}

// Enough returns the roles any of which is as good as one of those that are asked for: these, and
// those that bring one of them along.
func (d *Demand) Enough() []string { return d.enough }

// Canonical returns the one spelling of a request target's path that the policy's routes are matched
// against, or what is wrong with it.
func Canonical(p *Policy, target string) (path, problem string) {
	var canonical requestPath
	found := canonical.readWith(target, p.slashes)
	return canonical.value, string(found)
}

// AsksForMore reports whether the rule asks a valid token for anything.
func (r *Rule) AsksForMore() bool { return len(r.AnyOf) > 0 || len(r.Demand.parts()) > 0 }
