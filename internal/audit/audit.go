// Package audit writes security events: who logged in, was refused, refreshed, logged out, was
// revoked, by whom.
//
// It promises:
//   - One event is one line, and one line is one valid JSON object of plain ASCII, whatever bytes
//     a stranger put into it: line breaks, quotes, escape sequences, invalid UTF-8, letters that
//     reverse the direction of text.
//   - A field keeps at most 256 bytes of what it is given.
//   - The fields are those of Event and no others. There is none for a token, a password or a key,
//     and what has the shape of one is redacted wherever it turns up.
//   - Failures write at most so many lines a second, for each event and reason (Limit); those left
//     out are counted, and a line tells how many there were.
//   - An event that could not be written is counted and reported in the log, never silently lost.
package audit

import "time"

// Name is what happened.
type Name string

// The events.
const (
	Login   Name = "login"   // a password was checked, or refused before that
	Refresh Name = "refresh" // a refresh token was used
	Logout  Name = "logout"  // a session was ended by its owner
	Revoke  Name = "revoke"  // tokens were revoked by someone else
	Deny    Name = "deny"    // a gate refused a request
	Reuse   Name = "reuse"   // a spent refresh token came back, and its session was ended
	Key     Name = "key"     // a signing key was made, promoted, retired or removed
	Users   Name = "users"   // the users were read anew
	Message Name = "message" // another issuer told of a logout, or somebody in its name
	// GateLine: what stood in place of a gate's line in Redis was no line, and was dropped: somebody
	// else uses a gate's Redis user.
	GateLine Name = "gate_line"
)

// Outcome is how it ended.
type Outcome string

// The outcomes.
const (
	Success Outcome = "success"
	Failure Outcome = "failure"
)

// Event is one line. Empty fields are left out; time, name and outcome are always there.
type Event struct {
	Time    time.Time // zero: now
	Name    Name      // "event" in the line
	Outcome Outcome   // whatever is not Success is written as a failure
	Reason  string    // a short stable code, of a failure mostly
	Detail  string    // of a refusal: which claim, role or scope, and what was expected
	Issuer  string    // the token's
	// whom it concerns, as far as known: for a failed login only a user that there is
	Subject   string
	SessionID string
	TokenID   string
	ClientID  string
	Tenant    string
	KeyID     string
	Address   string // the peer's, or the client's where a trusted proxy says so
	UserAgent string
	Method    string
	Host      string
	Path      string // without its query
	RequestID string
	// DecisionID names a gate's decision, in its answer and in its decision log.
	DecisionID string
	Actor      string // who ordered it, when that is not the subject
	Kind       string // what a revocation names: sid, jti, sub, client, ...
	Value      string // the one that it names
	// RevocationReason is why it was ordered, in the words of who ordered it.
	RevocationReason string
	Seq              uint64 // the entry's number in the revocation log; 0 is left out
	// Suppressed is set in a summary only: how many events with this name and reason had no line.
	Suppressed uint64
}

// outcome is success only if the event says so.
func (e *Event) outcome() Outcome {
	if e.Outcome == Success {
		return Success
	}
	return Failure
}

type field struct{ key, value string }

// textFields is how many fields a line has besides time and the numbers.
const textFields = 22

// fields lists the line's text fields in their order.
func (e *Event) fields() [textFields]field {
	return [textFields]field{
		{"event", string(e.Name)},
		{"outcome", string(e.outcome())},
		{"reason", e.Reason},
		{"detail", e.Detail},
		{"issuer", e.Issuer},
		{"subject", e.Subject},
		{"session_id", e.SessionID},
		{"token_id", e.TokenID},
		{"client_id", e.ClientID},
		{"tenant", e.Tenant},
		{"key_id", e.KeyID},
		{"address", e.Address},
		{"user_agent", e.UserAgent},
		{"method", e.Method},
		{"host", e.Host},
		{"path", e.Path},
		{"request_id", e.RequestID},
		{"decision_id", e.DecisionID},
		{"actor", e.Actor},
		{"kind", e.Kind},
		{"value", e.Value},
		{"revocation_reason", e.RevocationReason},
	}
}
