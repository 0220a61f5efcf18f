package keyset

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
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
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
)

func serverOf(t *testing.T, o *origin) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(o)
	t.Cleanup(s.Close)
	return s
}

// badAnswers are answers that are no key set, and a word of the reason.
func badAnswers(t *testing.T) map[string]struct {
	answer http.HandlerFunc
	want   string
} {
	private, err := newKey(t, "ES256").MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	good := jwks(t, newKey(t, "ES256"))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	fmt.Fprint(z, good)
	z.Close()
	return map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"500": {status(500), "got 500"},
		"503": {status(503), "got 503"},
		"404": {status(404), "got 404"},
		"401": {status(401), "got 401"},
		"204": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "got 204"},
		"201": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); fmt.Fprint(w, good) },
			"got 201",
		},
		"304 unasked":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, "got 304"},
		"empty":         {serve(""), "key set"},
		"HTML":          {serve("<!doctype html><title>Sign in</title>"), "key set"},
		"garbage":       {serve("\x00\xff\xfe{"), "key set"},
		"null":          {serve("null"), "key set"},
		"no keys":       {serve(`{}`), "keys"},
		"keys no list":  {serve(`{"keys":{}}`), "keys"},
		"empty set":     {serve(`{"keys":[]}`), "at least one usable key"},
		"two documents": {serve(good + good), "key set"},
		"cut":           {serve(good[:len(good)-5]), "key set"},
		"twice keys":    {serve(strings.Replace(good, `"keys":`, `"keys":[],"keys":`, 1)), "key set"},
		"private key":   {serve(strings.Replace(good, `"kid":`, `"d":"AAAA","kid":`, 1)), "private_key"},
		"secret key": {
			serve(
				`{"keys":[{"kty":"oct","kid":"k","alg":"HS256","k":"` + strings.Repeat("QUJD", 16) + `"}]}`),
			"private_key",
		},
		"PEM":         {serve(string(private)), "key set"},
		"other kinds": {serve(jwks(t, newKey(t, "EdDSA"))), "got none"},
		"too large":   {serve(`{"keys":[],"x":"` + strings.Repeat("x", setMax) + `"}`), "at most"},
		"compressed": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(zipped.Bytes())
		}, "compressed"},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			fmt.Fprint(w, good)
		}, "EOF"},
		"hung up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"too slow": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, good[:10])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "deadline"},
	}
}

func TestLastGoodSetStaysThroughBadAnswers(t *testing.T) {
	for name, c := range badAnswers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &origin{}
			s := serverOf(t, o)
			k := newKey(t, "ES256")
			o.publish(t, k)
			g := newGate(t, Options{},
				trust(issuerA, at(s.URL), func(c *Config) { c.Timeout = time.Minute }))
			g.mustFetch()
			if name == "too slow" {
				g.issuer(issuerA).source.(*urlSource).timeout = 200 * time.Millisecond
			}
			before := g.Removals()
			o.set(c.answer)
			for range 3 {
				if err := g.fetch(); err == nil || !strings.Contains(err.Error(), c.want) ||
					!strings.Contains(err.Error(), issuerA) {
					t.Fatalf("expected an error with the issuer and %q, got %v", c.want, err)
				}
			}
			g.wants(issuerA, k)
			if g.Removals() != before {
				t.Error("a removal was counted")
			}
			if n := strings.Count(g.log.String(), "fetch failed"); n != 1 {
				t.Errorf("expected to be told once, got %d: %s", n, g.log)
			}
			if g.metric("sallyport_keyset_fetches_total", issuerA, "failed") != 3 ||
				g.Status()[0].LastError == "" {
				t.Error("metric and status do not tell")
			}
			o.publish(t, k)
			g.issuer(issuerA).source.(*urlSource).timeout = time.Minute
			g.mustFetch()
			if g.Status()[0].LastError != "" {
				t.Error("the status still tells of the error")
			}
		})
	}
}

