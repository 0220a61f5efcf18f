package jose

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	minSecret   = 32 // bytes (RFC 7518 section 3.2)
	minDistinct = 8  // different bytes: chance alone falls below that never
)

// NewSecretKey makes an HS256 key out of a secret that issuer and gates share. It refuses what is
// no secret: fewer than 32 bytes, a few bytes over and over, and public keys and certificates in
// PEM, DER, JWK or SSH form, however wrapped: they are known to everyone. An empty kid takes one
// that is derived from the secret and tells nothing of it.
func NewSecretKey(kid string, secret []byte) (*PublicKey, error) {
	if err := checkSecret(secret); err != nil {
		return nil, withKeyID(err, kid)
	}
	return newSecretKey(kid, bytes.Clone(secret))
}

// newSecretKey wraps a secret that was found good.
func newSecretKey(kid string, secret []byte) (*PublicKey, error) {
	if kid == "" {
		// A plain hash of the secret could be tried against a list of words anywhere.
		h := hmac.New(sha256.New, secret)
		h.Write([]byte("sallyport key id"))
		kid = encode(h.Sum(nil)[:16])
	}
	if !fitKeyID(kid) {
		return nil, keyError(ProblemKeyID, "",
			"expected a kid of 1 to %d printable ASCII characters", MaxKeyID)
	}
	return &PublicKey{id: kid, alg: "HS256", key: secretKey(secret)}, nil
}

func checkSecret(secret []byte) error {
	trimmed := trim(secret)
	switch {
	case len(secret) < minSecret || utf8.Valid(secret) && len(bytes.TrimSpace(secret)) < minSecret:
		return keyError(ProblemShortSecret, "", "expected at least %d bytes besides white space",
			minSecret)
	case distinct(secret) < minDistinct:
		return keyError(ProblemShortSecret, "", "expected random bytes, got a few over and over")
	case isKeyText(trimmed) || isKeyDER(secret) || isKeyDER(trimmed) || // as it stands, then in base64
		isKeyDER(fromBase64(trimmed)) || isKeyText(fromBase64(trimmed)):
		return keyError(ProblemNotSecret, "", "expected random bytes, got a key or certificate")
	}
	return nil
}

func distinct(b []byte) int {
	seen := make(map[byte]bool)
	for _, c := range b {
		seen[c] = true
	}
	return len(seen)
}

// trim takes away what editors and copying add to text.
func trim(secret []byte) []byte {
	return bytes.TrimFunc(secret,
		func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\ufeff' })
}

// isKeyText reports whether a text is one of the spellings of keys as text: PEM, JWK and JWK Set,
// SSH's three, and those in UTF-16.
func isKeyText(text []byte) bool {
	plain := strings.ToLower(string(bytes.ReplaceAll(text, []byte{0}, nil)))
	if strings.Contains(plain, "-----begin ") || strings.Contains(plain, "---- begin ") {
		return true
	}
	for _, prefix := range []string{"ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"} {
		if strings.HasPrefix(plain, prefix) {
			return true
		}
	}
	compact := strings.Join(strings.Fields(plain), "")
	return strings.Contains(compact, `"kty":`) || strings.Contains(compact, `"keys":[`)
}

// isKeyDER reports whether bytes are a key or certificate: DER, and SSH's wire form.
func isKeyDER(der []byte) bool {
	for _, name := range []string{
		"\x00\x00\x00\x07ssh-", "\x00\x00\x00\x0bssh-", "\x00\x00\x00\x13ecdsa-sha2-",
	} {
		if bytes.HasPrefix(der, []byte(name)) {
			return true
		}
	}
	// The parsers themselves know best what is a key.
	for _, parse := range keyParsers {
		if parse(der) == nil {
			return true
		}
	}
	return false
}

var keyParsers = []func(der []byte) error{
	func(der []byte) error { _, err := x509.ParsePKIXPublicKey(der); return err },
	func(der []byte) error { _, err := x509.ParsePKCS1PublicKey(der); return err },
	func(der []byte) error { _, err := x509.ParseCertificate(der); return err },
	func(der []byte) error { _, err := x509.ParsePKCS8PrivateKey(der); return err },
	func(der []byte) error { _, err := x509.ParsePKCS1PrivateKey(der); return err },
	func(der []byte) error { _, err := x509.ParseECPrivateKey(der); return err },
}

// fromBase64 undoes base64 in any of its alphabets, with or without line breaks and padding; nil
// when it is none.
func fromBase64(text []byte) []byte {
	compact := strings.TrimRight(strings.Join(strings.Fields(string(text)), ""), "=")
	compact = strings.NewReplacer("+", "-", "/", "_").Replace(compact)
	out, err := base64.RawURLEncoding.DecodeString(compact)
	if err != nil {
		return nil
	}
	return out
}
