package authztest

import (
	"context"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// Keys are trusted issuers and their keys.
type Keys struct {
	mu       sync.RWMutex
	profiles map[string]*token.Profile
	keys     map[string]map[string]*jose.PublicKey
	coming   map[string]map[string]*jose.PublicKey
	had      map[string]bool
	doubted  map[string]bool
	settled  map[string]bool
	removals uint64
	awaited  int
}

func newKeys() *Keys {
	return &Keys{
		profiles: map[string]*token.Profile{}, had: map[string]bool{},
		doubted: map[string]bool{}, settled: map[string]bool{},
		keys: map[string]map[string]*jose.PublicKey{}, coming: map[string]map[string]*jose.PublicKey{},
	}
}

// Trust adds an issuer, or exchanges its rules, with these keys. An issuer without keys is one
// whose keys were never had.
func (k *Keys) Trust(p *token.Profile, keys ...*jose.PublicKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.profiles[p.Issuer], k.had[p.Issuer] = p, len(keys) > 0
	k.keys[p.Issuer] = map[string]*jose.PublicKey{}
	for _, key := range keys {
		k.keys[p.Issuer][key.ID()] = key
	}
}

// Remove takes a key out of its issuer's set.
func (k *Keys) Remove(issuer, keyID string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys[issuer], keyID)
	k.removals++
}

// Publish has an issuer publish a key that Await finds.
func (k *Keys) Publish(issuer string, key *jose.PublicKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.coming[issuer] = map[string]*jose.PublicKey{key.ID(): key}
}

// Profile implements authz.Keys.
func (k *Keys) Profile(issuer string) (*token.Profile, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	p, ok := k.profiles[k.entry(issuer)]
	return p, ok
}

// entry returns the issuer as its entry has it; "" when there is none.
func (k *Keys) entry(iss string) string {
	for name, p := range k.profiles {
		if tenants, several := token.NewTenants(p); several && tenants.Has(iss) ||
			!several && name == iss {
			return name
		}
	}
	return ""
}

// Key implements authz.Keys.
func (k *Keys) Key(issuer, keyID, algorithm string) (*jose.PublicKey, token.Reason) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	entry := k.entry(issuer)
	key := k.keys[entry][keyID]
	if keyID == "" {
		key = only(k.keys[entry], algorithm)
	}
	switch {
	case key != nil:
		return key, ""
	case !k.had[entry]:
		return nil, token.ReasonNoKeys
	case keyID == "":
		return nil, token.ReasonKeyIDMissing
	case k.doubted[issuer]:
		return nil, token.ReasonKeyPending
	}
	return nil, token.ReasonUnknownKey
}

// Doubt has every key that an issuer does not have be one that it may have published lately, until
// Settle.
func (k *Keys) Doubt(issuer string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.doubted[issuer] = true
}

// Settle has Await learn that an issuer has no other keys.
func (k *Keys) Settle(issuer string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settled[issuer] = true
}

// only returns the one key that fits an algorithm.
func only(keys map[string]*jose.PublicKey, algorithm string) *jose.PublicKey {
	var fitting []*jose.PublicKey
	for _, key := range keys {
		if key.Fits(algorithm) {
			fitting = append(fitting, key)
		}
	}
	if len(fitting) != 1 {
		return nil
	}
	return fitting[0]
}

// Removals implements authz.Keys.
func (k *Keys) Removals() uint64 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.removals
}

// Await puts what was published in force, or settles a doubt. It waits for ctx when there is
// nothing of either.
func (k *Keys) Await(ctx context.Context, issuer, keyID string) bool {
	k.mu.Lock()
	k.awaited++
	entry := k.entry(issuer)
	key := k.coming[entry][keyID]
	if key != nil {
		k.keys[entry][keyID], k.had[entry] = key, true
	}
	settled := k.settled[issuer]
	k.doubted[issuer] = k.doubted[issuer] && !settled
	k.mu.Unlock()
	if key == nil && !settled {
		<-ctx.Done()
	}
	return key != nil || settled
}

// Awaited is how often Await was called.
func (k *Keys) Awaited() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.awaited
}

// Revocations are a copy of the revocation log whose content and freshness tests set.
type Revocations struct {
	world *World

	mu      sync.RWMutex
	revoked []func(*revocation.Facts) bool
	Fresh   revocation.Freshness
}

// Revoke revokes all tokens that match says yes to.
func (r *Revocations) Revoke(match func(*revocation.Facts) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revoked = append(r.revoked, match)
}

// Check implements authz.Revocations.
func (r *Revocations) Check(f *revocation.Facts) revocation.Verdict {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, match := range r.revoked {
		if match(f) {
			kind := revocation.KindSID
			if *f == (revocation.Facts{Issuer: f.Issuer, KeyID: f.KeyID}) { // nothing else is asked about
				kind = revocation.KindKID
			}
			return revocation.Verdict{Revoked: true, Kind: kind, Reason: "logout", Seq: 7}
		}
	}
	return revocation.Verdict{}
}

// Freshness implements authz.Revocations.
func (r *Revocations) Freshness(revocation.Instant) revocation.Freshness { return r.Fresh }

// Now implements authz.Revocations.
func (r *Revocations) Now(revocation.Instant) time.Time { return r.world.Now }
