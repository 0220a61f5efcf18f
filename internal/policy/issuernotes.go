package policy

import (
	"fmt"
	"strings"
)

// IssuerNotes returns, a sentence a route, which routes take tokens of some issuers alone, and in a
// warning those that take scopes from any, when several are trusted: roles have a prefix that tells
// whose they are, scopes have none.
func (p *Policy) IssuerNotes(several bool) (notes []string) {
	for _, r := range p.rules {
		if len(r.Issuers) > 0 {
			notes = append(notes, fmt.Sprintf("note: %s takes tokens of no issuers but %s", r,
				strings.Join(r.Issuers, ", ")))
		}
	}
	if open := p.ScopesOfAny(); several && len(open) > 0 {
		notes = append(notes, fmt.Sprintf("warning: %s %s scopes from every issuer: if not all of them"+
			" may give these, write require.issuers", List(open), takes(open)))
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
func (p *Policy) ScopesOfAny() (open []*Rule) {
	for _, r := range p.rules {
		if len(r.Scopes) > 0 && len(r.Issuers) == 0 {
			open = append(open, r)
		}
	}
	return open
}
