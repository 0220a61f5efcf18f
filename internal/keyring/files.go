package keyring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/ownfile"
)

const (
	manifestFile = "ring.json"
	lockFile     = "ring.lock"
	tempPrefix   = ".tmp-"
	fileMax      = 1 << 20
)

// readPassphrase reads a passphrase file; one trailing newline is not part of the passphrase. path
// "" is no passphrase.
func readPassphrase(path string, groupReadable bool) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := ownfile.ReadPrivate(path, groupReadable)
	if err != nil {
		return nil, fmt.Errorf("passphrase_file: %w", err)
	}
	b = ownfile.Secret(b)
	if len(b) < passphraseMin {
		return nil, fmt.Errorf("passphrase_file: %s: expected at least %d bytes, got %d", path,
			passphraseMin, len(b))
	}
	return b, nil
}

const passphraseMin = 12

const (
	lockPatience = 10 * time.Second
	lockPause    = 20 * time.Millisecond
)

// lock takes the folder's lock, which all issuers and commands that change the folder hold while
// they do. It waits for ten seconds at most. The operating system frees the lock of a process that
// dies.
func lock(ctx context.Context, dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := ownfile.Inherit(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock: %w", err), f.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	pause := time.NewTicker(lockPause)
	defer pause.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f.Close, nil
		}
		// Asked again and again, as a waiting flock would not end with ctx.
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(
				fmt.Errorf("lock %s: held by another process: %w", f.Name(), context.Cause(ctx)),
				f.Close())
		case <-pause.C:
		}
	}
}
