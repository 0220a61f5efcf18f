package josetest

import (
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/token"
)

// Attack is one hostile token and the reason by which it must be refused.
type Attack struct {
	Name   string
	Token  string
	Reason token.Reason
}

// Setup is an honest issuer, as the attacked gate trusts it: Key is published, Claims and Type are
// those of a token that it would accept at Now.
type Setup struct {
	Key    *Key
	Claims Object
	Type   string // "" for at+jwt
	Now    time.Time
}

// Good is the token that is accepted.
func (s Setup) Good() string { return s.Key.Token(s.header().JSON(), s.Claims.JSON()) }

// Attacks are all attacks.
func (s Setup) Attacks() []Attack {
	return slices.Concat(s.AlgorithmAttacks(), s.HeaderAttacks(), s.SpellingAttacks(),
		s.SignatureAttacks(), s.ClaimFormAttacks(), s.ClaimAttacks())
}

// ForeignAttacks are Attacks on an entry for another's issuer: those that are hostile there, with
// the reason that they have there, and those that are not and must be accepted as the good token is.
// The issuer must have no other key.
func (s Setup) ForeignAttacks() (hostile, accepted []Attack) { return toForeign(s.Attacks()) }

func (s Setup) header() Object {
	if s.Type == "" {
		return s.Key.Header("at+jwt")
	}
	return s.Key.Header(s.Type)
}

// withHeader signs the good claims under another header.
func (s Setup) withHeader(name, header string, r token.Reason) Attack {
	return Attack{name, s.Key.Token(header, s.Claims.JSON()), r}
}

// withClaims signs other claims under the good header.
func (s Setup) withClaims(name, claims string, r token.Reason) Attack {
	return Attack{name, s.Key.Token(s.header().JSON(), claims), r}
}

// parts are the three of the good token.
func (s Setup) parts() (header, claims, signature string) {
	parts := strings.Split(s.Good(), ".")
	return parts[0], parts[1], parts[2]
}
