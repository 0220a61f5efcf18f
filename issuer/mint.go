package issuer

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

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

// mint makes the access token that a grant gives leave for. Roles are the user's as they are now;
// scopes are those of the login that the user still has. It expires with the session at the latest.
func (s *Server) mint(g session.Grant, roles, scope []string) (pair, error) {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	issued := g.Now.Unix()
	expiry := min(issued+int64(s.cfg.AccessTokenLifetime.Seconds()), g.Session.Expires.Unix())
	claims := token.Claims{
		Issuer:    s.cfg.Issuer,
		Subject:   g.Session.Subject,
		Audience:  s.cfg.Audience,
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
	access, err := s.keys.SignUnless(s.keyRevoked, accessTokenType, body)
	if err != nil {
		return pair{}, fmt.Errorf("issuer: signing: %w", err)
	}
	return pair{
		AccessToken: access, TokenType: "Bearer", ExpiresIn: expiry - issued,
		RefreshToken: g.RefreshToken, RefreshExpiresIn: g.Session.Expires.Unix() - issued,
		Scope: strings.Join(scope, " "), id: claims.ID,
	}, nil
}

// ownProfile is how this issuer reads its own tokens. Whom they are for does not matter here:
// signed by our key is enough, and an audience taken out of the configuration must not keep its
// tokens from being revoked.
func ownProfile(cfg Config) token.Profile {
	p := token.DefaultProfile()
	p.Issuer, p.AnyAudience, p.Ours = cfg.Issuer, true, true
	p.MaxLifetime = cfg.Revocation.MaxTokenLifetime
	p.Algorithms = []string{
		"ES256",
		"ES384",
		"ES512",
		"EdDSA",
		"RS256",
		"RS384",
		"RS512",
		"PS256",
		"PS384",
		"PS512",
	}
	if cfg.Keys.Algorithm == "HS256" {
		p.Algorithms = []string{"HS256"}
	}
	return p
}
