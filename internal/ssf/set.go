package ssf

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/internal/token/strict"
)

const maxEvents = 16 // RFC 8417 lets one message have several events

// Set is what a security event token tells (RFC 8417 section 2.2).
type Set struct {
	IssuedAt    time.Time
	TimeOfEvent time.Time // toe; zero when it does not say
	Subject     Subject   // sub_id; not read when no event ends anything, nor is about the stream
	Events      []Event   // at least one, each of another type
}

// Event is one member of events.
type Event struct {
	Type   Type
	At     time.Time // event_timestamp; zero when there is none that can be read
	State  string    // of a verification
	Status string    // of a stream that was updated
}

// Read reads what a verified message tells, out of its claims. Whom it is about is read if an event is
// to end something by the sender's rules, or is about the stream. Its errors are *Error.
func Read(root strict.Value, rules Rules) (s Set, err error) {
	// SSF sections 4.1.2 and 4.1.6: so that no other kind of token is ever taken for a message.
	for _, name := range []string{"exp", "sub"} {
		if _, there := root.Member(name); there {
			return Set{}, Refuse(InvalidRequest, "expected no %s in a security event token", name)
		}
	}
	at, _ := root.Member("iat")
	if s.IssuedAt, err = token.Date(at, "iat"); err != nil {
		return Set{}, Refuse(InvalidRequest, "expected iat to be a time in seconds, got %s", at.Kind())
	}
	s.TimeOfEvent = dateOf(root, "toe")
	if s.Events, err = events(root); err != nil {
		return Set{}, err
	}
	// Whom an event is about that ends nothing need not be told in a way that is known here.
	if slices.ContainsFunc(s.Events, func(e Event) bool { return rules.Ends(e) || e.Type.ofStream() }) {
		s.Subject, err = primary(root)
	}
	return s, err
}

// primary reads sub_id, which every SSF message has (SSF section 3.1).
func primary(root strict.Value) (Subject, error) {
	v, there := root.Member("sub_id")
	if !there {
		return Subject{}, Refuse(InvalidRequest, "expected sub_id, got none")
	}
	return readSubject(v, complexFormat, aliasesFormat)
}

func events(root strict.Value) ([]Event, error) {
	v, _ := root.Member("events")
	if n := len(v.Members()); v.Kind() != strict.Object || n == 0 || n > maxEvents {
		return nil, Refuse(InvalidRequest, "expected events to be an object of 1 to %d events",
			maxEvents)
	}
	list := make([]Event, 0, len(v.Members()))
	for _, m := range v.Members() {
		if m.Value.Kind() != strict.Object {
			return nil, Refuse(InvalidRequest, "expected each event to be an object, got %s",
				m.Value.Kind())
		}
		e := Event{Type: typeOf(m.Name), At: dateOf(m.Value, "event_timestamp")}
		if state, there := m.Value.Member("state"); there && state.Kind() == strict.String {
			e.State = strings.Clone(state.Text())
		}
		if status, there := m.Value.Member("status"); there && status.Kind() == strict.String {
			e.Status = strings.Clone(status.Text())
		}
		list = append(list, e)
	}
	return list, nil
}

// text reads a claim that must be there and be fit to be compared, logged and put into an entry.
func text(object strict.Value, name string) (string, error) {
	v, _ := object.Member(name)
	if !clean(v) {
		return "", Refuse(InvalidRequest,
			"expected %s to be a string of 1 to %d bytes without control characters, got %s", name,
			revocation.MaxValue, v.Kind())
	}
	return strings.Clone(v.Text()), nil
}

func clean(v strict.Value) bool {
	s := v.Text()
	return v.Kind() == strict.String && s != "" && len(s) <= revocation.MaxValue &&
		utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// dateOf returns a time that only narrows what is asked for; zero when it is none.
func dateOf(object strict.Value, name string) time.Time {
	v, _ := object.Member(name)
	at, err := token.Date(v, name)
	if err != nil {
		return time.Time{}
	}
	return at
}
