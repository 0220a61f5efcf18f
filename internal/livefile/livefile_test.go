package livefile_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/ownfile"
)

func newFiles(t *testing.T) (*livefile.Files, *eventually.Buffer, *prometheus.Registry) {
	t.Helper()
	log, registry := &eventually.Buffer{}, prometheus.NewRegistry()
	files, err := livefile.New(slog.New(slog.NewTextHandler(log, nil)), registry)
	if err != nil {
		t.Fatal(err)
	}
	return files, log, registry
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// words is a value that is broken unless the file says "good: ...".
func words(paths ...string) livefile.Spec[string] {
	return livefile.Spec[string]{
		Setting: "some.file",
		Paths:   paths,
		Parse: func(c [][]byte) (string, error) {
			var all []string
			for _, content := range c {
				word, good := strings.CutPrefix(string(content), "good: ")
				if !good {
					return "", errors.New("expected something good")
				}
				all = append(all, word)
			}
			return strings.Join(all, "+"), nil
		},
	}
}

func TestAValueIsWhatItsFileHoldsNow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "good: 1")
	f, err := livefile.Open(nil, words(path))
	if err != nil {
		t.Fatal(err)
	}
	// In place, of the same length and within the same tick of the file system's clock; and by
	// another file in its place.
	for _, next := range []string{"2", "3", "4"} {
		write(t, path, "good: "+next)
		if got := f.Value(); got != next {
			t.Errorf("written in place: got %q, want %q", got, next)
		}
		write(t, path+".new", "good: r"+next)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		if got := f.Value(); got != "r"+next {
			t.Errorf("replaced: got %q, want %q", got, "r"+next)
		}
	}
	sum := sha256.Sum256([]byte("good: r4"))
	if got, want := f.Digest(), hex.EncodeToString(sum[:6]); got != want {
		t.Errorf("got the digest %s, want what sha256sum begins with, %s", got, want)
	}
}

func TestALinkThatMovesIsAChange(t *testing.T) {
	dir := t.TempDir()
	swap := func(version, content string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "f"), content)
		if err := os.Symlink(version, filepath.Join(dir, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	swap("..1", "good: 1")
	if err := os.Symlink("..data/f", filepath.Join(dir, "f")); err != nil {
		t.Fatal(err)
	}
	f, err := livefile.Open(nil, words(filepath.Join(dir, "f")))
	if err != nil {
		t.Fatal(err)
	}
	swap("..2", "good: 2")
	if got := f.Value(); got != "2" {
		t.Errorf("got %q", got)
	}
}

func TestABrokenFileKeepsTheOldAndIsToldOfOnce(t *testing.T) {
	for name, breakIt := range map[string]func(t *testing.T, path string){
		"garbage": func(t *testing.T, path string) { write(t, path, "secret garbage") },
		"empty":   func(t *testing.T, path string) { write(t, path, "") },
		"too large": func(t *testing.T, path string) {
			write(t, path, strings.Repeat("x", livefile.MaxSize+1))
		},
		"missing": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"a folder": func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			files, log, registry := newFiles(t)
			path := filepath.Join(t.TempDir(), "f")
			write(t, path, "good: 1")
			f, err := livefile.Open(files, words(path))
			if err != nil {
				t.Fatal(err)
			}
			breakIt(t, path)
			for range 5 {
				if got := f.Value(); got != "1" {
					t.Errorf("got %q", got)
				}
			}
			if err := files.Reload(
				t.Context()); err == nil || !strings.Contains(err.Error(), path) ||
				!strings.Contains(err.Error(), "some.file") {
				t.Errorf("a reload says %v", err)
			}
			if n := strings.Count(log.String(), "cannot be used"); n != 1 || strings.Count(log.String(), path) == 0 ||
				strings.Count(log.String(), "some.file") == 0 {
				t.Errorf("expected one line with setting and file, got %s", log)
			}
			if strings.Count(log.String(), "secret") > 0 {
				t.Error("the log holds what the file does")
			}
			broken := func(want string) {
				t.Helper()
				text := "# HELP sallyport_file_broken 1 while a file cannot be used and what it held before stays in force, by the setting that names it.\n" +
					"# TYPE sallyport_file_broken gauge\nsallyport_file_broken{setting=\"some.file\"} " + want + "\n"
				if err := testutil.GatherAndCompare(registry, strings.NewReader(text),
					"sallyport_file_broken"); err != nil {
					t.Error(err)
				}
			}
			broken("1")
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, "good: 2")
			if got := f.Value(); got != "2" {
				t.Errorf("whole again: got %q", got)
			}
			broken("0")
		})
	}
}

