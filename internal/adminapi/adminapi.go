// Package adminapi declares what the issuer's admin API and its clients say to each other, as JSON
// over HTTP: once, for the server (issuer/admin) and for the operator's command (cmd/sallyport).
//
// Times are RFC 3339 in UTC, durations are seconds as a JSON number, and a member whose comment
// says "null" or "absent" is a pointer so that not known differs from zero. An error is a Problem,
// with any status but 200 and 202.
package adminapi

import (
	"net/url"
	"time"
)

// The paths of the API, below the base URL of an issuer's admin port. Every request carries the
// admin token as bearer.
const (
	// StatusPath, by GET, is answered with a Status.
	StatusPath = "/admin/status"
	// RevocationsPath, by POST, takes a Revocation and is answered with a Revoked, or with
	// ?dry_run=true with a Preview; by GET it is answered with Entries, and behind it /{seq} with
	// one Entry.
	RevocationsPath = "/admin/revocations"
	// UserLogoutPath is the pattern of what, by POST, takes an Order, or nothing, and is answered
	// with a Revoked.
	UserLogoutPath = "/admin/users/{name}/logout"
)

// LogoutOf returns the path that logs one user out everywhere.
func LogoutOf(user string) string { return "/admin/users/" + url.PathEscape(user) + "/logout" }

// MaxEntries is the most entries that one answer holds, and the most that ?limit= may ask for.
const MaxEntries = 1000

// Order says who orders something and why. Both stand in the log and in the audit lines; nobody
// checks them.
type Order struct {
	Actor  string `json:"actor"`  // empty: operator
	Reason string `json:"reason"` // a-z, 0-9 and _; empty: logout_everywhere
}

// Revocation asks for a revocation.
type Revocation struct {
	Actor string `json:"actor"` // as in an Order
	// IssuedBefore is up to when tokens are issued, or sessions begun, that it reaches: RFC 3339;
	// absent: the moment it is carried out.
	IssuedBefore string `json:"issued_before,omitempty"`
	// Issuer is whose token, session, user, client, tenant or key it is, by its iss; absent: the
	// issuer that is asked.
	Issuer string `json:"issuer,omitempty"`
	Kind   string `json:"kind"`   // jti, sid, sub, client, tenant, kid or iss
	Reason string `json:"reason"` // as in an Order; empty: operator
	// Value is what is revoked: an id or a name of that kind; absent for iss, which is Issuer.
	Value string `json:"value,omitempty"`
}

// Revoked is the answer to a revocation that is stored. The public /logout answers with it too,
// without Issuer and all after it.
type Revoked struct {
	Revoked bool   `json:"revoked"` // true
	Seq     uint64 `json:"seq"`     // its place in the log
	// Applied is "2/3": of three live gates two have applied it. Absent unless ?wait= was given.
	Applied string   `json:"applied,omitempty"`
	Behind  []string `json:"behind,omitempty"` // the names of the other gates; then the status is 202
	// Issuer is the iss that it was revoked at.
	Issuer string `json:"issuer,omitempty"`
	// Sessions is how many sessions were known of what was named; 0 mostly means a name that is
	// spelt wrongly. Absent where sessions are not kept by it.
	Sessions *int `json:"sessions,omitempty"`
	// Effect is, in words, what is refused of another issuer's, where nothing ends by that. Absent
	// for what is revoked at the issuer that is asked.
	Effect string `json:"effect,omitempty"`
	// Until is until when that holds at least.
	Until *time.Time `json:"until,omitempty"`
}

// Preview is the answer to a dry run: what a revocation would end, as far as it can be known.
// Nothing is changed.
type Preview struct {
	DryRun       bool       `json:"dry_run"` // true
	Kind         string     `json:"kind"`
	Value        string     `json:"value,omitempty"`
	Issuer       string     `json:"issuer"`
	IssuedBefore *time.Time `json:"issued_before,omitempty"` // absent: the moment it is carried out
	Effect       string     `json:"effect"`                  // in words, for people
	// Revoked is whether this issuer knows it to be revoked already; absent where that depends on
	// a token's age.
	Revoked *bool `json:"already_revoked,omitempty"`
	// SessionsKnown is false where sessions are not kept by what was named: they may be any number.
	SessionsKnown bool      `json:"sessions_known"`
	SessionsTotal int       `json:"sessions_total"`
	Sessions      []Session `json:"sessions"` // at most a thousand of them
}

