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

// ParseKeySet reads a JWK Set (RFC 7517 section 5) as an issuer publishes it. wanted are the
// algorithms whose keys are asked for; none stands for all that there are. A key that cannot be
// used, because it is weak or of a type, for an algorithm or for a purpose that is not asked for, is
// left out, and skipped says which and why (*KeyError). Of the keys that are left, one that stands
// twice under a kid counts once, and of different ones under a kid none can be used
// (ProblemDuplicate): nobody can say which is meant. The whole set is refused when it is not JSON in
// one meaning, when it shows a private or secret key, and when no usable key is left (ErrNoKeys,
// with skipped).
func ParseKeySet(doc []byte, wanted ...string) (keys []*PublicKey, skipped []error, err error) {
	entries, err := keySetEntries(doc)
	if err != nil {
		return nil, nil, err
	}
	var candidates []*candidate
	named := make(map[string]*candidate)
	for _, m := range entries {
		j := jsonKey{m.Value}
		// Before use and kid: a private key is published whatever it is published for.
		if err := j.noPrivateParts(); err != nil {
			return nil, nil, err
		}
		// Before kids are compared: a kid may stand for keys of several types (RFC 7517 section
		// 4.5), of which the issuer's tokens are signed with one.
		if err := j.isWanted(wanted); err != nil {
			skipped = append(skipped, err)
			continue
		}
		c := &candidate{kid: j.kid()}
		if c.key, c.err = j.public(); c.err != nil {
			c.err = withKeyID(c.err, c.kid)
		}
		if first := named[c.kid]; first != nil {
			first.join(c)
			continue
		}
		if candidates = append(candidates, c); c.kid != "" {
			named[c.kid] = c
		}
	}
	for _, c := range candidates {
		if c.err != nil {
			skipped = append(skipped, c.err)
		} else {
			keys = append(keys, c.key)
		}
	}
	if len(keys) == 0 {
		return nil, skipped, ErrNoKeys
	}
	return keys, skipped, nil
}

// candidate is what a set has under one kid: a key, or the reason why it cannot be used.
type candidate struct {
	kid string // "" when it has none
	key *PublicKey
	err error
}

// join adds what stands under the same kid further on.
func (c *candidate) join(other *candidate) {
	switch {
	case ProblemOf(c.err) == ProblemDuplicate:
	case c.err != nil || other.err != nil || !c.key.key.equal(other.key.key),
		c.key.issuer != other.key.issuer:
		c.err = keyError(ProblemDuplicate, c.kid, "expected one key under a kid, got different ones")
	case c.key.alg != other.key.alg:
		// An RSA key that is published for several algorithms is free among RSA's, as one that is
		// published for none.
		c.key = &PublicKey{id: c.key.id, key: c.key.key, issuer: c.key.issuer}
	}
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
