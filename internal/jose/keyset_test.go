package jose_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/jose/signing"
)

// entry is a published key's JWK, to be spoiled.
func entry(t *testing.T, k *josetest.Key) josetest.Object {
	t.Helper()
	doc, err := jose.MarshalKeySet([]*jose.PublicKey{k.Public()})
	if err != nil {
		t.Fatal(err)
	}
	inside := josetest.ParseObject(string(doc)).Get("keys")
	return josetest.ParseObject(inside[1 : len(inside)-1])
}

func set(entries ...josetest.Object) []byte {
	var texts []string
	for _, e := range entries {
		texts = append(texts, e.JSON())
	}
	return []byte(`{"keys":[` + strings.Join(texts, ",") + `]}`)
}

func b64(b []byte) string { return `"` + base64.RawURLEncoding.EncodeToString(b) + `"` }

func unb64(t *testing.T, raw string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Trim(raw, `"`))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWeakKeysAreLeftOutByName: the rest of the set goes on working.
func TestWeakKeysAreLeftOutByName(t *testing.T) {
	good := josetest.NewKey("ES256", "good")
	ec := entry(t, josetest.NewKey("ES256", "bad"))
	ed := entry(t, josetest.NewKey("EdDSA", "bad"))
	rsa := entry(t, josetest.NewKey("RS256", "bad"))
	n := new(big.Int).SetBytes(unb64(t, rsa.Get("n")))
	prime := func(bits int) *big.Int {
		return nextPrime(new(big.Int).Lsh(big.NewInt(3), uint(bits-2)))
	}
	close2048 := new(big.Int).Mul(prime(1024), nextPrime(new(big.Int).Add(prime(1024), big.NewInt(2))))
	offCurve := unb64(t, ec.Get("y"))
	offCurve[31] ^= 1
	for name, bad := range map[string]struct {
		entry josetest.Object
		want  jose.KeyProblem
	}{
		"rsa of 1024 bits": {
			rsa.With("n", b64(new(big.Int).Rsh(n, 1024).Bytes())), jose.ProblemRSASize,
		},
		"rsa of 2047 bits": {
			rsa.With("n", b64(new(big.Int).SetBit(new(big.Int).Rsh(n, 1), 0, 1).Bytes())),
			jose.ProblemRSASize,
		},
		"rsa of 16384 bits": {
			rsa.With("n", b64(new(big.Int).SetBit(new(big.Int).Lsh(n, 16384-2048), 0, 1).Bytes())),
			jose.ProblemRSASize,
		},
		"rsa with exponent 1":            {rsa.With("e", `"AQ"`), jose.ProblemRSAExponent},
		"rsa with exponent 2":            {rsa.With("e", `"Ag"`), jose.ProblemRSAExponent},
		"rsa with exponent 65536":        {rsa.With("e", `"AQAA"`), jose.ProblemRSAExponent},
		"rsa with exponent of 32 bits":   {rsa.With("e", `"gAAAAQ"`), jose.ProblemRSAExponent},
		"rsa with exponent of 2048 bits": {rsa.With("e", rsa.Get("n")), jose.ProblemRSAExponent},
		"rsa with even modulus": {
			rsa.With("n", b64(new(big.Int).Sub(n, big.NewInt(1)).Bytes())), jose.ProblemRSAModulus,
		},
		"rsa with modulus of 751 times": {
			rsa.With("n", b64(new(big.Int).Mul(big.NewInt(751), prime(2040)).Bytes())),
			jose.ProblemRSAModulus,
		},
		"rsa with close primes": {rsa.With("n", b64(close2048.Bytes())), jose.ProblemRSAModulus},
		"rsa with a square": {
			rsa.With("n", b64(new(big.Int).Mul(prime(1024), prime(1024)).Bytes())), jose.ProblemRSAModulus,
		},
		"rsa with leading zero": {
			rsa.With("n", b64(append([]byte{0}, n.Bytes()...))), jose.ProblemMalformed,
		},
		"rsa without n":     {rsa.Without("n"), jose.ProblemMalformed},
		"rsa with empty e":  {rsa.With("e", `""`), jose.ProblemMalformed},
		"rsa with padded e": {rsa.With("e", `"AQAB="`), jose.ProblemMalformed},
		"rsa with zero e":   {rsa.With("e", `"AA"`), jose.ProblemMalformed},
		"rsa with numbers":  {rsa.With("e", `65537`), jose.ProblemMalformed},
		"ec off the curve":  {ec.With("y", b64(offCurve)), jose.ProblemOffCurve},
		"ec at infinity": {
			ec.With("x", b64(make([]byte, 32))).With("y", b64(make([]byte, 32))), jose.ProblemOffCurve,
		},
		"ec with x above the field": {
			ec.With("x", b64([]byte(strings.Repeat("\xff", 32)))), jose.ProblemOffCurve,
		},
		"ec with a short x": {
			ec.With("x", b64(unb64(t, ec.Get("x"))[1:])), jose.ProblemMalformed,
		},
		"ec with a long x": {
			ec.With("x", b64(append([]byte{0}, unb64(t, ec.Get("x"))...))), jose.ProblemMalformed,
		},
		"ec without y": {ec.Without("y"), jose.ProblemMalformed},
		"ec on another curve": {
			ec.With("crv", `"P-384"`).Without("alg"), jose.ProblemMalformed,
		},
		"ec on P-224":          {ec.With("crv", `"P-224"`), jose.ProblemType},
		"ec on secp256k1":      {ec.With("crv", `"secp256k1"`), jose.ProblemType},
		"ec without a curve":   {ec.Without("crv"), jose.ProblemType},
		"ec for ES384":         {ec.With("alg", `"ES384"`), jose.ProblemAlgorithm},
		"ec for RS256":         {ec.With("alg", `"RS256"`), jose.ProblemAlgorithm},
		"ec for HS256":         {ec.With("alg", `"HS256"`), jose.ProblemAlgorithm},
		"ec for ES256K":        {ec.With("alg", `"ES256K"`), jose.ProblemAlgorithm},
		"ec for none":          {ec.With("alg", `"none"`), jose.ProblemAlgorithm},
		"ec with empty alg":    {ec.With("alg", `""`), jose.ProblemAlgorithm},
		"ec with alg a number": {ec.With("alg", `256`), jose.ProblemAlgorithm},
		"ed25519 of order 1": {
			ed.With("x", b64(append([]byte{1}, make([]byte, 31)...))), jose.ProblemLowOrder,
		},
		"ed25519 of order 4": {ed.With("x", b64(make([]byte, 32))), jose.ProblemLowOrder},
		"ed25519 of order 8": {
			ed.With("x", b64(unhex(t, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))),
			jose.ProblemLowOrder,
		},
		"ed25519 of order 8, other": {
			ed.With("x", b64(unhex(t, "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"))),
			jose.ProblemLowOrder,
		},
		"ed25519 of order 2": {
			ed.With("x", b64(unhex(t, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"))),
			jose.ProblemLowOrder,
		},
		"ed25519 not in its one spelling": {
			ed.With("x", b64(unhex(t, "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"))),
			jose.ProblemMalformed,
		},
		"ed25519 off the curve": {
			ed.With("x", b64(append([]byte{2}, make([]byte, 31)...))), jose.ProblemOffCurve,
		},
		"ed25519 of 31 bytes":        {ed.With("x", b64(make([]byte, 31))), jose.ProblemMalformed},
		"X25519":                     {ed.With("crv", `"X25519"`), jose.ProblemType},
		"Ed448":                      {ed.With("crv", `"Ed448"`), jose.ProblemType},
		"kty unknown":                {ec.With("kty", `"AKP"`), jose.ProblemType},
		"kty missing":                {ec.Without("kty"), jose.ProblemMalformed},
		"kty in other case":          {ec.With("kty", `"ec"`), jose.ProblemType},
		"use enc":                    {ec.With("use", `"enc"`), jose.ProblemUse},
		"use a list":                 {ec.With("use", `["sig"]`), jose.ProblemUse},
		"key_ops without verify":     {ec.And("key_ops", `["sign","encrypt"]`), jose.ProblemUse},
		"key_ops empty":              {ec.And("key_ops", `[]`), jose.ProblemUse},
		"key_ops an object":          {ec.And("key_ops", `{"verify":"verify"}`), jose.ProblemUse},
		"key_ops with an empty name": {ec.And("key_ops", `{"":"verify"}`), jose.ProblemUse},
		"kid empty":                  {ec.With("kid", `""`), jose.ProblemKeyID},
		"kid a number":               {ec.With("kid", `1`), jose.ProblemKeyID},
		"kid with NUL":               {ec.With("kid", `"a\u0000"`), jose.ProblemKeyID},
		"kid very long": {
			ec.With("kid", josetest.Text(strings.Repeat("k", 257))), jose.ProblemKeyID,
		},
	} {
		t.Run(name, func(t *testing.T) {
			keys, skipped, err := jose.ParseKeySet(set(bad.entry, entry(t, good)))
			if err != nil {
				t.Fatalf("refused the whole set: %v", err)
			}
			if len(keys) != 1 || keys[0].ID() != "good" {
				t.Fatalf("expected the good key alone, got %d keys", len(keys))
			}
			if len(skipped) != 1 || jose.ProblemOf(skipped[0]) != bad.want {
				t.Fatalf("expected it to be left out as %s, got %v", bad.want, skipped)
			}
		})
	}
}

func nextPrime(n *big.Int) *big.Int {
	p := new(big.Int).SetBit(n, 0, 1)
	for !p.ProbablyPrime(10) {
		p.Add(p, big.NewInt(2))
	}
	return p
}

// TestKeySetsAreRefusedAsAWhole: what shows that the document is not what its issuer means to
// publish.
func TestKeySetsAreRefusedAsAWhole(t *testing.T) {
	k := entry(t, josetest.NewKey("ES256", "one"))
	good := string(set(k))
	for name, doc := range map[string]string{
		"empty":                 ``,
		"null":                  `null`,
		"a list":                `[` + k.JSON() + `]`,
		"a lone key":            k.JSON(),
		"an error page":         `<html><body>502 Bad Gateway</body></html>`,
		"an error object":       `{"error":"not_found"}`,
		"keys null":             `{"keys":null}`,
		"keys an object":        `{"keys":{"0":` + k.JSON() + `}}`,
		"no keys":               `{"keys":[]}`,
		"a key that is none":    `{"keys":[null,` + k.JSON() + `]}`,
		"cut off":               good[:len(good)-2],
		"more behind":           good + "x",
		"keys twice":            `{"keys":[],` + good[1:],
		"a name twice in a key": `{"keys":[` + k.And("x", k.Get("x")).JSON() + `]}`,
		"a byte order mark":     "\xef\xbb\xbf" + good,
		"not UTF-8":             `{"keys":[` + k.And("note", "\"\xff\"").JSON() + `]}`,
		"nested deeply":         `{"keys":[` + k.And("note", strings.Repeat("[", 5000)+strings.Repeat("]", 5000)).JSON() + `]}`,
		"too long":              `{"keys":[` + k.And("note", `"`+strings.Repeat("x", 300<<10)+`"`).JSON() + `]}`,
		"too many keys":         `{"keys":[` + strings.Repeat(`{},`, 100) + k.JSON() + `]}`,
		"a private key": string(set(k, josetest.Object{
			{Name: "kty", Raw: `"EC"`}, {Name: "kid", Raw: `"p"`}, {Name: "d", Raw: `"AAAA"`},
		})),
		"a private RSA part in capitals": string(set(k.And("QI", `"AA"`))),
		"a private RSA part":             string(set(k.And("qi", `"AA"`))),
		"a secret": string(set(k, josetest.Object{
			{Name: "kty", Raw: `"oct"`}, {Name: "kid", Raw: `"s"`},
			{Name: "k", Raw: `"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"`},
		})),
		"an empty secret": string(set(k, josetest.Object{
			{Name: "kty", Raw: `"oct"`}, {Name: "kid", Raw: `"s"`}, {Name: "k", Raw: `""`},
		})),
		"a private part escaped": string(set(k.And(`\u0064`, `"AA"`))),
	} {
		t.Run(name, func(t *testing.T) {
			keys, _, err := jose.ParseKeySet([]byte(doc))
			if err == nil || keys != nil {
				t.Fatalf("accepted %d keys", len(keys))
			}
			if strings.Contains(err.Error(), "AAECAwQF") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

// TestAKidThatStandsTwice counts once with the same key, and stands for none with different ones;
// the set's other keys are as good as before.
func TestAKidThatStandsTwice(t *testing.T) {
	k, other := entry(t, josetest.NewKey("ES256", "one")), entry(t, josetest.NewKey("ES256", "one"))
	rsa, good := entry(t, josetest.NewKey("RS256", "one")), entry(t, josetest.NewKey("ES256", "good"))
	both := entry(t, josetest.NewKey("ES256", "both"))
	for name, c := range map[string]struct {
		entries []josetest.Object
		usable  bool
	}{
		"the same key":                      {[]josetest.Object{k, k}, true},
		"the same key three times":          {[]josetest.Object{k, k, k}, true},
		"the same key with a note":          {[]josetest.Object{k, k.And("x5t", `"abc"`)}, true},
		"the same key, once without alg":    {[]josetest.Object{k.Without("alg"), k}, true},
		"the same key, once for encryption": {[]josetest.Object{k, k.With("use", `"enc"`)}, true},
		"different keys":                    {[]josetest.Object{k, other}, false},
		"a different key as the third":      {[]josetest.Object{k, k, other}, false},
		"different keys, the first again":   {[]josetest.Object{k, other, k}, false},
		"a key and a weak one":              {[]josetest.Object{k, other.With("crv", `"P-224"`)}, false},
		"a weak one and a key":              {[]josetest.Object{other.With("crv", `"P-224"`), k}, false},
		"keys of different types":           {[]josetest.Object{k, rsa}, false},
		"the same key for PS256 and RS256":  {[]josetest.Object{rsa, rsa.With("alg", `"PS256"`)}, true},
		"the same key for two issuers": {
			[]josetest.Object{k.And("issuer", `"https://a"`), k.And("issuer", `"https://b"`)}, false,
		},
		"the same key for one issuer and for all": {
			[]josetest.Object{k.And("issuer", `"https://a"`), k}, false,
		},
		"two pairs of different keys": {
			[]josetest.Object{k, both, other, entry(t, josetest.NewKey("ES256", "both"))}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			keys, skipped, err := jose.ParseKeySet(set(append(c.entries, good)...))
			if err != nil {
				t.Fatalf("refused the whole set: %v", err)
			}
			got := map[string]int{}
			for _, key := range keys {
				got[key.ID()]++
			}
			if got["good"] != 1 || got["one"] > 1 || (got["one"] == 1) != c.usable || got["both"] != 0 {
				t.Errorf("expected the kid to be usable: %v, got %v", c.usable, got)
			}
			duplicates := 0
			for _, err := range skipped {
				if jose.ProblemOf(err) == jose.ProblemDuplicate {
					duplicates++
				}
			}
			if (duplicates == 0) != c.usable {
				t.Errorf("expected it to be told, got %v", skipped)
			}
		})
	}
	if _, skipped, err := jose.ParseKeySet(set(k, other)); !errors.Is(err, jose.ErrNoKeys) ||
		len(skipped) != 1 || jose.ProblemOf(skipped[0]) != jose.ProblemDuplicate {
		t.Errorf("nothing else in the set: got %v, %v", skipped, err)
	}
}

// TestKeysForOtherAlgorithmsAreNotWanted: what cannot have signed the tokens in question is neither
// read nor in the way of what can, be it of an algorithm that we do not know.
func TestKeysForOtherAlgorithmsAreNotWanted(t *testing.T) {
	good := entry(t, josetest.NewKey("ES256", "good"))
	ec, rsa := entry(t, josetest.NewKey("ES256", "one")), entry(t, josetest.NewKey("RS256", "one"))
	for name, c := range map[string]struct {
		entry josetest.Object
		want  jose.KeyProblem
	}{
		"RSA":                          {rsa, jose.ProblemUnwanted},
		"RSA under the same kid":       {rsa.With("kid", `"good"`), jose.ProblemUnwanted},
		"RSA without alg":              {rsa.Without("alg"), jose.ProblemUnwanted},
		"weak RSA":                     {rsa.Without("alg").With("n", `"AQAB"`), jose.ProblemUnwanted},
		"P-384 without alg":            {entry(t, josetest.NewKey("ES384", "one")).Without("alg"), jose.ProblemUnwanted},
		"secp256k1":                    {ec.With("alg", `"ES256K"`).With("crv", `"secp256k1"`), jose.ProblemUnwanted},
		"ML-DSA":                       {josetest.Object{{Name: "kty", Raw: `"AKP"`}, {Name: "alg", Raw: `"ML-DSA-65"`}, {Name: "kid", Raw: `"pq"`}, {Name: "pub", Raw: `"AAAA"`}}, jose.ProblemUnwanted},
		"Ed25519":                      {entry(t, josetest.NewKey("EdDSA", "one")).Without("alg"), jose.ProblemUnwanted},
		"another use":                  {ec.With("use", `"enc"`), jose.ProblemUse},
		"an X.509 authority of SPIFFE": {ec.With("use", `"x509-svid"`).Without("kid"), jose.ProblemUse},
		"off the curve":                {ec.With("y", ec.Get("x")), jose.ProblemOffCurve},
		"RSA that says ES256":          {rsa.With("alg", `"ES256"`), jose.ProblemAlgorithm},
		"alg a number":                 {ec.With("alg", `256`), jose.ProblemAlgorithm},
		"no kty":                       {ec.Without("alg").Without("kty"), jose.ProblemMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			keys, skipped, err := jose.ParseKeySet(set(c.entry, good), "ES256")
			if err != nil || len(keys) != 1 || keys[0].ID() != "good" {
				t.Fatalf("expected the good key alone, got %d, %v", len(keys), err)
			}
			if len(skipped) != 1 || jose.ProblemOf(skipped[0]) != c.want {
				t.Errorf("expected it to be left out as %s, got %v", c.want, skipped)
			}
		})
	}
	for name, wanted := range map[string][]string{
		"RS256": {"RS256"}, "PS384 and EdDSA": {"PS384", "EdDSA"},
	} {
		keys, _, err := jose.ParseKeySet(set(rsa.Without("alg"), ec.With("kid", `"two"`)), wanted...)
		if err != nil || len(keys) != 1 || keys[0].ID() != "one" {
			t.Errorf("%s: expected the RSA key, got %d, %v", name, len(keys), err)
		}
	}
	private := set(rsa.And("d", `"AAAA"`), good)
	if _, _, err := jose.ParseKeySet(private, "ES256"); jose.ProblemOf(err) != jose.ProblemPrivate {
		t.Errorf("a private key that is not wanted: got %v", err)
	}
}

// TestKeysOfASPIFFEBundleAreSignatureKeys: those for JWT-SVIDs are, its X.509
// authorities, which have no kid, are not.
func TestKeysOfASPIFFEBundleAreSignatureKeys(t *testing.T) {
	jwt := entry(t, josetest.NewKey("ES256", "jwt")).With("use", `"jwt-svid"`).Without("alg")
	x509 := entry(t, josetest.NewKey("ES256", "x")).With("use", `"x509-svid"`).
		Without("alg").Without("kid").And("x5c", `["MIIC"]`)
	doc := `{"keys":[` + x509.JSON() + `,` + jwt.JSON() +
		`],"spiffe_sequence":3,"spiffe_refresh_hint":300}`
	keys, skipped, err := jose.ParseKeySet([]byte(doc), "ES256")
	if err != nil || len(keys) != 1 || keys[0].ID() != "jwt" || keys[0].Algorithm() != "ES256" {
		t.Fatalf("expected the one key of JWT-SVIDs, got %v, %v", keys, err)
	}
	if len(skipped) != 1 || jose.ProblemOf(skipped[0]) != jose.ProblemUse {
		t.Errorf("expected the authority to be left out for its use, got %v", skipped)
	}
}

func TestKeySetWithoutAUsableKeySaysWhy(t *testing.T) {
	k := entry(t, josetest.NewKey("ES256", "one")).With("crv", `"P-224"`)
	_, skipped, err := jose.ParseKeySet(set(k))
	if !errors.Is(err, jose.ErrNoKeys) || len(skipped) != 1 {
		t.Fatalf("expected ErrNoKeys and one key left out, got %v and %v", err, skipped)
	}
}

// TestKeySetMayHoldMoreThanKeys: unknown members are ignored (RFC 7517 section 5), as certificates
// beside keys, which many publish.
func TestKeySetMayHoldMoreThanKeys(t *testing.T) {
	k := entry(t, josetest.NewKey("RS256", "one")).Without("alg").
		And("x5c", `["MIIC"]`).
		And("x5t", `"abc"`).
		And("issuer", `"https://issuer.example.com"`).
		And("key_ops", `["verify"]`)
	enc := entry(t, josetest.NewKey("RS256", "one")).With("use", `"enc"`)
	doc := `{ "keys": [ ` + k.JSON() + ` , ` + enc.JSON() + ` ] , "more": {"a": [1]} }` + "\n"
	keys, skipped, err := jose.ParseKeySet([]byte(doc))
	if err != nil || len(keys) != 1 || len(skipped) != 1 {
		t.Fatalf("expected one key and one left out, got %d, %v, %v", len(keys), skipped, err)
	}
	if keys[0].Algorithm() != "" {
		t.Errorf("expected no algorithm, got %s", keys[0].Algorithm())
	}
}

// TestKeySetGoesThereAndBack: what we publish, we read.
func TestKeySetGoesThereAndBack(t *testing.T) {
	var keys []*jose.PublicKey
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS512"} {
		keys = append(keys, josetest.NewKey(alg, "").Public())
	}
	doc, err := jose.MarshalKeySet(keys)
	if err != nil {
		t.Fatal(err)
	}
	read, skipped, err := jose.ParseKeySet(doc)
	if err != nil || len(skipped) != 0 || len(read) != len(keys) {
		t.Fatalf("expected %d keys, got %d, %v, %v", len(keys), len(read), skipped, err)
	}
	for i, k := range keys {
		if !read[i].Equal(k) {
			t.Errorf("%s came back as another key", k.Algorithm())
		}
	}
}

// TestSecretsAreNeverPublished: nor anything private.
func TestSecretsAreNeverPublished(t *testing.T) {
	secret, err := signing.GenerateKey("HS256")
	if err != nil {
		t.Fatal(err)
	}
	if doc, err := jose.MarshalKeySet([]*jose.PublicKey{secret.Public()}); err == nil {
		t.Fatalf("published a secret: %s", doc)
	}
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		k, err := signing.GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jose.MarshalKeySet([]*jose.PublicKey{k.Public()})
		if err != nil {
			t.Fatal(err)
		}
		var published struct{ Keys []map[string]any }
		if err := json.Unmarshal(doc, &published); err != nil {
			t.Fatal(err)
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, ok := published.Keys[0][private]; ok {
				t.Errorf("%s: published %s", alg, private)
			}
		}
	}
}

// TestAKeyForSeveralAlgorithmsStaysItsIssuers: published for RS256 and for PS256, it signs for
// nobody else.
func TestAKeyForSeveralAlgorithmsStaysItsIssuers(t *testing.T) {
	rsa := entry(t, josetest.NewKey("RS256", "one")).And("issuer", `"https://a"`)
	keys, _, err := jose.ParseKeySet(set(rsa, rsa.With("alg", `"PS256"`)))
	if err != nil || len(keys) != 1 || keys[0].Issuer() != "https://a" {
		t.Errorf("got %v, %v", keys, err)
	}
}
