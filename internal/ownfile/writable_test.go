package ownfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/internal/ownfile"
)

func TestWhatCanBeWrittenIsToldWithoutWriting(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		err  error
		good bool
	}{
		"a file":                     {ownfile.Writable(file), true},
		"a new file":                 {ownfile.Writable(filepath.Join(dir, "new")), true},
		"a new file in a new folder": {ownfile.Writable(filepath.Join(dir, "none", "new")), false},
		"a folder as a file":         {ownfile.Writable(dir), false},
		"a folder":                   {ownfile.Folder(dir), true},
		"a new folder in a new one":  {ownfile.Folder(filepath.Join(dir, "none", "new")), true},
		"a file as a folder":         {ownfile.Folder(file), false},
		"a folder in a file":         {ownfile.Folder(filepath.Join(file, "new")), false},
	} {
		if (row.err == nil) != row.good {
			t.Errorf("%s: got %v", name, row.err)
		}
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Errorf("it has left %v, %v", names, err)
	}
}
