package extauthz

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// attacked is a gate under one attack.
type attacked struct {
	*bench
	attacks []josetest.Attack // all hostile tokens
}

// attack is a row of the catalogue: what is tried, as hostile tokens by their names ("crit *": all
// that begin so), or as a test of its own where a token alone does not make the attack.
type attack struct {
	name   string
	tokens []string
	by     func(*testing.T, *attacked)
}

// catalogue is every attack on a token's form and claims, in words.
var catalogue = []attack{
	{"alg none", []string{"alg none, *"}, nil},
	{"alg None, NONE, nOnE", []string{"alg None, *", "alg NONE, *", "alg nOnE, *"}, nil},
	{"empty or missing alg", []string{`alg ""`, "alg missing"}, nil},
	{
		"alg not a string",
		[]string{"alg 256", "alg null", "alg true", `alg ["ES256"]`, `alg {"alg":"ES256"}`},
		nil,
	},
	{"lower-case alg", []string{"alg es256"}, nil},
	{
		"HS256 keyed with the public PEM",
		[]string{"HS256 keyed with PEM*", "HS256 keyed with DER*", "HS256 keyed with SSH*"},
		nil,
	},
	{"HS256 keyed with the public JWK", []string{"HS256 keyed with JWK*"}, nil},
	{"RS and PS swapped", nil, swappedRSA},
	{"ES256K", []string{"alg ES256K"}, nil},
	{"embedded jwk", []string{"jwk *"}, nil},
	{"jku", []string{"jku *"}, nil},
	{"x5u", []string{"x5u *"}, nil},
	{"x5c", []string{"x5c *"}, nil},
	{"kid path traversal", []string{"kid ../../../../dev/null", "kid /dev/null", "kid .."}, nil},
	{"kid SQL", []string{"kid ' OR '1'='1", "kid x' UNION SELECT 'secret' --"}, nil},
	{
		"kid NUL, URL, very long",
		[]string{
			"kid with NUL*",
			"kid http://127.0.0.1:9/key",
			"kid very long",
			"kid of four thousand bytes",
		},
		nil,
	},
	{"kid missing", []string{"kid missing", "kid empty", "kid null"}, nil},
	{"duplicate kid in a set", nil, duplicateKeyID},
	{"kid shared by two issuers", nil, sharedKeyID},
	{"crit unknown", []string{"crit unknown"}, nil},
	{
		"crit empty, duplicate, standard name",
		[]string{
			"crit empty",
			"crit twice",
			"crit that says one thing twice",
			"crit with a standard name",
			"crit exp",
		},
		nil,
	},
	{"b64 false", []string{"b64 *"}, nil},
	{"zip", []string{"zip"}, nil},
	{"five-part JWE", []string{"five parts*"}, nil},
	{"PBES2 p2c bomb", []string{"PBES2 with two thousand million rounds"}, nil},
	{"deflate bomb", []string{"five parts, compressed", "three parts, compressed"}, nil},
	{"flattened or general JSON", []string{"flattened JSON", "general JSON*"}, nil},
	{"nested cty JWT", []string{"nested, cty JWT"}, nil},
	{
		"duplicate header names",
		[]string{"a name twice", "alg none first, then good", "alg good first, then none", "kid twice"},
		nil,
	},
	{"twin Alg", []string{"twin *", "alg spelled *", "alg with the Kelvin sign"}, nil},
	{"refresh token as access token", []string{"a refresh token"}, nil},
	{"padding", []string{"padding *"}, nil},
	{"standard base64 alphabet", []string{"the standard alphabet *"}, nil},
	{"non-zero trailing bits", []string{"stray trailing bits *"}, nil},
	{
		"white space, CR LF",
		[]string{
			"a space in *",
			"a tab in *",
			"a newline *",
			"CR LF *",
			"a no-break space *",
			"a zero-width space *",
		},
		nil,
	},
	{
		"empty segments, 2, 4, 5 segments",
		[]string{
			"two dots",
			"no header",
			"no claims",
			"two parts",
			"four parts",
			"five parts",
			"a dot *",
			"one part",
		},
		nil,
	},
	{"a million dots", []string{"a million dots"}, nil},
	{"over 8 KiB", []string{"over 8 KiB"}, nil},
	{"deep nesting", []string{"claims nested *", "header nested *"}, nil},
	{
		"invalid UTF-8, BOM",
		[]string{
			"claims not UTF-8",
			"claims with a byte order mark",
			"header not UTF-8",
			"header with a byte order mark",
			"* with an overlong slash",
		},
		nil,
	},
	{"DER signature", []string{"signature der"}, nil},
	{
		"r or s of 0, n, oversize",
		[]string{"signature r *", "signature s *", "signature long", "signature padded inside"},
		nil,
	},
	{"the (r, n-s) twin of a revoked token", nil, twinOfRevoked},
	{"PS salt length", nil, saltLength},
	{"1024-bit, e=1, weak RSA key in a set", nil, weakRSA},
	{"off-curve key", nil, offCurve},
	{"weak HMAC secret refused at load", nil, weakSecret},
	{"signature stripped", []string{"signature stripped"}, nil},

	{"exp absent", []string{"exp absent", "exp in other case"}, nil},
	{"exp zero, negative", []string{"exp 0", "exp -1", "exp -0", "exp -9223372036854775808"}, nil},
	{"exp string, RFC 3339", []string{`exp "*`}, nil},
	{
		"exp overflow, 1e300",
		[]string{"exp 9223372036854775808", "exp 18446744073709551616", "exp 253402300800", "exp 1e300"},
		nil,
	},
	{"duplicate exp", []string{"exp twice*"}, nil},
	{"nbf in the future", []string{"nbf in the future"}, nil},
	{"iat in the future", []string{"iat in the future"}, nil},
	{"aud absent, number, wrong", []string{"aud *"}, nil},
	{"iss with slash, case, prefix", []string{"iss *"}, nil},
	{"sub empty, NUL", []string{"sub *"}, nil},
	{"sub confusable", nil, confusableSubject},
	{"jti absent, empty, number", []string{"jti *"}, nil},
	{"the escaped twin of a revoked jti", nil, escapedTwin},
	{"lifetime above policy", []string{"a lifetime of ten years", "exp in the year 9999"}, nil},
	{"another service's token", []string{`aud "another-service"`, `aud ["another-service"]`}, nil},
}

