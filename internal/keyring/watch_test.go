package keyring

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
)

// run runs the ring until the test ends.
func run(t *testing.T, r *Ring) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("expected a clean stop, got %v", err)
		}
	})
}

func TestChangeOfTheFolderComesIntoForceByItself(t *testing.T) {
	b := newBench(t)
	b.config.Spread = time.Hour // so that reading from time to time would come too late for the test
	r := b.open()
	run(t, r)
	for range 3 {
		if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
			t.Fatal(err)
		}
		want := b.key(Signing, Active).ID
		eventually.True(t, "the new key signs", func() bool { return signer(t, sign(t, r)) == want })
	}
}

// A mounted Kubernetes Secret: each name is a link into ..data, which is a link to a folder that is
// replaced whole.
func TestKubernetesSecretIsReadAndFollowed(t *testing.T) {
	b := newBench(t, func(b *bench) { b.config.GroupReadable = true })
	source := b.folder.Dir
	mount := t.TempDir()
	b.must(os.Chmod(mount, 0o777|os.ModeSticky))
	version := 0
	sync := func() {
		version++
		data := fmt.Sprintf("..2026_%d", version)
		b.must(os.Mkdir(filepath.Join(mount, data), 0o755))
		for name, content := range b.listing() {
			if name == lockFile {
				continue
			}
			b.write(filepath.Join(mount, data, name), content)
			b.must(os.Chmod(filepath.Join(mount, data, name), 0o440))
			if _, err := os.Lstat(filepath.Join(mount, name)); err != nil {
				b.must(os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)))
			}
		}
		b.must(os.Symlink(data, filepath.Join(mount, "..data_tmp")))
		b.must(os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")))
	}
	sync()
	b.config.Dir = configPath(mount)
	b.config.Spread = time.Hour
	r := b.open()
	run(t, r)
	if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
		t.Fatal(err)
	}
	sync()
	want := b.key(Signing, Active).ID
	eventually.True(t, "the new Secret is in force", func() bool { return signer(t, sign(t, r)) == want })

	b.config.GroupReadable = false
	if _, err := Open(b.config, b.options2()); err == nil ||
		!strings.Contains(err.Error(), "group_readable") {
		t.Errorf("expected the setting that permits such files in the error, got %v", err)
	}
	if b.folder.Dir != source {
		t.Fatal("the test has lost its folder")
	}
}

// Of a folder that takes another's place no notice comes: it is another machine's change, or
// another mount.
func TestChangeWithoutNoticeIsFoundFromTimeToTime(t *testing.T) {
	b := newBench(t)
	b.config.Spread = time.Second
	r := b.open()
	run(t, r)
	sign(t, r)
	other := filepath.Join(t.TempDir(), "other")
	b.must(os.CopyFS(other, os.DirFS(b.folder.Dir)))
	for name := range b.listing() {
		b.must(os.Chmod(filepath.Join(other, name), 0o600))
	}
	b.must(os.Chmod(other, 0o700))
	twin := &Folder{Dir: other, Now: b.clock.now}
	if _, err := twin.Rotate(t.Context(), Signing, "", true); err != nil {
		t.Fatal(err)
	}
	b.must(os.Rename(b.folder.Dir, b.folder.Dir+".old"))
	b.must(os.Rename(other, b.folder.Dir))
	want := b.key(Signing, Active).ID
	eventually.True(t, "the other folder is in force", func() bool { return signer(t, sign(t, r)) == want })
}

func TestRunningRingRotates(t *testing.T) {
	b := newBench(t, rotating(24*time.Hour))
	r := b.open()
	first := signer(t, sign(t, r))
	b.clock.advance(25 * time.Hour)
	run(t, r)
	b.write(b.path("touched"), "") // any change makes it look
	eventually.True(t, "the next key signs", func() bool {
		b.write(b.path("touched"), "")
		return signer(t, sign(t, r)) != first
	})
}
