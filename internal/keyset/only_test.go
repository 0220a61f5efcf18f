package keyset

import (
	"encoding/base64"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/token"
)

// wantsOnly checks which key stands for a token without a kid: nil for none.
func (g *gate) wantsOnly(alg string, want *signing.PrivateKey) {
	g.Helper()
	got, why := g.Key(issuerA, "", alg)
	switch {
	case want == nil && why != token.ReasonKeyIDMissing:
		g.Errorf("%s: expected %s, got %q", alg, token.ReasonKeyIDMissing, why)
	case (got == nil) != (want == nil) || want != nil && got.ID() != want.ID():
		g.Errorf("%s: expected %v, got %v", alg, want, got)
	}
}

// TestATokenWithoutAKidHasTheOnlyKey that fits its algorithm: of several, as while keys rotate, it
// has none, and neither once the one is revoked.
func TestATokenWithoutAKidHasTheOnlyKey(t *testing.T) {
	o := &origin{}
	one, other, rsa := newKey(t, "ES256"), newKey(t, "ES256"), newKey(t, "RS256")
	g := newGate(t, Options{Transport: o}, trust(issuerA, algs("ES256", "RS256", "PS256")))
	if got, why := g.Key(issuerA, "", "ES256"); got != nil ||
		why != token.ReasonNoKeys {
		t.Errorf("before the first fetch: got %v, %s", got, why)
	}
	o.publish(t, one, rsa)
	g.mustFetch()
	g.wantsOnly("ES256", one)
	g.wantsOnly("RS256", rsa)
	for _, alg := range []string{"PS256", "ES384", "EdDSA", "HS256", "none", ""} {
		g.wantsOnly(alg, nil)
	}
	if got, why := g.Key(issuerB, "", "ES256"); got != nil ||
		why != token.ReasonUnknownIssuer {
		t.Errorf("of an issuer that is not trusted: got %v, %s", got, why)
	}
	o.publish(t, one, other, rsa)
	g.mustFetch()
	g.wantsOnly("ES256", nil)
	g.wantsOnly("RS256", rsa)
	g.RemoveKey(issuerA, rsa.ID(), time.Now().Add(time.Hour))
	g.wantsOnly("RS256", nil)
}

// TestAKeyWithoutAKidStandsForTokensWithoutOne, as a set may have it (RFC 7517 section 4.5), and not
// for tokens that name a key.
func TestAKeyWithoutAKidStandsForTokensWithoutOne(t *testing.T) {
	o, key := &origin{}, newKey(t, "ES256")
	o.set(serve(regexp.MustCompile(`"kid":"[^"]*",`).ReplaceAllString(jwks(t, key), "")))
	g := newGate(t, Options{Transport: o}, trust(issuerA))
	g.mustFetch()
	got, why := g.Key(issuerA, "", "ES256")
	if got == nil {
		t.Fatalf("there is none: %s", why)
	}
	text, err := key.Sign("JWT", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	dot := strings.LastIndex(text, ".")
	signature, err := base64.RawURLEncoding.DecodeString(text[dot+1:])
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Verify("ES256", text[:dot], signature); err != nil {
		t.Errorf("it is not the key: %v", err)
	}
	if got, _ := g.Key(issuerA, "another", "ES256"); got != nil {
		t.Errorf("a token that names another key has %v", got)
	}
}

// TestASecretStandsForTokensWithoutAKid: as Flask makes them; those of a ring with two do not.
func TestASecretStandsForTokensWithoutAKid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, "0123456789 abcdefghij KLMNOPQRST")
	g := newGate(t, Options{}, trust(issuerA, secret(path)))
	g.mustFetch()
	if got, _ := g.Key(issuerA, "", "HS256"); got == nil {
		t.Error("expected the one secret")
	}
	g.wantsOnly("HS384", nil)
	g.wantsOnly("ES256", nil)
}

// TestAKeyForEd25519IsOneForEdDSA (RFC 9864), whichever name the set and the entry give it.
func TestAKeyForEd25519IsOneForEdDSA(t *testing.T) {
	k := newKey(t, "EdDSA")
	for _, set := range []string{`"alg":"EdDSA",`, `"alg":"Ed25519",`, ""} {
		for _, entry := range []string{"EdDSA", "Ed25519"} {
			o := &origin{}
			o.set(serve(strings.Replace(jwks(t, k), `"alg":"EdDSA",`, set, 1)))
			g := newGate(t, Options{Transport: o}, trust(issuerA, algs(entry)))
			g.mustFetch()
			g.wants(issuerA, k)
			g.wantsOnly("EdDSA", k)
			g.wantsOnly("Ed25519", k)
		}
	}
	o := &origin{}
	o.set(serve(strings.Replace(jwks(t, k), `"alg":"EdDSA"`, `"alg":"Ed448"`, 1)))
	g := newGate(t, Options{Transport: o}, trust(issuerA, algs("EdDSA")))
	if err := g.fetch(); err == nil {
		t.Error("a key for Ed448 is in force")
	}
}
