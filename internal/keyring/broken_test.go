package keyring

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
)

func configPath(s string) config.Path { return config.Path(s) }

// breakages are ways in which a folder can be broken, and a word of the error.
var breakages = map[string]struct {
	do   func(*bench)
	want string
}{
	"manifest is garbage": {
		func(b *bench) { b.write(b.path(manifestFile), "<html>") },
		"ring.json",
	},
	"manifest is empty": {func(b *bench) { b.write(b.path(manifestFile), "") }, "empty"},
	"manifest is cut": {
		func(b *bench) { b.write(b.path(manifestFile), b.read(manifestFile)[:100]) },
		"ring.json",
	},
	"manifest with more after it": {
		func(b *bench) { b.write(b.path(manifestFile), b.read(manifestFile)+"{}") },
		"more after it",
	},
	"manifest with an unknown name": {func(b *bench) {
		b.write(b.path(manifestFile),
			strings.Replace(b.read(manifestFile), `"version"`, `"x": 1, "version"`, 1))
	}, "unknown field"},
	"manifest of a later version": {
		func(b *bench) { b.edit(func(m *manifest) { m.Version = 2 }) },
		"version 1",
	},
	"manifest is huge": {
		func(b *bench) { b.write(b.path(manifestFile), strings.Repeat(" ", fileMax+1)) },
		"at most",
	},
	"manifest is gone": {
		func(b *bench) { b.must(os.Remove(b.path(manifestFile))) },
		"sallyport keygen",
	},
	"folder is gone": {
		func(b *bench) { b.must(os.RemoveAll(b.folder.Dir)) },
		"no such file",
	},
	"folder that all may write to": {
		func(b *bench) { b.must(os.Chmod(b.folder.Dir, 0o777)) },
		"chmod 0700",
	},
	"two active keys": {func(b *bench) {
		b.edit(
			func(m *manifest) {
				m.in(Signing, Next).Activated = b.clock.now()
				m.in(Signing, Next).State = Active
			})
	}, "exactly one active signing"},
	"no active key": {
		func(b *bench) { b.edit(func(m *manifest) { m.in(Signing, Active).State = Next }) },
		"exactly one active signing",
	},
	"no subject tag key": {
		func(b *bench) { b.edit(func(m *manifest) { m.drop(m.in(SubjectTag, Active).ID) }) },
		"exactly one active subject_tag",
	},
	"a key twice": {
		func(b *bench) {
			b.edit(func(m *manifest) { m.in(Signing, Next).ID = m.in(Signing, Active).ID })
		},
		"twice",
	},
	"a file outside the folder": {
		func(b *bench) { b.edit(func(m *manifest) { m.in(Signing, Next).File = "../x.pem" }) },
		"plain file name",
	},
	"an unknown state": {
		func(b *bench) { b.edit(func(m *manifest) { m.in(Signing, Next).State = "primary" }) },
		"expected state",
	},
	"an unknown use": {
		func(b *bench) { b.edit(func(m *manifest) { m.in(Signing, Next).Use = "encryption" }) },
		"expected use",
	},
	"a kid with a path": {
		func(b *bench) { b.edit(func(m *manifest) { m.in(Signing, Next).ID = "../../etc" }) },
		"expected key ids",
	},
	"a key without a birthday": {
		func(b *bench) { b.edit(func(m *manifest) { m.in(Signing, Next).Created = time.Time{} }) },
		"no time of creation",
	},
	"active since never": {
		func(b *bench) { b.edit(func(m *manifest) { m.in(Signing, Active).Activated = time.Time{} }) },
		"without a time of activation",
	},
	"retired since never": {func(b *bench) {
		b.edit(
			func(m *manifest) { e := m.in(Signing, Next); e.State, e.Activated = Retired, b.clock.now() })
	}, "retired without a time"},
	"two subject tag keys": {
		func(b *bench) { b.edit(func(m *manifest) { m.in(Refresh, Next).Use = SubjectTag }) },
		"never rotates",
	},
	"a lifetime that is no time": {func(b *bench) {
		b.write(b.path(manifestFile), strings.Replace(b.read(manifestFile), `"1h0m0s"`, `"1 hour"`, 1))
	}, "expected a duration"},
	"a lifetime below zero": {
		func(b *bench) { b.edit(func(m *manifest) { m.Lifetimes.Token = -1 }) },
		"lifetime",
	},
	"key file is gone": {
		func(b *bench) { b.must(os.Remove(b.path(b.key(Signing, Next).File))) },
		"no such file",
	},
	"key file is empty": {
		func(b *bench) { b.write(b.path(b.key(Signing, Next).File), "") },
		"PEM block",
	},
	"key file is cut": {
		func(b *bench) { f := b.key(Signing, Next).File; b.write(b.path(f), b.read(f)[:80]) },
		"PEM block",
	},
	"key file of two keys": {
		func(b *bench) { f := b.key(Signing, Next).File; b.write(b.path(f), b.read(f)+b.read(f)) },
		"more after it",
	},
	"key file that all may read": {
		func(b *bench) { b.must(os.Chmod(b.path(b.key(Signing, Next).File), 0o644)) },
		"chmod 0600",
	},
	"key file is a folder": {func(b *bench) {
		f := b.path(b.key(Signing, Next).File)
		b.must(os.Remove(f))
		b.must(os.Mkdir(f, 0o700))
	}, "regular file"},
	"key file is a pipe": {func(b *bench) {
		f := b.path(b.key(Signing, Next).File)
		b.must(os.Remove(f))
		b.must(syscall.Mkfifo(f, 0o600))
	}, "regular file"},
	"another key in a key's file": {
		func(b *bench) {
			b.write(b.path(b.key(Signing, Next).File), b.read(b.key(Signing, Active).File))
		},
		"expected the key",
	},
	"key for another algorithm": {
		func(b *bench) { b.edit(func(m *manifest) { m.in(Signing, Next).Algorithm = "RS256" }) },
		"wrong_algorithm",
	},
	"refresh key where one signs": {
		func(b *bench) { b.write(b.path(b.key(Signing, Next).File), b.read(b.key(Refresh, Next).File)) },
		"wrong_algorithm",
	},
	"signing key as refresh key": {
		func(b *bench) { b.write(b.path(b.key(Refresh, Next).File), b.read(b.key(Signing, Next).File)) },
		"HMAC SECRET KEY",
	},
	"another ring's subject tag": {
		func(b *bench) {
			b.write(b.path(b.key(SubjectTag, Active).File), newBench(b.T).read2(SubjectTag))
		},
		"subject tag key is not the one",
	},
}

