package keyset

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/jose/signing"
)

// TestCVE holds published vulnerabilities of systems like ours, as far as they concern a gate's
// keys.
func TestCVE(t *testing.T) {
	for id, test := range map[string]func(*testing.T){
		"CVE-2025-22149":  testDroppedKeyStops,
		"CVE-2026-49998":  testOneKidOfTwoIssuersIsTwoKeys,
		"CVE-2026-32301":  testNoTokenChangesWhereKeysAreAskedFor,
		"CVE-2026-31837":  testGateWithoutKeysHasNone,
		"CVE-2026-102267": testRedirectsElsewhereAreNotFollowed,
		"CVE-2022-23539":  testKeyOfAnotherAlgorithmIsSkipped,
		"CVE-2016-9121":   testKeyOffItsCurveIsSkipped,
		"CVE-2019-20933":  testWeakSecretIsRefused,
		"CVE-2026-48526":  testPublishedKeyIsNoSecret,
		"CVE-2024-37568":  testAlgorithmListIsPinned,
		"CVE-2026-55689":  testIssuerWithoutAudienceIsRefused,
	} {
		t.Run(id, test)
	}
}

func testDroppedKeyStops(t *testing.T) {
	o := &origin{}
	keys := newKeys(t, 3)
	o.publish(t, keys[0], keys[1])
	g := newGate(t, Options{Transport: o}, trust(issuerA))
	g.mustFetch()
	before := g.Removals()
	o.publish(t, keys...)
	g.mustFetch()
	if g.Removals() != before {
		t.Error("a key that comes empties the verified tokens")
	}
	o.publish(t, keys[1], keys[2])
	g.mustFetch()
	g.wants(issuerA, keys[1], keys[2])
	if g.Removals() == before {
		t.Error("a key that leaves does not empty the verified tokens")
	}
	before = g.Removals()
	o.set(serve(strings.Replace(jwks(t, keys[0], keys[2]), keys[0].ID(), keys[1].ID(), 1)))
	g.mustFetch()
	if i, _ := g.Key(issuerA, keys[1].ID(), ""); !accepts(t, i, keys[0]) || accepts(t, i, keys[1]) {
		t.Error("the key under a kid is not the one that is published")
	}
	if g.Removals() == before {
		t.Error("another key under the same kid does not empty the verified tokens")
	}
	if g.metric("sallyport_keyset_removals_total", issuerA) != 2 {
		t.Error("the metric does not tell")
	}
}

func testOneKidOfTwoIssuersIsTwoKeys(t *testing.T) {
	shared := func() *signing.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		named, err := signing.NewPrivateKey("ES256", "shared", key)
		if err != nil {
			t.Fatal(err)
		}
		return named
	}
	a, b := shared(), shared()
	docs := map[string]string{"a.example": jwks(t, a), "b.example": jwks(t, b)}
	o := &origin{
		answer: func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, docs[r.URL.Host]) },
	}
	for _, order := range [][]string{{issuerA, issuerB}, {issuerB, issuerA}} {
		g := newGate(t, Options{Transport: o}, trust(issuerA), trust(issuerB))
		for _, issuer := range order {
			if err := g.issuer(issuer).reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		g.wants(issuerA, a)
		g.wants(issuerB, b)
		ka, _ := g.Key(issuerA, "shared", "")
		kb, _ := g.Key(issuerB, "shared", "")
		if accepts(t, ka, b) || accepts(t, kb, a) {
			t.Error("one issuer's key verifies the other's tokens")
		}
		g.RemoveKey(issuerA, "shared", time.Now().Add(time.Hour))
		g.wants(issuerA)
		g.wants(issuerB, b)
	}
}

