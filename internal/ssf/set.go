package ssf

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token/strict"
)

const (
	maxDepth  = 16
	maxEvents = 16 // RFC 8417 lets one message have several events
	maxDate   = 253402300799
)

// Set is what a security event token says (RFC 8417 section 2.2).
type Set struct {
	ID          string // jti
	Issuer      string
	Audience    []string
	IssuedAt    time.Time
	TimeOfEvent time.Time // toe; zero when it does not say
	Transaction string    // txn
	Subject     Subject   // sub_id
	Events      []Event   // at least one, each of another type
}

// Event is one member of events.
type Event struct {
	Type   Type
	At     time.Time // event_timestamp; zero when there is none that can be read
	State  string    // of a verification
	Status string    // of a stream that was updated
}

// Parse reads a message's claims from their text, as Read does.
func Parse(claims string) (Set, error) {
	root, err := strict.Parse(claims, strict.Rules{MaxDepth: maxDepth})
	switch {
	case errors.Is(err, strict.ErrDuplicate):
		return Set{}, Refuse(InvalidRequest, "a name stands twice in one object")
	case err != nil:
		return Set{}, Refuse(InvalidRequest,
			"expected claims in JSON, nested at most %d deep, and nothing after them", maxDepth)
	}
	return Read(root)
}

// Read reads a message's claims. Its errors are *Error.
func Read(root strict.Value) (s Set, err error) {
	if root.Kind() != strict.Object {
		return Set{}, Refuse(InvalidRequest, "expected claims as a JSON object, got %s", root.Kind())
	}
	// SSF sections 4.1.2 and 4.1.6: so that no other kind of token is ever taken for a message.
	for _, name := range []string{"exp", "sub"} {
		if _, there := root.Member(name); there {
			return Set{}, Refuse(InvalidRequest, "expected no %s in a security event token", name)
		}
	}
	if s.ID, err = text(root, "jti"); err != nil {
		return Set{}, err
	}
	if s.Issuer, err = text(root, "iss"); err != nil {
		return Set{}, err
	}
	if s.Audience, err = audience(root); err != nil {
		return Set{}, err
	}
	at, _ := root.Member("iat")
	var ok bool
	if s.IssuedAt, ok = date(at); !ok {
		return Set{}, Refuse(InvalidRequest, "expected iat to be a time in seconds, got %s", at.Kind())
	}
	if toe, there := root.Member("toe"); there {
		s.TimeOfEvent, _ = date(toe) // it only narrows what is asked for
	}
	if txn, there := root.Member("txn"); there && clean(txn) {
		s.Transaction = txn.Text()
	}
	if s.Events, err = events(root); err != nil {
		return Set{}, err
	}
	s.Subject, err = primary(root)
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

func audience(root strict.Value) ([]string, error) {
	v, _ := root.Member("aud")
	list := []strict.Member{{Value: v}}
	if v.Kind() == strict.Array {
		list = v.Members()
	}
	names := make([]string, 0, len(list))
	for _, m := range list {
		if !clean(m.Value) {
			return nil, Refuse(InvalidRequest, "expected aud to be a string or a list of strings")
		}
		names = append(names, strings.Clone(m.Value.Text()))
	}
	return names, nil
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
		e := Event{Type: typeOf(m.Name)}
		if at, there := m.Value.Member("event_timestamp"); there {
			e.At, _ = date(at)
		}
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

// date reads a NumericDate (RFC 7519 section 2), which may have a fraction; what does not fall on
// a millisecond counts as the next one, since a cutoff is to miss nothing.
func date(v strict.Value) (time.Time, bool) {
	if v.Kind() != strict.Number {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseFloat(v.Text(), 64)
	if err != nil || !(seconds >= 1 && seconds <= maxDate) {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(math.Ceil(seconds * 1000))), true
}
