package keyring

import (
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
)

const passphrase = "correct horse battery staple"

func TestEncryptedRingWorksWithItsPassphraseOnly(t *testing.T) {
	b := newBench(t, encrypted(passphrase))
	for name, content := range b.listing() {
		if strings.HasSuffix(name, ".pem") &&
			!strings.HasPrefix(content, "-----BEGIN SALLYPORT ENCRYPTED KEY-----") {
			t.Errorf("%s: not encrypted", name)
		}
	}
	r := b.open()
	if !verifies(t, published(t, r.KeySet()), sign(t, r)) {
		t.Fatal("the ring does not verify what it signs")
	}
	if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(t.Context()); err != nil {
		t.Fatalf("after a rotation: %v", err)
	}
	for name, change := range map[string]struct {
		file string
		want string
	}{
		"no passphrase": {"", "name its passphrase_file"},
		"another passphrase": {
			b.passphraseFile("another passphrase"), "does not open with this passphrase",
		},
		"short passphrase": {b.passphraseFile("short"), "at least 12 bytes"},
		"no such file":     {filepath.Join(t.TempDir(), "none"), "passphrase_file"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, folder := b.config, &Folder{
				Dir: b.folder.Dir, PassphraseFile: change.file, Now: b.clock.now,
			}
			cfg.PassphraseFile = configPath(change.file)
			if _, err := Open(cfg, b.options2()); err == nil || !strings.Contains(err.Error(), change.want) {
				t.Errorf("open: expected %q, got %v", change.want, err)
			}
			if _, err := folder.Rotate(t.Context(), Signing, "", true); err == nil ||
				!strings.Contains(err.Error(), change.want) {
				t.Errorf("rotate: expected %q, got %v", change.want, err)
			}
			if err := r.Reload(t.Context()); err != nil {
				t.Errorf("the refused step has broken the ring: %v", err)
			}
		})
	}
}

func TestPlantedKeyIsRefusedInAnEncryptedRing(t *testing.T) {
	b := newBench(t, encrypted(passphrase))
	r := b.open()
	active := b.key(Signing, Active)
	e, content, err := newKey(Signing, "ES256", b.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	b.write(b.path(e.File), string(content))
	b.edit(func(m *manifest) {
		k, _ := m.find(active.ID)
		k.ID, k.File = e.ID, e.File
	})
	if err := r.Reload(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "got an unencrypted one") {
		t.Fatalf("expected the unencrypted key to be refused, got %v", err)
	}
	b.edit(func(m *manifest) { m.Encrypted = false })
	if err := r.Reload(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "this ring is not encrypted") {
		t.Fatalf("expected a ring that says it is not encrypted to be refused, got %v", err)
	}
	if signer(t, sign(t, r)) != active.ID {
		t.Error("the planted key signs")
	}
}

func TestSealedFileServesItsOwnKeyOnly(t *testing.T) {
	b := newBench(t, encrypted(passphrase))
	r := b.open()
	active, next := b.key(Refresh, Active), b.key(Refresh, Next)
	a, n := b.read(active.File), b.read(next.File)
	b.write(b.path(active.File), n)
	if err := r.Reload(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "belongs to another key") {
		t.Fatalf("expected files in each other's place to be refused, got %v", err)
	}
	for name, change := range map[string]func(*pem.Block){
		"cheaper derivation": func(p *pem.Block) { p.Headers["Time"] = "1" },
		"endless derivation": func(p *pem.Block) { p.Headers["Time"] = "4000000000" },
		"huge memory":        func(p *pem.Block) { p.Headers["Memory-KiB"] = "1073741824" },
		"no threads":         func(p *pem.Block) { p.Headers["Threads"] = "0" },
		"short salt":         func(p *pem.Block) { p.Headers["Salt"] = "AAAA" },
		"another cipher":     func(p *pem.Block) { p.Headers["Cipher"] = "none" },
		"another header":     func(p *pem.Block) { p.Headers["Note"] = "x" },
		"flipped bit":        func(p *pem.Block) { p.Bytes[40] ^= 1 },
		"cut":                func(p *pem.Block) { p.Bytes = p.Bytes[:20] },
		"empty":              func(p *pem.Block) { p.Bytes = nil },
	} {
		block, _ := pem.Decode([]byte(a))
		change(block)
		b.write(b.path(active.File), string(pem.EncodeToMemory(block)))
		if err := r.Reload(t.Context()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	b.write(b.path(active.File), a)
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestReloadsDeriveTheKeyOnce(t *testing.T) {
	b := newBench(t, encrypted(passphrase))
	r := b.open()
	for range 3 {
		if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
			t.Fatal(err)
		}
		if err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.store.vault.keys); n != 1 {
		t.Fatalf("expected one derivation for all files of a ring, got %d", n)
	}
}

func TestResealChangesThePassphraseOfARunningRing(t *testing.T) {
	b := newBench(t)
	r := b.open()
	token, tag := sign(t, r), r.SubjectTag("i", "s")
	for _, step := range []string{passphrase, "another passphrase", ""} {
		file := ""
		if step != "" {
			file = b.passphraseFile(step)
		}
		if err := b.folder.Reseal(t.Context(), file); err != nil {
			t.Fatalf("reseal with %q: %v", step, err)
		}
		if err := r.Reload(t.Context()); err == nil {
			t.Fatal("expected the old passphrase to open nothing")
		}
		if !verifies(t, published(t, r.KeySet()), sign(t, r)) {
			t.Fatal("the running issuer has lost its ring")
		}
		b.config.PassphraseFile = configPath(file)
		r = b.other()
		if !verifies(t, published(t, r.KeySet()), token) || r.SubjectTag("i", "s") != tag {
			t.Fatal("the keys have changed")
		}
		if n := len(b.listing()); n != 7 {
			t.Fatalf("expected the old files to be deleted, got %d files", n)
		}
	}
}

func (b *bench) passphraseFile(content string) string {
	b.Helper()
	file := filepath.Join(b.TempDir(), "passphrase")
	b.write(file, content)
	return file
}

func (b *bench) options2() Options {
	o := b.options()
	o.Registry = nil
	return o
}
