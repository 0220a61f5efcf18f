package token

import (
	"errors"
	"fmt"
	"strings"
)

// Reason is why a request or a token was refused: a short, stable code in snake case. Its values
// are a fixed list, so that it may label metrics. Each one is described by Reasons.
type Reason string

// Of the compact form and the header (RFC 7515, RFC 8725).
const (
	// ReasonTooLong: the token has more than 8 KiB.
	ReasonTooLong Reason = "too_long"
	// ReasonSegments: the token is not three non-empty parts between two dots (RFC 7515 section
	// 7.1). An encrypted token has five.
	ReasonSegments Reason = "segments"
	// ReasonBase64: a part is not base64url without padding, white space or stray trailing bits
	// (RFC 7515 section 2).
	ReasonBase64 Reason = "base64"
	// ReasonHeader: the header is not one JSON object; or, of a token of ours, not written compactly
	// and without escapes.
	ReasonHeader Reason = "header"
	// ReasonHeaderDuplicate: a name stands twice in the header (RFC 7515 section 4).
	ReasonHeaderDuplicate Reason = "header_duplicate"
	// ReasonHeaderUnknown: the header of a token of ours has a name other than alg, kid, typ, x5t and
	// x5t#S256.
	ReasonHeaderUnknown Reason = "header_unknown"
	// ReasonHeaderCrit: the header asks for extensions by crit or b64 (RFC 7515 section 4.1.11, RFC
	// 7797).
	ReasonHeaderCrit Reason = "header_crit"
	// ReasonHeaderKey: the header of a token of ours brings or points to a key: jwk, jku, x5u, x5c.
	ReasonHeaderKey Reason = "header_key"
	// ReasonHeaderEncrypted: the header is that of an encrypted, compressed or nested token: enc,
	// zip, p2c and the like, cty.
	ReasonHeaderEncrypted Reason = "header_encrypted"
	// ReasonAlgMissing: alg is absent, empty or not a string.
	ReasonAlgMissing Reason = "alg_missing"
	// ReasonAlgNone: alg is none, in any spelling: the token claims to need no signature.
	ReasonAlgNone Reason = "alg_none"
	// ReasonAlg: alg is not one that this issuer signs with.
	ReasonAlg Reason = "alg"
	// ReasonTyp: typ is not what this issuer's access tokens carry (RFC 9068 section 2.1): perhaps
	// an ID or logout token.
	ReasonTyp Reason = "typ"
	// ReasonKeyIDMissing: the header names no key, and the issuer does not have exactly one for its
	// algorithm; or it is of a token of ours.
	ReasonKeyIDMissing Reason = "kid_missing"
	// ReasonKeyID: kid is not a string of 1 to 256 bytes without control characters.
	ReasonKeyID Reason = "kid"
	// ReasonUnsigned: the signature was cut off.
	ReasonUnsigned Reason = "unsigned"
	// ReasonKeyType: the key that the token names is not one for its algorithm.
	ReasonKeyType Reason = "key_type"
	// ReasonSignature: the signature is not that of the issuer's key over this token.
	ReasonSignature Reason = "signature"
)

// Of the claims (RFC 7519, RFC 9068).
const (
	// ReasonClaims: the claims are not one JSON object in valid UTF-8, nested at most 16 deep, and
	// nothing after it.
	ReasonClaims Reason = "claims"
	// ReasonClaimDuplicate: a name stands twice in the claims (RFC 7519 section 4).
	ReasonClaimDuplicate Reason = "claim_duplicate"
	// ReasonClaimShape: a claim that the profile names is of another type than it has to be.
	ReasonClaimShape Reason = "claim_shape"
	// ReasonClaimRequired: a claim that the profile requires is absent or has another value.
	ReasonClaimRequired Reason = "claim_required"
	// ReasonIssuer: iss is absent, empty or not a string.
	ReasonIssuer Reason = "issuer"
	// ReasonUnknownIssuer: iss is not, letter for letter, an issuer that is trusted here.
	ReasonUnknownIssuer Reason = "unknown_issuer"
	// ReasonAudienceMissing: the token names no audience.
	ReasonAudienceMissing Reason = "audience_missing"
	// ReasonAudience: the token was made for another service.
	ReasonAudience Reason = "audience"
	// ReasonSubject: the subject is absent, empty, too long, not a string, or has control or
	// invisible characters.
	ReasonSubject Reason = "subject"
	// ReasonTokenID: the token's own id (jti, or what the profile names) is absent, empty or not a
	// string.
	ReasonTokenID Reason = "token_id"
	// ReasonSessionID: the session id is there, but it is empty or not a string; or it comes
	// without auth_time in a token of ours.
	ReasonSessionID Reason = "session_id"
	// ReasonTokenBound: the token is bound to a key of its holder (cnf, RFC 7800), and comes as a
	// plain bearer token.
	ReasonTokenBound Reason = "token_bound"
	// ReasonDate: a date is not a JSON number of seconds in the years 1970 to 9999 (RFC 7519 section
	// 2), or, in a token of ours, not a whole one.
	ReasonDate Reason = "date"
	// ReasonExpiryMissing: the token never expires.
	ReasonExpiryMissing Reason = "expiry_missing"
	// ReasonIssuedAtMissing: the token does not say when it was made.
	ReasonIssuedAtMissing Reason = "issued_at_missing"
	// ReasonExpired: the token's time is over.
	ReasonExpired Reason = "expired"
	// ReasonNotYetValid: the token is not valid yet (nbf).
	ReasonNotYetValid Reason = "not_yet_valid"
	// ReasonIssuedInFuture: the token says that it was made in the future.
	ReasonIssuedInFuture Reason = "issued_in_future"
	// ReasonLifetime: the token lives longer than the profile allows, or expires before it was made.
	ReasonLifetime Reason = "lifetime"
)

