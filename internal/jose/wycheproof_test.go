package jose_test

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/token"
)

// The vectors of Wycheproof, as far as they speak of our profile. What is left out:
//   - JWE, of which there is none here, and every algorithm that is not in RFC 7518 section 3.1 or
//     RFC 8037;
//   - HMAC with tags that were cut, or with secrets shorter than the hash;
//   - PSS with a salt that is not as long as the hash, of which every vector must be refused;
//   - tokens without claims, of which the same holds.
//
// An invalid vector, or one that is only acceptable, must be refused, in the profile or out of it,
// unless mistaken names it. A valid one must be accepted, unless contested names it.

// contested are vectors that Wycheproof calls valid and we refuse, by file and number, each with
// the reason. In tokens of other issuers than ours, a header with white space is accepted.
var contested = map[string]map[int]string{
	"json_web_signature_test.json": {
		259: "no claims",
		264: "no claims",
		268: "no claims",
		272: "no claims",
		320: "no claims",
		325: "no claims",
		346: "signed PS384 with a key published for PS256",
		350: "signed PS384 with a key published for PS256",
		347: "its key is published for ES521, which there is not",
		351: "its key is published for ES521, which there is not",
		372: "a letter inside the header that is not base64url",
		373: "a letter inside the claims that is not base64url",
		376: whiteSpace,
		377: whiteSpace,
	},
}

const whiteSpace = "white space in the header: not its one spelling"

// mistaken are vectors that Wycheproof calls invalid, and that are not.
var mistaken = map[string]map[int]string{
	"json_web_signature_test.json": {
		367: "the very bytes of the valid vector 357",
		370: "the very bytes of the valid vector 357",
	},
	"rsa_pss_2048_sha256_mgf1_0_test.json": {
		69: "invalid for a salt of 0 bytes, as its salt has the 32 that PS256 wants",
	},
}

type vector struct {
	ID      int    `json:"tcId"`
	Comment string `json:"comment"`
	Result  string `json:"result"`
	JWS     any    `json:"jws"`
	Msg     string `json:"msg"`
	Sig     string `json:"sig"`
	Key     string `json:"key"`
	Tag     string `json:"tag"`
}

type vectorGroup struct {
	Comment      string          `json:"comment"`
	Public       json.RawMessage `json:"public"`
	Private      json.RawMessage `json:"private"`
	PublicKeyDER string          `json:"publicKeyDer"`
	PublicKey    struct {
		PK string `json:"pk"`
	} `json:"publicKey"`
	KeySize int      `json:"keySize"`
	TagSize int      `json:"tagSize"`
	Tests   []vector `json:"tests"`
}

