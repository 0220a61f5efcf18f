package keyring

import (
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// bench is a folder with a ring, and what is needed to open it.
type bench struct {
	*testing.T
	clock  *clock
	folder *Folder
	config Config
	log    *eventually.Buffer
	reg    *prometheus.Registry
}

func newBench(t *testing.T, change ...func(*bench)) *bench {
	t.Helper()
	c := newClock()
	b := &bench{T: t, clock: c, log: &eventually.Buffer{}, reg: prometheus.NewRegistry(), config: DefaultConfig()}
	b.folder = &Folder{Dir: filepath.Join(t.TempDir(), "keys"), Now: c.now}
	for _, f := range change {
		f(b)
	}
	b.config.Dir = config.Path(b.folder.Dir)
	b.config.PassphraseFile = config.Path(b.folder.PassphraseFile)
	if _, err := b.folder.Generate(t.Context(), b.config.Algorithm); err != nil {
		t.Fatal(err)
	}
	return b
}

func rotating(every time.Duration) func(*bench) {
	return func(b *bench) { b.config.RotateEvery = every }
}

func algorithm(alg string) func(*bench) {
	return func(b *bench) { b.config.Algorithm = alg }
}

func encrypted(passphrase string) func(*bench) {
	return func(b *bench) {
		b.folder.PassphraseFile = filepath.Join(b.TempDir(), "passphrase")
		b.write(b.folder.PassphraseFile, passphrase+"\n")
	}
}

func (b *bench) options() Options {
	return Options{
		Now:             b.clock.now,
		Logger:          slog.New(slog.NewJSONHandler(b.log, nil)),
		Registry:        b.reg,
		PublishFor:      15 * time.Minute,
		MaxLifetime:     time.Hour,
		SessionLifetime: 24 * time.Hour,
		ClockSkew:       30 * time.Second,
	}
}

func (b *bench) open() *Ring {
	b.Helper()
	r, err := Open(b.config, b.options())
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// other opens the ring as another issuer does.
func (b *bench) other() *Ring {
	b.Helper()
	b.reg = prometheus.NewRegistry()
	return b.open()
}

func (b *bench) write(path, content string) {
	b.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) read(name string) string {
	b.Helper()
	content, err := os.ReadFile(filepath.Join(b.folder.Dir, name))
	if err != nil {
		b.Fatal(err)
	}
	return string(content)
}

func (b *bench) path(name string) string { return filepath.Join(b.folder.Dir, name) }

// key is the ring's one key of use in state, by the manifest.
func (b *bench) key(use Use, state State) Key {
	b.Helper()
	keys, err := b.folder.List(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for _, k := range keys {
		if k.Use == use && k.State == state {
			return k
		}
	}
	b.Fatalf("no %s %s key in %v", state, use, keys)
	return Key{}
}

// edit changes the manifest by hand.
func (b *bench) edit(change func(*manifest)) {
	b.Helper()
	var m manifest
	if err := json.Unmarshal([]byte(b.read(manifestFile)), &m); err != nil {
		b.Fatal(err)
	}
	change(&m)
	raw, err := json.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	b.write(b.path(manifestFile), string(raw))
}

// listing is the folder's files with their content.
func (b *bench) listing() map[string]string {
	b.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(b.folder.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files[d.Name()] = string(content)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return files
}

// metric is the value of one series, its labels written as in "name{a=1,b=2}".
func (b *bench) metric(name string, labels ...string) float64 {
	b.Helper()
	families, err := b.reg.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetValue())
			}
			if f.GetName() == name && strings.Join(got, ",") == strings.Join(labels, ",") {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	b.Fatalf("no metric %s%v", name, labels)
	return 0
}

func sign(t testing.TB, r *Ring) string {
	t.Helper()
	compact, err := r.SignUnless(noneRevoked, "at+jwt", []byte(`{"iss":"https://issuer.example"}`))
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// published reads a JWKS as a gate does.
func published(t testing.TB, document []byte) map[string]*jose.PublicKey {
	t.Helper()
	keys, skipped, err := jose.ParseKeySet(document)
	if err != nil || len(skipped) > 0 {
		t.Fatalf("the JWKS: %v, skipped %v: %s", err, skipped, document)
	}
	found := map[string]*jose.PublicKey{}
	for _, k := range keys {
		found[k.ID()] = k
	}
	return found
}

// verifies reports whether a gate with these keys accepts the token's signature.
func verifies(t testing.TB, keys map[string]*jose.PublicKey, compact string) bool {
	t.Helper()
	p, err := jose.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	k, ok := keys[p.Header.KeyID]
	return ok && k.Verify(p.Header.Algorithm, p.SigningInput, p.Signature) == nil
}

func signer(t testing.TB, compact string) string {
	t.Helper()
	p, err := jose.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	return p.Header.KeyID
}
