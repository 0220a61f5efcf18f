package token_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/token"
)

// TestCVE shows, for what others got wrong with claims, that we do not have it.
func TestCVE(t *testing.T) {
	refused := func(t *testing.T, p token.Profile, claim string, want token.Reason, values ...any) {
		t.Helper()
		for _, v := range values {
			claims := base()
			claims[claim] = v
			if got, err := p.Read(text(t, claims)); token.ReasonOf(err) != want || got != nil {
				t.Errorf("%s %#v: expected %s, got %v", claim, v, want, err)
			}
		}
	}
	for id, check := range map[string]func(t *testing.T){
		"CVE-2020-26160": func(t *testing.T) {
			refused(
				t, good(), "aud", token.ReasonAudience, []string{"other"}, []string{},
				[]any{[]string{"orders"}}, []any{"orders", 1}, []any{nil}, "")
			claims := base()
			claims["aud"] = []string{"other", "orders"}
			p := good()
			if _, err := p.Read(text(t, claims)); err != nil {
				t.Errorf("refused a list with ours among others: %v", err)
			}
		},
		"CVE-2026-55689": func(t *testing.T) {
			p := good()
			p.Audiences = nil
			problems := p.Problems()
			if len(problems) != 1 || problems[0].Path != "audiences" || !strings.Contains(problems[0].Problem, "`audiences: [NAME]`") {
				t.Errorf("expected the line to add, got %v", p.Validate())
			}
			refused(t, p, "aud", token.ReasonAudience, "orders", "", []string{""}, []string{})
		},
		"CVE-2024-53861": func(t *testing.T) {
			refused(
				t, good(), "iss", token.ReasonUnknownIssuer, "https://issuer.example.co",
				"https://issuer.example.com/", "HTTPS://issuer.example.com",
				"https://issuer.example.com.evil.example", "issuer.example.com", "h")
			short := good()
			short.Issuer = "https://issuer.example.com/tenant"
			refused(
				t, short, "iss", token.ReasonUnknownIssuer, "https://issuer.example.com",
				"https://issuer.example.com/tenant/x")
		},
		"CVE-2025-30144": func(t *testing.T) {
			const iss = "https://issuer.example.com"
			refused(
				t, good(), "iss", token.ReasonIssuer, []string{iss}, []string{"https://evil.example", iss},
				map[string]any{iss: true}, 1, nil, "")
			for _, claims := range []string{
				`{"iss":["` + iss + `"]}`, `{"iss":{"0":"` + iss + `"}}`, `{"iss":1}`, `{"iss":null}`, `{}`,
			} {
				b, err := token.ReadBody(claims)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := b.Issuer(); token.ReasonOf(err) != token.ReasonIssuer || got != "" {
					t.Errorf("%s: a key set would be chosen by %q", claims, got)
				}
			}
		},
		"GHSA-wxg7-w2v3-w38g": TestForeignTokensMustEnd,
		"CVE-2026-44428": func(t *testing.T) {
			p := good()
			p.Audiences = []string{"orders-production"}
			refused(
				t, p, "aud", token.ReasonAudience, "orders-staging", []string{"orders-staging"}, "orders",
				"orders-production-eu", "orders-productio")
		},
		"GHSA-7fpj-9hr8-28vh": func(t *testing.T) {
			p := good()
			for _, typ := range []string{
				"logout+jwt", "JWT", "secevent+jwt", "client-authentication+jwt", "token-introspection+jwt",
				"dpop+jwt", "",
			} {
				header := token.Header{Algorithm: "ES256", Type: typ}
				if err := p.CheckHeader(header); token.ReasonOf(err) != token.ReasonTyp {
					t.Errorf("typ %q: got %v", typ, err)
				}
			}
		},
		"CVE-2024-29892": claimsAreAFixedList,
		"CVE-2024-37568": func(t *testing.T) {
			for _, algorithms := range [][]string{
				{}, {"ES256", "HS256"}, {"HS512", "PS256"}, {"RS256", "HS256", "EdDSA"}, {"none"},
			} {
				p := good()
				p.Algorithms = algorithms
				if problems := p.Problems(); len(problems) == 0 || !strings.HasPrefix(problems[0].Path, "algorithms") {
					t.Errorf("%v: got %v", algorithms, p.Validate())
				}
			}
		},
	} {
		t.Run(id, check)
	}
}

// claimsAreAFixedList: there is no place in our claims into which an operator's or a user's data
// could bring a name of its own, and what a profile maps roles and scopes from is never a claim
// with another meaning.
func claimsAreAFixedList(t *testing.T) {
	kinds := []reflect.Kind{reflect.String, reflect.Slice, reflect.Int64}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[token.Claims]()) {
		if !slices.Contains(kinds, f.Type.Kind()) {
			t.Errorf("%s is a %s: it could carry names", f.Name, f.Type.Kind())
		}
	}
	for _, reserved := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"} {
		p := good()
		p.Claims.Roles, p.Claims.Scope = []string{reserved}, reserved
		if got := len(p.Problems()); got != 2 {
			t.Errorf("%s: expected two problems, got %v", reserved, p.Validate())
		}
	}
}
