package policy

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/policy/condition"
	"github.com/sallyport/sallyport/internal/token"
)

// Demand is what a rule asks a valid token for, all of it: a compiled Require without its
// alternatives, or one of them. Lists that are empty ask for nothing.
type Demand struct {
	Roles     []string // one of these
	Scopes    []string // all of these
	Issuers   []string // one of these has made the token
	Audiences []string // it is made for one of these
	ACR       []string // its user was authenticated by one of these
	Fresh     time.Duration
	When      *condition.Program // it holds; nil: there is none

	names  []string            // what the condition calls the segments of the path
	brings map[string][]string // and which roles it sees besides those of the token
	// Roles and those that bring one of them along: whoever has one of these has what is asked for
	enough []string
}

func newDemand(r Require, roles hierarchy, names []string) (Demand, error) {
	when, err := conditions.get(r.When, names)
	return Demand{
		Roles:     slices.Clone(r.Roles),
		Scopes:    slices.Clone(r.Scopes),
		Issuers:   slices.Clone(r.Issuers),
		Audiences: slices.Clone(r.Audiences),
		ACR:       slices.Clone(r.ACR),
		Fresh:     r.Fresh,
		When:      when,
		names:     names,
		brings:    roles.brings,
		enough:    roles.enoughFor(r.Roles),
	}, err
}

// Caller is whom a rule judges: who has shown a valid token.
type Caller struct {
	Claims *token.Claims
	Entry  string        // the issuer as the configuration's entry has it, by which the token was judged
	Skew   time.Duration // how far ahead of ours that issuer's clock may be
	Now    time.Time

	// What conditions may speak of besides, for a rule that has some.
	Body               token.Body // all claims
	Method, Host, Peer string
	Headers            iter.Seq2[string, string]
	Found              Finding
}

// Lack is what keeps a valid token from passing a rule. The zero Lack is none.
type Lack struct {
	Reason token.Reason
	Demand *Demand // what is not met
}

// String says what the token does not meet, in words of the policy alone.
func (l Lack) String() string {
	d := l.Demand
	switch l.Reason {
	case token.ReasonPolicy:
		return "takes tokens of these issuers alone: " + strings.Join(d.Issuers, ", ")
	case token.ReasonAudience:
		return "takes tokens for these audiences alone: " + strings.Join(d.Audiences, ", ")
	case token.ReasonInsufficientRole:
		return "asks for one of the roles " + strings.Join(d.Roles, ", ")
	case token.ReasonInsufficientScope:
		return "asks for the scopes " + strings.Join(d.Scopes, ", ")
	case token.ReasonCondition:
		return "has a condition that does not hold"
	case token.ReasonConditionError:
		return "has a condition that cannot be evaluated, as where a claim that it reads is absent, or that" +
			" costs more than it may"
	case token.ReasonACR:
		return "asks for one of these acr: " + strings.Join(d.ACR, ", ")
	case token.ReasonLoginTooOld:
		return "asks for a login within the last " + d.Fresh.String()
	}
	return ""
}

// Demands returns all that the rule asks for: its own demand, and each alternative.
func (r *Rule) Demands() []*Demand { return append([]*Demand{&r.Demand}, r.AnyOf...) }

// Conditional reports whether the rule, or an alternative of it, has a condition.
func (r *Rule) Conditional() bool {
	return r.demands(func(d *Demand) bool { return d.When != nil })
}

// Timed reports whether the rule may say something else to the same token at another time, or about
// another request than by its path.
func (r *Rule) Timed() bool {
	return r.demands(func(d *Demand) bool { return d.When != nil || d.Fresh != 0 })
}

// demands reports whether what the rule asks for, or an alternative of it, is of a kind.
func (r *Rule) demands(kind func(*Demand) bool) bool {
	return kind(&r.Demand) || slices.ContainsFunc(r.AnyOf, kind)
}

// Permits returns what keeps the caller from passing the rule. Of several alternatives that are not
// met, it is what keeps the caller from the one that lacks least, by the order in which a demand is
// judged: that is what a client can do something about.
func (r *Rule) Permits(c *Caller) Lack {
	lack := Lack{Demand: &r.Demand}
	if lack.Reason = r.lacks(c); lack.Reason != "" {
		return lack
	}
	if len(r.AnyOf) == 0 {
		return Lack{}
	}
	furthest := -1
	for _, one := range r.AnyOf {
		reason := one.lacks(c)
		if reason == "" {
			return Lack{}
		}
		if at := slices.Index(judged[:], reason); at > furthest {
			furthest, lack = at, Lack{reason, one}
		}
	}
	return lack
}

// judged are the reasons for which a demand is not met, in the order in which they are found. The
// issuer is first of all: another one's roles and scopes mean nothing here. The login is last: it
// makes no sense to ask a user to log in anew for what is then refused.
var judged = [...]token.Reason{
	token.ReasonPolicy, token.ReasonAudience, token.ReasonInsufficientRole,
	token.ReasonInsufficientScope, token.ReasonConditionError, token.ReasonCondition,
	token.ReasonACR, token.ReasonLoginTooOld,
}

