package keyset

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/ownfile"
)

// keptBench is a gate that restarts over one folder.
type keptBench struct {
	*testing.T
	dir    string
	clock  *clock
	origin *origin
}

func newKeptBench(t *testing.T) *keptBench {
	return &keptBench{
		T: t, dir: filepath.Join(t.TempDir(), "cache"), clock: newClock(), origin: &origin{},
	}
}

func (b *keptBench) start(cfgs ...Config) *gate {
	b.Helper()
	if len(cfgs) == 0 {
		cfgs = []Config{trust(issuerA)}
	}
	return newGate(b.T, Options{Transport: b.origin, Now: b.clock.now, CacheDir: b.dir}, cfgs...)
}

// saved fetches once and keeps the sets, as a running gate does.
func (b *keptBench) saved(g *gate) *gate {
	b.Helper()
	g.mustFetch()
	for _, i := range g.issuers {
		i.save()
	}
	return g
}

func (b *keptBench) file() string {
	b.Helper()
	names, err := filepath.Glob(filepath.Join(b.dir, "*"))
	if err != nil || len(names) != 1 {
		b.Fatalf("expected one file, got %v, %v", names, err)
	}
	return names[0]
}

func (b *keptBench) edit(change func(k *kept)) {
	b.Helper()
	content, err := os.ReadFile(b.file())
	if err != nil {
		b.Fatal(err)
	}
	var k kept
	if err := json.Unmarshal(content, &k); err != nil {
		b.Fatal(err)
	}
	change(&k)
	if content, err = json.Marshal(k); err != nil {
		b.Fatal(err)
	}
	write(b, b.file(), string(content))
}

func TestGateStartsFromItsLastGoodFileWhileTheIssuerIsDown(t *testing.T) {
	b := newKeptBench(t)
	k := newKey(t, "ES256")
	b.origin.publish(t, k)
	b.saved(b.start())
	if info, err := os.Stat(b.file()); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("expected mode 0600, got %v, %v", info.Mode(), err)
	}
	b.origin.set(status(503))
	b.clock.advance(23 * time.Hour)
	g := b.start()
	g.wants(issuerA, k)
	if err := g.fetch(); err == nil {
		t.Fatal("expected the issuer to be down")
	}
	g.wants(issuerA, k)
	if s := g.Status()[0]; !s.FromFile || b.clock.now().Sub(s.Fetched) != 23*time.Hour {
		t.Errorf("expected the status to tell of the file and its age, got %+v", s)
	}
	b.origin.publish(t, k)
	g.mustFetch()
	if s := g.Status()[0]; s.FromFile || !s.Fetched.Equal(b.clock.now()) {
		t.Errorf("expected the set to be confirmed, got %+v", s)
	}
}

func TestReadyFromTheKeptFile(t *testing.T) {
	b := newKeptBench(t)
	b.origin.publish(t, newKey(t, "ES256"))
	b.saved(b.start())
	b.origin.set(status(503))
	synctest.Test(t, func(t *testing.T) {
		b.T = t
		g := b.start()
		defer start(t, g)()
		if err := g.Ready(); err != nil {
			t.Errorf("expected to be ready at once, got %v", err)
		}
	})
}

