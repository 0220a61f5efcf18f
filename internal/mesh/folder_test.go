package mesh

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhatAKilledDemoLeftIsRemovedByTheNext(t *testing.T) {
	base := t.TempDir()
	t.Setenv("TMPDIR", base)
	folder := func(name string, mode os.FileMode, locked bool) string {
		dir := filepath.Join(base, name)
		if err := os.Mkdir(dir, mode); err != nil {
			t.Fatal(err)
		}
		if locked {
			if err := os.WriteFile(filepath.Join(dir, lockFile), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	left := folder("sallyport-demo-1", 0o700, true)
	atWork := folder("sallyport-demo-2", 0o700, true)
	unlock, err := lockDir(atWork)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	kept := []string{
		atWork,
		folder("sallyport-demo-3", 0o700, false), // has not begun yet
		folder("sallyport-demo-4", 0o755, true),  // none that we made
		folder("other-demo-5", 0o700, true),
	}
	elsewhere := folder("elsewhere", 0o700, true)
	link := filepath.Join(base, "sallyport-demo-6")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	kept = append(kept, elsewhere, link)

	dir, err := TemporaryDir()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", left, err)
	}
	for _, path := range append(kept, dir) {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%v", err)
		}
	}
}
