package sender

import (
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/internal/token/strict"
)

// Message is a message that its sender has signed, is for this issuer, and whose time is not over.
type Message struct {
	Sender   *Config
	ID       string // jti
	KeyID    string
	IssuedAt time.Time
	Claims   strict.Value // all that it says: an object
}

// Refuse returns the refusal of a message that its sender has signed, and that cannot be followed.
// The detail must hold no part of the message.
func (m *Message) Refuse(reason token.Reason, detail string) error {
	return &Refusal{Reason: reason, Detail: detail, Issuer: m.Sender.Issuer, Authentic: true}
}

// maxText is the most bytes of an id, as in tokens.
const maxText = 512

// Text returns a claim that is a text; "" when it is absent, or null.
func (m *Message) Text(name string) (string, error) {
	v, ok := m.Claims.Member(name)
	if !ok || v.Kind() == strict.Null {
		return "", nil
	}
	if v.Kind() != strict.String || v.Text() == "" || len(v.Text()) > maxText ||
		strings.ContainsFunc(v.Text(), isControl) {
		return "", m.Refuse(token.ReasonClaimShape,
			"expected "+name+" to be a text without control characters that is not empty")
	}
	return strings.Clone(v.Text()), nil
}

// Event returns the event of that name, out of events that are objects all (RFC 8417 section 2.2).
func (m *Message) Event(uri string) (event strict.Value, ok bool) {
	events, _ := m.Claims.Member("events")
	for _, e := range events.Members() {
		if events.Kind() != strict.Object || e.Value.Kind() != strict.Object {
			return strict.Value{}, false
		}
		if e.Name == uri {
			event, ok = e.Value, true
		}
	}
	return event, ok
}

// Revoke returns the request for a revocation that follows from the message: of what the message's
// sender may end, and of nothing else. The cutoff is for kinds that have one.
func (m *Message) Revoke(kind revocation.Kind, value, reason string,
	cutoff time.Time) revocation.Request {
	r := revocation.Request{
		Kind: kind, Issuer: m.Sender.EndsSessionsOf(), Value: value, Reason: reason,
		Actor: m.Sender.Issuer,
	}
	if kind.Cutoff() {
		r.IssuedBefore = cutoff
	}
	return r
}

// date returns a claim that is a NumericDate (RFC 7519 section 2), never later than it says.
func (m *Message) date(name string) (at time.Time, ok bool, err error) {
	v, ok := m.Claims.Member(name)
	if !ok || v.Kind() == strict.Null || name == "nbf" && token.IsNoDate(v) {
		return time.Time{}, false, nil
	}
	at, err = token.Date(v, name)
	return at, err == nil, err
}