func TestKeptFileThatCanNotBeBelievedIsNotUsed(t *testing.T) {
	for name, spoil := range map[string]func(*keptBench) Config{
		"older than max_age": func(b *keptBench) Config {
			b.clock.advance(24*time.Hour + time.Second)
			return trust(issuerA)
		},
		"from the future": func(b *keptBench) Config {
			b.clock.advance(-time.Hour)
			return trust(issuerA)
		},
		"another address": func(b *keptBench) Config { return trust(issuerA, at(issuerA+"/keys")) },
		"another issuer": func(b *keptBench) Config {
			b.edit(func(k *kept) { k.Issuer = issuerB })
			return trust(issuerA)
		},
		"another algorithm": func(b *keptBench) Config { return trust(issuerA, algs("RS256")) },
		"a later version": func(b *keptBench) Config {
			b.edit(func(k *kept) { k.Version = 2 })
			return trust(issuerA)
		},
		"an empty file": func(b *keptBench) Config { write(b, b.file(), ""); return trust(issuerA) },
		"garbage": func(b *keptBench) Config {
			write(b, b.file(), "{")
			return trust(issuerA)
		},
		"an unknown name": func(b *keptBench) Config {
			write(b, b.file(), `{"x":1}`)
			return trust(issuerA)
		},
		"huge": func(b *keptBench) Config {
			write(b, b.file(), strings.Repeat(" ", keptMax+1))
			return trust(issuerA)
		},
		"no keys in the set": func(b *keptBench) Config {
			b.edit(func(k *kept) { k.Keys = []byte(`{"keys":[]}`) })
			return trust(issuerA)
		},
		"no set in the set": func(b *keptBench) Config {
			b.edit(func(k *kept) { k.Keys = []byte(`"x"`) })
			return trust(issuerA)
		},
		"the key is revoked": func(b *keptBench) Config { b.edit(revokeAll); return trust(issuerA) },
		"the set is a secret": func(b *keptBench) Config {
			b.edit(func(k *kept) { k.Keys = []byte(`{"keys":[{"kty":"oct","kid":"k","k":"AAAA"}]}`) })
			return trust(issuerA)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newKeptBench(t)
			b.origin.publish(t, newKey(t, "ES256"))
			b.saved(b.start())
			b.start().mustHave(1)
			b.origin.set(status(503))
			g := b.start(spoil(b))
			g.wants(issuerA)
			fresh := newKey(t, "ES256")
			b.origin.publish(t, fresh)
			if name == "another algorithm" {
				return
			}
			g.mustFetch()
			g.wants(issuerA, fresh)
		})
	}
}

// Whoever can put a file into the folder before the gate does, as in /tmp, would name the keys that
// it trusts.
func TestKeptFileOfAnotherUserIsNotBelieved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "{}")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	for uid, good := range map[uint32]bool{4711: true, 0: true, 4712: false} {
		owner.Uid = uid
		if err := ownfile.Believable(info, 4711); (err == nil) != good {
			t.Errorf("a file of user %d for user 4711: got %v", uid, err)
		}
	}
	b := newKeptBench(t)
	b.origin.publish(t, newKey(t, "ES256"))
	b.saved(b.start())
	if err := os.Chmod(b.file(), 0o660); err != nil {
		t.Fatal(err)
	}
	b.start().wants(issuerA)
	if err := os.Chmod(b.file(), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start().mustHave(1)
	if os.Geteuid() != 0 {
		return // only root gives files away
	}
	if err := os.Chown(b.file(), 4712, -1); err != nil {
		t.Fatal(err)
	}
	b.start().wants(issuerA)
}

func revokeAll(k *kept) {
	keys, _, err := jose.ParseKeySet(k.Keys)
	if err != nil {
		panic(err)
	}
	k.Revoked = map[string]time.Time{keys[0].ID(): time.Now().Add(time.Hour)}
}

func (g *gate) mustHave(n int) {
	g.Helper()
	if got := len(g.Status()[0].Keys); got != n {
		g.Fatalf("expected %d keys, got %d", n, got)
	}
}

func TestFolderThatOthersMayWriteToIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := New([]Config{trust(issuerA)},
		Options{Now: time.Now, CacheDir: dir}); err == nil ||
		!strings.Contains(err.Error(), "key_cache_dir") {
		t.Fatalf("expected the setting in the error, got %v", err)
	}
	if _, err := New([]Config{trust(issuerA)},
		Options{Now: time.Now, CacheDir: filepath.Join(write2(t), "x")}); err == nil ||
		!strings.Contains(err.Error(), "key_cache_dir") {
		t.Fatalf("expected the setting in the error, got %v", err)
	}
}

// write2 is the path of a file where a folder is expected.
func write2(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "")
	return path
}

func TestFailureToKeepIsToldAndTriedAgain(t *testing.T) {
	b := newKeptBench(t)
	k := newKey(t, "ES256")
	b.origin.publish(t, k)
	g := b.start()
	if err := os.RemoveAll(b.dir); err != nil {
		t.Fatal(err)
	}
	b.saved(g)
	if !strings.Contains(g.log.String(), "could not be kept") ||
		g.metric("sallyport_keyset_keep_failures_total", issuerA) != 1 {
		t.Error("neither log nor metric tell")
	}
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	g.issuer(issuerA).save()
	b.origin.set(status(503))
	b.start().wants(issuerA, k)
}

