package revocation

import "time"

// Facts are what a token says of itself that a revocation may name. An empty string names nothing.
type Facts struct {
	Issuer, TokenID, SessionID, Subject, ClientID, Tenant, KeyID string

	IssuedAt int64 // iat, unix seconds
	AuthTime int64 // when the session began, unix seconds; 0 if the token has none
	// Ours means that the token is of an issuer that ends a user's sessions by their sids, and whose
	// auth_time is not before the user's last log out everywhere.
	Ours bool
}

// Verdict is whether a token is revoked, and by which entry. The zero Verdict is "not revoked":
// ask [Freshness] too.
type Verdict struct {
	Revoked bool
	Kind    Kind
	Reason  string
	Seq     uint64 // the entry's place in the log; 0 while an issuer's own entry has none yet
}

// OfKey reports whether the key that signed the token is revoked itself. An entry for all tokens of
// its issuer does not count.
func (v Verdict) OfKey() bool { return v.Revoked && v.Kind == KindKID }

// Why a process is not fresh. The empty string means it is.
const (
	WhyNoCopy  = "no_copy"       // no complete and confirmed copy of the log yet
	WhyStale   = "stale"         // nothing has been confirmed for longer than max_staleness
	WhyClock   = "clock"         // no confirmed copy yet, and the clock is too far from Redis'
	WhyUnknown = "unknown_entry" // the log holds an entry this version cannot read
)

// Freshness is whether a process may allow anything on the word of its copy of the log. The zero
// Freshness is not fresh.
type Freshness struct {
	Fresh     bool
	Staleness time.Duration // since the newest counting heartbeat was sent; 0 when there was none
	Why       string
}
