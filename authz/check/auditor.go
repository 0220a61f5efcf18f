package check

import (
	"strings"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/audit"
)

// refused has a line written that says why, what for, from where, and who, when the token was
// genuine. All but the reason is put together only when the recorder has a line for it.
func (c *Checker) refused(r *Request, d *authz.Decision) {
	if c.Audit == nil {
		return
	}
	// a copy, so that the decision itself, which every check makes, needs no memory of its own
	r.decided = *d
	e := audit.Event{Name: audit.Deny, Outcome: audit.Failure, Reason: d.Reason()}
	if !c.Audit.Offer(e, r.describe) {
		c.metrics.notAudited[d.Refused().Reason].Inc()
	}
}

// describe fills in the fields of a line beside its reason. Nothing in them may be a view of the
// request, which is gone before the line is written.
func (r *Request) describe(e *audit.Event) {
	d := &r.decided
	path, _, _ := strings.Cut(r.Path, "?") // a query may hold a token
	e.DecisionID, e.Detail = d.ID.String(), d.Detail()
	if r.Source != nil {
		e.Address = r.Source.Address()
	}
	e.UserAgent, e.RequestID = cut(r.header("user-agent")), cut(r.requestID())
	e.Method, e.Host, e.Path = cut(r.Method), cut(r.Host), cut(path)
	// The claims of a token whose signature is not good are what anybody may write.
	if d.Identity != nil && d.Identity.Claims != nil {
		c := d.Identity.Claims
		e.Issuer, e.Subject, e.SessionID = c.Issuer, c.Subject, c.SessionID
		e.TokenID, e.ClientID, e.Tenant = c.ID, c.ClientID, c.Tenant
	}
	if d.Revocation.Revoked {
		e.Kind, e.Seq = d.Revocation.Kind.String(), d.Revocation.Seq
	}
}

func (r *Request) requestID() string {
	if id := r.header("x-request-id"); id != "" {
		return id
	}
	return r.ID
}

// maxField is how many bytes of a field are handed on; an audit line keeps fewer.
const maxField = 512

// cut copies the part of a view that an audit line may keep.
func cut(s string) string { return strings.Clone(s[:min(len(s), maxField)]) }

// header returns the value of the first header of that lower-case name.
func (r *Request) header(name string) string {
	for i := range r.Headers {
		if r.Headers[i].Name == name {
			return r.Headers[i].Value
		}
	}
	return ""
}
