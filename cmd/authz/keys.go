package main

import (
	"time"

	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/token"
)

// keys shows the key sets to the engine.
type keys struct{ *keyset.Sets }

// Profile gives an issuer's rules.
func (k keys) Profile(issuer string) (*token.Profile, bool) {
	i, ok := k.Issuer(issuer)
	if !ok {
		return nil, false
	}
	return i.Profile, true
}

// Key gives an issuer's key, and whether its keys were ever had.
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

// keySetAge is the age of the oldest key set, for the list of gates; 0 while there is none.
func (g *gate) keySetAge() time.Duration {
	var oldest time.Duration
	for _, s := range g.keys.Status() {
		if !s.Fetched.IsZero() {
			oldest = max(oldest, clock.Now().Sub(s.Fetched))
		}
	}
	return oldest
}
