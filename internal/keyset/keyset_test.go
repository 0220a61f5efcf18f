package keyset

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuerA = "https://a.example"
	issuerB = "https://b.example"
)

// clock is a time of day that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// origin is an issuer's JWKS endpoint: a server, or without any network a transport.
type origin struct {
	mu     sync.Mutex
	answer http.HandlerFunc
	asked  []*http.Request
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.asked = append(o.asked, r)
	answer := o.answer
	o.mu.Unlock()
	answer(w, r)
}

// RoundTrip implements http.RoundTripper.
func (o *origin) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	o.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	res := w.Result()
	res.Request = r
	return res, nil
}

func (o *origin) set(answer http.HandlerFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = answer
}

func (o *origin) publish(t testing.TB, keys ...*signing.PrivateKey) {
	o.set(serve(jwks(t, keys...)))
}

func (o *origin) requests() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.asked)
}

func (o *origin) last() *http.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked[len(o.asked)-1]
}

func serve(doc string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, doc) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", code) }
}

func newKey(t testing.TB, alg string) *signing.PrivateKey {
	t.Helper()
	k, err := signing.GenerateKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newKeys(t testing.TB, n int) (keys []*signing.PrivateKey) {
	for range n {
		keys = append(keys, newKey(t, "ES256"))
	}
	return keys
}

func jwks(t testing.TB, keys ...*signing.PrivateKey) string {
	t.Helper()
	var public []*jose.PublicKey
	for _, k := range keys {
		public = append(public, k.Public())
	}
	doc, err := jose.MarshalKeySet(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// trust is an entry of `issuers` as a file gives it.
func trust(issuer string, change ...func(*Config)) Config {
	var c Config
	c.SetDefaults()
	c.Issuer, c.Audiences = issuer, []string{"api"}
	c.JWKSURL = issuer + "/jwks"
	for _, f := range change {
		f(&c)
	}
	return c
}

func at(url string) func(*Config) { return func(c *Config) { c.JWKSURL = url } }

func algs(names ...string) func(*Config) { return func(c *Config) { c.Algorithms = names } }

func file(path string) func(*Config) {
	return func(c *Config) { c.JWKSURL, c.JWKSFile = "", config.Path(path) }
}

func secret(path string) func(*Config) {
	return func(c *Config) {
		c.JWKSURL, c.SecretFile, c.Algorithms = "", config.Path(path), []string{"HS256"}
	}
}

// gate is key sets with what is needed to look at them.
type gate struct {
	*testing.T
	*Sets
	log *eventually.Buffer
	reg *prometheus.Registry
}

func newGate(t *testing.T, o Options, cfgs ...Config) *gate {
	t.Helper()
	g := &gate{T: t, log: &eventually.Buffer{}, reg: prometheus.NewRegistry()}
	o.Logger, o.Registry = slog.New(slog.NewJSONHandler(g.log, nil)), g.reg
	if o.Now == nil {
		o.Now = newClock().now
	}
	var err error
	if g.Sets, err = New(cfgs, o); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *gate) issuer(name string) *issuer {
	g.Helper()
	i, ok := g.byName[name]
	if !ok {
		g.Fatalf("expected %q to be trusted", name)
	}
	return i
}

// fetch makes one fetch of every set.
func (g *gate) fetch() error { return g.Reload(g.Context()) }

func (g *gate) mustFetch() {
	g.Helper()
	if err := g.fetch(); err != nil {
		g.Fatal(err)
	}
}

// wants checks which of the issuer's keys are in force.
func (g *gate) wants(issuer string, keys ...*signing.PrivateKey) {
	g.Helper()
	want := []string{}
	for _, k := range keys {
		want = append(want, k.ID())
		got, _ := g.Key(issuer, k.ID(), "")
		if got == nil {
			g.Errorf("expected key %s of %s to be in force", k.ID(), issuer)
			continue
		}
		if !accepts(g, got, k) {
			g.Errorf("key %s of %s does not verify its own signature", k.ID(), issuer)
		}
	}
	slices.Sort(want)
	for _, s := range g.Status() {
		if s.Issuer == issuer && !slices.Equal(s.Keys, want) {
			g.Errorf("expected the keys %v of %s to be in force, got %v", want, issuer, s.Keys)
		}
	}
}

// accepts reports whether public verifies what private signs.
func accepts(t testing.TB, public *jose.PublicKey, private *signing.PrivateKey) bool {
	t.Helper()
	compact, err := private.Sign("at+jwt", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := jose.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	return public.Verify(p.Header.Algorithm, p.SigningInput, p.Signature) == nil
}

// metric is the value of one series; labels are values in the order of their names.
func (g *gate) metric(name string, labels ...string) float64 {
	g.Helper()
	families, err := g.reg.Gather()
	if err != nil {
		g.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(got, labels) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// series is how many series there are.
func (g *gate) series() (n int) {
	g.Helper()
	families, err := g.reg.Gather()
	if err != nil {
		g.Fatal(err)
	}
	for _, f := range families {
		n += len(f.GetMetric())
	}
	return n
}

func TestIssuersAreKnownByTheirExactName(t *testing.T) {
	o := &origin{}
	g := newGate(t, Options{Transport: o}, trust(issuerA))
	for _, name := range []string{
		"", issuerA + "/", "https://A.example", "https://a.exampl", "http://a.example", issuerA + "\x00",
	} {
		if _, ok := g.Profile(name); ok {
			t.Errorf("%q is trusted", name)
		}
		if g.Await(t.Context(), name, "kid") {
			t.Errorf("%q has keys", name)
		}
	}
	i := g.issuer(issuerA)
	if i.profile.Issuer != issuerA || i.current.Load().had() || len(g.issuers) != 1 {
		t.Errorf("expected one issuer without keys, got %+v", i.profile)
	}
	if o.requests() != 0 {
		t.Error("a request was made before the gate runs")
	}
}

func TestAnyAudienceIsToldAtEachStart(t *testing.T) {
	open := trust(issuerA, func(c *Config) { c.Audiences, c.AnyAudience = nil, true })
	for range 2 {
		if g := newGate(t, Options{}, open); !strings.Contains(g.log.String(), "any_audience") {
			t.Fatal("expected a warning")
		}
	}
	if g := newGate(t, Options{}, trust(issuerA)); g.log.String() != "" {
		t.Fatalf("expected no warning, got %s", g.log)
	}
}

func TestPlainHTTPBeyondThisMachineIsTold(t *testing.T) {
	for url, warned := range map[string]bool{
		"http://issuer.example/jwks": true, "http://10.0.0.1/jwks": true,
		"https://issuer.example/jwks": false,
		"http://127.0.0.1:1/jwks":     false, "http://[::1]/jwks": false, "http://localhost/jwks": false,
	} {
		g := newGate(t, Options{}, trust(issuerA, at(url)))
		if strings.Contains(g.log.String(), "use https") != warned {
			t.Errorf("%s: expected warning %v, got %s", url, warned, g.log)
		}
	}
}

func TestConfigNamesTheSettingThatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no audience":         {func(c *Config) { c.Audiences = nil }, "audiences: "},
		"no algorithm":        {algs([]string{}...), "algorithms: "},
		"mixed algorithms":    {algs("ES256", "HS256"), "algorithms[1]: "},
		"unknown algorithm":   {algs("none"), "algorithms[0]: "},
		"no source of keys":   {at(""), "expected jwks_url"},
		"two sources of keys": {func(c *Config) { c.JWKSFile = "x" }, "expected one of"},
		"a secret from a URL": {algs("HS256"), "algorithms: "},
		"a secret for ES256": {
			func(c *Config) { c.JWKSURL, c.SecretFile = "", "x" }, "secret_file: ",
		},
		"two algorithms of a secret": {
			func(c *Config) { secret("x")(c); c.Algorithms = []string{"HS256", "HS512"} }, "algorithms: ",
		},
		"a kid without secret": {func(c *Config) { c.KeyID = "k" }, "key_id: "},
		"a kid too long": {
			func(c *Config) { secret("x")(c); c.KeyID = strings.Repeat("k", 257) }, "key_id: ",
		},
		"no URL":         {at("issuer.example/jwks"), "jwks_url: "},
		"another scheme": {at("file:///etc/passwd"), "jwks_url: "},
		"no host":        {at("https:///jwks"), "jwks_url: "},
		"a tenant's place in the URL": {
			at("https://issuer.example/{tenantid}/keys"), "jwks_url: ",
		},
		"a password in the URL": {at("https://u:p@issuer.example/jwks"), "jwks_url: "},
		"a fragment in the URL": {at("https://issuer.example/jwks#x"), "jwks_url: "},
		"roots for http": {
			func(c *Config) { at("http://127.0.0.1/")(c); c.CAFile = "x" }, "ca_file: ",
		},
		"roots for a file":            {func(c *Config) { file("x")(c); c.CAFile = "x" }, "ca_file: "},
		"discovery beside an address": {func(c *Config) { c.Discovery = true }, "expected one of"},
		"discovery of what is no address": {
			func(c *Config) { at("")(c); c.Discovery, c.Issuer = true, "accounts.example" }, "discovery: ",
		},
		"discovery of a query": {
			func(c *Config) { at("")(c); c.Discovery, c.Issuer = true, "https://a.example?x" },
			"discovery: ",
		},
		"discovery of a user": {
			func(c *Config) { at("")(c); c.Discovery, c.Issuer = true, "https://u@a.example" },
			"discovery: ",
		},
		"discovery with roots for http": {
			func(c *Config) { at("")(c); c.Discovery, c.Issuer, c.CAFile = true, "http://127.0.0.1", "x" },
			"ca_file: ",
		},
		"a token over http": {
			func(c *Config) { at("http://issuer.example/")(c); c.JWKSTokenFile = "x" },
			"jwks_token_file: ",
		},
		"a token over http to a name below localhost": {
			func(c *Config) { at("http://issuer.localhost/")(c); c.JWKSTokenFile = "x" },
			"jwks_token_file: ",
		},
		"a token for a file": {
			func(c *Config) { file("x")(c); c.JWKSTokenFile = "x" }, "jwks_token_file: ",
		},
		"refresh too often": {
			func(c *Config) { c.RefreshMin = time.Millisecond }, "refresh_min: ",
		},
		"refresh bounds crossed": {
			func(c *Config) { c.RefreshMin, c.RefreshMax = time.Hour, time.Minute }, "refresh_max: ",
		},
		"refresh below zero":          {func(c *Config) { c.RefreshMax = -1 }, "refresh_max: "},
		"age shorter than refreshing": {func(c *Config) { c.MaxAge = time.Minute }, "max_age: "},
		"no time for a fetch":         {func(c *Config) { c.Timeout = 1 }, "timeout: "},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := trust(issuerA, c.change)
			if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.want) ||
				strings.HasSuffix(c.want, ": ") && !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("validate: expected %q, got %v", c.want, err)
			}
			if _, err := New([]Config{trust(issuerB), cfg}, Options{Now: time.Now}); err == nil ||
				!strings.Contains(err.Error(), "issuers[1]") {
				t.Errorf("new: expected the entry's number in the error, got %v", err)
			}
		})
	}
	if _, err := New([]Config{trust(issuerA), trust(issuerB), trust(issuerA)},
		Options{Now: time.Now}); err == nil ||
		!strings.Contains(err.Error(), "issuers[2].issuer") {
		t.Errorf("an issuer twice: expected a refusal, got %v", err)
	}
	if _, err := New([]Config{trust(issuerA)}, Options{}); err == nil {
		t.Error("expected a clock to be asked for")
	}
}

func TestConfigWithoutDefaultsHasThem(t *testing.T) {
	g := newGate(t, Options{},
		Config{Profile: token.Profile{Issuer: issuerA, Audiences: []string{"api"}}, JWKSURL: issuerA})
	i := g.issuer(issuerA)
	if i.cfg.RefreshMax != defaultRefreshMax || i.cfg.Timeout != defaultTimeout ||
		!slices.Equal(i.profile.Algorithms, []string{"ES256"}) {
		t.Fatalf("got %+v", i.cfg)
	}
}