func TestBrokenFolderKeepsTheRing(t *testing.T) {
	for name, c := range breakages {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			r := b.open()
			keys, tag, mac := string(r.KeySet()), r.SubjectTag("i", "s"), r.RefreshMAC([]byte("m"))
			c.do(b)
			err := r.Reload(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("expected an error with %q, got %v", c.want, err)
			}
			if string(r.KeySet()) != keys || r.SubjectTag("i", "s") != tag ||
				!r.CheckRefreshMAC([]byte("m"), mac) ||
				!verifies(t, published(t, r.KeySet()), sign(t, r)) {
				t.Fatal("the ring has changed")
			}
			if b.metric("sallyport_keyring_broken") != 1 ||
				b.metric("sallyport_keyring_reload_failures_total") != 1 {
				t.Error("the metrics do not tell")
			}
			r.tend(t.Context())
			if n := strings.Count(b.log.String(), "the folder is broken"); n != 1 {
				t.Errorf("expected to be told once, got %d: %s", n, b.log)
			}
			if strings.Contains(b.log.String(), "PRIVATE KEY-----") ||
				strings.Contains(b.log.String(), "SECRET KEY-----") {
				t.Error("there is a key in the log")
			}
		})
	}
}

func TestBrokenFolderIsRefusedAtTheStart(t *testing.T) {
	for name, c := range breakages {
		if name == "another ring's subject tag" { // only a running ring knows its own
			continue
		}
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			c.do(b)
			if _, err := Open(b.config, b.options()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("expected an error with %q, got %v", c.want, err)
			}
		})
	}
}

func TestMendedFolderComesIntoForce(t *testing.T) {
	b := newBench(t)
	r := b.open()
	good := b.read(manifestFile)
	b.write(b.path(manifestFile), "{")
	r.tend(t.Context())
	b.write(b.path(manifestFile), good)
	if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
		t.Fatal(err)
	}
	r.tend(t.Context())
	if signer(t, sign(t, r)) != b.key(Signing, Active).ID ||
		b.metric("sallyport_keyring_broken") != 0 ||
		!strings.Contains(b.log.String(), "whole again") {
		t.Fatalf("the mended folder is not in force: %s", b.log)
	}
}

func TestCrashInTheMidstOfAStepLeavesTheRingBeforeIt(t *testing.T) {
	b := newBench(t)
	want := signer(t, sign(t, b.open()))
	// The files of a step that never came to its manifest.
	e, content, err := newKey(Signing, "ES256", b.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	b.write(b.path(e.File), string(content))
	b.write(b.path(tempPrefix+"1234"), `{"version": 1`)
	r := b.other()
	if got := signer(t, sign(t, r)); got != want {
		t.Fatalf("expected %q to sign, got %q", want, got)
	}
	if _, known := r.Public(e.ID); known {
		t.Fatal("a file that the manifest does not name is used")
	}
	if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
		t.Fatalf("the ring can not go on: %v", err)
	}
	if _, there := b.listing()[tempPrefix+"1234"]; there {
		t.Error("the half-written file is still there")
	}
}

func TestStepWaitsForTheLockAndGivesUp(t *testing.T) {
	b := newBench(t)
	unlock, err := lock(t.Context(), b.folder.Dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.folder.Rotate(ctx, Signing, "", true); err == nil ||
		!strings.Contains(err.Error(), "held by another process") {
		t.Fatalf("expected the lock to be held, got %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
		t.Fatal(err)
	}
}

func TestConfigNamesTheSettingThatIsWrong(t *testing.T) {
	good := DefaultConfig()
	good.Dir = "keys"
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no folder":           {func(c *Config) { c.Dir = "" }, "dir: "},
		"no algorithm":        {func(c *Config) { c.Algorithm = "" }, "algorithm: "},
		"none":                {func(c *Config) { c.Algorithm = "none" }, "algorithm: "},
		"rotation below zero": {func(c *Config) { c.RotateEvery = -1 }, "rotate_every: "},
		"rotation of a secret": {
			func(c *Config) { c.Algorithm = "HS256"; c.RotateEvery = time.Hour }, "rotate_every: ",
		},
		"spread of nothing":     {func(c *Config) { c.Spread = 0 }, "spread: "},
		"spread of a long time": {func(c *Config) { c.Spread = 2 * time.Hour }, "spread: "},
	} {
		cfg := good
		c.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: expected %q, got %v", name, c.want, err)
		}
		if _, err := Open(cfg, Options{Now: time.Now}); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) read2(use Use) string { return b.read(b.key(use, Active).File) }
