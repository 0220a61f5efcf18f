package signing_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/jose/signing"
)

// honest is the key as an issuer has it.
func honest(t testing.TB, k *josetest.Key) *signing.PrivateKey {
	t.Helper()
	private, err := signing.NewPrivateKey(k.Algorithm, k.ID, k.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// TestPrivateKeyGoesThroughPEM: for every algorithm, with the id it had.
func TestPrivateKeyGoesThroughPEM(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS384", "HS256"} {
		k, err := signing.GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		text, err := k.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		read, err := signing.ParsePrivatePEM(text)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		if read, err = read.WithAlgorithm(alg); err != nil {
			t.Fatal(err)
		}
		if read.ID() != k.ID() || read.Algorithm() != alg || !read.Public().Equal(k.Public()) {
			t.Errorf("%s: came back as another key", alg)
		}
	}
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestPrivatePEMIsReadStrictly(t *testing.T) {
	k := josetest.NewKey("ES256", "")
	good := pkcs8(t, k.Signer)
	sec1, err := x509.MarshalECPrivateKey(k.Signer.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	for name, c := range map[string]struct {
		text []byte
		want jose.KeyProblem
	}{
		"empty":       {nil, jose.ProblemMalformed},
		"garbage":     {[]byte("garbage"), jose.ProblemMalformed},
		"text before": {append([]byte("my key\n"), good...), jose.ProblemMalformed},
		"text behind": {append(bytes.Clone(good), "more"...), jose.ProblemMalformed},
		"two keys":    {append(bytes.Clone(good), good...), jose.ProblemMalformed},
		"cut off":     {good[:len(good)/2], jose.ProblemMalformed},
		"headers": {pem.EncodeToMemory(&pem.Block{
			Type: "PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: block.Bytes,
		}), jose.ProblemMalformed},
		"SEC 1": {pem.EncodeToMemory(&pem.Block{
			Type: "EC PRIVATE KEY", Bytes: sec1,
		}), jose.ProblemMalformed},
		"a public key": {[]byte(josetest.PublicSpellings(k)["PEM"]), jose.ProblemMalformed},
		"other DER inside": {
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: sec1}), jose.ProblemMalformed,
		},
		"more DER inside": {pem.EncodeToMemory(&pem.Block{
			Type: "PRIVATE KEY", Bytes: append(bytes.Clone(block.Bytes), 0),
		}), jose.ProblemMalformed},
		"P-224":            {pkcs8(t, p224), jose.ProblemType},
		"RSA of 1024 bits": {pkcs8(t, small), jose.ProblemRSASize},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := signing.ParsePrivatePEM(c.text); jose.ProblemOf(err) != c.want {
				t.Errorf("expected %s, got %v", c.want, err)
			}
		})
	}
	if _, err := signing.ParsePrivatePEM(
		append(
			[]byte("\n\n"),
			append(bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), "\n\n"...)...),
	); err != nil {
		t.Errorf("white space around and CR LF inside: %v", err)
	}
}

// TestRandomSecretsAreNeverRefused: chance makes nothing that looks like a key.
func TestRandomSecretsAreNeverRefused(t *testing.T) {
	for range 2000 {
		k, err := signing.GenerateKey("HS256")
		if err != nil {
			t.Fatal(err)
		}
		text, err := k.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signing.ParsePrivatePEM(text); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeysMustFitTheirAlgorithm(t *testing.T) {
	k := josetest.NewKey("ES256", "")
	private := honest(t, k)
	for _, alg := range []string{"ES384", "RS256", "EdDSA", "HS256", "none", "nonsense"} {
		_, err := signing.NewPrivateKey(alg, "", k.Signer)
		if jose.ProblemOf(err) != jose.ProblemAlgorithm {
			t.Errorf("%s: got %v", alg, err)
		}
		if _, err := private.WithAlgorithm(alg); jose.ProblemOf(err) != jose.ProblemAlgorithm {
			t.Errorf("%s: got %v", alg, err)
		}
		if alg == "none" || alg == "nonsense" {
			if _, err := signing.GenerateKey(alg); jose.ProblemOf(err) != jose.ProblemAlgorithm {
				t.Errorf("generated a key for %s: %v", alg, err)
			}
		}
	}
	for _, kid := range []string{"a b", "a\"b", "a\\b", "a<b", "a\nb", "é", strings.Repeat("k", 257)} {
		if _, err := signing.NewPrivateKey("ES256", kid, k.Signer); jose.ProblemOf(err) !=
			jose.ProblemKeyID {
			t.Errorf("%q: got %v", kid, err)
		}
	}
}

// TestPrintingAKeyShowsItsName: by every verb, by pointer or value, alone or inside something else.
func TestPrintingAKeyShowsItsName(t *testing.T) {
	const secret = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ"
	s, err := signing.ParsePrivatePEM(
		pem.EncodeToMemory(&pem.Block{Type: jose.PEMSecret, Bytes: []byte(secret)}))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, printed := range []string{
			fmt.Sprintf(verb, s), fmt.Sprintf(verb, *s), fmt.Sprintf(verb, s.Public()),
			fmt.Sprintf(verb, *s.Public()),
			fmt.Sprintf(verb, []*signing.PrivateKey{s}), fmt.Sprintf(verb, []jose.PublicKey{*s.Public()}),
			fmt.Sprintf(verb, map[string]any{"k": s}),
		} {
			for _, part := range []string{
				secret[:8], fmt.Sprintf("%x", secret[:8]), fmt.Sprintf("%d %d", secret[0], secret[1]),
			} {
				if strings.Contains(printed, part) {
					t.Errorf("%s prints the secret: %s", verb, printed)
				}
			}
			if strings.Count(printed, s.ID()) != 1 && !strings.Contains(printed, "0x") {
				t.Errorf("%s prints %s", verb, printed)
			}
		}
	}
	for _, k := range []any{s, s.Public()} {
		if b, err := json.Marshal(k); err != nil || string(b) != "{}" {
			t.Errorf("as JSON: %s, %v", b, err)
		}
	}
}

// FuzzPEM: a private key that is accepted comes back the same, and nobody panics.
func FuzzPEM(f *testing.F) {
	for _, alg := range []string{"ES256", "EdDSA", "HS256"} {
		k, err := signing.GenerateKey(alg)
		if err != nil {
			f.Fatal(err)
		}
		text, err := k.MarshalPEM()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := signing.ParsePrivatePEM(text)
		if err != nil {
			return
		}
		again, err := k.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		read, err := signing.ParsePrivatePEM(again)
		if err != nil || read.ID() != k.ID() || !read.Public().Equal(k.Public()) {
			t.Fatalf("came back as another key: %v", err)
		}
		if bytes.Count(text, []byte("-----BEGIN")) != 1 {
			t.Fatalf("accepted several blocks: %q", text)
		}
	})
}