func TestUnusableKeysOfASetAreLeftOutAndNamed(t *testing.T) {
	o := &origin{}
	good, foreign := newKey(t, "ES256"), newKey(t, "ES384")
	var doc struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal([]byte(jwks(t, good, foreign)), &doc); err != nil {
		t.Fatal(err)
	}
	doc.Keys = append(doc.Keys,
		map[string]any{"kty": "RSA", "kid": "weak", "n": strings.Repeat("AQAB", 32), "e": "AQAB"})
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	o.set(serve(string(text)))
	g := newGate(t, Options{Transport: o}, trust(issuerA, algs("ES256", "RS256")))
	g.mustFetch()
	g.mustFetch()
	g.wants(issuerA, good)
	warnings, quiet := g.lines("can not be used"), g.lines("other purposes or algorithms")
	if len(warnings) != 1 || !strings.Contains(warnings[0], "rsa_size") ||
		strings.Contains(warnings[0], foreign.ID()) {
		t.Errorf("expected one warning of the weak key, got %s", g.log)
	}
	if len(quiet) != 1 || !strings.Contains(quiet[0], foreign.ID()) ||
		!strings.Contains(quiet[0], "INFO") {
		t.Errorf("expected one line at info of the key for another algorithm, got %s", g.log)
	}
	if g.metric("sallyport_keyset_skipped_keys", issuerA) != 1 {
		t.Error("the metric does not tell")
	}
}

