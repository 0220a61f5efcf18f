package ssf

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// Rules say how a sender's events are understood.
type Rules struct {
	Issuer string // iss of the tokens and sessions that the sender may end; no others are ended
	Sender string // iss of its messages, in whose words it may speak of them, too
	// Subjects says which kind of entry an identifier of a format names, besides the formats
	// iss_sub and jwt_id, which say it themselves: {"email": KindSub} where the subject of the
	// issuer's tokens is an email address.
	Subjects map[string]revocation.Kind
	Ignored  []Type // types that end nothing
}

// CheckSubjects returns what is wrong with a setting for Rules.Subjects, nil when nothing is.
func CheckSubjects(setting map[string]string) (map[string]revocation.Kind, error) {
	kinds := make(map[string]revocation.Kind, len(setting))
	for format, name := range setting {
		if Formats[format] == "" {
			return nil, fmt.Errorf("ssf: expected a format of %s, got %.40q",
				strings.Join(formats(), ", "), format)
		}
		kind, err := revocation.ParseKind(name)
		if err != nil || !slices.Contains(mappable, kind) {
			return nil, fmt.Errorf(
				"ssf: expected %s to name a kind of sub, sid, client or tenant, got %.40q", format, name)
		}
		kinds[format] = kind
	}
	return kinds, nil
}

// mappable are the kinds that a mapping may lead to. A key or a whole issuer is nothing that an
// event speaks of.
var mappable = []revocation.Kind{
	revocation.KindSub, revocation.KindSID, revocation.KindClient, revocation.KindTenant,
}

// Outcome is what becomes of an event.
type Outcome string

// The outcomes.
const (
	Revokes  Outcome = "revokes"  // it asks for the requests that are returned
	Ignored  Outcome = "ignored"  // its type ends nothing here
	Unmapped Outcome = "unmapped" // it would end something, but what cannot be told from its subject
	Stream   Outcome = "stream"   // it is about the stream itself
)

// Requests returns what a message asks to be revoked, each thing once, and what becomes of each of
// its events. now is the time of the log. Its errors are *Error: the message is refused as a
// whole.
func (r Rules) Requests(s Set, now time.Time, skew time.Duration) ([]revocation.Request,
	[]Outcome, error) {
	if slices.ContainsFunc(s.Events, r.Ends) && r.foreign(s.Subject) {
		return nil, nil, Refuse(AccessDenied,
			"the subject is of an issuer that is not yours to speak for")
	}
	var (
		asked    []revocation.Request
		outcomes []Outcome
	)
	for _, e := range s.Events {
		more, outcome := r.event(s, e, now, skew)
		for _, q := range more {
			if err := q.Validate(); err != nil {
				return nil, nil, Refuse(InvalidRequest, "the subject is nothing that can be revoked")
			}
			// Types may be other names of the same event (SSF section 4.1.7).
			if !slices.ContainsFunc(asked, func(p revocation.Request) bool {
				return p.Kind == q.Kind && p.Value == q.Value && !p.IssuedBefore.Before(q.IssuedBefore)
			}) {
				asked = append(asked, q)
			}
		}
		outcomes = append(outcomes, outcome)
	}
	return asked, outcomes, nil
}

func (r Rules) event(s Set, e Event, now time.Time, skew time.Duration) ([]revocation.Request,
	Outcome) {
	switch {
	case e.Type.ofStream():
		return nil, Stream
	case !r.Ends(e):
		return nil, Ignored
	}
	named := r.named(s.Subject, e.Type)
	if len(named) == 0 {
		return nil, Unmapped
	}
	for i := range named {
		named[i].Issuer, named[i].Actor, named[i].Reason = r.Issuer, r.Sender, e.Type.String()
		if named[i].Kind.Cutoff() {
			named[i].IssuedBefore = cutoff(s, e, now, skew)
		}
	}
	return named, Revokes
}

// Ends reports whether an event is to end something here.
func (r Rules) Ends(e Event) bool {
	return e.Type.Ends() && !slices.Contains(r.Ignored, e.Type)
}

// cutoff returns when the event happened: who has logged in since is not concerned. A time that
// cannot be, as one in milliseconds, is left out of account. One that is ahead by less than the skew
// stays: by the same clock the sender's tokens are dated.
func cutoff(s Set, e Event, now time.Time, skew time.Duration) time.Time {
	for _, at := range []time.Time{e.At, s.TimeOfEvent, s.IssuedAt} {
		if !at.IsZero() && !at.After(now.Add(skew)) {
			return at
		}
	}
	return now
}

// named returns kind and value of each thing that a subject names; none when it cannot be told.
func (r Rules) named(s Subject, t Type) []revocation.Request {
	switch s.Format {
	case complexFormat:
		return r.combined(s.Members, t)
	case aliasesFormat:
		// Other names of the same thing: those that are known here suffice, and those that others
		// have given it are none of the sender's.
		var all []revocation.Request
		for _, one := range s.Of {
			if !r.foreign(one) {
				all = append(all, r.named(one, t)...)
			}
		}
		return all
	case "iss_sub":
		return one(revocation.KindSub, s.ID)
	case "jwt_id":
		return one(revocation.KindJTI, s.ID)
	}
	if kind := r.Subjects[s.Format]; kind.Revokes() && s.ID != "" {
		return one(kind, s.ID)
	}
	return nil
}

func one(kind revocation.Kind, value string) []revocation.Request {
	return []revocation.Request{{Kind: kind, Value: value}}
}

// combined returns what a complex subject names: that which all its members apply to (SSF section
// 3.3). What a user does on a device, or in an application, cannot be told apart at a gate: then
// all that the user has ends.
func (r Rules) combined(members map[string]Subject, t Type) []revocation.Request {
	session := sessionOf(members)
	user, hasUser := members["user"]
	switch {
	// An event about more than a session ends more: who has a stolen password has sessions of
	// their own. And a changed claim ends no session where the user is named, too, but the tokens
	// that have the old one; of a session alone no entry ends the older tokens only.
	case session != nil && (t == SessionRevoked || t == SessionsRevoked || !hasUser):
		return session
	case hasUser:
		if named := r.named(user, t); len(named) > 0 {
			return named
		}
		// Whose the session is cannot be told here: it is the least that the event is about.
		return session
	}
	// Only a tenant that stands alone means all who are in it.
	if tenant, there := members["tenant"]; there && len(members) == 1 && tenant.Format == "opaque" {
		return one(revocation.KindTenant, tenant.ID)
	}
	return nil
}

// sessionOf returns the session that a complex subject names; nil when it is none, or all of the
// user's.
func sessionOf(members map[string]Subject) []revocation.Request {
	session, there := members["session"]
	if !there || session.ID == allSessions ||
		session.Format != "opaque" && session.Format != "iss_sub" {
		return nil
	}
	return one(revocation.KindSID, session.ID)
}

// foreign reports whether a subject is in the words of an issuer that the sender may not speak for.
// Of aliases one that is not suffices.
func (r Rules) foreign(s Subject) bool {
	switch {
	case s.Issuer != "":
		return s.Issuer != r.Issuer && s.Issuer != r.Sender
	case len(s.Of) > 0:
		return !slices.ContainsFunc(s.Of, func(one Subject) bool { return !r.foreign(one) })
	}
	for _, member := range s.Members {
		if r.foreign(member) {
			return true
		}
	}
	return false
}
