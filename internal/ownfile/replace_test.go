package ownfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[e.Name()] = string(b)
	}
	return found
}

// TestAReaderMeetsTheOldFileOrTheNewOneWhole: while the new one is written, the old one is there.
func TestAReaderMeetsTheOldFileOrTheNewOneWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, text := range []string{"first", "second"} {
		before := content(t, dir)["file"]
		if err := Replace(path, ".new-", func(f *os.File) error {
			if _, err := f.WriteString(text[:2]); err != nil {
				return err
			}
			if now := content(t, dir)["file"]; now != before {
				t.Errorf("half way there is %q, not %q", now, before)
			}
			_, err := f.WriteString(text[2:])
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if got := content(t, dir); len(got) != 1 || got["file"] != text {
			t.Errorf("got %v, expected %q alone", got, text)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestAFailureLeavesTheOldFileAlone, and nothing beside it.
func TestAFailureLeavesTheOldFileAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	failure := errors.New("the disk is full")
	if err := Replace(path, ".new-", func(f *os.File) error {
		_, err := f.WriteString("new")
		return errors.Join(err, failure)
	}); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	if got := content(t, dir); len(got) != 1 || got["file"] != "old" {
		t.Errorf("got %v", got)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(filepath.Join(dir, "folder"), ".new-",
		func(*os.File) error { return nil }); err == nil {
		t.Error("a folder was replaced by a file")
	}
	if names, err := filepath.Glob(filepath.Join(dir, ".new-*")); err != nil || len(names) != 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
	if err := Replace(filepath.Join(dir, "none", "file"), ".new-",
		func(*os.File) error { return nil }); !errors.Is(
		err,
		os.ErrNotExist,
	) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