// lines are those of the log that contain a text.
func (g *gate) lines(text string) (found []string) {
	for line := range strings.Lines(g.log.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// TestAKidOfDifferentKeysCostsThatKidAlone: it is warned of once and counted, and leaves the set;
// the issuer's other keys stay. The same key twice is nothing to speak of.
func TestAKidOfDifferentKeysCostsThatKidAlone(t *testing.T) {
	o := &origin{}
	keys := newKeys(t, 3)
	twice := func(first, second *signing.PrivateKey, kid string) string {
		doc := jwks(t, keys[0], first, second)
		return strings.Replace(doc, second.ID(), kid, 1)
	}
	o.set(serve(twice(keys[1], keys[1], keys[1].ID())))
	g := newGate(t, Options{Transport: o}, trust(issuerA))
	g.mustFetch()
	g.wants(issuerA, keys[0], keys[1])
	if strings.Contains(g.log.String(), "WARN") {
		t.Errorf("the same key twice is warned of: %s", g.log)
	}
	before := g.Removals()
	o.set(serve(twice(keys[1], keys[2], keys[1].ID())))
	g.mustFetch()
	g.mustFetch()
	g.wants(issuerA, keys[0])
	if g.Removals() == before {
		t.Error("the key that left empties no verified tokens")
	}
	lines := g.lines("can not be used")
	if len(lines) != 1 || !strings.Contains(lines[0], keys[1].ID()) ||
		!strings.Contains(lines[0], "duplicate_kid") ||
		g.metric("sallyport_keyset_skipped_keys", issuerA) != 1 {
		t.Errorf("expected one warning and a metric, got %s", g.log)
	}
	o.publish(t, keys...)
	g.mustFetch()
	g.wants(issuerA, keys...)
}

// TestASPIFFEBundleIsAKeySet: its keys for JWT-SVIDs are in force, its X.509 authorities no
// warning, and its hint says how soon it is read again.
func TestASPIFFEBundleIsAKeySet(t *testing.T) {
	o := &origin{}
	k := newKey(t, "ES256")
	bundle := func(hint string) string {
		doc := strings.Replace(jwks(t, k), `"use":"sig"`, `"use":"jwt-svid"`, 1)
		doc = withUse(t, strings.Replace(doc, `"alg":"ES256",`, "", 1), "ca", "x509-svid")
		return strings.TrimSuffix(doc, "}") + `,"spiffe_sequence":7` + hint + "}"
	}
	o.set(serve(bundle("")))
	g := newGate(t, Options{Transport: o}, trust(issuerA))
	g.mustFetch()
	g.wants(issuerA, k)
	if strings.Contains(g.log.String(), "WARN") {
		t.Errorf("a bundle is warned of: %s", g.log)
	}
	for hint, want := range map[string]time.Duration{
		"": 0, `,"spiffe_refresh_hint":60`: time.Minute, `,"spiffe_refresh_hint":0`: 0,
		`,"spiffe_refresh_hint":-5`: 0, `,"spiffe_refresh_hint":"60"`: 0,
		`,"spiffe_refresh_hint":1e3`: 0, `,"spiffe_refresh_hint":600`: 2 * time.Minute,
	} {
		doc := bundle(hint) // not in the answer: making a key takes longer than a fetch may
		o.set(func(w http.ResponseWriter, _ *http.Request) {
			if strings.Contains(hint, "600") {
				w.Header().Set("Cache-Control", "max-age=120")
			}
			fmt.Fprint(w, doc)
		})
		a, err := g.issuer(issuerA).source.get(t.Context(), "")
		if err != nil || a.refresh != want {
			t.Errorf("%s: expected to be read again after %v, got %v, %v", hint, want, a.refresh, err)
		}
	}
}

// withUse adds an RSA key for another purpose to a set.
func withUse(t *testing.T, set, kid, use string) string {
	t.Helper()
	other := strings.Replace(jwks(t, newKey(t, "RS256")), `"use":"sig"`, fmt.Sprintf(`"use":%q`, use),
		1)
	if strings.Contains(other, `"use":"sig"`) {
		t.Fatal("the key is still one for signatures")
	}
	var one, all struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := errors.Join(json.Unmarshal([]byte(other), &one),
		json.Unmarshal([]byte(set), &all)); err != nil {
		t.Fatal(err)
	}
	one.Keys[0]["kid"] = kid
	text, err := json.Marshal(map[string]any{"keys": append(all.Keys, one.Keys[0])})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestKeysForOtherPurposesAreNoWarning: an issuer that publishes keys for encryption beside those
// for signatures is quite in order. They are told of once, and the metric of what cannot be used
// does not count them.
func TestKeysForOtherPurposesAreNoWarning(t *testing.T) {
	o := &origin{}
	good := newKey(t, "ES256")
	o.set(serve(withUse(t, jwks(t, good), "for-encryption", "enc")))
	g := newGate(t, Options{Transport: o}, trust(issuerA))
	for range 3 {
		g.mustFetch()
	}
	g.wants(issuerA, good)
	log := g.log.String()
	if strings.Contains(log, "WARN") || strings.Count(log, "for-encryption") != 1 ||
		!strings.Contains(log, "for other purposes or algorithms") {
		t.Errorf("expected one line at info, got %s", log)
	}
	if n := g.metric("sallyport_keyset_skipped_keys", issuerA); n != 0 {
		t.Errorf("%v keys count as unusable", n)
	}
	only := newGate(t,
		Options{Transport: &origin{answer: serve(withUse(t, `{"keys":[]}`, "for-encryption", "enc"))}},
		trust(issuerA))
	if err := only.fetch(); err == nil || !strings.Contains(err.Error(), "for-encryption") {
		t.Errorf("a set with nothing else: got %v", err)
	}
}

// TestAFirstFetchThatFailsIsNoErrorAtOnce: an issuer that starts beside its gates is not there yet.
// When it stays away, the log says so as an error, and never speaks of a last good set that there
// was not.
func TestAFirstFetchThatFailsIsNoErrorAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		o.set(status(503))
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		defer start(t, g)()
		time.Sleep(patience - time.Second)
		synctest.Wait()
		if log := g.log.String(); strings.Contains(log, "ERROR") ||
			strings.Count(log, "fetch failed") != 1 ||
			!strings.Contains(log, "no keys") {
			t.Errorf("while the issuer may be starting: %s", log)
		}
		time.Sleep(2 * retryBare)
		synctest.Wait()
		if log := g.log.String(); strings.Count(log, "ERROR") != 1 ||
			strings.Contains(log, "last good set") {
			t.Errorf("when it has stayed away: %s", log)
		}
		k := newKey(t, "ES256")
		o.publish(t, k)
		time.Sleep(2 * retryBare)
		synctest.Wait()
		g.wants(issuerA, k)
		o.set(status(503))
		if err := g.fetch(); err == nil {
			t.Error("the fetch has not failed")
		}
		if log := g.log.String(); strings.Count(log, "ERROR") != 2 ||
			!strings.Contains(log, "last good set") {
			t.Errorf("when a set was had: %s", log)
		}
	})
}

