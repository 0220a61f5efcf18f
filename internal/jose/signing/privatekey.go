package signing

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/sallyport/sallyport/internal/jose"
)

// PrivateKey signs tokens with one key and one algorithm. It is safe for use by many.
type PrivateKey struct {
	public *jose.PublicKey
	key    any // crypto.Signer, or []byte for HMAC
}

const rsaBits = 3072 // of new keys

// GenerateKey makes a key for one of the algorithms of package jose; its id is its thumbprint (RFC
// 7638), or, for HMAC, derived from the secret.
func GenerateKey(alg string) (*PrivateKey, error) {
	var key crypto.Signer
	var err error
	switch alg {
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case "HS256", "HS384", "HS512":
		// As long as the hash (RFC 7518 section 3.2).
		secret := make([]byte, map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}[alg])
		rand.Read(secret)
		return newSecretKey(alg, secret)
	default:
		return nil, keyError(jose.ProblemAlgorithm, "",
			"expected an algorithm that is supported, as ES256, EdDSA or RS256")
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
		// Signing with inconsistent numbers gives away the factors.
		if err := k.Validate(); err != nil {
			return nil, keyError(jose.ProblemMalformed, kid, "expected a consistent RSA key")
		}
		if alg == "" {
			alg = "RS256"
		}
	default:
		return nil, keyError(jose.ProblemType, kid, "expected an EC, RSA or Ed25519 key")
	}
	if kid != "" && !writableKeyID(kid) {
		return nil, keyError(jose.ProblemKeyID, "",
			"expected a kid of 1 to %d letters, digits and -_.~:/+=", jose.MaxKeyID)
	}
	public, err := jose.NewPublicKey(alg, kid, key.Public())
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
	return kid != "" && len(kid) <= jose.MaxKeyID
}

// newSecretKey makes the signing half of an HMAC secret.
func newSecretKey(alg string, secret []byte) (*PrivateKey, error) {
	public, err := jose.NewSecretKey("", secret)
	if err != nil {
		return nil, err
	}
	if public, err = public.WithAlgorithm(alg); err != nil {
		return nil, err
	}
	return &PrivateKey{public: public, key: secret}, nil
}

// WithAlgorithm returns the same key under the same id for another algorithm of its family, as
// PS256 for an RSA key.
func (k *PrivateKey) WithAlgorithm(alg string) (*PrivateKey, error) {
	public, err := k.public.WithAlgorithm(alg)
	if err != nil {
		return nil, err
	}
	return &PrivateKey{public: public, key: k.key}, nil
}

// ID is the key's kid.
func (k *PrivateKey) ID() string { return k.public.ID() }

// Algorithm is what the key signs with.
func (k *PrivateKey) Algorithm() string { return k.public.Algorithm() }

// Public is the verifying half. For an HMAC secret it holds the secret itself.
func (k *PrivateKey) Public() *jose.PublicKey { return k.public }

// Format prints the id and nothing more, by every verb.
func (k PrivateKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "private key %s", k.public.ID()) }

// Sign makes a token with the header alg, kid and, unless it is empty, typ. It refuses what a gate
// would refuse to read: a token above jose.MaxToken, say, because its roles are too many.
func (k *PrivateKey) Sign(typ string, claims []byte) (string, error) {
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ,omitempty"`
	}{k.public.Algorithm(), k.public.ID(), typ})
	if err != nil {
		return "", fmt.Errorf("jose: signing: writing the header: %w", err)
	}
	// The signer alone: jws.Sign would make the same header by way of a map and reflection, for a fifth
	// of the whole time.
	signer, err := jws.NewSigner(jwa.SignatureAlgorithm(k.public.Algorithm()))
	if err != nil {
		return "", fmt.Errorf("jose: signing: %w", err)
	}
	encoding := base64.RawURLEncoding
	token := make([]byte, 0, encoding.EncodedLen(len(header)+len(claims))+maxSignature)
	token = encoding.AppendEncode(token, header)
	token = append(token, '.')
	token = encoding.AppendEncode(token, claims)
	signature, err := signer.Sign(token, k.key)
	if err != nil {
		return "", fmt.Errorf("jose: signing with %s: %w", k.public.Algorithm(), err)
	}
	token = append(token, '.')
	compact := string(encoding.AppendEncode(token, signature))
	// Whoever asked for it would go away with a token that is good nowhere.
	parsed, err := jose.Parse(compact)
	if err = cmp.Or(err, parsed.Header.Foreign); err != nil {
		return "", fmt.Errorf("jose: signing: the token would be refused: %w", err)
	}
	return compact, nil
}

// maxSignature is room for most signatures, encoded, and two dots.
const maxSignature = 96

func keyError(p jose.KeyProblem, kid, format string, args ...any) error {
	return &jose.KeyError{Problem: p, KeyID: kid, Detail: fmt.Sprintf(format, args...)}
}
