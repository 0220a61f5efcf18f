package keyring

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCVE holds published vulnerabilities of systems like ours, as far as they concern an issuer's
// keys.
func TestCVE(t *testing.T) {
	t.Run("CVE-2026-90942", testNothingPrivateIsShown)
	t.Run("CVE-2022-23539", testKeyOfAnotherTypeIsRefused)
	t.Run("CVE-2016-9121", testKeyOffItsCurveIsRefused)
}

// The JWKS, lists, logs and errors have public halves only.
func testNothingPrivateIsShown(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "HS256"} {
		b := newBench(t, algorithm(alg))
		r := b.open()
		var set struct{ Keys []map[string]any }
		if err := json.Unmarshal(r.KeySet(), &set); err != nil {
			t.Fatal(err)
		}
		allowed := []string{"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"}
		for _, k := range set.Keys {
			for name := range k {
				if !slices.Contains(allowed, name) {
					t.Errorf("%s: the JWKS has %q", alg, name)
				}
			}
		}
		if err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		next := b.key(Signing, Next)
		b.write(b.path(next.File), b.read(next.File)+"x")
		err := r.Reload(t.Context())
		if err == nil {
			t.Fatal("expected the broken key to be refused")
		}
		keys, listErr := b.folder.List(t.Context())
		if listErr != nil {
			t.Fatal(listErr)
		}
		list, jsonErr := json.Marshal(keys)
		if jsonErr != nil {
			t.Fatal(jsonErr)
		}
		shown := string(r.KeySet()) + err.Error() + b.log.String() + string(list) + fmt.Sprintf(
			"%v %+v", keys, r.current.Load().signer)
		for _, secret := range b.secrets() {
			if strings.Contains(shown, secret) {
				t.Errorf("%s: a secret is shown", alg)
			}
		}
	}
}

// secrets are the lines of base64 in the folder's key files.
func (b *bench) secrets() (lines []string) {
	for name, content := range b.listing() {
		if !strings.HasSuffix(name, ".pem") {
			continue
		}
		for line := range strings.Lines(content) {
			if line = strings.TrimSpace(line); len(line) > 16 && !strings.HasPrefix(line, "-----") {
				lines = append(lines, line)
			}
		}
	}
	if len(lines) < 5 {
		b.Fatal("expected a secret in each of five files")
	}
	return lines
}

// Each algorithm with a key of each other type: refused at load, whatever the manifest calls it.
func testKeyOfAnotherTypeIsRefused(t *testing.T) {
	kinds := map[string]string{
		"ES256": "P-256",
		"ES384": "P-384",
		"ES512": "P-521",
		"EdDSA": "Ed25519",
		"RS256": "RSA",
		"RS384": "RSA",
		"RS512": "RSA",
		"PS256": "RSA",
		"PS384": "RSA",
		"PS512": "RSA",
		"HS256": "secret",
		"HS384": "secret 48",
		"HS512": "secret 64",
	}
	for _, have := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "HS256"} {
		b := newBench(t, algorithm(have))
		for _, claimed := range algorithms {
			b.edit(func(m *manifest) {
				for i := range m.Keys {
					if m.Keys[i].Use == Signing {
						m.Keys[i].Algorithm = claimed
					}
				}
			})
			_, err := Open(b.config, b.options2())
			if ok := kinds[claimed] == kinds[have]; ok != (err == nil) {
				t.Errorf("a %s key called one for %s: expected ok %v, got %v", have, claimed, ok, err)
			}
		}
	}
	weak := newBench(t, algorithm("RS256"))
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	weak.write(weak.path(weak.key(Signing, Next).File),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	if _, err := Open(weak.config, weak.options2()); err == nil ||
		!strings.Contains(err.Error(), "rsa_size") {
		t.Errorf("RSA of 1024 bits: expected a refusal by name, got %v", err)
	}
}

// An EC key whose public half is no point of the curve, or not the private half's.
func testKeyOffItsCurveIsRefused(t *testing.T) {
	good, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := good.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	point, err := good.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	off := slices.Clone(point)
	off[64] ^= 1
	for name, c := range map[string]struct{ scalar, point []byte }{
		"scalar of zero":         {make([]byte, 32), point},
		"scalar above the order": {[]byte(strings.Repeat("\xff", 32)), point},
		"scalar too long":        {append([]byte{1}, scalar...), point},
	} {
		b := newBench(t)
		b.write(b.path(b.key(Signing, Next).File), ecPEM(t, c.scalar, c.point))
		if _, err := Open(b.config, b.options2()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// PKCS#8 may carry a public half; it is never believed.
	b := newBench(t)
	r := b.open()
	next := b.key(Signing, Next)
	b.write(b.path(next.File), ecPEM(t, scalar, off))
	if err := r.Reload(t.Context()); err == nil {
		t.Error("a key with a public half off the curve took another's place")
	}
	if strings.Contains(b.log.String(), fmt.Sprintf("%x", scalar)) {
		t.Error("the scalar is in the log")
	}
}

func ecPEM(t *testing.T, scalar, point []byte) string {
	t.Helper()
	p256 := asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	inner, err := asn1.Marshal(struct {
		Version    int
		PrivateKey []byte
		Curve      asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
		PublicKey  asn1.BitString        `asn1:"optional,explicit,tag:1"`
	}{1, scalar, p256, asn1.BitString{Bytes: point, BitLength: 8 * len(point)}})
	if err != nil {
		t.Fatal(err)
	}
	curve, err := asn1.Marshal(p256)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}{
		0,
		pkix.AlgorithmIdentifier{
			Algorithm:  asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1},
			Parameters: asn1.RawValue{FullBytes: curve},
		},
		inner,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func TestOpenNeedsAClockAndNothingElse(t *testing.T) {
	b := newBench(t)
	if _, err := Open(b.config, Options{}); err == nil || !strings.Contains(err.Error(), "clock") {
		t.Errorf("expected a clock to be asked for, got %v", err)
	}
	if _, err := Open(b.config,
		Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Error(err)
	}
}
