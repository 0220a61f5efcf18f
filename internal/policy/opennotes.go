package policy

import (
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/internal/policy/condition"
)

// OpenNotes returns what lets more through, or less, than a policy's author may have meant: routes
// that need no token below the path of one that does, and conditions that never hold. A route that an
// earlier one hides is an error when the policy is loaded.
func OpenNotes(p *Policy) (notes []string) {
	for _, c := range p.candidates {
		if c.rule.Access == Public || c.rule.Access == Optional {
			if around := protects(p, c); around != nil {
				notes = append(notes, fmt.Sprintf("note: %s needs no token, and lies within %s, which does",
					c.rule, around))
			}
		}
		for _, d := range c.rule.Demands() {
			if d.When != nil && neverHolds(d.When) {
				notes = append(notes, fmt.Sprintf("warning: %s has a condition that never holds, whatever the"+
					" request: %s", c.rule, d.When))
			}
		}
	}
	return notes
}

// protects returns the first rule that asks for a token, or lets nobody pass, on all below a path
// that has the route's in it; nil if there is none.
func protects(p *Policy, c *candidate) *Rule {
	at := slices.IndexFunc(p.candidates, func(other *candidate) bool {
		return other.rule.Access < Optional && len(other.segments) > 1 &&
			other.segments[len(other.segments)-1] == anyRest &&
			coversPath(other.segments, c.segments) && other.hosts.covers(c.hosts)
	})
	if at < 0 {
		return nil
	}
	return p.candidates[at].rule
}

// neverHolds reports whether a condition that goes by nothing is false, or cannot be evaluated. One
// that goes by something may hold: nobody has tried all that there can be.
func neverHolds(when *condition.Program) bool {
	if !when.Constant() {
		return false
	}
	holds, err := when.Holds(&condition.Input{})
	return err != nil || !holds
}
