package authz

import (
	"time"

	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
)

// Decision is what an engine says to a request. The zero value refuses.
type Decision struct {
	Allow bool
	// Identity is who calls: never nil when Allow is true, with nil Claims for anybody. In a refusal it is the caller whose
	// token was genuine, or nil.
	Identity *Identity
	// Refusal is what the client is told when Allow is false.
	Refusal *Refusal
	// Strip are headers of the request, as they were spelt, that a server might take for one of the identity headers, or for one
	// that asks for another method or path.
	Strip []string

	// Remaining is how long the token lives by its exp, which leeway may have made negative; 0 without a token.
	Remaining time.Duration
	// Missing names the key that was not there. A transport that can wait may have it fetched and decide again.
	Missing Missing

	Rule       *policy.Rule       // what the request fell under
	Revocation revocation.Verdict // what revoked the token, when that was the reason
	Detail     string             // for the log: what was wrong; never a part of a token
	Cached     bool               // the token had been verified before
}

// Missing is a key that a token names and the gate does not have. Its strings are views of the request's token.
type Missing struct{ Issuer, KeyID string }

// Needed says that there is a missing key.
func (m Missing) Needed() bool { return m.Issuer != "" }

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

// Refused gives what the client is told, also when nobody filled in the decision.
func (d *Decision) Refused() *Refusal {
	if d.Refusal == nil {
		return broken
	}
	return d.Refusal
}
