package issuer

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/issuer/httpapi"
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

	id   string // the access token's jti, for the record
	name string // what the access token is called
}

// accessTokenName is what RFC 6749 calls the access token.
const accessTokenName = "access_token"

// reply answers with a pair: the access token comes first, under its name. It is no json.Marshaler,
// whose result would be read and copied once more.
func (p *pair) reply() (httpapi.Reply, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return httpapi.Reply{}, fmt.Errorf("issuer: writing tokens: %w", err)
	}
	if p.name != accessTokenName {
		rest, ok := bytes.CutPrefix(body, []byte(`{"`+accessTokenName+`":`))
		if !ok {
			return httpapi.Reply{}, errors.New("issuer: expected the access token to come first")
		}
		body = append([]byte(`{"`+p.name+`":`), rest...)
	}
	return httpapi.Reply{Status: http.StatusOK, Body: body}, nil
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

// mint makes the access token of a grant. Roles are the user's as they are now; scopes are those of
// the login that the user still has. It expires with the session at the latest.
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
	// By the next key if the active one was revoked a moment ago: no gate would accept its token.
	access, err := t.keys.SignUnless(t.keyRevoked, accessTokenType, body)
	if err != nil {
		return pair{}, fmt.Errorf("issuer: signing: %w", err)
	}
	return pair{
		AccessToken: access, TokenType: "Bearer", ExpiresIn: expiry - issued,
		RefreshToken: g.RefreshToken, RefreshExpiresIn: g.Session.Expires.Unix() - issued,
		Scope: strings.Join(scope, " "), id: claims.ID, name: t.cfg.TokenName,
	}, nil
}

// read returns the claims of an access token that one of our published keys has signed, expired or
// not, and the key's id. A token of a revoked key is refused: whoever stole the key could end
// anybody's session.
func (t *tokens) read(bearer string) (*token.Claims, string, error) {
	parsed, err := jose.Parse(bearer)
	if err != nil {
		return nil, "", errInvalidToken
	}
	// The key is chosen by its id alone. Which algorithms pass is up to the profile, and a key inside
	// the header is never looked at.
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

// checkInForce refuses a token that a gate would refuse now. An entry for its session or user that
// this issuer could not store yet does not count: the log out everywhere that failed may be tried
// again with the same token.
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
	// An entry whose Seq is 0 is not stored. It may hide one that is, so ask again without the session
	// and the user.
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

// keyRevoked reports whether the key itself was revoked. Under an entry for the whole issuer tokens
// are refused, and may still be used to log out.
func (t *tokens) keyRevoked(kid string) bool {
	return t.log.Check(&revocation.Facts{Issuer: t.cfg.Issuer, KeyID: kid}).OfKey()
}

// ownProfile returns how this issuer reads its own tokens. Their audience does not matter: tokens
// for one that has been taken out of the configuration must still be revocable.
func ownProfile(cfg Config) token.Profile {
	p := token.DefaultProfile()
	p.Issuer, p.AnyAudience, p.Ours = cfg.Issuer, true, true
	p.MaxLifetime = cfg.Revocation.MaxTokenLifetime
	p.Algorithms = []string{
		"ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
	}
	// Never both kinds: a public key could be used as an HMAC secret.
	if cfg.Keys.Algorithm == "HS256" {
		p.Algorithms = []string{"HS256"}
	}
	return p
}