// TestAttacksThroughCheck: each is refused with 401 for its own reason, counted under that reason,
// recorded under it, and nothing is allowed.
func TestAttacksThroughCheck(t *testing.T) {
	base := authztest.New()
	attacks := base.Setup().Attacks()
	for _, row := range catalogue {
		t.Run(row.name, func(t *testing.T) {
			g := &attacked{start(t, base.Again(), roomy), attacks}
			for _, name := range row.tokens {
				for _, a := range g.named(t, name) {
					g.refuses(t, a.Name, a.Token, a.Reason)
				}
			}
			if row.by != nil {
				row.by(t, g)
			}
			if refused := g.counted(t, "code=401"); refused == 0 {
				t.Error("nothing was tried")
			}
		})
	}
}

// named returns the hostile tokens of a name with at most one *, which must be some.
func (g *attacked) named(t *testing.T, name string) (found []josetest.Attack) {
	t.Helper()
	before, after, wild := strings.Cut(name, "*")
	for _, a := range g.attacks {
		if a.Name == name ||
			wild && strings.HasPrefix(a.Name, before) && strings.HasSuffix(a.Name, after) {
			found = append(found, a)
		}
	}
	if len(found) == 0 {
		t.Fatalf("there is no hostile token %q", name)
	}
	return found
}

func (g *attacked) counted(t *testing.T, labels string) float64 {
	t.Helper()
	return authztest.Value(t, g.registry, "sallyport_gate_decisions_total", labels)
}

