package authz

import (
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/internal/token/strict"
)

// verified is what a token's signature said. It is never changed once made.
type verified struct {
	profile  *token.Profile // under which it was read
	claims   *token.Claims
	body     token.Body // all claims, if the policy reads them; else it is empty
	facts    revocation.Facts
	identity *Identity
	told     remembered // what was made of the claims besides
	reserve  int        // how many bytes that may take
}

// verify returns what the token says once its signature has been verified, now or before, with all
// of its claims if the policy reads them. Of a token that is refused it returns the reason alone. If
// the request wants what is remembered, it verifies none.
func (e *Engine) verify(d *Decision, r *Request, presented string, rs *rules) (*verified,
	token.Reason) {
	// The count is read before any key is looked up: a token whose key goes while it is verified is
	// then kept among those verified before the key went, and forgotten with them.
	removals := e.options.Keys.Removals()
	slot := e.cache.find(removals, presented, r.At.Mono)
	if v := slot.verified; v != nil {
		// The rules may have changed without the keys.
		if profile, ok := e.options.Keys.Profile(v.claims.Issuer); ok && profile == v.profile &&
			e.suffices(v, rs) {
			d.Cached = true
			return v, ""
		}
	}
	if r.Remembered {
		d.Unverified = true
		return nil, token.ReasonInternal // which nobody is told
	}
	v, err := e.verifyAnew(d, presented, e.reads(rs))
	if err != nil {
		d.cause = err
		return nil, token.ReasonOf(err)
	}
	if rs.claims != nil {
		v.reserve = maxRemembered
	}
	e.cache.keep(slot, presented, v)
	return v, ""
}

// suffices reports whether what was kept of a token, maybe under another policy, is enough for this
// one.
func (e *Engine) suffices(v *verified, rs *rules) bool {
	return (!e.reads(rs) || v.whole()) && (rs.claims == nil || v.reserve > 0)
}

// reads reports whether all claims of a token are to be kept.
func (e *Engine) reads(rs *rules) bool { return rs.policy.ReadsClaims() || e.options.KeepClaims }

func (e *Engine) verifyAnew(d *Decision, presented string, whole bool) (*verified, error) {
	parsed, err := e.reader.Parse(presented)
	if err != nil {
		return nil, err
	}
	issuer, err := parsed.Issuer()
	if err != nil {
		return nil, err
	}
	profile, ok := e.options.Keys.Profile(issuer)
	if !ok {
		return nil, token.Refuse(token.ReasonUnknownIssuer, "iss is none of the trusted issuers")
	}
	// Before the key, so that an algorithm of the attacker's choice is refused whatever keys there
	// are.
	if err := profile.CheckHeader(parsed.Header); err != nil {
		return nil, err
	}
	key, why := e.options.Keys.Key(issuer, parsed.Header.KeyID, parsed.Header.Algorithm)
	if key == nil && parsed.Header.KeyID == "" {
		return nil, missing(why) // no fetch could say which key it was
	}
	if key == nil {
		// A revoked key is taken out of the set: that says more than that it is not there, and
		// nobody need fetch it. What was signed with it needs no check of the signature, since
		// whoever stole the key can make that.
		revoked := e.options.Revocations.Check(
			&revocation.Facts{Issuer: issuer, KeyID: parsed.Header.KeyID})
		if revoked.OfKey() {
			d.Revocation = revoked
			return nil, token.Refuse(token.ReasonRevoked, "the key that signed it is revoked")
		}
		d.Missing = Missing{Issuer: issuer, KeyID: parsed.Header.KeyID}
		return nil, missing(why)
	}
	claims, err := parsed.Verify(profile, key)
	if err != nil {
		return nil, err
	}
	v := e.believe(profile, claims, key.ID())
	if whole {
		v.body, err = parsed.Body() // read already
		v.identity.body = v.body
	}
	return v, err
}

// whole reports whether all claims have been kept.
func (v *verified) whole() bool { return v.body.Root().Kind() == strict.Object }

func missing(why token.Reason) error {
	switch why {
	case token.ReasonNoKeys:
		return token.Refuse(why, "the issuer's keys were never had")
	case token.ReasonUnknownKey:
		return token.Refuse(why, "the issuer has no key by the token's kid")
	case token.ReasonKeyIDMissing:
		return token.Refuse(why, "expected kid, or exactly one key of the issuer for the algorithm")
	}
	return token.Refuse(token.ReasonKeyPending,
		"the issuer has not been asked yet for the token's kid")
}

func (e *Engine) believe(profile *token.Profile, c *token.Claims, keyID string) *verified {
	v := &verified{
		profile: profile,
		claims:  c,
		facts: revocation.Facts{
			Issuer:    c.Issuer,
			TokenID:   c.ID,
			SessionID: c.SessionID,
			Subject:   c.Subject,
			ClientID:  c.ClientID,
			Tenant:    c.Tenant,
			KeyID:     keyID,
			IssuedAt:  c.IssuedAt,
			AuthTime:  c.AuthTime,
			Ours:      profile.Ours,
		},
	}
	v.identity = newIdentity(c, &v.facts, e.options.Wire)
	return v
}
