package extauthz

import (
	"strings"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/audit"
	"google.golang.org/protobuf/encoding/protowire"
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

// describe fills in the fields of a line beside its reason. Nothing in them may be a view of the
// message, which is gone before the line is written.
func (r *checkRequest) describe(e *audit.Event) {
	d := &r.decided
	path, _, _ := strings.Cut(r.Path, "?") // a query may hold a token
	e.Detail = d.Detail()
	e.Address = address(r.source)
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

func (r *checkRequest) requestID() string {
	if id := r.header("x-request-id"); id != "" {
		return id
	}
	return r.id
}

// maxField is how many bytes of a field are handed on; an audit line keeps fewer.
const maxField = 512

// cut copies the part of a view that an audit line may keep.
func cut(s string) string { return strings.Clone(s[:min(len(s), maxField)]) }

// address returns the IP address from which Envoy has a request, "" when there is none.
func address(peer []byte) string {
	b := peer
	for _, number := range []protowire.Number{fieldPeerAddress, fieldSocketAddress, fieldAddress} {
		b = content(b, number)
	}
	return string(b)
}

// content returns the content of the first field of that number.
func content(message []byte, number protowire.Number) []byte {
	for f := (fields{rest: message}); f.next(); {
		if f.has(number) {
			return f.value
		}
	}
	return nil
}

// Field numbers in envoy/config/core/v3.
const (
	fieldPeerAddress   protowire.Number = 1 // of AttributeContext.Peer
	fieldSocketAddress protowire.Number = 1 // of Address
	fieldAddress       protowire.Number = 2 // of SocketAddress
)
