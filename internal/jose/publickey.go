package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/subtle"
	"fmt"

	"github.com/sallyport/sallyport/internal/token"
)

// PublicKey verifies signatures of one key. It is bound to one algorithm, or, for an RSA key that
// was published without alg, to those of RSA; which of them a token may use, the issuer's profile
// says. For HS256 it holds the secret, and is never published. It is made once and safe for use by
// many.
type PublicKey struct {
	id  string
	alg string // "" for any of RSA
	key verifier
	// issuer is that of a set which serves many: whose tokens the key signs; "" when it does not say.
	issuer string
}

// verifier is a key of the standard library.
type verifier interface {
	fits(a algorithm) bool
	verify(a algorithm, input string, sig []byte) bool
	equal(verifier) bool
	jwk() (publicJWK, error) // without kid, alg and use; an error for a secret
}

// NewPublicKey makes a key of *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey. An empty alg
// takes the curve's own, and leaves an RSA key free among RSA's; an empty kid takes the thumbprint
// (RFC 7638). Weak keys and keys that are not for alg are refused with a *KeyError.
func NewPublicKey(alg, kid string, key crypto.PublicKey) (*PublicKey, error) {
	v, implied, err := newVerifier(key)
	if err != nil {
		return nil, withKeyID(err, kid)
	}
	// Without an alg, that of the curve: an EC or Ed25519 key has no choice.
	if alg = token.Algorithm(alg); alg == "" {
		alg = implied
	}
	if a, ok := algorithms[alg]; alg != "" && !ok {
		return nil, keyError(ProblemAlgorithm, kid, "expected an algorithm that is supported")
	} else if alg != "" && !v.fits(a) {
		return nil, keyError(ProblemAlgorithm, kid,
			"expected a key for %s, got one of another type or curve", alg)
	}
	if kid == "" {
		if kid, err = thumbprint(v); err != nil {
			return nil, err
		}
	}
	if !fitKeyID(kid) {
		return nil, keyError(ProblemKeyID, "",
			"expected a kid of 1 to %d printable ASCII characters", MaxKeyID)
	}
	return &PublicKey{id: kid, alg: alg, key: v}, nil
}

// newVerifier returns the verifier of a good key, and the algorithm that its type implies, if it
// does.
func newVerifier(key crypto.PublicKey) (v verifier, alg string, err error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		a, err := checkEC(k)
		return ecKey{k}, a.name, err
	case *rsa.PublicKey:
		return rsaKey{k}, "", checkRSA(k)
	case ed25519.PublicKey:
		return edKey(k), "EdDSA", checkEd25519(k)
	}
	return nil, "", keyError(ProblemType, "", "expected an EC, RSA or Ed25519 key")
}

// ID is the key's kid.
func (k *PublicKey) ID() string { return k.id }

// Algorithm is the algorithm that the key is bound to; "" for an RSA key without one.
func (k *PublicKey) Algorithm() string { return k.alg }

// Issuer is the member issuer of a key in a set that serves many issuers, as Microsoft Entra
// writes it: the iss of the tokens that the key signs, or a template for the iss of each tenant; ""
// when the set does not say.
func (k *PublicKey) Issuer() string { return k.issuer }