func testNoTokenChangesWhereKeysAreAskedFor(t *testing.T) {
	trap := &origin{answer: status(500)}
	listener := serverOf(t, trap)
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		o.publish(t, newKey(t, "ES256"))
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		defer start(t, g)()
		for _, name := range []string{
			listener.URL, listener.URL + "/jwks", "../../jwks", "?kid=x", "%2e%2e/",
			"a.example@" + listener.Listener.Addr().String(), "\r\nHost: x",
		} {
			g.Await(t.Context(), name, "kid")
			g.Await(t.Context(), issuerA, name)
			time.Sleep(demandEvery)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.asked) < 3 {
			t.Fatalf("expected unknown kids to make fetches, got %d", len(o.asked))
		}
		for _, r := range o.asked {
			if r.URL.String() != issuerA+"/jwks" || r.Host != "a.example" && r.Host != "" ||
				len(r.Header) != 1 {
				t.Errorf("a request to %s of %q with %v", r.URL, r.Host, r.Header)
			}
		}
	})
	if trap.requests() != 0 {
		t.Error("a request where a token pointed")
	}
}

// What stays of a good set through every bad answer is TestLastGoodSetStaysThroughBadAnswers.
func testGateWithoutKeysHasNone(t *testing.T) {
	for name, c := range badAnswers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &origin{answer: c.answer}
			s := serverOf(t, o)
			dir := filepath.Join(t.TempDir(), "cache")
			cfg := trust(issuerA, at(s.URL), func(c *Config) { c.Timeout = 500 * time.Millisecond })
			g := newGate(t, Options{CacheDir: dir}, cfg)
			if err := g.fetch(); err == nil {
				t.Fatal("accepted")
			}
			g.wants(issuerA)
			if g.issuer(issuerA).current.Load().had() || g.Ready() == nil {
				t.Error("the gate takes itself for one with keys")
			}
			g.issuer(issuerA).save()
			newGate(t, Options{CacheDir: dir}, cfg).wants(issuerA)
		})
	}
}

func testRedirectsElsewhereAreNotFollowed(t *testing.T) {
	k, foreign := newKey(t, "ES256"), newKey(t, "ES256")
	elsewhere := &origin{}
	elsewhere.publish(t, foreign)
	other := serverOf(t, elsewhere)
	otherTLS := httptest.NewTLSServer(elsewhere)
	defer otherTLS.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		o := &origin{}
		s := serverOf(t, o)
		o.publish(t, k)
		g := newGate(t, Options{}, trust(issuerA, at(s.URL+"/jwks")))
		g.mustFetch()
		userinfo := strings.Replace(s.URL, "http://", "http://u:p@", 1)
		for _, to := range []string{
			other.URL, otherTLS.URL, "//" + other.Listener.Addr().String() + "/", userinfo + "/else",
			"file:///etc/passwd", "", "%zz",
		} {
			o.set(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", to)
				w.WriteHeader(code)
			})
			before := o.requests()
			if err := g.fetch(); err == nil {
				t.Errorf("%d to %q: accepted", code, to)
			}
			if to != "" && o.requests() != before+1 {
				t.Errorf("%d to %q: followed", code, to)
			}
			g.wants(issuerA, k)
		}
		// Within the configured scheme, host and port it is the issuer's own affair, but not for ever.
		doc := jwks(t, k)
		o.set(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				fmt.Fprint(w, doc)
				return
			}
			http.Redirect(w, r, "/keys", code)
		})
		if err := g.fetch(); err != nil {
			t.Errorf("%d to the same host: %v", code, err)
		}
		o.set(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", code) })
		before := o.requests()
		if err := g.fetch(); err == nil || o.requests()-before > redirectsMax+1 {
			t.Errorf("%d without end: %d requests", code, o.requests()-before)
		}
	}
	// The same host without TLS.
	o := &origin{answer: func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://a.example/jwks", http.StatusFound)
	}}
	g := newGate(t, Options{Transport: o}, trust(issuerA))
	if err := g.fetch(); err == nil || o.requests() != 1 {
		t.Errorf("from https to http: %d requests, %v", o.requests(), err)
	}
	if elsewhere.requests() != 0 {
		t.Errorf("%d requests elsewhere", elsewhere.requests())
	}
}

