package httpapi

import (
	"errors"

	"github.com/sallyport/sallyport/internal/audit"
)

// Recorder keeps security events; *audit.Log is one.
type Recorder interface{ Record(audit.Event) }

// Trail records what requests do at one issuer.
type Trail struct {
	Issuer, ClientID string
	To               Recorder
}

// Event begins the record of what a request does. It holds names and ids, never a password or a
// token.
func (t Trail) Event(r *Request, name audit.Name) audit.Event {
	address := ""
	if r.From.Address.IsValid() {
		address = r.From.Address.String()
	}
	return audit.Event{
		Name: name, Issuer: t.Issuer, ClientID: t.ClientID,
		Address: address, UserAgent: r.UserAgent(), RequestID: r.Header.Get("X-Request-Id"),
		Method: r.Method, Path: r.URL.Path,
	}
}

// Record writes the event. A reason makes it a failure.
func (t Trail) Record(e audit.Event, reason string) {
	e.Outcome, e.Reason = audit.Success, reason
	if reason != "" {
		e.Outcome = audit.Failure
	}
	t.To.Record(e)
}

// FailureOf names a failure for a record: the code of a Refusal, else unavailable; "" is none.
func FailureOf(err error) string {
	var refused *Refusal
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refused):
		return refused.Code
	}
	return "unavailable"
}
