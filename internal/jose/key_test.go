package jose_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/token"
)

// TestEachAlgorithmTakesItsOwnKeysOnly: a key of another type, curve or alg never verifies,
// whatever the token says.
func TestEachAlgorithmTakesItsOwnKeysOnly(t *testing.T) {
	algs := []string{
		"ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384",
		"PS512",
	}
	keys := map[string]*josetest.Key{}
	for _, alg := range algs {
		keys[alg] = josetest.NewKey(alg, "k")
	}
	secret, err := jose.NewSecretKey("k",
		[]byte("0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"))
	if err != nil {
		t.Fatal(err)
	}
	const input = "header.claims"
	for _, of := range algs {
		sig := keys[of].Sign(of, input)
		for _, said := range append(algs, "HS256", "HS384", "HS512") {
			err := keys[of].Public().Verify(said, input, sig)
			if said == of && err != nil {
				t.Errorf("%s: refused its own signature: %v", of, err)
			}
			if said != of && token.ReasonOf(err) != token.ReasonKeyType {
				t.Errorf("%s key, token says %s: expected %s, got %v", of, said, token.ReasonKeyType, err)
			}
			if err := secret.Verify(said, input, sig); err == nil ||
				strings.HasPrefix(said, "HS") && said != "HS256" && token.ReasonOf(err) != token.ReasonKeyType {
				t.Errorf("secret, token says %s: got %v", said, err)
			}
		}
		for _, alg := range []string{"", "none", "None", "es256", "ES256K", "RSA1_5"} {
			if got := token.ReasonOf(keys[of].Public().Verify(alg, input, sig)); got != token.ReasonAlg {
				t.Errorf("%s key, token says %q: expected %s, got %s", of, alg, token.ReasonAlg, got)
			}
		}
	}
}

// TestRSAKeyWithoutAlgorithm: it takes those of RSA, and the profile says which; the others stay
// what they are.
func TestRSAKeyWithoutAlgorithm(t *testing.T) {
	k := josetest.NewKey("RS256", "k")
	free, err := jose.NewPublicKey("", "k", k.Signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		sig := k.Sign(alg, "x")
		if err := free.Verify(alg, "x", sig); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		swapped := map[byte]string{'R': "P", 'P': "R"}[alg[0]] + alg[1:]
		if got := token.ReasonOf(free.Verify(swapped, "x", sig)); got != token.ReasonSignature {
			t.Errorf("%s signature as %s: expected %s, got %s", alg, swapped, token.ReasonSignature, got)
		}
	}
	if got := token.ReasonOf(
		free.Verify("ES256", "x", k.Sign("RS256", "x"))); got != token.ReasonKeyType {
		t.Errorf("expected %s, got %s", token.ReasonKeyType, got)
	}
}

// TestPSSSaltHasTheHashsLength: RFC 7518 section 3.5.
func TestPSSSaltHasTheHashsLength(t *testing.T) {
	k := josetest.NewKey("PS256", "k")
	digest := sha256.Sum256([]byte("x"))
	for salt, good := range map[int]bool{
		0: false, 1: false, 20: false, 31: false, 32: true, 33: false, 64: false,
	} {
		opts := &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256}
		if salt == 0 {
			continue // means auto to crypto/rsa; the longest is tried below
		}
		sig, err := k.Signer.Sign(rand.Reader, digest[:], opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Public().Verify("PS256", "x", sig); (err == nil) != good {
			t.Errorf("salt of %d bytes: %v", salt, err)
		}
	}
	longest, err := k.Signer.Sign(rand.Reader, digest[:],
		&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: crypto.SHA256})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Public().Verify("PS256", "x", longest); err == nil {
		t.Error("accepted the longest salt")
	}
}

// TestThumbprintIsTheKeysName: the examples of RFC 7638 section 3.1 and RFC 8037 appendix A.3.
func TestThumbprintIsTheKeysName(t *testing.T) {
	for _, example := range []struct{ jwk, want string }{
		{`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
			"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		{
			`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}`,
			"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
		},
	} {
		keys, _, err := jose.ParseKeySet([]byte(`{"keys":[` + example.jwk + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := keys[0].Thumbprint(); err != nil || got != example.want {
			t.Errorf("expected %s, got %s, %v", example.want, got, err)
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

// TestSecretMustBeOne: short, blank and repeated ones, and every spelling of a public key, are
// refused at load.
func TestSecretMustBeOne(t *testing.T) {
	refused := map[string]struct {
		secret []byte
		want   jose.KeyProblem
	}{
		"nothing":           {nil, jose.ProblemShortSecret},
		"31 bytes":          {[]byte("0123456789abcdefghijklmnopqrstu"), jose.ProblemShortSecret},
		"31 and a newline":  {[]byte("0123456789abcdefghijklmnopqrstu\n"), jose.ProblemShortSecret},
		"a word and blanks": {[]byte("secret" + strings.Repeat(" ", 40)), jose.ProblemShortSecret},
		"blanks":            {bytes.Repeat([]byte(" "), 64), jose.ProblemShortSecret},
		"zeros":             {make([]byte, 64), jose.ProblemShortSecret},
		"changeme repeated": {bytes.Repeat([]byte("change"), 10), jose.ProblemShortSecret},
		"an SSH private key": {
			[]byte(
				"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE " +
					"KEY-----\n"),
			jose.ProblemNotSecret,
		},
		"SSH2's own form": {
			[]byte(
				"---- BEGIN SSH2 PUBLIC KEY ----\nAAAAC3NzaC1lZDI1NTE5AAAAIA\n---- END SSH2 PUBLIC KEY ----"),
			jose.ProblemNotSecret,
		},
	}
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		k := josetest.NewKey(alg, "")
		for name, secret := range josetest.PublicSpellings(k) {
			refused[alg+" "+name] = struct {
				secret []byte
				want   jose.KeyProblem
			}{secret, jose.ProblemNotSecret}
		}
		refused[alg+" private PEM"] = struct {
			secret []byte
			want   jose.KeyProblem
		}{pkcs8(t, k.Signer), jose.ProblemNotSecret}
	}
	for name, c := range refused {
		t.Run(name, func(t *testing.T) {
			_, err := jose.NewSecretKey("s", c.secret)
			if jose.ProblemOf(err) != c.want {
				t.Fatalf("expected %s, got %v", c.want, err)
			}
			if len(c.secret) > 8 && strings.Contains(err.Error(), string(c.secret[:8])) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
	for name, secret := range map[string]string{
		"random text":   "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ",
		"a long phrase": "correct horse battery staple, and some more",
		"bytes":         "\x0a\x0d\x00\x01\x02\x03\x04\x05\x06\x07\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x20",
	} {
		if _, err := jose.NewSecretKey("s", []byte(secret)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSecretsIDTellsNothing: it is no hash of the secret alone that a list of words could be tried
// on elsewhere, and it stays.
func TestSecretsIDTellsNothing(t *testing.T) {
	secret := []byte("q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ")
	a, err := jose.NewSecretKey("", secret)
	if err != nil {
		t.Fatal(err)
	}
	b, err := jose.NewSecretKey("", secret)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(secret)
	if a.ID() == "" || a.ID() != b.ID() || strings.Contains(fmt.Sprintf("%x", sum), a.ID()) {
		t.Errorf("got the ids %q and %q", a.ID(), b.ID())
	}
}