// Of the gate: what the token itself cannot tell.
const (
	// ReasonNoToken: the request carries no token, and its route needs one.
	ReasonNoToken Reason = "no_token"
	// ReasonManyTokens: the request carries more than one token, or one in more than one place.
	ReasonManyTokens Reason = "many_tokens"
	// ReasonScheme: the Authorization header is there but is not one Bearer credential (RFC 6750
	// section 2.1).
	ReasonScheme Reason = "scheme"
	// ReasonUnknownKey: the issuer has published no key by the token's kid.
	ReasonUnknownKey Reason = "unknown_key"
	// ReasonKeyPending: the gate has no key by the token's kid, and has not heard yet from the issuer
	// whether there is one.
	ReasonKeyPending Reason = "key_pending"
	// ReasonRevoked: the token, or something it belongs to, has been revoked.
	ReasonRevoked Reason = "revoked"
	// ReasonStale: the gate's copy of the revocations is older than max_staleness.
	ReasonStale Reason = "stale"
	// ReasonNoCopy: the gate has no complete copy of the revocations yet.
	ReasonNoCopy Reason = "no_copy"
	// ReasonNoKeys: the gate has never had this issuer's keys.
	ReasonNoKeys Reason = "no_keys"
	// ReasonIssuerLifetime: the issuer's max_lifetime exceeds how long revocations are kept, so
	// that a revoked token could outlive its revocation.
	ReasonIssuerLifetime Reason = "issuer_lifetime"
	// ReasonInsufficientRole: the route asks for a role that the token does not have.
	ReasonInsufficientRole Reason = "insufficient_role"
	// ReasonInsufficientScope: the route asks for a scope that the token does not have.
	ReasonInsufficientScope Reason = "insufficient_scope"
	// ReasonCondition: the route has a condition, which does not hold.
	ReasonCondition Reason = "condition"
	// ReasonConditionError: the route has a condition, which could not be evaluated within its limits.
	ReasonConditionError Reason = "condition_error"
	// ReasonClaimSize: a claim that the route hands on is longer than is handed on.
	ReasonClaimSize Reason = "claim_size"
	// ReasonACR: the route asks for another way of logging in (acr) than the token tells of.
	ReasonACR Reason = "insufficient_acr"
	// ReasonLoginTooOld: the route asks for a login that is not as long ago as the token's.
	ReasonLoginTooOld Reason = "login_too_old"
	// ReasonPolicy: the route takes tokens of other issuers alone.
	ReasonPolicy Reason = "policy"
	// ReasonNoRoute: no route of the policy matches, and the last rule is always deny.
	ReasonNoRoute Reason = "no_route"
	// ReasonDenied: the route that matches says deny.
	ReasonDenied Reason = "denied"
	// ReasonBadPath: the path can be read in more than one way.
	ReasonBadPath Reason = "bad_path"
	// ReasonPathCase: the path or the method differs only in case from that of a stricter route.
	ReasonPathCase Reason = "path_case"
	// ReasonBadRequest: the check request lacks what every request has, or a judged header is
	// malformed.
	ReasonBadRequest Reason = "bad_request"
	// ReasonNotStripped: Envoy is said to remove what a client says of its identity, and has not done
	// so for this request.
	ReasonNotStripped Reason = "not_stripped"
	// ReasonUntrustedPeer: the check did not come from a proxy that may ask.
	ReasonUntrustedPeer Reason = "untrusted_peer"
	// ReasonOverloaded: the gate has more to do than it can in time.
	ReasonOverloaded Reason = "overloaded"
	// ReasonInternal: the gate failed by itself; refused to be safe.
	ReasonInternal Reason = "internal"
)

// Error is a refusal: why, and a detail for the log. The detail never holds a part of the token; at
// most it names a claim or a header name out of a fixed list, a limit, or what the profile asks
// for.
type Error struct {
	Reason Reason
	format string
	args   []any
}

// Detail returns which claim or header name was wrong and what was expected, "" when the reason
// says it all. The text is made here: most refusals are counted and their detail never read.
func (e *Error) Detail() string {
	if len(e.args) == 0 {
		return e.format
	}
	return fmt.Sprintf(e.format, e.args...)
}

// Error implements error.
func (e *Error) Error() string {
	detail := e.Detail()
	if detail == "" {
		return "token: " + string(e.Reason)
	}
	return "token: " + string(e.Reason) + ": " + detail
}

// names are shown with commas between them.
type names []string

// String implements fmt.Stringer.
func (n names) String() string { return strings.Join(n, ", ") }

// Refuse makes an *Error. The format's arguments must not be secrets or parts of a token.
func Refuse(r Reason, format string, args ...any) error {
	return &Error{Reason: r, format: format, args: args}
}

// ReasonOf returns the reason that err carries. An error without one is our own failure:
// ReasonInternal. No error has no reason: "".
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	var refusal *Error
	if errors.As(err, &refusal) && refusal != nil && refusal.Reason != "" {
		return refusal.Reason
	}
	return ReasonInternal
}
