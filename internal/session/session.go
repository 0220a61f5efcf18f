package session

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Login is what a session keeps of the login that began it. Roles are not part of it: each refresh
// reads them anew.
type Login struct {
	Subject string
	Tenant  string
	Scope   []string
	AMR     []string // how the user was authenticated (RFC 8176)
	// Credential and Rights name what the login went by, as credential.User does: the password, and
	// what the user was allowed.
	Credential, Rights string
}

// Session is a session that lives.
type Session struct {
	Login
	ID       string
	ClientID string
	// Began is in the log's time. As the tokens' auth_time it lies in a later second than the user's
	// last log out everywhere.
	Began   time.Time
	Expires time.Time
}

// Grant is leave to mint tokens: it exists only after what it says is stored.
type Grant struct {
	Session      Session
	RefreshToken string
	// Now is the log's time from before the counter moved. iat and exp must come from it: a token
	// then never outlives the revocation of a session that was ended meanwhile.
	Now time.Time
	// Repeated means that the refresh token had been spent just before, and that this is the same
	// successor again.
	Repeated bool
}

// Reason is why a refresh token was refused: short and stable, in snake case, out of a fixed list.
type Reason string

// The reasons. All of them are invalid_grant to the client (RFC 6749 section 5.2).
const (
	ReasonMalformed Reason = "malformed"       // not a refresh token
	ReasonForged    Reason = "forged"          // its code is not of this key ring
	ReasonClient    Reason = "client"          // another client's; its session is left as it is
	ReasonMissing   Reason = "session_unknown" // expired, or lost by Redis
	ReasonExpired   Reason = "session_expired"
	ReasonEnded     Reason = "session_ended"
	ReasonEra       Reason = "era"     // Redis has lost the log since the session began
	ReasonRevoked   Reason = "revoked" // the session, its user, client, tenant or issuer is

	// What ends the session.
	ReasonReuse     Reason = "reuse"            // the token was spent before
	ReasonAhead     Reason = "counter_ahead"    // Redis has lost the refresh that made the token
	ReasonLoggedOut Reason = "generation"       // the user was logged out everywhere
	ReasonBarred    Reason = "account_disabled" // the user is disabled or gone
	ReasonPassword  Reason = "password_changed" // the password is another one than at login
)

// Refusal is the error of a refresh token that was refused. SessionID and Subject are filled in
// when the token was genuine and they are known.
type Refusal struct {
	Reason    Reason
	SessionID string
	Subject   string
	Ended     bool   // the refusal ended the session: its revocation is stored
	Seq       uint64 // then: its place in the log
}

func (e *Refusal) Error() string { return "session: refresh token refused: " + string(e.Reason) }

var (
	// ErrMoved means that the user was logged out everywhere while a login was under way: check the
	// password again.
	ErrMoved = errors.New("session: the user was logged out everywhere during the login")
	// ErrBarred is what an admission check returns for a user who may not go on: the session ends.
	ErrBarred = errors.New("session: the user may not go on")
	// ErrPassword is what an admission check returns when the password is another one than at
	// login: the session ends.
	ErrPassword = errors.New("session: the password has been changed since the login")
	// ErrNotFresh means that this issuer's copy of the revocations, or its clock, is not to be
	// relied on now.
	ErrNotFresh = errors.New("session: the copy of the revocation log is not fresh")
)

// Listed is a session as its record has it, for an operator: it may come from a server that is no
// longer the primary, and nothing is granted or ended by it.
type Listed struct {
	Session
	State State
}

// recordFields are the record's fields in the order in which record reads them.
var recordFields = []string{
	"state", "sub", "client", "tenant", "scope", "amr", "begun", "exp", "cut", "cred", "rights",
}

// optionalFields are the last of recordFields: a record of an earlier version lacks them, and its
// session must log in again.
const optionalFields = 2

// record is a session's record as it is stored.
type record struct {
	session Session
	state   State
	cut     time.Time // when the user was last logged out everywhere before the session began
}

func parseRecord(id ID, values []any) (record, error) {
	f := make([]string, len(recordFields))
	for i, v := range values {
		text, ok := v.(string)
		// Strictly: of a session that is known in part, nobody knows what forbids it.
		if !ok && i < len(recordFields)-optionalFields {
			return record{}, fmt.Errorf("session: a session's record lacks %s", recordFields[i])
		}
		f[i] = text
	}
	state, err := parseState(f[0])
	if err != nil {
		return record{}, err
	}
	var times [3]time.Time
	for i, text := range f[6:9] {
		if times[i], err = parseMillis(text); err != nil {
			return record{}, fmt.Errorf("session: a session's %s: %w", recordFields[6+i], err)
		}
	}
	return record{
		session: Session{
			Login: Login{
				Subject: f[1], Tenant: f[3], Scope: strings.Fields(f[4]),
				AMR: strings.Fields(f[5]), Credential: f[9], Rights: f[10],
			},
			ID:       id.String(),
			ClientID: f[2],
			Began:    times[0],
			Expires:  times[1],
		},
		state: state, cut: times[2],
	}, nil
}

func parseState(text string) (State, error) {
	for s := Active; s <= Ended; s++ {
		if s.String() == text {
			return s, nil
		}
	}
	return Missing, fmt.Errorf("session: a session's record has an unknown state, %q", text)
}

func parseMillis(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, errors.New("expected milliseconds")
	}
	return time.UnixMilli(n), nil
}

// beganForUser returns the session's beginning as a log out everywhere is to judge it: after the
// one that the user's record knew of, whatever the clocks of two issuers say of the last
// milliseconds.
func (r record) beganForUser() time.Time {
	if after := r.cut.Add(time.Millisecond); after.After(r.session.Began) {
		return after
	}
	return r.session.Began
}

// authTime returns the session's beginning as its tokens tell it, in whole seconds: after the
// second of that log out everywhere. Gates deny what began in the very second, for they cannot tell
// what began before it from what began after it.
func (r record) authTime() time.Time {
	if after := r.cut.Truncate(time.Second).Add(time.Second); after.After(r.session.Began) {
		return after
	}
	return r.session.Began
}
