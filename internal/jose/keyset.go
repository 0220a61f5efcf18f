package jose

import (
	"encoding/json"
	"errors"
	"fmt"

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
		// Before use and kid: a private key is published whatever it is published for.
		if err := j.noPrivateParts(); err != nil {
			return nil, nil, err
		}
		if err := j.forSignatures(); err != nil {
			skipped = append(skipped, err)
			continue
		}
		// Of two keys with one kid nobody can say which is meant, even if one of them is weak.
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
	// Each key costs a check of its numbers, RSA's most.
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

// MarshalKeySet writes the keys as a JWK Set, each with kid, alg (unless it has none), use sig and
// its issuer, if it names one.
// Secrets are refused.
func MarshalKeySet(keys []*PublicKey) ([]byte, error) {
	set := struct {
		Keys []publicJWK `json:"keys"`
	}{make([]publicJWK, len(keys))}
	for i, k := range keys {
		j, err := k.key.jwk()
		if err != nil {
			return nil, withKeyID(err, k.id)
		}
		j.KeyID, j.Algorithm, j.Use, j.Issuer = k.id, k.alg, "sig", k.issuer
		set.Keys[i] = j
	}
	doc, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("jose: marshalling a key set: %w", err)
	}
	return doc, nil
}
