package authz

import "github.com/sallyport/sallyport/internal/token"

// Told returns a refusal in one of the forms of the policy in force.
func (e *Engine) Told(name string, reason token.Reason) *Refusal {
	return e.rules.Load().forms[name][e.refusals.of(reason)]
}
