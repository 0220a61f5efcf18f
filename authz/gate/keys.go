package gate

import (
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/token"
)

// keys shows the key sets to the engine.
type keys struct{ *keyset.Sets }

// Profile returns an issuer's rules.
func (k keys) Profile(issuer string) (*token.Profile, bool) {
	i, ok := k.Issuer(issuer)
	if !ok {
		return nil, false
	}
	return i.Profile, true
}

// Key returns an issuer's key, and whether its keys were ever had.
func (k keys) Key(issuer, keyID string) (*jose.PublicKey, bool) {
	i, ok := k.Issuer(issuer)
	if !ok {
		return nil, false
	}
	if key, ok := i.Key(keyID); ok {
		return key, true
	}
	return nil, i.HasKeys()
}
