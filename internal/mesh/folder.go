package mesh

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sallyport/sallyport/internal/ownfile"
)

// temporary is how the name of each folder begins that TemporaryDir creates.
const temporary = "sallyport-demo-"

// TemporaryDir creates a folder for one mesh, which its caller removes at the end. Folders that
// meshes of this user left behind, because they were killed, are removed now: nobody else would,
// and they hold keys.
func TemporaryDir() (string, error) {
	base := os.TempDir()
	left, err := filepath.Glob(filepath.Join(base, temporary+"*"))
	if err != nil {
		return "", fmt.Errorf("mesh: %w", err)
	}
	for _, dir := range left {
		if err := removeAbandoned(dir); err != nil {
			return "", fmt.Errorf("mesh: remove what an earlier demo left behind: %w", err)
		}
	}
	dir, err := os.MkdirTemp(base, temporary)
	if err != nil {
		return "", fmt.Errorf("mesh: %w", err)
	}
	return dir, nil
}

// removeAbandoned removes a folder of ours whose mesh has ended. One without a lock has not begun
// yet, or is none of ours.
func removeAbandoned(dir string) error {
	is, err := os.Lstat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// Anybody may create a folder of this name in a shared one: only what is certainly ours, and
	// that nobody else could write to, is removed.
	if owner, ok := is.Sys().(*syscall.Stat_t); !ok || !is.IsDir() || is.Mode().Perm() != 0o700 ||
		int(owner.Uid) != os.Getuid() {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(dir, lockFile)); err != nil {
		return nil
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil // a mesh is running in it
	}
	return errors.Join(os.RemoveAll(dir), unlock())
}

// lockFile keeps two meshes from using one folder.
const lockFile = ".lock"

// lockDir takes the folder for this mesh alone, until it ends or this process dies.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("mesh: another mesh is using %s: choose another folder", dir)
		}
		return nil, fmt.Errorf("mesh: lock %s: %w", f.Name(), err)
	}
	return f.Close, nil
}

// replaceFile writes a file under another name and moves it into place.
func replaceFile(path string, content []byte, mode os.FileMode) error {
	err := ownfile.Replace(path, "."+filepath.Base(path)+".*", func(f *os.File) error {
		_, err := f.Write(content)
		return errors.Join(err, f.Chmod(mode))
	})
	if err != nil {
		return fmt.Errorf("mesh: write %s: %w", path, err)
	}
	return nil
}

// written stands in every configuration file that a mesh has written, and may therefore replace.
const written = `Written by "sallyport demo"`

// mayReplace refuses to overwrite a configuration file of somebody's own.
func mayReplace(path string) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	if !bytes.Contains(content, []byte(written)) {
		return fmt.Errorf("mesh: %s was not written by %q, and would be overwritten: "+
			"choose another folder", path, "sallyport demo")
	}
	return nil
}

// makeDirs creates the mesh's folder and those in it. They hold private keys and passwords: nobody
// else may look.
func makeDirs(dir string, names ...string) error {
	for _, path := range append([]string{dir}, names...) {
		if path != dir {
			path = filepath.Join(dir, path)
		}
		if err := os.MkdirAll(path, 0o700); err != nil {
			return fmt.Errorf("mesh: %w", err)
		}
	}
	return nil
}