func TestFilesThatBelongTogetherChangeTogether(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	write(t, one, "good: a1")
	write(t, two, "good: a2")
	f, err := livefile.Open(nil, words(one, two))
	if err != nil {
		t.Fatal(err)
	}
	write(t, one, "half")
	if got := f.Value(); got != "a1+a2" {
		t.Errorf("got %q", got)
	}
	write(t, one, "good: b1")
	write(t, two, "good: b2")
	if got := f.Value(); got != "b1+b2" {
		t.Errorf("got %q", got)
	}
}

func TestABrokenFileAtTheStartIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, prepare := range []func(){func() {}, func() { write(t, path, "bad") }} {
		prepare()
		if _, err := livefile.Open(nil, words(path)); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
	}
}

// TestWhatCanBeReadHalfWrittenWaitsForASecondLook, and is told to those who wait for it.
func TestWhatCanBeReadHalfWrittenWaitsForASecondLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files, _, _ := newFiles(t)
		path := filepath.Join(t.TempDir(), "f")
		write(t, path, "good: 1")
		var told []string
		spec := words(path)
		spec.Quiet, spec.Then = true, func(s string) { told = append(told, s) }
		f, err := livefile.Open(files, spec)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- files.Run(ctx) }()
		write(t, path, "good: 2, the first half")
		time.Sleep(livefile.Interval + livefile.Interval/2)
		synctest.Wait()
		if got := f.Value(); got != "1" {
			t.Errorf("after one look: got %q", got)
		}
		write(t, path, "good: 2, the whole")
		time.Sleep(2 * livefile.Interval)
		synctest.Wait()
		if got := f.Value(); got != "2, the whole" || len(told) != 1 {
			t.Errorf("after two looks: got %q, told %q", got, told)
		}
		write(t, path, "good: 3")
		if err := files.Reload(t.Context()); err != nil || f.Value() != "3" {
			t.Errorf("a reload waits: got %q, %v", f.Value(), err)
		}
		write(t, path, "bad")
		time.Sleep(3 * livefile.Interval)
		write(t, path, "good: 3")
		time.Sleep(3 * livefile.Interval)
		synctest.Wait()
		if got := f.Value(); got != "3" || len(told) != 2 {
			t.Errorf("got %q, told %q", got, told)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestAnAuthorityThatIsHalfWrittenIsBroken, also when an earlier one in the file is whole: servers
// of the other would be refused.
func TestAnAuthorityThatIsHalfWrittenIsBroken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.pem")
	one, two := authority(t), authority(t)
	for name, content := range map[string]string{
		"nothing": "", "garbage": "hello", "no end": one[:len(one)/2],
		"a whole one before": one + two[:len(two)/2],
	} {
		write(t, path, content)
		if _, err := livefile.OpenRoots(nil, "ca_file", path); err == nil ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	write(t, path, "# a comment\n"+one+two)
	if _, err := livefile.OpenRoots(nil, "ca_file", path); err != nil {
		t.Errorf("two whole ones: %v", err)
	}
}

// authority is a certificate that signs itself.
func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestAFileThatFailsItsCheckChangesNothing, and a mode that changes alone is noticed.
func TestAFileThatFailsItsCheckChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "good: 1")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	spec := words(path)
	spec.Check = ownfile.Private(false)
	if _, err := livefile.Open(nil, spec); err == nil || !strings.Contains(err.Error(), "chmod 0600") {
		t.Fatalf("opened: %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := livefile.Open(nil, spec)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "good: 2")
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	if got := f.Value(); got != "1" {
		t.Errorf("a file that others may read is in force: got %q", got)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := f.Value(); got != "2" {
		t.Errorf("after its mode was set right: got %q", got)
	}
}
