package sender

import (
	"math"
	"strconv"
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

// Text returns a claim that is a text; "" when it is absent.
func (m *Message) Text(name string) (string, error) {
	v, ok := m.Claims.Member(name)
	if !ok {
		return "", nil
	}
	if v.Kind() != strict.String || v.Text() == "" || len(v.Text()) > maxText ||
		strings.ContainsFunc(v.Text(), isControl) {
		return "", m.Refuse(token.ReasonClaimShape,
			"expected "+name+" to be a text without control characters that is not empty")
	}
	return strings.Clone(v.Text()), nil
}

// Events returns the members of the claim events (RFC 8417 section 2.2): nothing, unless it is an
// object whose members are objects.
func (m *Message) Events() []strict.Member {
	events, ok := m.Claims.Member("events")
	if !ok || events.Kind() != strict.Object {
		return nil
	}
	for _, e := range events.Members() {
		if e.Value.Kind() != strict.Object {
			return nil
		}
	}
	return events.Members()
}

// Event returns the event of that name.
func (m *Message) Event(uri string) (strict.Value, bool) {
	for _, e := range m.Events() {
		if e.Name == uri {
			return e.Value, true
		}
	}
	return strict.Value{}, false
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

// maxDate is the last second of the year 9999, as in tokens.
const maxDate = 253402300799

// date returns a claim that is a NumericDate (RFC 7519 section 2), to the millisecond and never
// later than it says.
func (m *Message) date(name string) (at time.Time, ok bool, err error) {
	v, ok := m.Claims.Member(name)
	if !ok {
		return time.Time{}, false, nil
	}
	seconds, err := strconv.ParseFloat(v.Text(), 64)
	if v.Kind() != strict.Number || err != nil || seconds < 1 || seconds > maxDate {
		return time.Time{}, false, m.Refuse(token.ReasonDate,
			"expected "+name+" to be a number of seconds since 1970")
	}
	return time.UnixMilli(int64(math.Floor(seconds * 1000))), true, nil
}
