package jose_test

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
	gojwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/token"
)

// fuzzKey is the same in every process, so that a finding stays one.
func fuzzKey() *josetest.Key {
	signer := ed25519.NewKeyFromSeed([]byte("a key for tests that all may see"))
	public, err := jose.NewPublicKey("", "", signer.Public())
	if err != nil {
		panic(err)
	}
	return &josetest.Key{Algorithm: "EdDSA", ID: public.ID(), Signer: signer}
}

// FuzzDifferential: whatever header and claims are signed, what we accept go-jose, golang-jwt and
// jwx accept too, and read the same from it. The last argument, when it is not empty, takes the
// place of the signed token.
func FuzzDifferential(f *testing.F) {
	k := fuzzKey()
	s := josetest.Setup{Key: k, Claims: goodClaims(), Now: now}
	f.Add(k.Header("at+jwt").JSON(), goodClaims().JSON(), "")
	f.Add(k.Header("at+jwt").And("x5t", `"abc"`).JSON(),
		goodClaims().And("x", `{"a":[1,2,{"b":null}]}`).JSON(), "")
	for i, a := range s.Attacks() {
		if len(a.Token) < 2000 && i%5 == 0 {
			f.Add("", "", a.Token)
		}
	}
	for _, a := range slices.Concat(s.HeaderAttacks(), s.ClaimFormAttacks(), s.ClaimAttacks()) {
		if parts := strings.Split(a.Token, "."); len(parts) == 3 && len(a.Token) < 2000 {
			f.Add(josetest.Decode(parts[0]), josetest.Decode(parts[1]), "")
		}
	}
	d := newDoor(k)
	f.Fuzz(func(t *testing.T, header, claims, compact string) {
		if compact == "" {
			compact = k.Token(header, claims)
		}
		got, err := d.judge(compact)
		if err != nil {
			if r := token.ReasonOf(err); !r.Known() || r == token.ReasonInternal {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		for name, read := range oracles {
			want, err := read(compact, k)
			if err != nil {
				t.Fatalf("accepted what %s refuses: %v\n%s", name, err, compact)
			}
			compare(t, name, got, want)
		}
	})
}

// oracles are other people's readers. Each verifies and gives the claims.
var oracles = map[string]func(compact string, k *josetest.Key) (map[string]any, error){
	"go-jose": func(compact string, k *josetest.Key) (map[string]any, error) {
		parsed, err := gojwt.ParseSigned(compact,
			[]gojose.SignatureAlgorithm{gojose.SignatureAlgorithm(k.Algorithm)})
		if err != nil {
			return nil, err
		}
		var raw json.RawMessage
		var standard gojwt.Claims
		if err := parsed.Claims(k.Signer.Public(), &raw, &standard); err != nil {
			return nil, err
		}
		if err := standard.ValidateWithLeeway(
			gojwt.Expected{Issuer: trusted, AnyAudience: gojwt.Audience{audience}, Time: now},
			30*time.Second); err != nil {
			return nil, err
		}
		return decodeClaims(raw)
	},
	"golang-jwt": func(compact string, k *josetest.Key) (map[string]any, error) {
		claims := jwt.MapClaims{}
		_, err := jwt.NewParser(jwt.WithValidMethods([]string{k.Algorithm}), jwt.WithJSONNumber(), jwt.WithStrictDecoding(), jwt.WithIssuer(trusted), jwt.WithAudience(audience),
			jwt.WithExpirationRequired(),
			jwt.WithIssuedAt(),
			jwt.WithLeeway(30*time.Second), jwt.WithTimeFunc(func() time.Time { return now })).
			ParseWithClaims(compact, claims, func(*jwt.Token) (any, error) { return k.Signer.Public(), nil })
		return claims, err
	},
	"jwx": func(compact string, k *josetest.Key) (map[string]any, error) {
		payload, err := jws.Verify([]byte(compact),
			jws.WithKey(jwa.SignatureAlgorithm(k.Algorithm), k.Signer.Public()))
		if err != nil {
			return nil, err
		}
		return decodeClaims(payload)
	},
}

func decodeClaims(raw []byte) (m map[string]any, err error) {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	return m, d.Decode(&m)
}

// compare wants the oracle to have read what we read.
func compare(t *testing.T, name string, got *token.Claims, want map[string]any) {
	t.Helper()
	for claim, have := range map[string]string{
		"iss": got.Issuer, "sub": got.Subject, "jti": got.ID, "client_id": got.ClientID,
		"sid": got.SessionID, "tenant": got.Tenant,
		"exp": number(got.Expiry), "iat": number(got.IssuedAt), "nbf": number(got.NotBefore),
		"auth_time": number(got.AuthTime),
	} {
		other := ""
		if v, ok := want[claim]; ok {
			other = fmt.Sprint(v)
		}
		if other != have {
			t.Fatalf("%s reads %s as %q, we as %q", name, claim, other, have)
		}
	}
	for claim, have := range map[string][]string{
		"aud": got.Audience, "roles": got.Roles, "amr": got.AMR, "scope": got.Scope,
	} {
		if other := texts(want[claim], claim != "aud"); !slices.Equal(other, have) {
			t.Fatalf("%s reads %s as %q, we as %q", name, claim, other, have)
		}
	}
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func texts(v any, split bool) (all []string) {
	switch v := v.(type) {
	case string:
		if !split {
			return []string{v}
		}
		return strings.FieldsFunc(v, func(r rune) bool { return r == ' ' })
	case []any:
		for _, item := range v {
			all = append(all, item.(string))
		}
	}
	return all
}

// TestWhatWeSignOthersAccept: signer and reader agree with everyone's, for every algorithm.
func TestWhatWeSignOthersAccept(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256"} {
		k := josetest.NewKey(alg, "")
		compact, err := honest(t, k).Sign("at+jwt", []byte(goodClaims().JSON()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := newDoor(k).judge(compact)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		for name, read := range oracles {
			want, err := read(compact, k)
			if err != nil {
				t.Fatalf("%s: %s: %v", alg, name, err)
			}
			compare(t, name, got, want)
		}
	}
}

// TestKeySetsAreSpeltAsJWXDoes: documents and thumbprints, for keys of every type, byte for byte.
func TestKeySetsAreSpeltAsJWXDoes(t *testing.T) {
	var keys []*jose.PublicKey
	oracle := jwk.NewSet()
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS512", ""} {
		for _, kid := range []string{"", `a<"\&b`} {
			signer := josetest.NewKey(cmp.Or(alg, "RS256"), "").Signer
			key, err := jose.NewPublicKey(alg, kid, signer.Public())
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key)
			want, err := jwk.FromRaw(signer.Public())
			if err != nil {
				t.Fatal(err)
			}
			sum, err := want.Thumbprint(crypto.SHA256)
			if got, failed := key.Thumbprint(); err != nil || failed != nil ||
				got != josetest.Encode(string(sum)) {
				t.Errorf("%s: got the thumbprint %s, %v, %v", alg, got, err, failed)
			}
			members := map[string]string{jwk.KeyIDKey: key.ID(), jwk.KeyUsageKey: "sig"}
			if alg != "" {
				members[jwk.AlgorithmKey] = alg
			}
			for name, value := range members {
				if err := want.Set(name, value); err != nil {
					t.Fatal(err)
				}
			}
			if err := oracle.AddKey(want); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := jose.MarshalKeySet(keys)
	want, failed := json.Marshal(oracle)
	if err != nil || failed != nil || string(got) != string(want) {
		t.Errorf("got %s, %v\nwant %s, %v", got, err, want, failed)
	}
}

// TestHonestTokensPassAndAlteredOnesDoNot: over claims of all kinds, what we mint we accept as what
// it was, and a change of any one byte, to any other, is refused.
func TestHonestTokensPassAndAlteredOnesDoNot(t *testing.T) {
	k := fuzzKey()
	d := newDoor(k)
	private := honest(t, k)
	rapid.Check(t, func(t *rapid.T) {
		claims := drawClaims(t)
		text, err := claims.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		compact, err := private.Sign("at+jwt", text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.judge(compact)
		if err != nil {
			t.Fatalf("refused a good token: %v", err)
		}
		if !reflect.DeepEqual(got, claims) {
			t.Fatalf("minted %+v, read %+v", claims, got)
		}
		at := rapid.IntRange(0, len(compact)-1).Draw(t, "at")
		to := rapid.Byte().Draw(t, "to")
		altered := compact[:at] + string([]byte{to}) + compact[at+1:]
		if altered == compact {
			return
		}
		if _, err := d.judge(altered); err == nil {
			t.Fatalf("accepted byte %d changed from %q to %q", at, compact[at], to)
		}
	})
}

// drawClaims returns claims that an issuer of ours could make at now.
func drawClaims(t *rapid.T) *token.Claims {
	text := rapid.StringMatching(`[a-zA-Z0-9äß@:/"\\<>&~._-]{1,40}`)
	texts := rapid.SliceOfN(text, 1, 4)
	optional := func(name string) []string {
		if rapid.Bool().Draw(t, "has "+name) {
			return texts.Draw(t, name)
		}
		return nil
	}
	issued := now.Unix() - rapid.Int64Range(0, 1000).Draw(t, "age")
	c := &token.Claims{
		Issuer:   trusted,
		Subject:  text.Draw(t, "sub"),
		ID:       text.Draw(t, "jti"),
		ClientID: text.Draw(t, "client"),
		Audience: append(optional("aud"), audience),
		Roles:    optional("roles"),
		Scope:    optional("scope"),
		AMR:      optional("amr"),
		IssuedAt: issued,
		Expiry:   now.Unix() + rapid.Int64Range(1, 2000).Draw(t, "left"),
	}
	if rapid.Bool().Draw(t, "session") {
		c.SessionID, c.AuthTime = text.Draw(t, "sid"), issued
	}
	if rapid.Bool().Draw(t, "tenanted") {
		c.Tenant = text.Draw(t, "tenant")
	}
	if rapid.Bool().Draw(t, "has nbf") {
		c.NotBefore = issued
	}
	return c
}
