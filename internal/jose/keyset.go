package jose

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/sallyport/sallyport/internal/token/strict"
)

const (
	maxKeySet      = 256 << 10 // bytes
	maxKeySetDepth = 16
)

// MaxKeys is the most keys that a key set may have.
const MaxKeys = 100

// ErrNoKeys is the error for a key set in which there is no key that could verify a token.
var ErrNoKeys = errors.New("jose: expected a key set with at least one usable key, got none")

// ParseKeySet reads a JWK Set (RFC 7517 section 5) as an issuer publishes it. A key that cannot be
// used, because it is weak or of a type or for a purpose that is not ours, is left out, and skipped
// says which and why (*KeyError). The whole set is refused when it is not JSON in one meaning, when
// two signature keys share a kid, when it shows a private or secret key, and when no usable key is
// left (ErrNoKeys, with skipped).
func ParseKeySet(doc []byte) (keys []*PublicKey, skipped []error, err error) {
	entries, err := keySetEntries(doc)
	if err != nil {
		return nil, nil, err
	}
	seen := make(map[string]bool)
	for _, m := range entries {
		j := jsonKey{m.Value}
		if err := j.noPrivateParts(); err != nil {
			return nil, nil, err
		}
		if err := j.forSignatures(); err != nil {
			skipped = append(skipped, err)
			continue
		}
		if kid := j.kid(); kid != "" && seen[kid] {
			return nil, nil, keyError(ProblemDuplicate, kid, "expected each kid once in a key set")
		}
		seen[j.kid()] = true
		k, err := j.public()
		if err != nil {
			skipped = append(skipped, withKeyID(err, j.kid()))
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, skipped, ErrNoKeys
	}
	return keys, skipped, nil
}

func keySetEntries(doc []byte) ([]strict.Member, error) {
	if len(doc) > maxKeySet {
		return nil, fmt.Errorf("jose: expected a key set of at most %d bytes, got %d", maxKeySet,
			len(doc))
	}
	root, err := strict.Parse(string(doc), strict.Rules{MaxDepth: maxKeySetDepth})
	if err != nil {
		return nil, fmt.Errorf("jose: reading a key set: %w", err)
	}
	list, ok := root.Member("keys")
	if !ok || list.Kind() != strict.Array {
		return nil, errors.New("jose: expected a key set, an object with the array keys")
	}
	if n := len(list.Members()); n > MaxKeys {
		return nil, fmt.Errorf("jose: expected a key set of at most %d keys, got %d", MaxKeys, n)
	}
	for _, m := range list.Members() {
		if m.Value.Kind() != strict.Object {
			return nil, fmt.Errorf("jose: expected each key of a key set to be an object, got %s",
				m.Value.Kind())
		}
	}
	return list.Members(), nil
}

// MarshalKeySet writes the keys as a JWK Set, each with kid, alg (unless it has none) and use sig.
// Secrets are refused.
func MarshalKeySet(keys []*PublicKey) ([]byte, error) {
	set := jwk.NewSet()
	for _, k := range keys {
		published, err := k.jwk()
		if err != nil {
			return nil, err
		}
		if err := set.AddKey(published); err != nil {
			return nil, fmt.Errorf("jose: adding key %s to a key set: %w", k.id, err)
		}
	}
	doc, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("jose: marshalling a key set: %w", err)
	}
	return doc, nil
}

func (k *PublicKey) jwk() (jwk.Key, error) {
	raw := k.key.raw()
	if raw == nil {
		return nil, keyError(ProblemPrivate, k.id, "expected a public key to publish, got a secret")
	}
	published, err := jwk.FromRaw(raw)
	if err != nil {
		return nil, fmt.Errorf("jose: key %s as JWK: %w", k.id, err)
	}
	members := map[string]string{jwk.KeyIDKey: k.id, jwk.KeyUsageKey: "sig"}
	if k.alg != "" {
		members[jwk.AlgorithmKey] = k.alg
	}
	for name, value := range members {
		if err := published.Set(name, value); err != nil {
			return nil, fmt.Errorf("jose: key %s as JWK: setting %s: %w", k.id, name, err)
		}
	}
	return published, nil
}

// thumbprint is the key's id by RFC 7638, with SHA-256, in base64url.
func thumbprint(key crypto.PublicKey) (string, error) {
	k, err := jwk.FromRaw(key)
	if err != nil {
		return "", fmt.Errorf("jose: thumbprint: %w", err)
	}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("jose: thumbprint: %w", err)
	}
	return strictBase64.EncodeToString(sum), nil
}

// Thumbprint is the key's id by RFC 7638, with SHA-256, in base64url. A secret has none.
func (k *PublicKey) Thumbprint() (string, error) {
	raw := k.key.raw()
	if raw == nil {
		return "", keyError(ProblemPrivate, k.id, "expected a public key, got a secret")
	}
	return thumbprint(raw)
}

// jsonKey is one entry of a key set.
type jsonKey struct{ strict.Value }

// privateParts are the members of private and secret keys (RFC 7518 section 6).
var privateParts = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// noPrivateParts: whoever publishes these has lost the key, and probably the right file. In
// capitals too: many readers of JSON take those for the same names.
func (j jsonKey) noPrivateParts() error {
	for _, m := range j.Members() {
		if slices.ContainsFunc(privateParts,
			func(name string) bool { return strings.EqualFold(name, m.Name) }) {
			return keyError(ProblemPrivate, j.kid(), "expected public keys, got one with %s",
				strings.ToLower(m.Name))
		}
	}
	return nil
}

// forSignatures looks at use and key_ops (RFC 7517 sections 4.2 and 4.3).
func (j jsonKey) forSignatures() error {
	if use, ok := j.Member("use"); ok && (use.Kind() != strict.String || use.Text() != "sig") {
		return keyError(ProblemUse, j.kid(), "expected a key for signatures (use sig)")
	}
	ops, ok := j.Member("key_ops")
	if !ok {
		return nil
	}
	isVerify := func(m strict.Member) bool { return m.Value.Kind() == strict.String && m.Value.Text() == "verify" }
	if ops.Kind() == strict.Array && slices.ContainsFunc(ops.Members(), isVerify) {
		return nil
	}
	return keyError(ProblemUse, j.kid(), "expected a key whose key_ops have verify")
}

// kid gives the key's id when it is one, for errors too.
func (j jsonKey) kid() string {
	if kid, ok := j.Member("kid"); ok && kid.Kind() == strict.String && fitKeyID(kid.Text()) {
		return strings.Clone(kid.Text())
	}
	return ""
}

func (j jsonKey) public() (*PublicKey, error) {
	kid := j.kid()
	if kid == "" {
		return nil, keyError(ProblemKeyID, "",
			"expected a kid of 1 to %d printable ASCII characters", maxKeyID)
	}
	var alg string
	if v, ok := j.Member("alg"); ok {
		if alg = v.Text(); v.Kind() != strict.String || algorithms[alg].name == "" {
			return nil, keyError(ProblemAlgorithm, kid, "expected an algorithm that is supported")
		}
	}
	key, err := j.material()
	if err != nil {
		return nil, err
	}
	return NewPublicKey(alg, kid, key)
}