// Each algorithm with each key of another type, curve or purpose: skipped with a warning, and the
// kid is unknown.
func testKeyOfAnotherAlgorithmIsSkipped(t *testing.T) {
	all := []string{
		"ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384",
		"PS512",
	}
	rsaKey := newKey(t, "RS256")
	keys := map[string]*signing.PrivateKey{}
	for _, alg := range all {
		if strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS") {
			k, err := rsaKey.WithAlgorithm(alg)
			if err != nil {
				t.Fatal(err)
			}
			keys[alg] = k
			continue
		}
		keys[alg] = newKey(t, alg)
	}
	for _, listed := range all {
		for _, published := range all {
			o := &origin{}
			o.publish(t, keys[published])
			g := newGate(t, Options{Transport: o}, trust(issuerA, algs(listed)))
			err := g.fetch()
			if listed == published {
				g.wants(issuerA, keys[published])
				continue
			}
			g.wants(issuerA)
			if err == nil || !strings.Contains(g.log.String(), "can not be used") {
				t.Errorf("%s at an issuer of %s: expected a warning, got %v", published, listed, err)
			}
		}
		// A key that lies about its algorithm.
		o := &origin{}
		lie := "ES256"
		if listed == "ES256" {
			lie = "EdDSA"
		}
		o.set(serve(strings.Replace(jwks(t, keys[lie]), `"`+lie+`"`, `"`+listed+`"`, 1)))
		g := newGate(t, Options{Transport: o}, trust(issuerA, algs(listed)))
		if err := g.fetch(); err == nil {
			t.Errorf("a key for %s that says it is for %s: accepted", lie, listed)
		}
		g.wants(issuerA)
	}
}

