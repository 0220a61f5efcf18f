package jose_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/token"
)

// TestTokensShapedLikeEachIssuers: signed by a key under that issuer's kid, through the whole of
// reading and verifying; and by another's key under the same kid, refused.
func TestTokensShapedLikeEachIssuers(t *testing.T) {
	files, err := filepath.Glob("../token/testdata/issuers/*/access_token.json")
	if err != nil || len(files) != 9 {
		t.Fatalf("expected 9 examples, got %d, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			profile := loadProfile(t, filepath.Join(filepath.Dir(file), "issuer.yaml"))
			header, claims := loadParts(t, file)
			var h struct{ Alg, Kid string }
			if err := json.Unmarshal([]byte(header), &h); err != nil {
				t.Fatal(err)
			}
			key, thief := josetest.NewKey(h.Alg, h.Kid), josetest.NewKey(h.Alg, h.Kid)
			if err := verify(t, profile, key.Token(header, claims), key.Public()); err != nil {
				t.Errorf("refused: %v", err)
			}
			if err := verify(t, profile, thief.Token(header, claims),
				key.Public()); token.ReasonOf(
				err,
			) != token.ReasonSignature {
				t.Errorf("signed by another under the same kid: got %v", err)
			}
			if err := verify(t, profile, key.Token(header, claims), nil); token.ReasonOf(
				err) != token.ReasonUnknownKey {
				t.Errorf("without a key: got %v", err)
			}
		})
	}
}

func verify(t *testing.T, profile *token.Profile, compact string, key *jose.PublicKey) error {
	t.Helper()
	p, err := jose.Parse(compact)
	if err != nil {
		return err
	}
	if iss, err := p.Issuer(); err != nil ||
		iss != profile.Issuer && !token.IsTenantOf(profile.Issuer, iss) {
		t.Fatalf("read the issuer %q, %v", iss, err)
	}
	claims, err := p.Verify(profile, key)
	if err != nil {
		return err
	}
	return profile.CheckTime(claims, time.Unix(claims.IssuedAt+60, 0))
}

func loadProfile(t *testing.T, file string) *token.Profile {
	t.Helper()
	var entry struct {
		token.Profile `yaml:",inline"`
		JWKSURL       string      `yaml:"jwks_url"`
		CAFile        config.Path `yaml:"ca_file"`
	}
	entry.SetDefaults()
	if err := config.Load(&entry, config.Options{File: file}); err != nil {
		t.Fatal(err)
	}
	return &entry.Profile
}

// loadParts returns header and claims in compact JSON.
func loadParts(t *testing.T, file string) (header, claims string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var parts map[string]map[string]any
	if err := json.Unmarshal(data, &parts); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"exp", "iat", "nbf", "auth_time"} {
		if f, ok := parts["claims"][name].(float64); ok {
			parts["claims"][name] = int64(f)
		}
	}
	return compactJSON(t, parts["header"]), compactJSON(t, parts["claims"])
}

func compactJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAKidOfTwoIssuersOpensForEachItsOwn: the key is chosen by issuer and kid, and holds for that
// issuer's tokens alone.
func TestAKidOfTwoIssuersOpensForEachItsOwn(t *testing.T) {
	a, b := setup("ES256"), setup("ES256")
	a.Key = josetest.NewKey("ES256", "shared")
	b.Key = josetest.NewKey("ES256", "shared")
	newDoor(a.Key).mustAccept(t, a.Good())
	newDoor(b.Key).mustAccept(t, b.Good())
	newDoor(a.Key).mustRefuse(t, b.Good(), token.ReasonSignature)
	newDoor(b.Key).mustRefuse(t, a.Good(), token.ReasonSignature)
}