func TestRevokedKeyStaysOutThroughFetchesAndRestarts(t *testing.T) {
	b := newKeptBench(t)
	keys := newKeys(t, 2)
	b.origin.publish(t, keys...)
	g := b.saved(b.start())
	before, until := g.Removals(), b.clock.now().Add(time.Hour)
	g.RemoveKey(issuerA, keys[0].ID(), until)
	g.wants(issuerA, keys[1])
	if g.Removals() == before {
		t.Error("the removal was not counted")
	}
	g.RemoveKey(issuerA, keys[0].ID(), until.Add(-time.Minute)) // an earlier end takes nothing back
	g.RemoveKey("https://stranger.example", keys[1].ID(), until)
	for b.clock.now().Before(until) {
		g = b.saved(g)
		g.wants(issuerA, keys[1])
		content, err := os.ReadFile(b.file())
		if err != nil || strings.Count(string(content), keys[0].ID()) != 1 { // only as revoked
			t.Fatalf("expected the key to be out of the file: %v", err)
		}
		g = b.start()
		g.wants(issuerA, keys[1])
		b.clock.advance(10 * time.Minute)
	}
	g.wants(issuerA, keys[1]) // its time is over, but nobody has asked for it again
	b.clock.advance(time.Second)
	g.mustFetch()
	g.wants(issuerA, keys...)
}

func TestFetchBegunBeforeTheRevocationEndedDoesNotBringTheKeyBack(t *testing.T) {
	b := newKeptBench(t)
	keys := newKeys(t, 2)
	doc := jwks(t, keys...)
	b.origin.publish(t, keys...)
	g := b.saved(b.start())
	asked, answer := make(chan struct{}), make(chan struct{})
	b.origin.set(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		serve(doc)(w, nil)
	})
	done := make(chan error)
	go func() { done <- g.Reload(t.Context()) }()
	<-asked
	g.RemoveKey(issuerA, keys[0].ID(), b.clock.now().Add(time.Minute))
	b.clock.advance(time.Hour)
	close(answer)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	g.wants(issuerA, keys[1])
	b.origin.publish(t, keys...)
	g.mustFetch()
	g.wants(issuerA, keys...)
}

func TestRevokedKeyThatIsNotThereYetStaysOut(t *testing.T) {
	b := newKeptBench(t)
	keys := newKeys(t, 2)
	g := b.start()
	g.RemoveKey(issuerA, keys[0].ID(), b.clock.now().Add(time.Hour))
	b.origin.publish(t, keys...)
	g.mustFetch()
	g.wants(issuerA, keys[1])
}

func TestGateWhoseEveryKeyIsRevokedKeepsNone(t *testing.T) {
	b := newKeptBench(t)
	k := newKey(t, "ES256")
	b.origin.publish(t, k)
	g := b.saved(b.start())
	g.RemoveKey(issuerA, k.ID(), b.clock.now().Add(time.Hour))
	b.saved(g)
	b.origin.set(status(503))
	g = b.start()
	g.wants(issuerA)
	if !g.issuer(issuerA).current.Load().had() {
		t.Error("the issuer counts as one that never had keys")
	}
}

func TestRevokedSecretIsOutOfForceWhileItsFileIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, "0123456789abcdefghijklmnopqrstuvwxyz\n")
	c := newClock()
	g := newGate(t, Options{Now: c.now},
		trust(issuerA, secret(path), func(c *Config) { c.KeyID = "k1" }))
	g.mustFetch()
	g.mustHave(1)
	g.RemoveKey(issuerA, "k1", c.now().Add(time.Hour))
	g.mustFetch()
	g.mustHave(0)
}

func TestRunningGateKeepsItsSets(t *testing.T) {
	b := newKeptBench(t)
	keys := newKeys(t, 2)
	b.origin.publish(t, keys...)
	synctest.Test(t, func(t *testing.T) {
		b.T = t
		g := newGate(t, Options{Transport: b.origin, Now: time.Now, CacheDir: b.dir}, trust(issuerA))
		stop := start(t, g)
		newGate(t, Options{Now: time.Now, CacheDir: b.dir}, trust(issuerA)).wants(issuerA, keys...)
		g.RemoveKey(issuerA, keys[0].ID(), time.Now().Add(time.Hour))
		synctest.Wait()
		newGate(t, Options{Now: time.Now, CacheDir: b.dir}, trust(issuerA)).wants(issuerA, keys[1])
		stop()
	})
}

func TestFilesAndSecretsAreNotKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	newGate(t, Options{CacheDir: dir}, trust(issuerA, file("x")), trust(issuerB, secret("y")))
	if _, err := os.Stat(dir); err == nil {
		t.Fatal("a folder was made for nothing")
	}
}
