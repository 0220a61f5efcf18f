package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/token"
)

// trial is the issuers of a configuration with keys that are made for one run: tokens of them are
// what the tests of a policy are asked with.
type trial struct {
	entries []trialIssuer
	now     time.Time
}

type trialIssuer struct {
	profile *token.Profile
	key     *signing.PrivateKey
}

func newTrial(c *gate.Config, now time.Time) (*trial, error) {
	t := &trial{now: now}
	for i := range c.Issuers {
		profile := c.Issuers[i].Profile
		algorithm := "ES256"
		if len(profile.Algorithms) > 0 {
			algorithm = profile.Algorithms[0]
		}
		key, err := signing.GenerateKey(algorithm)
		if err != nil {
			return nil, err
		}
		t.entries = append(t.entries, trialIssuer{&profile, key})
	}
	return t, nil
}

// find returns the entry that stands for an issuer; nil when none does.
func (t *trial) find(iss string) *trialIssuer {
	for i := range t.entries {
		tenants, several := token.NewTenants(t.entries[i].profile)
		if several && tenants.Has(iss) || !several && t.entries[i].profile.Issuer == iss {
			return &t.entries[i]
		}
	}
	return nil
}

// Profile implements authz.Keys.
func (t *trial) Profile(iss string) (*token.Profile, bool) {
	if e := t.find(iss); e != nil {
		return e.profile, true
	}
	return nil, false
}

// Key implements authz.Keys.
func (t *trial) Key(iss, keyID, _ string) (*jose.PublicKey, token.Reason) {
	if e := t.find(iss); e != nil && e.key.ID() == keyID {
		return e.key.Public(), ""
	}
	return nil, token.ReasonUnknownKey
}

// Removals implements authz.Keys.
func (t *trial) Removals() uint64 { return 0 }

// token makes a token of an issuer, "" standing for the first, which is good but for what the claims
// say otherwise. A claim that is null is left out.
func (t *trial) token(iss string, claims map[string]json.RawMessage) (string, error) {
	e := &t.entries[0]
	if iss != "" {
		if e = t.find(iss); e == nil {
			return "", fmt.Errorf("expected an issuer of the configuration, got %q", iss)
		}
	}
	all := e.usual(cmp.Or(iss, e.profile.Issuer), t.now)
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		value := claims[name]
		if string(value) == "null" {
			delete(all, name)
			continue
		}
		if dates[name] {
			var err error
			if value, err = t.date(name, value); err != nil {
				return "", err
			}
		}
		all[name] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		return "", err
	}
	typ := cmp.Or(e.profile.Type, "at+jwt")
	if typ == "none" {
		typ = ""
	}
	return e.key.Sign(typ, text)
}

// usual are the claims without which no token of the issuer is accepted.
func (e *trialIssuer) usual(iss string, now time.Time) map[string]any {
	p := e.profile
	lifetime := 5 * time.Minute
	if p.MaxLifetime > 0 {
		lifetime = min(lifetime, p.MaxLifetime)
	}
	all := map[string]any{
		"iss": iss, "iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
		cmp.Or(p.Claims.Subject, "sub"): "somebody",
	}
	if len(p.Audiences) > 0 {
		all[cmp.Or(p.Claims.Audience, "aud")] = p.Audiences[0]
	}
	if id := cmp.Or(p.TokenID, "jti"); id != "none" {
		all[id] = "token-1"
	}
	if p.Ours {
		all["client_id"] = "somebody"
	}
	for _, required := range p.RequiredClaims {
		name, value, valued := strings.Cut(required, "=")
		if all[name] == nil && valued {
			all[name] = value
		} else if all[name] == nil {
			all[name] = true
		}
	}
	return all
}

var dates = map[string]bool{"exp": true, "iat": true, "nbf": true, "auth_time": true}

// date takes a time that is told by its distance, "5m ago" or "in 5m"; others stay as they are.
func (t *trial) date(name string, value json.RawMessage) (json.RawMessage, error) {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return value, nil
	}
	distance, sign := strings.TrimPrefix(text, "in "), time.Duration(1)
	if before, ago := strings.CutSuffix(text, " ago"); ago {
		distance, sign = before, -1
	}
	d, err := time.ParseDuration(distance)
	if err != nil || distance == text {
		return nil, fmt.Errorf("expected %s in seconds, or as \"5m ago\" or \"in 5m\", got %q", name, text)
	}
	return json.Marshal(t.now.Add(sign * d).Unix())
}
