package authz_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

const (
	exampleIssuers = "../examples/issuers"
	shapedTokens   = "../internal/token/testdata/issuers" // what each issuer's tokens look like
	shapedAt       = 1_800_000_000                        // when they were made
)

// loadIssuer loads an example as a gate does.
func loadIssuer(t *testing.T, file string) keyset.Config {
	t.Helper()
	var gate struct {
		Issuers []keyset.Config `yaml:"issuers"`
	}
	if err := config.Load(&gate, config.Options{File: file}); err != nil {
		t.Fatal(err)
	}
	if len(gate.Issuers) != 1 {
		t.Fatalf("%s: expected one entry, got %d", file, len(gate.Issuers))
	}
	return gate.Issuers[0]
}

// shaped is a token shaped like an issuer's, unsigned, and for one that must be refused the reason.
type shaped struct {
	Reason         token.Reason
	Header, Claims json.RawMessage
}

func loadShaped(t *testing.T, file string) (s shaped, alg, kid string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(content, &s)
	}
	var h struct{ Alg, Kid string }
	if err = errors.Join(err, json.Unmarshal(s.Header, &h)); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return s, h.Alg, h.Kid
}

func (s shaped) signed(k *josetest.Key) string {
	return k.Token(compact(s.Header), compact(s.Claims))
}

// compact is JSON without white space; what it was read from is JSON.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		panic(err)
	}
	return b.String()
}

// TestExampleIssuersAreTrustedAsWritten: each example, loaded by the loader, lets a token like its
// issuer's through the engine with the subject, roles and scopes that a policy goes by, refuses the
// others that the same keys sign, and whatever another key signs.
func TestExampleIssuersAreTrustedAsWritten(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(exampleIssuers, "*.yaml"))
	if err != nil || len(files) != 13 {
		t.Fatalf("expected thirteen examples, got %v, %v", files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if _, err := os.Stat(filepath.Join(shapedTokens, name)); err != nil {
			// Those that could be run have tokens of their own: TestTokensOfIssuersThatWereRun.
			if !isRecorded(name) {
				t.Errorf("%s: expected tokens, shaped or recorded, to judge it by", file)
			}
			loadIssuer(t, file)
			continue
		}
		t.Run(name, func(t *testing.T) {
			profile := loadIssuer(t, file).Profile
			good, alg, kid := loadShaped(t, filepath.Join(shapedTokens, name, "access_token.json"))
			key, thief := josetest.NewKey(alg, kid), josetest.NewKey(alg, kid)
			w := authztest.New()
			w.Now, w.MaxLifetime = time.Unix(shapedAt+60, 0), profile.MaxLifetime
			w.Keys.Trust(&profile, key.Public())
			engine := w.Engine(nil)

			want, err := profile.Read([]byte(compact(good.Claims)))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // once more, now that it may be cached
				d := engine.Decide(protected(good.signed(key)))
				if !d.Allow || !reflect.DeepEqual(d.Identity.Claims, want) || want.Subject == "" {
					t.Fatalf("got %s (%s) %+v, want %+v", d.Reason(), d.Detail(), d.Identity, want)
				}
			}
			others, err := filepath.Glob(filepath.Join(shapedTokens, name, "refused_*.json"))
			if err != nil || len(others) < 2 {
				t.Fatalf("expected tokens to refuse, got %v, %v", others, err)
			}
			for _, other := range others {
				s, _, _ := loadShaped(t, other)
				refused(t, engine, s.signed(key), s.Reason)
			}
			refused(t, engine, good.signed(thief), token.ReasonSignature)
			w.Keys.Remove(profile.Issuer, kid)
			refused(t, engine, good.signed(key), token.ReasonUnknownKey)

			w.Keys.Trust(&profile, key.Public())
			// revocations are kept too short for its tokens
			w.MaxLifetime = profile.MaxLifetime - time.Second
			refused(t, engine, good.signed(key), token.ReasonIssuerLifetime)
		})
	}
}

// TestRolesAreBroughtAlongUnderTheirIssuersPrefix: what comes with our admin does not come with
// another issuer's, unless the policy says so by that role's whole name; and the upstream is told
// what the token has.
func TestRolesAreBroughtAlongUnderTheirIssuersPrefix(t *testing.T) {
	ours, theirs := []string{"admin"}, []string{authztest.ForeignPrefix + "admin"}
	for name, row := range map[string]struct {
		roles   map[string][]string
		allowed bool // another issuer's admin
	}{
		"our admin":           {map[string][]string{ours[0]: {"clerk"}}, false},
		"their admin":         {map[string][]string{theirs[0]: {"clerk"}}, true},
		"their admin is ours": {map[string][]string{theirs[0]: ours, ours[0]: {"clerk"}}, true},
	} {
		w := authztest.New()
		var err error
		w.Policy, err = policy.Compile(policy.Config{Roles: row.roles, Routes: []policy.Route{{
			Match: policy.Match{Path: "/**"}, Require: policy.Require{Roles: []string{"clerk"}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		claims := w.ForeignClaims().And("roles", `["admin"]`).JSON()
		r := protected(w.ForeignKey.Token(w.ForeignKey.Header("JWT").JSON(), claims))
		d := w.Engine(nil).Decide(r)
		if d.Allow != row.allowed || !d.Allow && d.Reason() != "insufficient_role" {
			t.Errorf("%s: allowed %v, %s", name, d.Allow, d.Reason())
		}
		told := authz.Header{Name: authz.HeaderRoles, Value: theirs[0]}
		if d.Allow && !slices.Contains(d.Identity.Set, told) {
			t.Errorf("%s: the upstream is told %v", name, d.Identity.Set)
		}
	}
}