// Format prints id and algorithm and nothing more, by every verb: the key may be a secret.
func (k PublicKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%s key %s", k.alg, k.id) }

// Equal reports whether both are the same key, under the same kid, for the same algorithm and of
// the same issuer.
func (k *PublicKey) Equal(other *PublicKey) bool {
	if k == nil || other == nil {
		return k == other
	}
	return k.id == other.id && k.alg == other.alg && k.issuer == other.issuer && k.key.equal(other.key)
}

// WithAlgorithm returns the same key under the same id for another algorithm of its family, as
// PS256 for an RSA key.
func (k *PublicKey) WithAlgorithm(alg string) (*PublicKey, error) {
	a, ok := algorithms[alg]
	if !ok || !k.key.fits(a) {
		return nil, keyError(ProblemAlgorithm, k.id, "expected an algorithm for this type of key")
	}
	return &PublicKey{id: k.id, alg: alg, key: k.key, issuer: k.issuer}, nil
}

// Fits reports whether a token may be signed with this key by an algorithm.
func (k *PublicKey) Fits(alg string) bool {
	a, ok := algorithms[token.Algorithm(alg)]
	return ok && k.isFor(a)
}

func (k *PublicKey) isFor(a algorithm) bool {
	return (k.alg == "" || k.alg == a.name) && k.key.fits(a)
}

// Verify checks a signature over signingInput. It refuses with token.ReasonAlg an algorithm that
// there is not, with token.ReasonKeyType one that is not this key's, with token.ReasonSignature a
// signature that is not right.
func (k *PublicKey) Verify(alg, signingInput string, sig []byte) error {
	a, ok := algorithms[token.Algorithm(alg)]
	switch {
	case !ok:
		return token.Refuse(token.ReasonAlg, "expected an algorithm that is supported")
	case !k.isFor(a):
		return token.Refuse(token.ReasonKeyType,
			"expected a token signed as the key's type and alg allow")
	case !k.key.verify(a, signingInput, sig):
		return token.Refuse(token.ReasonSignature,
			"expected the signature of the issuer's key over this token")
	}
	return nil
}

type ecKey struct{ *ecdsa.PublicKey }

func (k ecKey) fits(a algorithm) bool { return a.family == familyEC && a.curve == k.Curve }

func (k ecKey) equal(o verifier) bool {
	other, ok := o.(ecKey)
	return ok && k.PublicKey.Equal(other.PublicKey)
}

// verify takes r and s side by side, each as long as the curve's order (RFC 7518 section 3.4), and
// no other form. That they lie between 1 and n-1, crypto/ecdsa checks.
func (k ecKey) verify(a algorithm, input string, sig []byte) bool {
	size := (a.curve.Params().N.BitLen() + 7) / 8
	if len(sig) != 2*size {
		return false
	}
	var buf [160]byte
	return ecdsa.VerifyASN1(k.PublicKey, a.digest(input),
		derSignature(buf[:0], sig[:size], sig[size:]))
}

// derSignature writes SEQUENCE { INTEGER r, INTEGER s }, as crypto/ecdsa takes it.
func derSignature(out, r, s []byte) []byte {
	r, s = trimZeros(r), trimZeros(s)
	length := 4 + len(r) + signByte(r) + len(s) + signByte(s)
	out = append(out, 0x30)
	if length > 0x7f {
		out = append(out, 0x81)
	}
	out = append(out, byte(length))
	return derInteger(derInteger(out, r), s)
}

func derInteger(out, n []byte) []byte {
	out = append(out, 0x02, byte(len(n)+signByte(n)))
	if signByte(n) == 1 {
		out = append(out, 0)
	}
	return append(out, n...)
}

// signByte: a leading bit of 1 would make the integer negative.
func signByte(n []byte) int {
	if n[0]&0x80 != 0 {
		return 1
	}
	return 0
}

func trimZeros(n []byte) []byte {
	for len(n) > 1 && n[0] == 0 {
		n = n[1:]
	}
	return n
}

type rsaKey struct{ *rsa.PublicKey }

func (k rsaKey) fits(a algorithm) bool { return a.family == familyRSA }

func (k rsaKey) equal(o verifier) bool {
	other, ok := o.(rsaKey)
	return ok && k.PublicKey.Equal(other.PublicKey)
}

// verify: of PSS, only a salt as long as the hash (RFC 7518 section 3.5).
func (k rsaKey) verify(a algorithm, input string, sig []byte) bool {
	if a.pss {
		return rsa.VerifyPSS(k.PublicKey, a.hash, a.digest(input), sig,
			&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	return rsa.VerifyPKCS1v15(k.PublicKey, a.hash, a.digest(input), sig) == nil
}

type edKey ed25519.PublicKey

func (k edKey) fits(a algorithm) bool { return a.family == familyOKP }

func (k edKey) equal(o verifier) bool {
	other, ok := o.(edKey)
	return ok && ed25519.PublicKey(k).Equal(ed25519.PublicKey(other))
}

func (k edKey) verify(_ algorithm, input string, sig []byte) bool {
	return len(sig) == ed25519.SignatureSize &&
		ed25519.Verify(ed25519.PublicKey(k), []byte(input), sig)
}

// secretKey is shared by both sides (RFC 7518 section 3.2).
type secretKey []byte

// fits: a secret is at least as long as the hash.
func (k secretKey) fits(a algorithm) bool {
	return a.family == familyOct && len(k) >= a.hash.Size()
}

func (k secretKey) equal(o verifier) bool {
	other, ok := o.(secretKey)
	return ok && subtle.ConstantTimeCompare(k, other) == 1
}

func (k secretKey) verify(a algorithm, input string, sig []byte) bool {
	return hmac.Equal(k.mac(a, input), sig)
}

func (k secretKey) mac(a algorithm, input string) []byte {
	h := hmac.New(a.hash.New, k)
	h.Write([]byte(input))
	return h.Sum(nil)
}