func testKeyOffItsCurveIsSkipped(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	x, y := point[1:33], point[33:]
	flip := append([]byte{y[0] ^ 1}, y[1:]...)
	zero := make([]byte, 32)
	p := elliptic.P256().Params().P.Bytes()
	good := newKey(t, "ES256")
	for name, c := range map[string][2][]byte{
		"off the curve":         {x, flip},
		"at infinity":           {zero, zero},
		"coordinates exchanged": {y, x},
		"x of the field's size": {p, y},
		"x too short":           {x[1:], y},
		"x too long":            {append([]byte{0}, x...), y},
		"y too short":           {x, y[:31]},
		"y too long":            {x, append([]byte{0}, y...)},
		"x empty":               {nil, y},
		"y empty":               {x, nil},
	} {
		bad := fmt.Sprintf(
			`{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"bad","x":%q,"y":%q}`, b64(c[0]),
			b64(c[1]))
		o := &origin{}
		o.set(serve(strings.Replace(jwks(t, good), `"keys":[`, `"keys":[`+bad+`,`, 1)))
		g := newGate(t, Options{Transport: o}, trust(issuerA))
		if err := g.fetch(); err != nil {
			t.Errorf("%s: expected the good key beside it to serve, got %v", name, err)
		}
		g.wants(issuerA, good)
		o.set(serve(`{"keys":[` + bad + `]}`))
		if err := g.fetch(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Weak keys of a set are refused by name.
func TestWeakKeysOfASetAreSkippedByName(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	big2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	even := new(big.Int).Lsh(big.NewInt(1), 2047)
	good := newKey(t, "RS256")
	for name, c := range map[string]struct {
		n    *big.Int
		e    int64
		want string
	}{
		"1024 bits":       {small.N, 65537, "rsa_size"},
		"exponent 1":      {big2048.N, 1, "rsa_exponent"},
		"even exponent":   {big2048.N, 65536, "rsa_exponent"},
		"even modulus":    {even, 65537, "rsa_modulus"},
		"a square":        {new(big.Int).Mul(big2048.Primes[0], big2048.Primes[0]), 65537, "rsa_modulus"},
		"a huge exponent": {big2048.N, 1 << 40, "rsa_exponent"},
	} {
		weak := fmt.Sprintf(`{"kty":"RSA","alg":"RS256","kid":"weak","n":%q,"e":%q}`, b64(c.n.Bytes()),
			b64(big.NewInt(c.e).Bytes()))
		o := &origin{}
		o.set(serve(strings.Replace(jwks(t, good), `"keys":[`, `"keys":[`+weak+`,`, 1)))
		g := newGate(t, Options{Transport: o}, trust(issuerA, algs("RS256")))
		g.mustFetch()
		g.wants(issuerA, good)
		if !strings.Contains(g.log.String(), c.want) {
			t.Errorf("%s: expected %q in the log, got %s", name, c.want, g.log)
		}
	}
}

// Two keys under one kid: which one is meant nobody can say, so the whole set is refused.
func TestDuplicateKidInASetRefusesTheSet(t *testing.T) {
	o := &origin{}
	keys := newKeys(t, 2)
	o.publish(t, keys[0])
	g := newGate(t, Options{Transport: o}, trust(issuerA))
	g.mustFetch()
	o.set(serve(strings.ReplaceAll(jwks(t, keys...), keys[1].ID(), keys[0].ID())))
	if err := g.fetch(); err == nil || !strings.Contains(err.Error(), "duplicate_kid") {
		t.Fatalf("expected a refusal by name, got %v", err)
	}
	g.wants(issuerA, keys[0])
}

const goodSecret = "0123456789abcdefghijklmnopqrstuvwxyz"

func testWeakSecretIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	for name, content := range map[string]string{
		"missing":         "",
		"empty":           "\x00empty",
		"blank":           strings.Repeat(" \n\t", 30),
		"a newline":       "\n",
		"31 bytes":        goodSecret[:31] + "\n",
		"32 of one":       strings.Repeat("a", 32),
		"oct, empty k":    `{"kty":"oct","kid":"k","k":""}`,
		"oct, null k":     `{"kty":"oct","kid":"k","k":null,"padding":"xxxxxxxxxxxxxxxxxxxxxx"}`,
		"oct with a key":  `{"kty":"oct","k":"` + strings.Repeat("QUJD", 16) + `"}`,
		"a set of octs":   `{"keys":[{"kty":"oct","k":"` + strings.Repeat("QUJD", 16) + `"}]}`,
		"a cut ring key":  "-----BEGIN HMAC SECRET KEY-----\nQUJD\n",
		"a short ring":    "-----BEGIN HMAC SECRET KEY-----\nQUJD\n-----END HMAC SECRET KEY-----\n",
		"a ring and more": hmacPEM() + "x",
	} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if content == "\x00empty" {
			write(t, path, "")
		} else if content != "" {
			write(t, path, content)
		}
		g := newGate(t, Options{}, trust(issuerA, secret(path)))
		if err := g.fetch(); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "QUJD") || strings.Contains(err.Error(), goodSecret[:16]) {
			t.Errorf("%s: the secret is in the error", name)
		}
		g.wants(issuerA)
	}
	// Others may read it.
	write(t, path, goodSecret)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	g := newGate(t, Options{}, trust(issuerA, secret(path)))
	if err := g.fetch(); err == nil || !strings.Contains(err.Error(), "chmod 0600") {
		t.Errorf("a secret that others may read: got %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	g.mustFetch()
	g.mustHave(1)
}

func hmacPEM() string {
	return string(
		pem.EncodeToMemory(
			&pem.Block{Type: "HMAC SECRET KEY", Bytes: []byte("0123456789abcdefghijklmnopqrstuv")}),
	)
}

// The secrets of a Sallyport ring serve a gate of the same trust domain, the next one before it
// signs.
func TestSecretsOfARingServeTheGate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets")
	active, next := newKey(t, "HS256"), newKey(t, "HS256")
	var content strings.Builder
	for _, k := range []*signing.PrivateKey{active, next} {
		block, err := k.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		content.Write(block)
	}
	write(t, path, content.String())
	g := newGate(t, Options{}, trust(issuerA, secret(path)))
	g.mustFetch()
	g.wants(issuerA, active, next)
	named := newGate(t, Options{}, trust(issuerA, secret(path), func(c *Config) { c.KeyID = "k" }))
	if err := named.fetch(); err == nil || !strings.Contains(err.Error(), "key_id") {
		t.Errorf("expected key_id to be refused beside a ring's keys, got %v", err)
	}
}

// Whatever spelling of a public key: it is known to everyone, so it is no secret.
func testPublishedKeyIsNoSecret(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	set := jwks(t, newKey(t, "ES256"))
	var indented map[string]any
	if err := json.Unmarshal([]byte(set), &indented); err != nil {
		t.Fatal(err)
	}
	pretty, err := json.MarshalIndent(indented, " ", "\t")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "secret")
	for name, content := range map[string]string{
		"PEM": public, "PEM with CRLF": strings.ReplaceAll(public, "\n", "\r\n"),
		"PEM after a space": " " + public, "DER": string(der),
		"base64 of DER": base64.StdEncoding.EncodeToString(der), "JWKS": set,
		"JWKS indented": string(pretty),
		"JWK":           strings.TrimSuffix(strings.TrimPrefix(set, `{"keys":[`), `]}`),
		"SSH":           "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA== me@host",
	} {
		write(t, path, content)
		g := newGate(t, Options{}, trust(issuerA, secret(path)))
		if err := g.fetch(); err == nil {
			t.Errorf("%s: accepted as a secret", name)
		}
		g.wants(issuerA)
	}
}