func TestSetOfRSAKeysWithoutAlgServesTheListedAlgorithms(t *testing.T) {
	o := &origin{}
	k := newKey(t, "RS256")
	o.set(serve(strings.Replace(jwks(t, k), `"alg":"RS256",`, "", 1)))
	g := newGate(t, Options{Transport: o}, trust(issuerA, algs("RS256", "PS256")))
	g.mustFetch()
	g.wants(issuerA, k)
	es := newGate(t, Options{Transport: o}, trust(issuerA))
	if err := es.fetch(); err == nil {
		t.Error("an RSA key serves an issuer that signs with ES256 only")
	}
}

func TestETagSavesTheDocument(t *testing.T) {
	o := &origin{}
	k := newKey(t, "ES256")
	doc := jwks(t, k)
	o.set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Cache-Control", "max-age=60")
		if r.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, doc)
	})
	c := newClock()
	g := newGate(t, Options{Transport: o, Now: c.now}, trust(issuerA))
	g.mustFetch()
	if o.last().Header.Get("If-None-Match") != "" {
		t.Error("the first fetch has an etag")
	}
	c.advance(time.Minute)
	g.mustFetch()
	g.wants(issuerA, k)
	if o.last().Header.Get("If-None-Match") != `"v1"` || !g.Status()[0].Fetched.Equal(c.now()) {
		t.Errorf("expected the set to be confirmed by its etag, got %+v", g.Status()[0])
	}
	g.RemoveKey(issuerA, k.ID(), c.now().Add(time.Hour))
	g.mustFetch()
	g.wants(issuerA)
	c.advance(time.Hour + time.Second)
	g.mustFetch()
	g.wants(issuerA, k)
}

func TestETagThatCanNotBeSentBackIsForgotten(t *testing.T) {
	for tag, want := range map[string]string{
		`"v1"`: `"v1"`, `W/"v1"`: `W/"v1"`, "": "", "\"\x80\"": "", "a\tb": "",
		strings.Repeat("x", 257): "",
	} {
		if got := cleanETag(tag); got != want {
			t.Errorf("%q: expected %q, got %q", tag, want, got)
		}
	}
}

func TestCacheControlIsHonouredWithinBounds(t *testing.T) {
	for _, c := range []struct {
		header   http.Header
		from, to time.Duration
	}{
		{http.Header{}, 210 * time.Second, 270 * time.Second},
		{cacheControl("max-age=600"), 420 * time.Second, 540 * time.Second},
		{cacheControl(`public, Max-Age="600"`), 420 * time.Second, 540 * time.Second},
		{http.Header{"Cache-Control": {"public", "max-age=600"}}, 420 * time.Second, 540 * time.Second},
		{
			http.Header{"Cache-Control": {"max-age=600"}, "Age": {"500"}}, 70 * time.Second,
			90 * time.Second,
		},
		{
			http.Header{"Cache-Control": {"max-age=600"}, "Age": {"600"}}, 21 * time.Second,
			27 * time.Second,
		},
		{cacheControl("max-age=1"), 21 * time.Second, 27 * time.Second},
		{cacheControl("max-age=0"), 21 * time.Second, 27 * time.Second},
		{cacheControl("no-store"), 21 * time.Second, 27 * time.Second},
		{cacheControl("no-cache, max-age=600"), 21 * time.Second, 27 * time.Second},
		{cacheControl("max-age=-5"), 21 * time.Second, 27 * time.Second},
		{cacheControl("max-age=soon"), 21 * time.Second, 27 * time.Second},
		{cacheControl("max-age=2000000000"), 630 * time.Second, 810 * time.Second},
		{cacheControl("max-age=99999999999999999999"), 21 * time.Second, 27 * time.Second},
		{cacheControl("s-maxage=600"), 210 * time.Second, 270 * time.Second},
	} {
		g := newGate(t, Options{}, trust(issuerA))
		for range 50 {
			if got := g.issuer(issuerA).after(refreshAfter(c.header)); got < c.from || got > c.to {
				t.Errorf("%v: expected a refresh after %v to %v, got %v", c.header, c.from, c.to, got)
			}
		}
	}
}

