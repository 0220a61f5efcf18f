package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// IssuerNotes returns, a sentence a route, which routes take tokens of some issuers alone, and in
// warnings those that take scopes from any, or go by what any says of a login, when several are
// trusted: roles have a prefix that tells whose they are, these have none.
func (p *Policy) IssuerNotes(several bool) (notes []string) {
	for _, r := range p.rules {
		if len(r.Issuers) > 0 {
			notes = append(notes, fmt.Sprintf("note: %s takes tokens of no issuers but %s", r,
				strings.Join(r.Issuers, ", ")))
		}
	}
	if !several {
		return notes
	}
	if open := p.ScopesOfAny(); len(open) > 0 {
		notes = append(notes, fmt.Sprintf("warning: %s %s scopes from every issuer: if not all of them"+
			" may give these, write require.issuers", List(open), takes(open)))
	}
	open := p.ofAny(func(d *Demand) bool { return d.When != nil && d.When.Reads("claims") })
	if len(open) > 0 {
		notes = append(notes, fmt.Sprintf("warning: a condition of %s goes by the claims of every issuer,"+
			" as each has written them, without role_prefix: if not all of them may decide this, write"+
			" require.issuers", List(open)))
	}
	open = p.ofAny(func(d *Demand) bool { return len(d.ACR) > 0 || d.Fresh > 0 })
	if len(open) > 0 {
		notes = append(notes, fmt.Sprintf("warning: what every issuer says of a login (acr, auth_time)"+
			" counts for %s: if you do not trust all of them in this, write require.issuers", List(open)))
	}
	return notes
}

func takes(rules []*Rule) string {
	if len(rules) == 1 {
		return "takes its"
	}
	return "take their"
}

// ScopesOfAny returns the rules that ask for scopes and do not say whose.
func (p *Policy) ScopesOfAny() []*Rule {
	return p.ofAny(func(d *Demand) bool { return len(d.Scopes) > 0 })
}

// ofAny returns the rules that ask so, by themselves or in an alternative, and do not say of whom.
func (p *Policy) ofAny(asks func(*Demand) bool) (open []*Rule) {
	for _, r := range p.rules {
		if slices.ContainsFunc(r.Demands(), func(d *Demand) bool {
			return asks(d) && len(r.Issuers) == 0 && len(d.Issuers) == 0
		}) {
			open = append(open, r)
		}
	}
	return open
}

// RoleNotes returns, a sentence a role, what comes with it. prefixes are what issuers' roles begin
// with: a role of one issuer that brings along what is not that issuer's is worth a second look,
// because the prefix is there to keep the two apart.
func (p *Policy) RoleNotes(prefixes []string) (notes []string) {
	for _, role := range slices.Sorted(maps.Keys(p.roles.brings)) {
		notes = append(notes, fmt.Sprintf("note: who has the role %s has %s, too", role,
			strings.Join(p.roles.brings[role], ", ")))
		for _, prefix := range prefixes {
			if prefix == "" || !strings.HasPrefix(role, prefix) {
				continue
			}
			others := slices.DeleteFunc(slices.Clone(p.roles.brings[role]),
				func(junior string) bool { return strings.HasPrefix(junior, prefix) })
			if len(others) > 0 {
				notes = append(notes, fmt.Sprintf("warning: the issuer whose roles begin with %s decides by"+
					" its role %s who has %s: be sure that it may", prefix, role,
					strings.Join(others, ", ")))
			}
		}
	}
	return notes
}