// refuses sends a token, in the header that takes it as it is, and wants the reason everywhere.
func (g *attacked) refuses(t *testing.T, what, tok string, reason token.Reason) {
	t.Helper()
	if strings.Contains(tok, ",") { // as in JSON: two values of one header, joined, look the same
		reason = token.ReasonManyTokens
	}
	label := "code=401 reason=" + string(reason)
	allowed, refused, all := g.counted(t, "code=200"), g.counted(t, label), g.counted(t, "")
	got := g.ask(t, true)(authztest.Get("/protected", "x-access-token", tok))
	authztest.Compare(t, authztest.Invalid(reason), got)
	if g.counted(t, label) != refused+1 || g.counted(t, "") != all+1 ||
		g.counted(t, "code=200") != allowed {
		t.Errorf("%s: not counted once as %s", what, label)
	}
	lines := g.lines.All()
	if len(lines) == 0 || lines[len(lines)-1].Reason != string(reason) {
		t.Errorf("%s: the audit line does not say %s", what, reason)
	}
}

// allows is the counter-check: what the attack was made from passes.
func (g *attacked) allows(t *testing.T, tok string) authztest.Answer {
	t.Helper()
	got := g.ask(t, true)(authztest.Get("/protected", "x-access-token", tok))
	if got.Status != 200 {
		t.Fatalf("the token that the attack is made from is refused: %d %v", got.Status, got.Headers)
	}
	return got
}

// trust has the gate trust an issuer that signs with these keys, in our issuer's place.
func (g *attacked) trust(alg string, keys ...*jose.PublicKey) {
	p := authztest.Profile()
	p.Algorithms = []string{alg}
	g.world.Keys.Trust(p, keys...)
}

// signed is alice's token by another key.
func (g *attacked) signed(k *josetest.Key) string {
	return k.Token(k.Header("at+jwt").JSON(), g.world.Setup().Claims.JSON())
}

func swappedRSA(t *testing.T, g *attacked) {
	for _, algs := range [][2]string{{"RS256", "PS256"}, {"PS256", "RS256"}} {
		k := josetest.NewKey(algs[0], "rsa")
		g.trust(algs[0], k.Public())
		g.allows(t, g.signed(k))
		header, claims := josetest.Encode(k.Header("at+jwt").JSON()), josetest.Encode(
			g.world.Setup().Claims.JSON())
		g.refuses(t, algs[1]+" under the name "+algs[0],
			header+"."+claims+"."+josetest.Encode(string(k.Sign(algs[1], header+"."+claims))),
			token.ReasonSignature)
		header = josetest.Encode(k.Header("at+jwt").With("alg", josetest.Text(algs[1])).JSON())
		g.refuses(t, algs[1]+" for "+algs[0],
			header+"."+claims+"."+josetest.Encode(string(k.Sign(algs[1], header+"."+claims))),
			token.ReasonAlg)
	}
}

func duplicateKeyID(t *testing.T, g *attacked) {
	thief := josetest.NewKey("ES256", authztest.KeyID)
	for _, two := range [][]*jose.PublicKey{
		{g.world.Key.Public(), thief.Public()}, {thief.Public(), g.world.Key.Public()},
	} {
		set, err := jose.MarshalKeySet(two)
		if err != nil || strings.Count(string(set), `"kid":"`+authztest.KeyID+`"`) != 2 {
			t.Fatalf("expected a set with one kid twice, got %s, %v", set, err)
		}
		keys, skipped, err := jose.ParseKeySet(set)
		if !errors.Is(err, jose.ErrNoKeys) || len(keys) != 0 || len(skipped) != 1 ||
			jose.ProblemOf(skipped[0]) != jose.ProblemDuplicate {
			t.Errorf("a set with one kid twice: got %d keys, %v, %v", len(keys), skipped, err)
		}
	}
	g.refuses(t, "by the second key of that name", g.signed(thief), token.ReasonSignature)
}

func sharedKeyID(t *testing.T, g *attacked) {
	const other = "https://other.example.com"
	theirs := josetest.NewKey("ES256", authztest.KeyID)
	p := authztest.Profile()
	p.Issuer, p.Ours = other, false
	g.world.Keys.Trust(p, theirs.Public())
	claims := g.world.Setup().Claims
	their := func(k *josetest.Key) string {
		return k.Token(k.Header("at+jwt").JSON(), claims.With("iss", josetest.Text(other)).JSON())
	}
	g.allows(t, their(theirs))
	g.allows(t, g.signed(g.world.Key))
	g.refuses(t, "our name by their key", g.signed(theirs), token.ReasonSignature)
	g.refuses(t, "their name by our key", their(g.world.Key), token.ReasonSignature)
}

