package issuer

import (
	"errors"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/sender"
	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

// backchannelLogoutEvent is the member of events that a logout token must have (OpenID Connect
// Back-Channel Logout 1.0 section 2.4).
const backchannelLogoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// backchannelReason is the reason of the entries that follow from logout tokens.
const backchannelReason = "backchannel_logout"

// logoutTokens are read under either typ: the one that the specification recommends, and the one
// that issuers write who have none for logout tokens.
var logoutTokens = sender.Kind{
	Types:  []string{"logout+jwt", "JWT"},
	MaxAge: func(from *sender.Config) time.Duration { return from.MaxMessageAge },
}

var (
	// errNotVerified has one text for whatever a stranger can make up.
	errNotVerified = httpapi.InvalidRequest(
		"the logout token is not one that a sender of this issuer has signed")
	errKeyPending = &httpapi.Refusal{
		Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable",
		Description: "The key that signed the logout token is not known yet: try again.",
		RetryAfter:  10 * time.Second,
	}
)

// backchannelLogout answers POST /backchannel-logout: it ends the session that a logout token names,
// or, where it names none, all sessions of its subject that had begun when it was made. 200 says
// that this is stored.
func (s *receiver) backchannelLogout(r *httpapi.Request) (httpapi.Reply, error) {
	event := s.trail.Event(r, audit.Message)
	receipt, repeated, err := s.followLogoutToken(r, &event)
	outcome, reason, detail := outcomeOf(err)
	if repeated {
		outcome = "repeated"
	}
	s.metrics.messages.WithLabelValues("backchannel", outcome).Inc()
	event.Seq, event.Detail = receipt.Seq, detail
	s.trail.Record(event, reason)
	var refused *sender.Refusal
	switch {
	case errors.Is(err, sender.ErrKeyPending):
		return httpapi.Reply{}, errKeyPending
	case errors.As(err, &refused) && refused.Authentic:
		return httpapi.Reply{}, httpapi.InvalidRequest("the logout token is refused: " + refused.Detail)
	case errors.As(err, &refused):
		return httpapi.Reply{}, errNotVerified
	case err != nil:
		return httpapi.Reply{}, err
	}
	return httpapi.Reply{Status: http.StatusOK, Body: struct{}{}}, nil
}

func (s *receiver) followLogoutToken(r *httpapi.Request,
	event *audit.Event) (receipt revocation.Receipt, repeated bool, err error) {
	compact, err := r.FormField("logout_token")
	if err != nil {
		return receipt, false, err
	}
	m, err := s.verify(r, compact, logoutTokens, event)
	if err != nil {
		return receipt, false, err
	}
	request, err := readLogoutToken(m)
	if err != nil {
		return receipt, false, err
	}
	event.Kind, event.Value = request.Kind.String(), request.Value
	event.RevocationReason = request.Reason
	return s.carryOut(r.Context(), m, []revocation.Request{request})
}

// readLogoutToken returns what a logout token asks for (section 2.6).
func readLogoutToken(m *sender.Message) (request revocation.Request, err error) {
	if _, ok := m.Event(backchannelLogoutEvent); !ok {
		return request, m.Refuse(token.ReasonClaimRequired,
			"expected events to be an object with an object "+backchannelLogoutEvent)
	}
	// It is what tells a logout token from an ID token, which has one where it could be taken for it.
	if _, ok := m.Claims.Member("nonce"); ok {
		return request, m.Refuse(token.ReasonClaimShape, "expected no nonce in a logout token")
	}
	sid, err := m.Text("sid")
	if err != nil {
		return request, err
	}
	sub, err := m.Text("sub")
	if err != nil {
		return request, err
	}
	switch {
	case sid != "":
		// One session, also beside a sub: the user's other sessions go on.
		return m.Revoke(revocation.KindSID, sid, backchannelReason, time.Time{}), nil
	case sub != "":
		// Those that had begun by then. The user may have logged in again since.
		return m.Revoke(revocation.KindSub, sub, backchannelReason, m.IssuedAt), nil
	}
	return request, m.Refuse(token.ReasonClaimRequired, "expected sid or sub, got neither")
}
