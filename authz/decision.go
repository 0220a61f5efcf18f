package authz

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// Decision is what an engine says to a request. The zero value refuses.
type Decision struct {
	Allow bool
	// Token is what became of the request's token.
	Token TokenState
	// ID names the decision in the answer, in logs and in traces. Whoever accounts for decisions sets
	// it; an engine leaves it 0.
	ID ID
	// Identity is who calls: never nil when Allow is true, with nil Claims for anybody. In a
	// refusal it is the caller whose token was genuine, or nil.
	Identity *Identity
	// Refusal is what the client is told when Allow is false.
	Refusal *Refusal
	// Strip are headers of the request, as they were spelt, that a server might take for one of the
	// identity headers, or for one that asks for another method or path.
	Strip []string

	// Changes are what this request alone needs, if it may pass; nil: nothing.
	Changes *Changes

	// Remaining is how long the token lives by its exp, which leeway may have made negative; 0
	// without a token.
	Remaining time.Duration
	// EndsWithToken means that a request that may pass has to be over when its token expires,
	// however long its answer is.
	EndsWithToken bool
	// Missing names the key that was not there. A transport that can wait may have it fetched and
	// decide again.
	Missing Missing

	// Revocation is what revoked the token, when that was the reason.
	Revocation revocation.Verdict
	// Problem is what is wrong with the request itself, from a fixed list; Detail says more.
	Problem string
	// Cached means that the token had been verified before.
	Cached bool
	// Unverified means that nothing was decided, because Request.Remembered was set and the token was
	// not verified before, be it well-formed or not.
	Unverified bool

	rule     *policy.Rule // what the request fell under
	stricter *policy.Rule // the rule that the request differs from only in case
	lack     policy.Lack  // what the rule asks for and the token lacks
	cause    error        // what is wrong with the token
}

// AllowsStale reports whether the route goes on while nobody can tell whether the token has been
// revoked since the gate last knew (allow_stale).
func (d *Decision) AllowsStale() bool { return d.rule != nil && d.rule.AllowStale }

// TokenState is what became of a request's token by the time that it was decided on.
type TokenState uint8

// The states.
const (
	TokenUnasked  TokenState = iota // no policy was asked: the request itself was at fault, or the gate
	TokenUnread                     // none was looked for: what was asked for is public, or no path
	TokenNone                       // there was none
	TokenRefused                    // what was there was not one token, or not a genuine one
	TokenVerified                   // genuine, be it revoked, expired or not enough
)

var tokenStates = [...]string{"unasked", "unread", "none", "refused", "verified"}

// String is the state as logs have it.
func (s TokenState) String() string { return tokenStates[s] }

// ID names a decision: 128 bits at random, so that gates need not agree on them. Among 10^18, which
// is a million a second for 30,000 years, two are the same with a chance of one in 600. The zero ID
// is none.
type ID [2]uint64

// Append appends 32 hexadecimal digits, as many as a trace id has.
func (id ID) Append(b []byte) []byte {
	return hex.AppendEncode(b, binary.BigEndian.AppendUint64(
		binary.BigEndian.AppendUint64(make([]byte, 0, 16), id[0]), id[1]))
}

// String returns 32 hexadecimal digits; "" for no ID.
func (id ID) String() string {
	if id == (ID{}) {
		return ""
	}
	return string(id.Append(make([]byte, 0, 32)))
}

// HeaderDecision is the header of an answer to a client that has the decision's ID.
const HeaderDecision = "x-sallyport-decision"

// Missing is a key that a token names and the gate does not have. Its strings are views of the
// request's token.
type Missing struct{ Issuer, KeyID string }

// Needed reports whether there is a missing key.
func (m Missing) Needed() bool { return m.Issuer != "" }

// Preflight reports whether Refusal is the answer to a browser's question (CORS), and refuses
// nothing.
func (d *Decision) Preflight() bool { return d.Refusal != nil && d.Refusal.Reason == reasonPreflight }

// Reason is "allowed", or the reason of the refusal.
func (d *Decision) Reason() string {
	switch {
	case d.Allow:
		return "allowed"
	case d.Refusal == nil:
		return string(broken.Reason)
	}
	return string(d.Refusal.Reason)
}

// Refused returns what the client is told, also when nobody filled in the decision.
func (d *Decision) Refused() *Refusal {
	if d.Refusal == nil {
		return broken
	}
	return d.Refusal
}

// Detail returns what was wrong and what was expected, for the log: which claim, role or scope, and
// by which route; "" when the reason says it all. It is made when asked for, which has to be before
// the request's memory is used again; it holds words of the configuration and of fixed lists, and
// never a part of a token or of a request.
func (d *Decision) Detail() string {
	var refusal *token.Error
	switch {
	case d.stricter != nil:
		return d.Problem + ": " + d.stricter.String()
	case d.Problem != "":
		return d.Problem
	case errors.As(d.cause, &refusal):
		return refusal.Detail()
	case d.rule == nil || d.rule.Index < 0:
		return ""
	}
	switch d.Refused().Reason {
	case token.ReasonDenied, token.ReasonStale, token.ReasonNoCopy:
		return d.rule.String()
	}
	if d.lack.Demand == nil {
		return ""
	}
	return d.rule.String() + " " + d.lack.String()
}

// Route names the route that the request fell under, or the stricter one that it is too close to;
// "" when it is none.
func (d *Decision) Route() string {
	switch {
	case d.stricter != nil:
		return d.stricter.String()
	case d.rule == nil || d.rule.Index < 0:
		return ""
	}
	return d.rule.String()
}