// revoke revokes token-1, which is alice's.
func (g *attacked) revoke() {
	g.world.Revocations.Revoke(func(f *revocation.Facts) bool { return f.TokenID == "token-1" })
}

func twinOfRevoked(t *testing.T, g *attacked) {
	good := g.world.Token()
	twin := josetest.Twin(g.world.Key, good)
	g.allows(t, good)
	g.allows(t, twin)
	g.revoke()
	g.refuses(t, "the token", good, token.ReasonRevoked)
	g.refuses(t, "its twin", twin, token.ReasonRevoked)
}

func escapedTwin(t *testing.T, g *attacked) {
	k := g.world.Key
	twin := k.Token(k.Header("at+jwt").JSON(),
		g.world.Setup().Claims.With("jti", `"\u0074oken-\u0031"`).JSON())
	g.allows(t, twin)
	g.revoke()
	g.refuses(t, "the escaped twin", twin, token.ReasonRevoked)
}

func confusableSubject(t *testing.T, g *attacked) {
	k := g.world.Key
	g.world.Revocations.Revoke(func(f *revocation.Facts) bool { return f.Subject == "alice" })
	g.refuses(t, "alice", g.world.Token(), token.ReasonRevoked)
	for _, sub := range []string{"аlice", "Alice", "alice ", "ａlice", "ali\u0301ce"} {
		got := g.allows(t, k.Token(k.Header("at+jwt").JSON(),
			g.world.Setup().Claims.With("sub", josetest.Text(sub)).JSON()))
		for _, h := range got.Set {
			if h.Name == "x-auth-subject" && h.Value == "alice" {
				t.Errorf("%q became alice", sub)
			}
		}
	}
}

func saltLength(t *testing.T, g *attacked) {
	k := josetest.NewKey("PS256", "pss")
	g.trust("PS256", k.Public())
	g.allows(t, g.signed(k))
	input := josetest.Encode(k.Header("at+jwt").JSON()) + "." + josetest.Encode(
		g.world.Setup().Claims.JSON())
	digest := sha256.Sum256([]byte(input))
	for _, salt := range []int{rsa.PSSSaltLengthAuto, 1, 20, 31, 33, 64} {
		sig, err := k.Signer.Sign(rand.Reader, digest[:],
			&rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256})
		if err != nil {
			t.Fatal(err)
		}
		g.refuses(t, "another salt length", input+"."+josetest.Encode(string(sig)), token.ReasonSignature)
	}
}

// published returns the keys that a gate takes from a set with one bad key beside a good one.
func published(t *testing.T, good *josetest.Key, bad string) []*jose.PublicKey {
	t.Helper()
	set, err := jose.MarshalKeySet([]*jose.PublicKey{good.Public()})
	if err != nil {
		t.Fatal(err)
	}
	keys, skipped, err := jose.ParseKeySet(
		[]byte(strings.Replace(string(set), `"keys":[`, `"keys":[`+bad+`,`, 1)),
	)
	if err != nil || len(keys) != 1 || len(skipped) != 1 {
		t.Fatalf("expected the good key and a reason to skip the bad one, got %d keys, %v, %v",
			len(keys), skipped, err)
	}
	return keys
}

func weakRSA(t *testing.T, g *attacked) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := josetest.NewKey("RS256", "good")
	modulus := good.Signer.Public().(*rsa.PublicKey).N
	jwk := func(n *big.Int, e string) string {
		return `{"kty":"RSA","alg":"RS256","use":"sig","kid":"weak","n":"` +
			base64.RawURLEncoding.EncodeToString(n.Bytes()) + `","e":"` + e + `"}`
	}
	input := josetest.Encode(
		good.Header("at+jwt").With("kid", `"weak"`).JSON(),
	) + "." + josetest.Encode(g.world.Setup().Claims.JSON())
	digest := sha256.Sum256([]byte(input))
	bySmall, err := rsa.SignPKCS1v15(rand.Reader, small, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct{ jwk, signature string }{
		"1024 bits": {jwk(small.N, "AQAB"), string(bySmall)},
		// with it, everybody signs: m^1 = m
		"e of 1": {jwk(modulus, "AQ"), padded(digest[:], modulus.BitLen()/8)},
	} {
		g.trust("RS256", published(t, good, row.jwk)...)
		g.allows(t, g.signed(good))
		g.refuses(t, name, input+"."+josetest.Encode(row.signature), token.ReasonUnknownKey)
	}
}

