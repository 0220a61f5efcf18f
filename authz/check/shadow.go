package check

import (
	"strings"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/token"
)

// What a shadow policy would have done, as metrics call it.
const (
	shadowSame    = "same"
	shadowRefuses = "refuses" // what passes
	shadowAllows  = "allows"  // what is refused
	shadowDiffers = "differs" // refuses for another reason
)

// Log lines about a shadow policy, a second and at once: clients can bring about as many as they
// like.
const (
	shadowRate  = 1
	shadowBurst = 20
)

// shadow asks the policy that stands beside the one in force, if there is one, and says in metrics
// and log where it would decide otherwise. Nothing else comes of it. It returns what that decides, as
// Reason has it; "" when it was not asked.
func (c *Checker) shadow(r *Request, d *authz.Decision) (decided string) {
	// What was refused before a policy was asked says nothing of one, and it stands beside the policy of
	// requests that name none.
	if r.Malformed != "" || r.Policy != "" || d.Refused().Reason == token.ReasonNotStripped && !d.Allow {
		return ""
	}
	other, ok := c.engine.Shadow(&r.Request)
	if !ok {
		return ""
	}
	decided = other.Reason()
	outcome := compare(d, &other)
	c.metrics.shadows[outcome].Inc()
	if outcome == shadowSame || !c.shadowed.Allow() {
		return decided
	}
	path, _, _ := strings.Cut(r.Path, "?") // a query may hold a token
	c.Logger.Info("the shadow policy would decide otherwise", "outcome", outcome,
		"decided", d.Reason(), "shadow", decided, "detail", other.Detail(),
		"method", cut(r.Method), "host", cut(r.Host), "path", cut(path),
		"request_id", cut(r.requestID()), "decision_id", d.ID.String())
	return decided
}

func compare(d, other *authz.Decision) string {
	switch {
	case d.Allow && !other.Allow:
		return shadowRefuses
	case !d.Allow && other.Allow:
		return shadowAllows
	case d.Reason() != other.Reason():
		return shadowDiffers
	}
	return shadowSame
}
