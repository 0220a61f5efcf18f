package mesh

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// temporary begins the name of each folder that TemporaryDir makes.
const temporary = "sallyport-demo-"

// TemporaryDir makes a folder for one mesh, which its caller removes at the end. Folders that
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
	if owner, ok := is.Sys().(*syscall.Stat_t); !ok || !is.IsDir() || is.Mode().Perm() != 0o700 ||
		int(owner.Uid) != os.Getuid() {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(dir, lockFile)); err != nil {
		return nil
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil // it is at work
	}
	return errors.Join(os.RemoveAll(dir), unlock())
}
