package token_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/token"
)

const issuers = "testdata/issuers"

// entry is an issuer's entry as it stands in a gate's configuration.
type entry struct {
	token.Profile `yaml:",inline"`
	JWKSURL       string      `yaml:"jwks_url"`
	CAFile        config.Path `yaml:"ca_file"`
}

// example is a token shaped like an issuer's, less its signature, and for one that must be refused
// the reason.
type example struct {
	Reason token.Reason
	Header struct{ Alg, Kid, Typ string }
	Claims json.RawMessage
}

func loadEntry(t *testing.T, file string) token.Profile {
	t.Helper()
	var e entry
	e.SetDefaults()
	if err := config.Load(&e, config.Options{File: file}); err != nil {
		t.Fatal(err)
	}
	if err := e.Profile.Validate(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(e.JWKSURL, "https://") {
		t.Errorf("%s: expected an address of keys, got %q", file, e.JWKSURL)
	}
	return e.Profile
}

func loadExample(t *testing.T, file string) (e example) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return e
}

// judge is all that a profile has to say about a token, a minute after it was made.
func judge(p *token.Profile, e example) (*token.Claims, error) {
	if err := p.CheckHeader(token.Header{Algorithm: e.Header.Alg, Type: e.Header.Typ}); err != nil {
		return nil, err
	}
	c, err := p.Read(e.Claims)
	if err != nil {
		return nil, err
	}
	return c, p.CheckTime(c, time.Unix(issuedAt+60, 0))
}

const issuedAt = 1_800_000_000

// TestTokensOfEachIssuerAreRead: by the example of its configuration, to what revocations and
// policies go by.
func TestTokensOfEachIssuerAreRead(t *testing.T) {
	for name, want := range map[string]*token.Claims{
		"sallyport": {
			Issuer: "https://login.example.com", Subject: "alice", Audience: []string{"orders"},
			ID: "tq3Jm0aZ8nRzqk2bYw1L5g", ClientID: "sallyport",
			SessionID: "kJ2mQz7RtV~5hT0aYx9cWq3bLr8nZp1sg", Tenant: "acme", Scope: []string{
				"orders.read", "orders.write",
			}, Roles: []string{"admin"},
			Expiry: issuedAt + 3600, IssuedAt: issuedAt, AuthTime: issuedAt - 600,
		},
		"keycloak": {
			Issuer: "https://sso.example.com/realms/shop", Subject: "1f7a4b6e-6d1c-4a3f-8f0e-6a2b1c9d7e11",
			Audience: []string{"orders", "account"},
			ID:       "onrtac:8d5f2f0e-2c6b-4b0e-9b1a-4a6f3a3f9d55", ClientID: "web",
			SessionID: "c1b0a3d2-7e6f-4c5b-9a8d-0f1e2d3c4b5a",
			Scope:     []string{"openid", "email", "profile"}, Roles: []string{
				"default-roles-shop", "offline_access", "admin", "order-manager",
			},
			ACR:    "1",
			Expiry: issuedAt + 300, IssuedAt: issuedAt, AuthTime: issuedAt - 40,
		},
		"auth0": {
			Issuer: "https://shop.eu.auth0.com/", Subject: "auth0|5f7c8ec7c33c6c004bbafe82", Audience: []string{"https://api.example.com/orders", "https://shop.eu.auth0.com/userinfo"},
			ClientID: "kbyuFDidLLm280LIwVFiazOqjO3ty8KH", Tenant: "org_9ybsU1dN2dKfDkBi", Scope: []string{
				"openid", "profile", "read:orders",
			}, Roles: []string{"admin"},
			Expiry: issuedAt + 86400, IssuedAt: issuedAt,
		},
		"okta": {
			Issuer: "https://shop.okta.com/oauth2/default", Subject: "00ujmkLgagxeRrAg20g3",
			Audience: []string{"api://orders"}, ID: "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
			ClientID: "0oab8eb55Kb9jdMIr0g7", Scope: []string{"openid", "orders.read"},
			Roles:  []string{"Everyone", "admin"},
			Expiry: issuedAt + 3600, IssuedAt: issuedAt, AuthTime: issuedAt - 100,
		},
		"entra": {
			Issuer:  "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
			Subject: "690222be-ff1a-4d56-abd1-7e4f7d38e474",
			Audience: []string{
				"6e74172b-be56-4843-9ff4-e66a39bb12e3",
			}, ID: "fqiBqXLPj0eQa82S-IYFAA", ClientID: "0d4d7a3e-6f0b-4f4c-8a3e-1f2b3c4d5e6f",
			SessionID: "00476b1c-2f70-4a5e-8a0e-3c7f2d1b9e55", Tenant: "72f988bf-86f1-41af-91ab-2d7cd011db47", Scope: []string{"Orders.Read", "Orders.Write"}, Roles: []string{"Orders.Admin"},
			Expiry: issuedAt + 4711, IssuedAt: issuedAt, NotBefore: issuedAt,
		},
		"entra-tenants": {
			Issuer:  "https://login.microsoftonline.com/b8a94f12-5c0d-4e37-a1f6-0d3e9c7b2a51/v2.0",
			Subject: "690222be-ff1a-4d56-abd1-7e4f7d38e474",
			Audience: []string{
				"6e74172b-be56-4843-9ff4-e66a39bb12e3",
			}, ID: "fqiBqXLPj0eQa82S-IYFAA", ClientID: "0d4d7a3e-6f0b-4f4c-8a3e-1f2b3c4d5e6f",
			SessionID: "00476b1c-2f70-4a5e-8a0e-3c7f2d1b9e55",
			Tenant:    "b8a94f12-5c0d-4e37-a1f6-0d3e9c7b2a51",
			Scope:     []string{"Orders.Read", "Orders.Write"}, Roles: []string{"Orders.Admin"},
			Expiry: issuedAt + 4711, IssuedAt: issuedAt, NotBefore: issuedAt,
		},
		"cognito": {
			Issuer:   "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI",
			Subject:  "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
			Audience: []string{"7esgu9k9d4l1ttsv9q6vm5vf9p"},
			ID:       "95f6d2e1-2b7f-4c53-b9a2-2f1a0f6f9e77", ClientID: "7esgu9k9d4l1ttsv9q6vm5vf9p",
			SessionID: "5b9f50a3-05da-454a-8b99-b79c2349de77",
			Scope:     []string{"aws.cognito.signin.user.admin", "orders/read"}, Roles: []string{"admin"},
			Expiry: issuedAt + 3600, IssuedAt: issuedAt, AuthTime: issuedAt - 5,
		},
		"kubernetes": {
			Issuer:  "https://kubernetes.default.svc.cluster.local",
			Subject: "system:serviceaccount:shop:checkout", Audience: []string{"orders"},
			ID: "ea28ed49-2e11-4280-9ec5-bc3d1d84661a", SessionID: "5e0bd49b-f040-43b0-99b7-22765a53f7f3",
			Tenant: "shop",
			Expiry: issuedAt + 3600, IssuedAt: issuedAt, NotBefore: issuedAt,
		},
		"dex": {
			Issuer:   "https://dex.example.com",
			Subject:  "CiQwOGE4Njg0Yi1kYjg4LTRiNzMtOTBhOS0zY2QxNjYxZjU0NjYSBWxvY2Fs",
			Audience: []string{"orders"}, Roles: []string{"admin", "team one"},
			Expiry: issuedAt + 86400, IssuedAt: issuedAt,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := loadEntry(t, filepath.Join(issuers, name, "issuer.yaml"))
			got, err := judge(&p, loadExample(t, filepath.Join(issuers, name, "access_token.json")))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("expected %+v\ngot %+v", want, got)
			}
		})
	}
}

