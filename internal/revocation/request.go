package revocation

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// The longest strings an entry may hold, in bytes.
const (
	MaxIssuer = 1024
	MaxValue  = 1024
	MaxReason = 64
	MaxActor  = 256
)

// Request asks for a revocation: of everything that Kind and Value name at Issuer.
type Request struct {
	Kind   Kind
	Issuer string // the iss claim of the tokens meant, letter by letter
	Value  string // the jti, sid, sub, client_id, tenant or kid; for kind iss empty
	// IssuedBefore is for kinds with a cutoff: tokens issued, and sessions begun, up to this time
	// are revoked. Zero means now. A time in the future is refused: an entry speaks of tokens that
	// exist.
	IssuedBefore time.Time
	Reason       string // short and stable, a-z 0-9 and _: logout, reuse, admin, ...
	Actor        string // who asked
}

// ErrInvalidRequest is wrapped by every error of Request.Validate.
var ErrInvalidRequest = errors.New("revocation: invalid request")

// Validate reports what is wrong with the request, whatever the time is.
func (r Request) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrInvalidRequest, fmt.Sprintf(format, args...))
	}
	if !r.Kind.Revokes() {
		return bad("expected a kind of jti, sid, sub, client, tenant, kid or iss, got %s", r.Kind)
	}
	if err := checkText("issuer", r.Issuer, MaxIssuer); err != nil {
		return bad("%v", err)
	}
	// It would be acknowledged and match no token: gates know a token's issuer by its iss.
	if strings.Contains(r.Issuer, "{tenantid}") {
		return bad("expected the issuer as the tokens' iss names it, with the tenant's id in the place" +
			" of {tenantid}")
	}
	if r.Kind == KindIss && r.Value != "" {
		return bad("a revocation of kind iss names its issuer and has no value")
	}
	if r.Kind != KindIss {
		if err := checkText("value", r.Value, MaxValue); err != nil {
			return bad("%v", err)
		}
	}
	if !r.Kind.Cutoff() && !r.IssuedBefore.IsZero() {
		return bad("a revocation of kind %s has no issued_before", r.Kind)
	}
	if len(r.Reason) > MaxReason ||
		strings.Trim(r.Reason, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return bad("expected a reason of up to %d of a-z, 0-9 and _", MaxReason)
	}
	if r.Actor != "" {
		if err := checkText("actor", r.Actor, MaxActor); err != nil {
			return bad("%v", err)
		}
	}
	return nil
}

func checkText(name, s string, most int) error {
	switch {
	case s == "":
		return fmt.Errorf("expected %s, got none", name)
	case len(s) > most:
		return fmt.Errorf("expected %s of up to %d bytes, got %d", name, most, len(s))
	case !utf8.ValidString(s):
		return fmt.Errorf("expected %s in UTF-8", name)
	// An entry's fields are kept apart by a control character.
	case strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return fmt.Errorf("expected %s without control characters", name)
	}
	return nil
}

// SessionRef names a session of an issuer.
type SessionRef struct{ Issuer, SessionID string }

// ErrUnavailable is wrapped by every error that means "not acknowledged, try again": a 503.
var ErrUnavailable = errors.New("revocation: log unavailable")

// Receipt is the acknowledgement of an append: where its last entry is.
type Receipt struct {
	Seq   uint64
	Epoch string
	Chain string // of that entry: a place alone says nothing once a log has gone back and grown again
	Alone bool   // no other issuer was alive to hold the entries as well
	Until int64  // unix ms: what the entries name is revoked at least until then; 0: not known
}

// Remembered is what the log knows of a session's end for as long as the session could have lived,
// its entries expired or not. A session that began at or before a cutoff must not be refreshed.
type Remembered struct {
	// the session itself was ended, whatever its own record says, which may lie on a shard that has
	// lost its newest writes
	Ended   bool
	Subject time.Time // the cutoff of its user; zero when there is none
	// the latest one of its client, its tenant and its issuer as a whole; zero when there is none
	Others time.Time
}

// Applied is how many live gates have applied what a receipt names.
type Applied struct {
	Applied, Total int
	Behind         []string // the names of those that have not, sorted
}

// All reports whether every live gate has.
func (a Applied) All() bool { return a.Applied == a.Total }

// LongestSession bounds for how long any session may be said to live: ten years.
const LongestSession = 10 * 365 * 24 * time.Hour