func cacheControl(s string) http.Header { return http.Header{"Cache-Control": {s}} }

func TestCAFileIsWhatIsTrustedAndIsReadAgain(t *testing.T) {
	o := &origin{}
	k := newKey(t, "ES256")
	o.publish(t, k)
	s := httptest.NewUnstartedServer(o)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // a refused certificate is what is meant
	s.StartTLS()
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, "nothing")
	g := newGate(t, Options{},
		trust(issuerA, at(s.URL), func(c *Config) { c.CAFile = config.Path(ca) }),
		trust(issuerB, at(s.URL)))
	if err := g.fetch(); err == nil || !strings.Contains(err.Error(), "got none") ||
		!strings.Contains(err.Error(), "certificate") {
		t.Fatalf("expected one error of the file and one of the certificate, got %v", err)
	}
	write(t, ca,
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	if err := g.fetch(); err == nil || strings.Contains(err.Error(), issuerA) {
		t.Fatalf("expected only %s to fail, got %v", issuerB, err)
	}
	g.wants(issuerA, k)
	g.wants(issuerB)
}

// TestAReplacedAuthorityOfAnIssuerIsTrusted from the next fetch on; a broken file keeps the
// authority of before.
func TestAReplacedAuthorityOfAnIssuerIsTrusted(t *testing.T) {
	o := &origin{}
	k := newKey(t, "ES256")
	o.publish(t, k)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	var shown tls.Certificate
	renew := func() *redistest.Authority {
		t.Helper()
		a := redistest.NewAuthority(t)
		pair, err := tls.X509KeyPair(a.Pair())
		if err != nil {
			t.Fatal(err)
		}
		shown = pair
		return a
	}
	s := httptest.NewUnstartedServer(o)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // a refused certificate is what is meant
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{shown}}, nil
	}}
	write(t, ca, string(renew().PEM()))
	s.StartTLS()
	defer s.Close()
	g := newGate(t, Options{},
		trust(issuerA, at(s.URL), func(c *Config) { c.CAFile = config.Path(ca) }))
	g.mustFetch()
	g.wants(issuerA, k)
	next := renew()
	if err := g.fetch(); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("a certificate of another authority is trusted: %v", err)
	}
	write(t, ca, string(next.PEM()))
	g.mustFetch()
	for _, broken := range []string{"", "garbage", string(next.PEM()[:len(next.PEM())/2])} {
		write(t, ca, broken)
		g.mustFetch()
	}
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	g.mustFetch()
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFileIsReadAgainAndItsLastGoodContentStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jwks.json")
	keys := newKeys(t, 2)
	g := newGate(t, Options{}, trust(issuerA, file(path)))
	if err := g.fetch(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Fatalf("expected the missing file in the error, got %v", err)
	}
	write(t, path, jwks(t, keys[0]))
	g.mustFetch()
	g.wants(issuerA, keys[0])
	write(t, path, jwks(t, keys[1]))
	g.mustFetch()
	g.wants(issuerA, keys[1])
	for name, spoil := range map[string]func() error{
		"garbage": func() error { return os.WriteFile(path, []byte("{"), 0o600) },
		"too large": func() error {
			return os.WriteFile(path, bytes.Repeat([]byte(" "), setMax+1), 0o600)
		},
		"everyone may write": func() error {
			write(t, path, jwks(t, keys[0]))
			return os.Chmod(path, 0o666)
		},
		"a folder": func() error {
			return errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700))
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := g.fetch(); err == nil {
			t.Errorf("%s: accepted", name)
		}
		g.wants(issuerA, keys[1])
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}