// TestOtherTokensOfEachIssuerAreRefused: those that its keys sign as well, for others or for other
// ends.
func TestOtherTokensOfEachIssuerAreRefused(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(issuers, "*"))
	if err != nil || len(dirs) != 9 {
		t.Fatalf("expected the examples of 9 issuers, got %d, %v", len(dirs), err)
	}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "refused_*.json"))
		if err != nil || len(files) < 2 {
			t.Fatalf("%s: expected examples to refuse, got %d, %v", dir, len(files), err)
		}
		p := loadEntry(t, filepath.Join(dir, "issuer.yaml"))
		for _, file := range files {
			t.Run(
				filepath.Base(dir)+"/"+strings.TrimSuffix(filepath.Base(file), ".json"),
				func(t *testing.T) {
					e := loadExample(t, file)
					if !e.Reason.Known() {
						t.Fatalf("the example names no reason, or an unknown one: %q", e.Reason)
					}
					if _, err := judge(&p, e); token.ReasonOf(err) != e.Reason {
						t.Errorf("expected %s, got %v", e.Reason, err)
					}
				},
			)
		}
	}
}

// TestNoIssuerReadsAnothers: each example is refused under every other issuer's profile.
func TestNoIssuerReadsAnothers(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(issuers, "*", "access_token.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("found no examples: %v", err)
	}
	for _, of := range files {
		for _, by := range files {
			if of == by {
				continue
			}
			p := loadEntry(t, filepath.Join(filepath.Dir(by), "issuer.yaml"))
			if _, err := p.Read(loadExample(t, of).Claims); token.ReasonOf(
				err) != token.ReasonUnknownIssuer {
				t.Errorf("%s under %s: got %v", of, by, err)
			}
		}
	}
}

// TestForeignTokensMustEnd: for each issuer, exp absent, past and too far away, and iat in the
// future, are refused.
func TestForeignTokensMustEnd(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(issuers, "*", "access_token.json"))
	if err != nil || len(files) != 9 {
		t.Fatalf("expected 9 examples, got %d, %v", len(files), err)
	}
	for _, file := range files {
		p := loadEntry(t, filepath.Join(filepath.Dir(file), "issuer.yaml"))
		for want, change := range map[token.Reason]map[string]any{
			token.ReasonExpiryMissing:   {"exp": nil},
			token.ReasonIssuedAtMissing: {"iat": nil},
			token.ReasonExpired:         {"exp": issuedAt, "iat": issuedAt - 200, "nbf": nil},
			token.ReasonLifetime:        {"exp": issuedAt + 10*365*86400},
			token.ReasonIssuedInFuture:  {"iat": issuedAt + 100, "nbf": nil},
			token.ReasonNotYetValid:     {"nbf": issuedAt + 100},
			token.ReasonDate:            {"exp": "1800003600"},
		} {
			e := loadExample(t, file)
			var claims map[string]any
			if err := json.Unmarshal(e.Claims, &claims); err != nil {
				t.Fatal(err)
			}
			for name, value := range change {
				if claims[name] = value; value == nil {
					delete(claims, name)
				}
			}
			if e.Claims, err = json.Marshal(whole(claims)); err != nil {
				t.Fatal(err)
			}
			if _, err := judge(&p, e); token.ReasonOf(err) != want {
				t.Errorf("%s with %v: expected %s, got %v", file, change, want, err)
			}
		}
	}
}

// whole turns numbers, which encoding/json has made floats, into whole ones again.
func whole(claims map[string]any) map[string]any {
	for name, value := range claims {
		if f, ok := value.(float64); ok {
			claims[name] = int64(f)
		}
	}
	return claims
}
