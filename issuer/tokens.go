package issuer

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/token"
)

// accessTokenType is the header's typ (RFC 9068 section 2.1).
const accessTokenType = "at+jwt"

// pair is the answer to a login and a refresh (RFC 6749 section 5.1).
type pair struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int64  `json:"expires_in"` // seconds
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn int64  `json:"refresh_expires_in"` // seconds
	Scope            string `json:"scope,omitempty"`

	id string // the access token's jti, for the record
}

// tokens makes and reads this issuer's own access tokens.
type tokens struct {
	cfg     Config
	keys    Keys
	log     Log
	profile token.Profile // how they are read
}

func newTokens(cfg Config, keys Keys, log Log) *tokens {
	return &tokens{cfg: cfg, keys: keys, log: log, profile: ownProfile(cfg)}
}

// mint makes the access token that a grant gives leave for. Roles are the user's as they are now;
// scopes are those of the login that the user still has. It expires with the session at the latest.
func (t *tokens) mint(g session.Grant, roles, scope []string) (pair, error) {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	issued := g.Now.Unix()
	expiry := min(issued+int64(t.cfg.AccessTokenLifetime.Seconds()), g.Session.Expires.Unix())
	claims := token.Claims{
		Issuer:    t.cfg.Issuer,
		Subject:   g.Session.Subject,
		Audience:  t.cfg.Audience,
		ID:        base64.RawURLEncoding.EncodeToString(random[:]),
		ClientID:  g.Session.ClientID,
		SessionID: g.Session.ID,
		Tenant:    g.Session.Tenant,
		Scope:     scope,
		Roles:     roles,
		AMR:       g.Session.AMR,
		IssuedAt:  issued,
		Expiry:    expiry,
		AuthTime:  g.Session.Began.Unix(),
	}
	body, err := claims.Marshal()
	if err != nil {
		return pair{}, fmt.Errorf("issuer: writing claims: %w", err)
	}
	// Under another key if the active one was revoked a moment ago: no gate would take its token.
	access, err := t.keys.SignUnless(t.keyRevoked, accessTokenType, body)
	if err != nil {
		return pair{}, fmt.Errorf("issuer: signing: %w", err)
	}
	return pair{
		AccessToken: access, TokenType: "Bearer", ExpiresIn: expiry - issued,
		RefreshToken: g.RefreshToken, RefreshExpiresIn: g.Session.Expires.Unix() - issued,
		Scope: strings.Join(scope, " "), id: claims.ID,
	}, nil
}

// read believes an access token that one of our published keys has signed, whenever it expires, and
// returns the key's id with its claims. A key that was revoked vouches for nothing: who stole it
// could end anybody's session.
func (t *tokens) read(bearer string) (*token.Claims, string, error) {
	parsed, err := jose.Parse(bearer)
	if err != nil {
		return nil, "", errInvalidToken
	}
	// By the key's id alone, and never by what else the header says: an algorithm of the token's own
	// choice would be judged by the profile, a key that it brings along is not looked at.
	kid := parsed.Header.KeyID
	key, ok := t.keys.Public(kid)
	if !ok || t.keyRevoked(kid) {
		return nil, "", errInvalidToken
	}
	claims, err := parsed.Verify(&t.profile, key)
	if err != nil {
		return nil, "", errInvalidToken
	}
	return claims, kid, nil
}

// checkInForce refuses a token that a gate would refuse now. An entry that this issuer holds but
// could not store yet is no end of a session or user: the log out everywhere that failed is to be
// tried again, by the same token.
func (t *tokens) checkInForce(claims *token.Claims, kid string, now time.Time) error {
	if t.profile.CheckTime(claims, now) != nil {
		return errInvalidToken
	}
	facts := revocation.Facts{
		Issuer: claims.Issuer, TokenID: claims.ID, SessionID: claims.SessionID,
		Subject: claims.Subject, ClientID: claims.ClientID, Tenant: claims.Tenant, KeyID: kid,
		IssuedAt: claims.IssuedAt, AuthTime: claims.AuthTime, Ours: true,
	}
	verdict := t.log.Check(&facts)
	// An entry without a place in the log is not stored. It may hide one that is: ask once more for
	// everything else that the token is known by.
	notStored := verdict.Revoked && verdict.Seq == 0
	if notStored && (verdict.Kind == revocation.KindSID || verdict.Kind == revocation.KindSub) {
		facts.SessionID, facts.Subject = "", ""
		verdict = t.log.Check(&facts)
	}
	if verdict.Revoked {
		return errInvalidToken
	}
	return nil
}

// keyRevoked looks at the entry of the key alone: one of the whole issuer has a cutoff and speaks
// of tokens, not of who may end them.
func (t *tokens) keyRevoked(kid string) bool {
	verdict := t.log.Check(&revocation.Facts{Issuer: t.cfg.Issuer, KeyID: kid})
	return verdict.Revoked && verdict.Kind == revocation.KindKID
}

// ownProfile is how this issuer reads its own tokens. Whom they are for does not matter here:
// signed by our key is enough, and an audience taken out of the configuration must not keep its
// tokens from being revoked.
func ownProfile(cfg Config) token.Profile {
	p := token.DefaultProfile()
	p.Issuer, p.AnyAudience, p.Ours = cfg.Issuer, true, true
	p.MaxLifetime = cfg.Revocation.MaxTokenLifetime
	p.Algorithms = []string{
		"ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
	}
	// A secret beside public keys: with both allowed, a public key could be taken for a secret.
	if cfg.Keys.Algorithm == "HS256" {
		p.Algorithms = []string{"HS256"}
	}
	return p
}