func readVectors(t *testing.T, file string) []vectorGroup {
	t.Helper()
	data, err := fs.ReadFile(wycheproof.TestVectors, file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Groups []vectorGroup `json:"testGroups"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Groups) == 0 {
		t.Fatalf("%s has no vectors", file)
	}
	return doc.Groups
}

// tally counts what became of a file's vectors.
type tally struct {
	file                                             string
	foreign                                          bool // read as another issuer's tokens
	accepted, refused, contested, outOfProfile, soft int
}

func (c *tally) check(t *testing.T, v vector, inProfile bool, err error) {
	t.Helper()
	why, isContested := contested[c.file][v.ID]
	isContested = isContested && !(c.foreign && why == whiteSpace)
	mistake, isMistaken := mistaken[c.file][v.ID]
	switch {
	case isMistaken && err == nil:
		c.contested++
		t.Logf("%s %d (%s): accepted: %s", c.file, v.ID, v.Comment, mistake)
	case v.Result != "valid" && err == nil:
		c.soft++
		t.Errorf("%s %d (%s): accepted, though it is %s", c.file, v.ID, v.Comment, v.Result)
	case v.Result != "valid":
		c.refused++
	case err == nil && isContested:
		t.Errorf("%s %d (%s): accepted, though we contest it: %s", c.file, v.ID, v.Comment, why)
	case err == nil && !inProfile:
		t.Errorf("%s %d (%s): accepted, though it is out of the profile", c.file, v.ID, v.Comment)
	case err == nil:
		c.accepted++
	case isContested:
		c.contested++
		t.Logf("%s %d (%s): contested: %s", c.file, v.ID, v.Comment, why)
	case !inProfile:
		c.outOfProfile++
	default:
		t.Errorf("%s %d (%s): refused, though it is valid: %v", c.file, v.ID, v.Comment, err)
	}
}

func (c *tally) report(t *testing.T) {
	t.Helper()
	t.Logf(
		"%s: %d valid accepted, %d invalid refused, %d valid out of profile refused, %d contested, "+
			"%d invalid accepted",
		c.file, c.accepted, c.refused, c.outOfProfile, c.contested, c.soft)
	if c.refused+c.outOfProfile == 0 || c.accepted+c.outOfProfile == 0 {
		t.Errorf("%s: nothing was judged", c.file)
	}
}

// TestWycheproofTokens: whole tokens with their keys.
func TestWycheproofTokens(t *testing.T) {
	for _, file := range []string{
		"json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json",
	} {
		for _, foreign := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, foreign %v", file, foreign), func(t *testing.T) {
				tokenVectors(t, tally{file: file, foreign: foreign})
			})
		}
	}
}

func tokenVectors(t *testing.T, c tally) {
	for _, g := range readVectors(t, c.file) {
		if strings.HasPrefix(g.Comment, "jwe_") {
			continue
		}
		keys, err := vectorKeys(t, g)
		for _, v := range g.Tests {
			if err != nil {
				c.check(t, v, true, err)
				continue
			}
			c.check(t, v, true, verifyVector(keys, v.JWS, c.foreign))
		}
	}
	c.report(t)
}

func verifyVector(keys []*jose.PublicKey, jws any, foreign bool) error {
	compact, ok := jws.(string)
	if !ok {
		text, err := json.Marshal(jws)
		if err != nil {
			return err
		}
		compact = string(text)
	}
	p, err := jose.Parse(compact)
	if err != nil {
		return err
	}
	profile := token.Profile{
		Ours: !foreign, Type: cmp.Or(p.Header.Type, "none"), Algorithms: []string{p.Header.Algorithm},
	}
	if err := profile.CheckHeader(p.Header); err != nil {
		return err
	}
	i := slices.IndexFunc(keys, func(k *jose.PublicKey) bool { return k.ID() == p.Header.KeyID })
	if i < 0 {
		return errNoSuchKey
	}
	return keys[i].Verify(p.Header.Algorithm, p.SigningInput, p.Signature)
}

// vectorKeys loads a group's keys as a gate would: a lone kind of secrets as a secret file each,
// all else as a key set.
func vectorKeys(t *testing.T, g vectorGroup) ([]*jose.PublicKey, error) {
	t.Helper()
	doc := g.Public
	if doc == nil {
		doc = g.Private
	}
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(doc, &set); err != nil || set.Keys == nil {
		doc = []byte(`{"keys":[` + string(doc) + `]}`)
		if err := json.Unmarshal(doc, &set); err != nil {
			set.Keys = nil
		}
	}
	if !slices.ContainsFunc(set.Keys, func(k map[string]string) bool { return k["kty"] != "oct" }) &&
		len(set.Keys) > 0 {
		return secretKeys(set.Keys)
	}
	keys, _, err := jose.ParseKeySet(doc)
	return keys, err
}

func secretKeys(entries []map[string]string) (keys []*jose.PublicKey, err error) {
	seen := map[string]bool{}
	for _, e := range entries {
		secret, err := base64.RawURLEncoding.DecodeString(e["k"])
		if err != nil {
			return nil, err
		}
		k, err := jose.NewSecretKey(e["kid"], secret)
		if bytes.Equal(secret, make([]byte, 32)) {
			// The vectors on base64 are keyed with zeros, which we refuse as no secret; what they
			// ask is worth asking all the same.
			k, err = jose.UncheckedSecretKey(e["kid"], secret)
		}
		if err != nil {
			return nil, err
		}
		if k, err = k.WithAlgorithm(e["alg"]); err != nil {
			return nil, err
		}
		if seen[e["kid"]] {
			return nil, errNoSuchKey // an issuer has one secret
		}
		seen[e["kid"]] = true
		keys = append(keys, k)
	}
	return keys, nil
}

// TestWycheproofSignatures: signatures alone, of every algorithm of the profile.
func TestWycheproofSignatures(t *testing.T) {
	for file, alg := range map[string]string{
		"ecdsa_secp256r1_sha256_p1363_test.json": "ES256",
		"ecdsa_secp384r1_sha384_p1363_test.json": "ES384",
		"ecdsa_secp521r1_sha512_p1363_test.json": "ES512",
		"ed25519_test.json":                      "EdDSA",
		"rsa_signature_2048_sha256_test.json":    "RS256", "rsa_signature_2048_sha384_test.json": "RS384",
		"rsa_signature_2048_sha512_test.json": "RS512",
		"rsa_signature_3072_sha256_test.json": "RS256", "rsa_signature_3072_sha384_test.json": "RS384",
		"rsa_signature_3072_sha512_test.json": "RS512",
		"rsa_signature_4096_sha256_test.json": "RS256", "rsa_signature_4096_sha384_test.json": "RS384",
		"rsa_signature_4096_sha512_test.json": "RS512",
		"rsa_signature_8192_sha256_test.json": "RS256", "rsa_signature_8192_sha384_test.json": "RS384",
		"rsa_signature_8192_sha512_test.json":   "RS512",
		"rsa_pss_2048_sha256_mgf1_32_test.json": "PS256",
		"rsa_pss_2048_sha384_mgf1_48_test.json": "PS384",
		"rsa_pss_3072_sha256_mgf1_32_test.json": "PS256",
		"rsa_pss_4096_sha256_mgf1_32_test.json": "PS256",
		"rsa_pss_4096_sha384_mgf1_48_test.json": "PS384",
		"rsa_pss_4096_sha512_mgf1_64_test.json": "PS512",
	} {
		t.Run(file, func(t *testing.T) { judgeSignatures(t, file, alg, true) })
	}
}

// TestWycheproofPSSWithOtherSalts: salts of another length than the hash, and other hashes, are
// refused even when they are valid PSS.
func TestWycheproofPSSWithOtherSalts(t *testing.T) {
	for file, alg := range map[string]string{
		"rsa_pss_2048_sha256_mgf1_0_test.json":      "PS256",
		"rsa_pss_2048_sha256_mgf1sha1_20_test.json": "PS256",
		"rsa_pss_2048_sha1_mgf1_20_test.json":       "PS256",
		"rsa_pss_4096_sha512_mgf1_32_test.json":     "PS512",
		"rsa_pss_2048_sha512_256_mgf1_32_test.json": "PS256", "rsa_pss_2048_shake128_test.json": "PS256",
	} {
		t.Run(file, func(t *testing.T) { judgeSignatures(t, file, alg, false) })
	}
}

func judgeSignatures(t *testing.T, file, alg string, inProfile bool) {
	c := tally{file: file}
	for _, g := range readVectors(t, file) {
		key, keyErr := jose.NewPublicKey(alg, "k", groupKey(t, g))
		for _, v := range g.Tests {
			if keyErr != nil {
				c.check(t, v, inProfile, keyErr)
				continue
			}
			c.check(t, v, inProfile, key.Verify(alg, string(unhex(t, v.Msg)), unhex(t, v.Sig)))
		}
	}
	c.report(t)
}

func groupKey(t *testing.T, g vectorGroup) crypto.PublicKey {
	t.Helper()
	if g.PublicKey.PK != "" {
		return ed25519.PublicKey(unhex(t, g.PublicKey.PK))
	}
	key, err := x509.ParsePKIXPublicKey(unhex(t, g.PublicKeyDER))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestWycheproofMACs: HMAC with whole tags.
func TestWycheproofMACs(t *testing.T) {
	for file, alg := range map[string]string{
		"hmac_sha256_test.json": "HS256", "hmac_sha384_test.json": "HS384",
		"hmac_sha512_test.json": "HS512",
	} {
		t.Run(file, func(t *testing.T) {
			c := tally{file: file}
			bits := map[string]int{"HS256": 256, "HS384": 384, "HS512": 512}[alg]
			for _, g := range readVectors(t, file) {
				for _, v := range g.Tests {
					c.check(t, v, g.TagSize == bits && g.KeySize >= bits, verifyMAC(t, alg, v))
				}
			}
			c.report(t)
		})
	}
}

func verifyMAC(t *testing.T, alg string, v vector) error {
	key, err := jose.NewSecretKey("k", unhex(t, v.Key))
	if err != nil {
		return err
	}
	if key, err = key.WithAlgorithm(alg); err != nil {
		return err
	}
	return key.Verify(alg, string(unhex(t, v.Msg)), unhex(t, v.Tag))
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