// load reads a gate's file with these entries of `issuers`.
func load(t *testing.T, entries string) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authz.yaml")
	write(t, path, "issuers:\n"+entries)
	var c struct {
		Issuers []Config `yaml:"issuers"`
	}
	return config.Load(&c,
		config.Options{File: path, LookupEnv: func(string) (string, bool) { return "", false }})
}

func testAlgorithmListIsPinned(t *testing.T) {
	const head = "  - issuer: https://a.example\n    jwks_url: https://a.example/jwks\n    audiences: [api]\n"
	if err := load(t, head); err != nil {
		t.Fatalf("without the line it is ES256: %v", err)
	}
	for list, want := range map[string]string{
		"[]":             "authz.yaml:5:5: issuers[0].algorithms: expected at least one",
		"[ES256, HS256]": "authz.yaml:5:25: issuers[0].algorithms[1]",
		"[HS256, RS256]": "authz.yaml:5:25: issuers[0].algorithms[1]",
		"[none]":         "authz.yaml:5:18: issuers[0].algorithms[0]",
		"[ES256, ES256]": "authz.yaml:5:25: issuers[0].algorithms[1]",
		"[es256]":        "authz.yaml:5:18: issuers[0].algorithms[0]",
	} {
		if err := load(t, head+"    algorithms: "+list+"\n"); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: expected %q, got %v", list, want, err)
		}
	}
}

func testIssuerWithoutAudienceIsRefused(t *testing.T) {
	const head = "  - issuer: https://a.example\n    jwks_url: https://a.example/jwks\n"
	for _, audiences := range []string{"", "    audiences: []\n", "    any_audience: false\n"} {
		err := load(t, head+audiences)
		if err == nil || !strings.Contains(err.Error(), "issuers[0].audiences") ||
			!strings.Contains(err.Error(), "audiences: [NAME]") ||
			!strings.Contains(err.Error(), "authz.yaml:") {
			t.Errorf("%q: expected the file, the line and what to add, got %v", audiences, err)
		}
	}
	for _, audiences := range []string{"    audiences: [api]\n", "    any_audience: true\n"} {
		if err := load(t, head+audiences); err != nil {
			t.Errorf("%q: %v", audiences, err)
		}
	}
}