// padded is a digest in EMSA-PKCS1-v1_5 (RFC 8017 section 9.2).
func padded(digest []byte, size int) string {
	info := "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20" + string(
		digest)
	return "\x00\x01" + strings.Repeat("\xff", size-len(info)-3) + "\x00" + info
}

func offCurve(t *testing.T, g *attacked) {
	good, thief := g.world.Key, josetest.NewKey("ES256", "off-curve")
	coordinate := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\x07", 32)))
	g.trust("ES256", published(t, good,
		`{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"off-curve","x":"`+coordinate+
			`","y":"`+coordinate+`"}`)...)
	g.allows(t, g.signed(good))
	g.refuses(t, "a key that is on no curve", g.signed(thief), token.ReasonUnknownKey)
}

func weakSecret(t *testing.T, g *attacked) {
	setup := g.world.Setup()
	secrets := map[string][]byte{
		"empty": nil, "blank": []byte(strings.Repeat(" ", 40)),
		"31 bytes":               []byte("0123456789abcdefghijklmnopqrstu"),
		"one byte over and over": []byte(strings.Repeat("k", 64)),
	}
	for name, public := range josetest.PublicSpellings(g.world.Key) {
		secrets[name] = public
	}
	for name, secret := range secrets {
		if _, err := jose.NewSecretKey("weak", secret); err == nil {
			t.Errorf("%s is taken for a secret", name)
		}
		header := setup.Key.Header("at+jwt").With("alg", `"HS256"`).JSON()
		g.refuses(t, name, josetest.MAC("HS256", header, setup.Claims.JSON(), secret), token.ReasonAlg)
	}
}

// TestEveryReasonIsGivenByCheck: by the vectors, by the hostile tokens, or here; what no gate gives
// is listed as reserved.
func TestEveryReasonIsGivenByCheck(t *testing.T) {
	w := authztest.New()
	g := &attacked{bench: start(t, w)}
	setup := w.Setup()
	with := func(name, raw string) string {
		return w.Key.Token(w.Key.Header("at+jwt").JSON(), setup.Claims.With(name, raw).JSON())
	}
	g.refuses(t, "sid a number", with("sid", "1"), token.ReasonSessionID)
	g.refuses(t, "roles a number", with("roles", "1"), token.ReasonClaimShape)
	g.refuses(t, "no client",
		w.Key.Token(w.Key.Header("at+jwt").JSON(), setup.Claims.Without("client_id").JSON()),
		token.ReasonClaimRequired)
	// the kid of a key of another type
	g.trust("ES256", josetest.NewKey("EdDSA", authztest.KeyID).Public())
	g.refuses(t, "a key of another type", w.Token(), token.ReasonKeyType)

	given := map[token.Reason]bool{
		token.ReasonSessionID:     true,
		token.ReasonClaimShape:    true,
		token.ReasonClaimRequired: true,
		token.ReasonKeyType:       true,
		token.ReasonClaimSize:     true, // TestAClaimThatIsTooLongIsNotLeftOut
		token.ReasonInternal:      true, // TestAPanicIsARefusalAndNotAFailedRPC
		token.ReasonNotStripped:   true, // TestNothingPassesAnEnvoyThatDoesNotSayItStrips
	}
	for _, v := range authztest.Vectors(w) {
		given[v.Want.Reason] = true
	}
	for _, a := range setup.Attacks() {
		given[a.Reason] = true
	}
	for _, d := range token.Reasons() {
		if reserved := slices.Contains(token.Reserved(), d.Reason); reserved == given[d.Reason] {
			t.Errorf("%s: given %v, reserved %v", d.Reason, given[d.Reason], reserved)
		}
	}
}
