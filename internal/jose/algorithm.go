package jose

import (
	"crypto"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
)

// family is the kind of key that an algorithm takes: the kty of RFC 7518 section 6.1 and RFC 8037.
type family string

const (
	familyEC  family = "EC"
	familyRSA family = "RSA"
	familyOKP family = "OKP"
	familyOct family = "oct"
)

// algorithm is one way to sign. The list is fixed; there is no none, and nothing a token says adds
// to it.
type algorithm struct {
	name   string
	family family
	hash   crypto.Hash
	curve  elliptic.Curve // of EC
	pss    bool           // of RSA: PSS, else PKCS #1 v1.5
}

var algorithms = func() map[string]algorithm {
	m := make(map[string]algorithm)
	for _, a := range []algorithm{
		{name: "ES256", family: familyEC, hash: crypto.SHA256, curve: elliptic.P256()},
		{name: "ES384", family: familyEC, hash: crypto.SHA384, curve: elliptic.P384()},
		{name: "ES512", family: familyEC, hash: crypto.SHA512, curve: elliptic.P521()},
		{name: "EdDSA", family: familyOKP},
		{name: "RS256", family: familyRSA, hash: crypto.SHA256},
		{name: "RS384", family: familyRSA, hash: crypto.SHA384},
		{name: "RS512", family: familyRSA, hash: crypto.SHA512},
		{name: "PS256", family: familyRSA, hash: crypto.SHA256, pss: true},
		{name: "PS384", family: familyRSA, hash: crypto.SHA384, pss: true},
		{name: "PS512", family: familyRSA, hash: crypto.SHA512, pss: true},
		{name: "HS256", family: familyOct, hash: crypto.SHA256},
		{name: "HS384", family: familyOct, hash: crypto.SHA384},
		{name: "HS512", family: familyOct, hash: crypto.SHA512},
	} {
		m[a.name] = a
	}
	return m
}()

// ofCurve returns the one algorithm of a curve (RFC 7518 section 3.4).
func ofCurve(c elliptic.Curve) (algorithm, bool) {
	switch c {
	case elliptic.P256():
		return algorithms["ES256"], true
	case elliptic.P384():
		return algorithms["ES384"], true
	case elliptic.P521():
		return algorithms["ES512"], true
	}
	return algorithm{}, false
}

// digest hashes what was signed.
func (a algorithm) digest(input string) []byte {
	var room [1 << 10]byte // for usual tokens, on the stack
	text := append(room[:0], input...)
	switch a.hash {
	case crypto.SHA256:
		d := sha256.Sum256(text)
		return d[:]
	case crypto.SHA384:
		d := sha512.Sum384(text)
		return d[:]
	default:
		d := sha512.Sum512(text)
		return d[:]
	}
}
