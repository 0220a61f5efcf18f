package jose_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/token"
)

// difference is a rule by which we accept a token that another reader refuses.
type difference struct {
	rule    string
	applies func(oracle string, header, claims map[string]any) bool
}

// blankAround is not a name that a header can have here: it marks one with white space around it.
const blankAround = " "

// differences are all that we mean.
var differences = []difference{
	{
		"names that bring or point to keys, or say what they are, are not looked at: others read them",
		func(_ string, header, _ map[string]any) bool {
			return hasAny(header, "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "cty")
		},
	},
	{
		"go-jose and jwx know a name that we do not, and give it a type",
		func(oracle string, header, _ map[string]any) bool {
			return oracle != "golang-jwt" && hasAny(header, "nonce", "url")
		},
	},
	{
		"jwx verifies a header without the white space around it, which was signed with it",
		func(oracle string, header, _ map[string]any) bool {
			return oracle == "jwx" && header[blankAround] == true
		},
	},
	{
		"Ed25519 is a name for EdDSA (RFC 9864), which not every reader has",
		func(_ string, header, _ map[string]any) bool { return header["alg"] == "Ed25519" },
	},
	{
		"a fraction of a date counts: others cut it off, and end the token by so much earlier",
		func(_ string, _, claims map[string]any) bool {
			n, ok := claims["exp"].(json.Number)
			r, isNumber := new(big.Rat).SetString(n.String())
			return ok && isNumber && !r.IsInt() &&
				r.Cmp(big.NewRat(now.Add(-29*time.Second).Unix(), 1)) < 0
		},
	},
}

func hasAny(m map[string]any, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, ok := m[name]; return ok })
}

// FuzzDifferentialForeign is FuzzDifferential for the tokens of another's issuer: what we accept
// the others accept with the same claims, or one of the differences says why not.
func FuzzDifferentialForeign(f *testing.F) {
	k := fuzzKey()
	s := josetest.Setup{Key: k, Claims: goodClaims(), Now: now}
	header := k.Header("at+jwt")
	hostile, harmless := s.ForeignAttacks()
	for i, a := range hostile {
		if len(a.Token) < 2000 && i%5 == 0 {
			f.Add("", "", a.Token)
		}
	}
	for _, a := range slices.Concat(harmless, hostile) {
		if parts := strings.Split(a.Token, "."); len(parts) == 3 && len(a.Token) < 2000 &&
			a.Reason != token.ReasonBase64 {
			f.Add(josetest.Decode(parts[0]), josetest.Decode(parts[1]), "")
		}
	}
	for _, claims := range []josetest.Object{
		goodClaims().With("exp", "1800000060.25").With("iat", "1.8e9").With("nbf", "17999999999e-1"),
		goodClaims().With("exp", "1799999970.5"),
		goodClaims().With("auth_time", `"yesterday"`).And("amr", `[{"method":"password"}]`),
		goodClaims().With("roles", `{"admin":{"1":"example.com"},"no":false}`),
		goodClaims().And("tenant", `{"id":"acme"}`).With("scope", `null`),
		goodClaims().And("cnf", `{"jkt":"x"}`),
	} {
		f.Add(header.JSON(), claims.JSON(), "")
		f.Add(strings.ReplaceAll(header.JSON(), ":", " : "), claims.JSON(), "")
	}
	f.Add(header.With("alg", `"Ed25519"`).JSON(), goodClaims().JSON(), "")
	f.Add(header.And("nonce", `1`).JSON(), goodClaims().JSON(), "")
	d, ours := newForeignDoor(k), newDoor(k)
	f.Fuzz(func(t *testing.T, header, claims, compact string) {
		if compact == "" {
			compact = k.Token(header, claims)
		}
		got, err := d.judge(compact)
		if strictly, refused := ours.judge(compact); refused == nil &&
			(err != nil || !reflect.DeepEqual(strictly, got)) {
			t.Fatalf("read %s as %+v of ours, and as %+v, %v of others", compact, strictly, got, err)
		}
		if err != nil {
			if r := token.ReasonOf(err); !r.Known() || r == token.ReasonInternal {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		parts := strings.Split(compact, ".")
		h, err := decodeClaims([]byte(josetest.Decode(parts[0])))
		if err != nil {
			t.Fatalf("accepted a header that encoding/json refuses: %v", err)
		}
		if text := josetest.Decode(parts[0]); strings.TrimSpace(text) != text {
			h[blankAround] = true
		}
		c, err := decodeClaims([]byte(josetest.Decode(parts[1])))
		if err != nil {
			t.Fatalf("accepted claims that encoding/json refuses: %v", err)
		}
		for name, read := range oracles {
			want, err := read(compact, k)
			if err == nil {
				compareForeign(t, name, got, want)
			} else if !slices.ContainsFunc(differences,
				func(d difference) bool { return d.applies(name, h, c) }) {
				t.Fatalf("accepted what %s refuses: %v\n%s\n%s", name, err, parts[0], compact)
			}
		}
	})
}

// compareForeign wants the oracle to have read what we read of what we use.
func compareForeign(t *testing.T, name string, got *token.Claims, want map[string]any) {
	t.Helper()
	for claim, have := range map[string]string{
		"iss": got.Issuer, "sub": got.Subject, "jti": got.ID, "client_id": got.ClientID,
		"sid": got.SessionID,
	} {
		if other, ok := want[claim]; ok && other != have || !ok && have != "" {
			t.Fatalf("%s reads %s as %q, we as %q", name, claim, other, have)
		}
	}
	if other, _ := want["tenant"].(string); got.Tenant != "" && got.Tenant != other {
		t.Fatalf("%s reads tenant as %q, we as %q", name, other, got.Tenant)
	}
	for claim, have := range map[string]int64{
		"exp": got.Expiry, "iat": got.IssuedAt, "nbf": got.NotBefore,
	} {
		if have != 0 && !sameSecond(want[claim], have) {
			t.Fatalf("%s reads %s as %v, we as %d", name, claim, want[claim], have)
		}
	}
	for claim, have := range map[string][]string{
		"aud": got.Audience, "roles": got.Roles, "amr": got.AMR, "scope": got.Scope,
	} {
		if _, isObject := want[claim].(map[string]any); isObject {
			have = slices.Sorted(slices.Values(have)) // encoding/json keeps no order of names
		}
		if len(have) > 0 && !slices.Equal(have, foreignTexts(want[claim], claim)) {
			t.Fatalf("%s reads %s as %q, we as %q", name, claim, want[claim], have)
		}
	}
}

// sameSecond compares a date with the whole seconds of it; what is finer than a nanosecond may have
// made it the next.
func sameSecond(number any, have int64) bool {
	r, ok := new(big.Rat).SetString(fmt.Sprint(number))
	if !ok {
		return false
	}
	from := new(big.Rat).Sub(r, big.NewRat(1, 1))
	return from.Cmp(big.NewRat(have, 1)) < 0 &&
		new(big.Rat).Add(r, big.NewRat(1, 1e9)).Cmp(big.NewRat(have, 1)) >= 0
}

// foreignTexts is a claim as a list; of an object the names of what is granted, in order.
func foreignTexts(v any, claim string) (all []string) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if value != nil && value != false {
				all = append(all, name)
			}
		}
		slices.Sort(all)
		return all
	case []any:
		for _, item := range v {
			text, ok := item.(string)
			if !ok {
				return nil
			}
			all = append(all, text)
		}
		return all
	}
	return texts(v, claim != "aud")
}
