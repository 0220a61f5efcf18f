package extauthz

import (
	"strings"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/audit"
)

// auditor has a line written for a refused request, within the recorder's limit.
type auditor struct {
	recorder Recorder // nil: no lines
	metrics  *metrics
}

// refused records why, what for, from where, and who, when the token was genuine. All but the
// reason is put together only when the recorder has a line for it.
func (a *auditor) refused(r *checkRequest, d *authz.Decision) {
	if a.recorder == nil {
		return
	}
	// a copy, so that the decision itself, which every check makes, needs no memory of its own
	r.decided = *d
	e := audit.Event{Name: audit.Deny, Outcome: audit.Failure, Reason: d.Reason()}
	if !a.recorder.Offer(e, r.describe) {
		a.metrics.notAudited[d.Refused().Reason].Inc()
	}
}

// describe fills in what a line says beside its reason.
func (r *checkRequest) describe(e *audit.Event) {
	d := &r.decided
	path, _, _ := strings.Cut(r.Path, "?")
	e.Detail = d.Detail()
	e.Address, e.UserAgent, e.RequestID = address(r.source), cut(r.header("user-agent")), cut(
		r.requestID())
	e.Method, e.Host, e.Path = cut(r.Method), cut(r.Host), cut(path)
	if d.Identity != nil && d.Identity.Claims != nil {
		c := d.Identity.Claims
		e.Issuer, e.Subject, e.SessionID, e.TokenID, e.ClientID, e.Tenant = c.Issuer, c.Subject, c.SessionID, c.ID, c.ClientID, c.Tenant
	}
	if d.Revocation.Revoked {
		e.Kind, e.Seq = d.Revocation.Kind.String(), d.Revocation.Seq
	}
}

func (r *checkRequest) requestID() string {
	if id := r.header("x-request-id"); id != "" {
		return id
	}
	return r.id
}

// maxField is more than an audit line keeps of a field.
const maxField = 512

// cut copies the part of a view that an audit line may keep.
func cut(s string) string { return strings.Clone(s[:min(len(s), maxField)]) }
