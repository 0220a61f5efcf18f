package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// PrivateKey signs tokens with one key and one algorithm. It is safe for use by many.
type PrivateKey struct {
	public *PublicKey
	key    any // crypto.Signer, or []byte for HMAC
}

const rsaBits = 3072 // of new keys

// GenerateKey makes a key for one of the algorithms of the package; its id is its thumbprint (RFC
// 7638).
func GenerateKey(alg string) (*PrivateKey, error) {
	a, ok := algorithms[alg]
	if !ok {
		return nil, keyError(ProblemAlgorithm, "",
			"expected an algorithm that is supported, as ES256, EdDSA or RS256")
	}
	var key crypto.Signer
	var err error
	switch a.family {
	case familyEC:
		key, err = ecdsa.GenerateKey(a.curve, rand.Reader)
	case familyOKP:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case familyRSA:
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case familyOct:
		secret := make([]byte, a.hash.Size())
		rand.Read(secret)
		return newSecretKey(alg, "", secret)
	}
	if err != nil {
		return nil, fmt.Errorf("jose: generating a key for %s: %w", alg, err)
	}
	return NewPrivateKey(alg, "", key)
}

// NewPrivateKey makes a key of *ecdsa.PrivateKey, *rsa.PrivateKey or ed25519.PrivateKey. An empty
// alg takes the curve's own, and RS256 for RSA; an empty kid takes the thumbprint. Weak keys are
// refused with a *KeyError.
func NewPrivateKey(alg, kid string, key crypto.Signer) (*PrivateKey, error) {
	switch k := key.(type) {
	case *ecdsa.PrivateKey, ed25519.PrivateKey:
	case *rsa.PrivateKey:
		if err := k.Validate(); err != nil {
			return nil, keyError(ProblemMalformed, kid, "expected a consistent RSA key")
		}
		if alg == "" {
			alg = "RS256"
		}
	default:
		return nil, keyError(ProblemType, kid, "expected an EC, RSA or Ed25519 key")
	}
	if kid != "" && !writableKeyID(kid) {
		return nil, keyError(ProblemKeyID, "",
			"expected a kid of 1 to %d letters, digits and -_.~:/+=", maxKeyID)
	}
	public, err := NewPublicKey(alg, kid, key.Public())
	if err != nil {
		return nil, err
	}
	return &PrivateKey{public: public, key: key}, nil
}

// writableKeyID holds for ids that need no escape in JSON: what we write, every reader reads alike.
func writableKeyID(kid string) bool {
	for _, c := range []byte(kid) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-', c == '_', c == '.', c == '~', c == ':', c == '/', c == '+', c == '=':
		default:
			return false
		}
	}
	return kid != "" && len(kid) <= maxKeyID
}

// newSecretKey wraps an HMAC secret that was found good. Its id, unless given, is derived so that
// it tells nothing of it.
func newSecretKey(alg, kid string, secret []byte) (*PrivateKey, error) {
	if kid == "" {
		h := hmac.New(sha256.New, secret)
		h.Write([]byte("sallyport key id"))
		kid = base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
	}
	if !fitKeyID(kid) {
		return nil, keyError(ProblemKeyID, "",
			"expected a kid of 1 to %d printable ASCII characters", maxKeyID)
	}
	return &PrivateKey{public: &PublicKey{id: kid, alg: alg, key: secretKey(secret)}, key: secret}, nil
}

// ID is the key's kid.
func (k *PrivateKey) ID() string { return k.public.id }

// Algorithm is what the key signs with.
func (k *PrivateKey) Algorithm() string { return k.public.alg }

// Public is the verifying half. For an HMAC secret it holds the secret itself.
func (k *PrivateKey) Public() *PublicKey { return k.public }

// Format prints the id and nothing more, by every verb.
func (k PrivateKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "private key %s", k.public.id) }

// Sign makes a token with the header alg, kid and, unless it is empty, typ. It refuses what a gate
// would refuse to read: a token above MaxToken, say, because its roles are too many.
func (k *PrivateKey) Sign(typ string, claims []byte) (string, error) {
	header := jws.NewHeaders()
	if err := header.Set(jws.KeyIDKey, k.public.id); err != nil {
		return "", fmt.Errorf("jose: signing: setting kid: %w", err)
	}
	if typ != "" {
		if err := header.Set(jws.TypeKey, typ); err != nil {
			return "", fmt.Errorf("jose: signing: setting typ: %w", err)
		}
	}
	signed, err := jws.Sign(claims,
		jws.WithKey(jwa.SignatureAlgorithm(k.public.alg), k.key, jws.WithProtectedHeaders(header)))
	if err != nil {
		return "", fmt.Errorf("jose: signing with %s: %w", k.public.alg, err)
	}
	compact := string(signed)
	if _, err := Parse(compact); err != nil {
		return "", fmt.Errorf("jose: signing: the token would be refused: %w", err)
	}
	return compact, nil
}
