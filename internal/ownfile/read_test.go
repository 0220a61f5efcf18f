package ownfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOnlyRegularFilesOfABoundedSizeAreRead(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	link := filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, []byte("1234"), 0o600), syscall.Mkfifo(pipe, 0o600),
		os.Symlink("file", link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link} {
		if b, err := ReadRegular(path, 4, nil); err != nil || string(b) != "1234" {
			t.Errorf("%s: got %q, %v", path, b, err)
		}
	}
	if b, err := ReadRegular(file, 3, nil); err == nil || b != nil ||
		!strings.Contains(err.Error(), file+": expected at most 3 bytes") {
		t.Errorf("a byte too many: got %q, %v", b, err)
	}
	for _, path := range []string{dir, pipe, os.DevNull} {
		if _, err := ReadRegular(path, 4, nil); !errors.Is(err, ErrNotRegular) ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v", path, err)
		}
	}
	if _, err := ReadRegular(filepath.Join(dir, "none"), 4, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
}

// TestACheckJudgesTheFileThatIsRead, and its error is the caller's own.
func TestACheckJudgesTheFileThatIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("1234"), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := errors.New("wrong")
	b, err := ReadRegular(path, 4, func(info fs.FileInfo) error {
		if info.Size() != 4 {
			t.Errorf("got the size %d", info.Size())
		}
		return wrong
	})
	if !errors.Is(err, wrong) || b != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestReadPrivateRefusesFilesThatOthersMayRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for _, c := range []struct {
		mode          os.FileMode
		groupReadable bool
		ok            bool
	}{
		{0o600, false, true}, {0o400, false, true}, {0o440, false, false}, {0o640, false, false},
		{0o604, false, false}, {0o660, false, false}, {0o777, false, false},
		{0o440, true, true}, {0o640, true, true}, {0o460, true, false}, {0o444, true, false},
		{0o450, true, false},
	} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := ReadPrivate(path, c.groupReadable)
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "chmod 0600") {
			t.Errorf("mode %04o, group_readable %v: expected ok %v, got %v", c.mode,
				c.groupReadable, c.ok, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
