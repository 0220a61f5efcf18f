package mesh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sallyport/sallyport/internal/keyring"
)

// makeKeys makes a key ring in dir, unless there is one already.
func makeKeys(ctx context.Context, dir string) error {
	folder := keyring.Folder{Dir: dir}
	_, err := folder.Generate(ctx, keyring.DefaultConfig().Algorithm)
	if err != nil && !errors.Is(err, keyring.ErrExists) {
		return fmt.Errorf("mesh: make keys: %w", err)
	}
	return nil
}

// makeAdminToken makes the token of the admin API, unless there is one already.
func makeAdminToken(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		if err != nil {
			return fmt.Errorf("mesh: %w", err)
		}
		return nil
	}
	return replaceFile(path, []byte(rand.Text()+rand.Text()+"\n"), 0o600)
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
