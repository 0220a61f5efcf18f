package extauthz

import (
	"strings"

	"golang.org/x/time/rate"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/audit"
)

// auditor writes a line for a refused request, within a rate.
type auditor struct {
	recorder Recorder // nil: no lines
	limit    *rate.Limiter
	metrics  *metrics
}

func newAuditor(c AuditConfig, recorder Recorder, m *metrics) *auditor {
	if c.Rate == 0 {
		recorder = nil
	}
	return &auditor{recorder: recorder, limit: rate.NewLimiter(rate.Limit(c.Rate), c.Burst), metrics: m}
}

// refused records why, what for, from where, and who, when the token was genuine.
func (a *auditor) refused(r *checkRequest, d *authz.Decision) {
	if a.recorder == nil {
		return
	}
	if !a.limit.AllowN(r.At.Wall, 1) {
		a.metrics.notAudited.Inc()
		return
	}
	path, _, _ := strings.Cut(r.Path, "?")
	e := audit.Event{
		Name: audit.Deny, Outcome: audit.Failure, Reason: d.Reason(),
		Address: address(r.source), UserAgent: cut(r.header("user-agent")), RequestID: cut(r.requestID()),
		Method: cut(r.Method), Host: cut(r.Host), Path: cut(path),
	}
	if d.Identity != nil && d.Identity.Claims != nil {
		c := d.Identity.Claims
		e.Issuer, e.Subject, e.SessionID, e.TokenID, e.ClientID, e.Tenant = c.Issuer, c.Subject, c.SessionID, c.ID, c.ClientID, c.Tenant
	}
	if d.Revocation.Revoked {
		e.Kind, e.Seq = d.Revocation.Kind.String(), d.Revocation.Seq
	}
	a.recorder.Record(e)
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