// Session is a session that a revocation would end.
type Session struct {
	ID       string    `json:"id"`
	Subject  string    `json:"subject"`
	ClientID string    `json:"client_id"`
	Tenant   string    `json:"tenant,omitempty"`
	Began    time.Time `json:"began"`
	Expires  time.Time `json:"expires"`
	State    string    `json:"state"` // active, ending or ended
}

// Head is how far the log has got: the furthest that any process that is on the log has applied,
// and issuers apply what they append at once.
type Head struct {
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Entries is a part of the log, oldest entry first: those behind ?after=, at most ?limit= (100) of
// them, and only those of ?kind=, ?value= and ?issuer= if these are given.
type Entries struct {
	// Head was read before the entries: another epoch next time means that ?after= must begin anew.
	// null while nobody is on the log.
	Head    *Head   `json:"head"`
	Entries []Entry `json:"entries"`
	Last    uint64  `json:"last"` // how far the log has been looked through
	// Next is there when there may be more: ask again with ?after= this, also when Entries is empty.
	Next uint64 `json:"next,omitempty"`
}

// Entry is an entry of the log.
type Entry struct {
	Seq          uint64     `json:"seq"`
	Kind         string     `json:"kind"` // as a Revocation's, or epoch: the log's beginning
	Issuer       string     `json:"issuer,omitempty"`
	Value        string     `json:"value,omitempty"`
	IssuedBefore *time.Time `json:"issued_before,omitempty"` // absent: tokens of any age
	Expires      time.Time  `json:"expires"`                 // no token it names is valid then
	Reason       string     `json:"reason,omitempty"`
	Actor        string     `json:"actor,omitempty"`
	At           time.Time  `json:"at"` // when it was ordered, by Redis' clock
}

// Status is who follows the log, and how far.
type Status struct {
	Well         bool      `json:"well"`                  // every process is ok, or has left
	Head         *Head     `json:"head"`                  // null while nobody is on the log
	MaxStaleness float64   `json:"max_staleness_seconds"` // the setting of the issuer that was asked
	Gates        []Process `json:"gates"`
	Issuers      []Process `json:"issuers"`
}

// State is how a process is doing.
type State string

// The states, the gravest first: a process is in the first that fits.
const (
	// Left was stopped, and said so as its last word: it answers nobody.
	Left State = "left"
	// Gone has a line that has not moved for max_staleness + settle: it has ended, was cut off, or
	// hangs.
	Gone State = "gone"
	// Stale has a copy that was last confirmed more than max_staleness ago.
	Stale State = "stale"
	// Shared has a line that another process writes, too: two of one name, or a gate for which
	// max_gates left no place.
	Shared State = "shared"
	// Unlike has another max_staleness than the issuer that was asked.
	Unlike State = "unlike"
	// NotReady says that its copy is not to be relied on yet.
	NotReady State = "not_ready"
	// OffLog has applied what is not the log as it is now, and loads it again.
	OffLog State = "off_log"
	// Behind has not applied every entry.
	Behind State = "behind"
	// OK has applied the whole log.
	OK State = "ok"
)

// Well reports whether a process in this state is as it should be.
func (s State) Well() bool { return s == OK || s == Left }

// Process is a gate or an issuer by its line, which it writes with each heartbeat.
type Process struct {
	Name    string  `json:"name"`
	Version string  `json:"version"`
	State   State   `json:"state"`
	Ready   bool    `json:"ready"` // as it said itself, when its line last moved
	Epoch   string  `json:"epoch"` // with Seq: what it has applied
	Seq     uint64  `json:"seq"`
	OnLog   bool    `json:"on_log"` // that lies on the log as it is now
	Lag     *uint64 `json:"lag"`    // entries not applied; null when it is not on the log
	// Staleness is the age of the last confirmation of its copy; null when there has been none.
	Staleness *float64 `json:"staleness_seconds"`
	// KeySetAge is the age of a gate's oldest key set; null: an issuer, or none yet.
	KeySetAge *float64 `json:"key_set_age_seconds"`
	Age       float64  `json:"age_seconds"` // since its line was last seen to move
	Live      bool     `json:"live"`
	Shared    bool     `json:"shared"` // another process writes its line, too
	// MaxStaleness is its setting, which must be one and the same everywhere; null when it does not
	// say.
	MaxStaleness *float64 `json:"max_staleness_seconds"`
}

// NothingHere is how a Problem's description begins where there is no such path: the port is another
// one, or has no admin API.
const NothingHere = "There is nothing here."

// Problem is an answer that refuses, as RFC 6749 section 5.2 has it.
type Problem struct {
	Error       string `json:"error"`
	Description string `json:"error_description"` // for people
}
