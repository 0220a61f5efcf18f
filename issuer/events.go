package issuer

import (
	"net/url"

	"github.com/sallyport/sallyport/internal/audit"
)

// event begins the record of what a request does. It holds names and ids, never a password or a
// token.
func (s *Server) event(r *request, name audit.Name) audit.Event {
	address := ""
	if r.from.address.IsValid() {
		address = r.from.address.String()
	}
	return audit.Event{
		Name: name, Issuer: s.cfg.Issuer, ClientID: s.cfg.ClientID,
		Address: address, UserAgent: r.UserAgent(), RequestID: r.Header.Get("X-Request-Id"),
		Method: r.Method, Path: r.URL.Path,
	}
}

// record writes the event. A reason makes it a failure.
func (s *Server) record(e audit.Event, reason string) {
	e.Outcome, e.Reason = audit.Success, reason
	if reason != "" {
		e.Outcome = audit.Failure
	}
	s.audit.Record(e)
}

// parseQuery reads a query strictly.
func parseQuery(raw string) (url.Values, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalidRequest("the URL's query can not be read")
	}
	return query, nil
}