// lacks returns the reason why a caller does not meet the demand, "" when he does.
func (d *Demand) lacks(c *Caller) token.Reason {
	switch {
	case len(d.Issuers) > 0 && !slices.Contains(d.Issuers, c.Claims.Issuer) &&
		!slices.Contains(d.Issuers, c.Entry):
		return token.ReasonPolicy
	case len(d.Audiences) > 0 && !overlap(d.Audiences, c.Claims.Audience):
		return token.ReasonAudience
	case len(d.enough) > 0 && !overlap(d.enough, c.Claims.Roles):
		return token.ReasonInsufficientRole
	case !within(d.Scopes, c.Claims.Scope):
		return token.ReasonInsufficientScope
	}
	if d.When != nil {
		if reason := d.judgeCondition(c); reason != "" {
			return reason
		}
	}
	switch {
	case len(d.ACR) > 0 && !slices.Contains(d.ACR, c.Claims.ACR):
		return token.ReasonACR
	case d.Fresh > 0 && !d.isFresh(c):
		return token.ReasonLoginTooOld
	}
	return ""
}

// judgeCondition evaluates the condition. It takes what it needs out of the caller, who stays on the
// stack where there is no condition.
func (d *Demand) judgeCondition(c *Caller) token.Reason {
	found, has, brings := c.Found, c.Claims.Roles, d.brings
	host, _ := canonicalHost(c.Host) // what is no host is "", which no condition can read
	holds, err := d.When.Holds(&condition.Input{
		Claims: c.Body.Root(),
		Roles: func() []string {
			all := slices.Clone(has)
			for _, role := range has {
				all = append(all, brings[role]...)
			}
			return all
		},
		Scopes: c.Claims.Scope, Method: c.Method, Host: host, Path: found.path,
		Segment: found.Variable, Headers: c.Headers, Peer: c.Peer, Now: c.Now,
	})
	switch {
	case err != nil:
		return token.ReasonConditionError
	case !holds:
		return token.ReasonCondition
	}
	return ""
}

// isFresh: a login that lies ahead is as unknown as one without a time, but for what clocks may be
// apart.
func (d *Demand) isFresh(c *Caller) bool {
	age := c.Now.Sub(time.Unix(c.Claims.AuthTime, 0))
	return c.Claims.AuthTime > 0 && -c.Skew <= age && age <= d.Fresh
}

// overlap reports whether the two lists have a name in common.
func overlap(these, those []string) bool {
	return slices.ContainsFunc(these, func(s string) bool { return slices.Contains(those, s) })
}

// asksNoLess reports whether everybody who may pass r by its demands may pass other by its own. It
// compares r's demands and each of its alternatives together with other's, and with one alternative
// of other's at a time: where only two of those together would do, it says no, which is safe.
func (r *Rule) asksNoLess(other *Rule, both *spellings) bool {
	if len(r.AnyOf) == 0 {
		return other.isMetBy(&r.Demand, &r.Demand, both)
	}
	for _, one := range r.AnyOf {
		if !other.isMetBy(&r.Demand, one, both) {
			return false
		}
	}
	return true
}

// isMetBy reports whether everybody who meets both demands passes r by its own.
func (r *Rule) isMetBy(one, two *Demand, both *spellings) bool {
	if !r.Demand.followsFrom(one, two, both) {
		return false
	}
	return len(r.AnyOf) == 0 || slices.ContainsFunc(r.AnyOf,
		func(d *Demand) bool { return d.followsFrom(one, two, both) })
}

// followsFrom reports whether everybody who meets both demands meets d.
func (d *Demand) followsFrom(one, two *Demand, both *spellings) bool {
	isScope := func(s string) bool {
		return slices.Contains(one.Scopes, s) || slices.Contains(two.Scopes, s)
	}
	return (oneWithin(one.enough, d.enough) || oneWithin(two.enough, d.enough)) &&
		!slices.ContainsFunc(d.Scopes, func(s string) bool { return !isScope(s) }) &&
		(issuersWithin(one.Issuers, d.Issuers) || issuersWithin(two.Issuers, d.Issuers)) &&
		(oneWithin(one.Audiences, d.Audiences) || oneWithin(two.Audiences, d.Audiences)) &&
		(oneWithin(one.ACR, d.ACR) || oneWithin(two.ACR, d.ACR)) &&
		(freshWithin(one.Fresh, d.Fresh) || freshWithin(two.Fresh, d.Fresh)) &&
		(sameCondition(one, d, both) || sameCondition(two, d, both))
}

// sameCondition reports whether that condition holds wherever this one does, for the same request in
// another spelling of its path or method: so not if it reads of these what differs.
func sameCondition(this, that *Demand, both *spellings) bool {
	if that.When == nil {
		return true
	}
	return this.When != nil && this.When.String() == that.When.String() &&
		slices.Equal(this.names, that.names) &&
		!that.When.Reads("request.path") &&
		(both.sameMethod || !that.When.Reads("request.method")) &&
		!slices.ContainsFunc(that.names, func(name string) bool {
			own, _ := variable(this.names, both.own, name)
			other, _ := variable(that.names, both.other, name)
			return own != other && that.When.Reads("path."+name)
		})
}

// oneWithin reports whether whoever has one of these has one of those. No name at all asks for none.
func oneWithin(these, those []string) bool {
	return len(those) == 0 || len(these) > 0 && within(these, those)
}

func freshWithin(this, that time.Duration) bool { return that == 0 || 0 < this && this <= that }

// issuersWithin reports whether whoever has a token of one of these issuers has one of those. No
// issuer at all stands for every one; a template stands for its tenants.
func issuersWithin(these, those []string) bool {
	isThere := func(s string) bool {
		return slices.ContainsFunc(those,
			func(name string) bool { return name == s || token.IsTenantOf(name, s) })
	}
	return len(those) == 0 || len(these) > 0 &&
		!slices.ContainsFunc(these, func(s string) bool { return !isThere(s) })
}

func within(these, those []string) bool {
	return !slices.ContainsFunc(these, func(s string) bool { return !slices.Contains(those, s) })
}
