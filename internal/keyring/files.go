package keyring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// ReadPrivate reads a file that holds a secret. It refuses one that others may read or write (with
// groupReadable, its group may read it, as Kubernetes mounts a Secret for a pod with an fsGroup),
// one that is no regular file, and one larger than 1 MiB. A symbolic link is followed: Kubernetes'
// files are such links.
func ReadPrivate(path string, groupReadable bool) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // not to hang on a pipe
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: expected a regular file, got %v", path, info.Mode().Type())
	}
	if err := checkMode(path, info.Mode().Perm(), groupReadable); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if err != nil {
		return nil, err
	}
	if len(b) > fileMax {
		return nil, fmt.Errorf("%s: expected at most %d bytes, got more", path, fileMax)
	}
	return b, nil
}

func checkMode(path string, mode fs.FileMode, groupReadable bool) error {
	if mode&0o077 == 0 || groupReadable && mode&0o037 == 0 {
		return nil
	}
	hint := "chmod 0600 it"
	if mode&0o037 == 0 {
		hint += ", or permit its group to read it with group_readable: true"
	}
	return fmt.Errorf("%s: mode %04o lets others read or write this secret; %s", path, mode, hint)
}

// CheckFolder refuses a folder in which others could put a file in a key's place.
func CheckFolder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: expected a folder", dir)
	}
	// With the sticky bit nobody can replace another's file; Kubernetes mounts Secrets so.
	if mode := info.Mode(); mode&0o022 != 0 && mode&fs.ModeSticky == 0 {
		return fmt.Errorf("%s: mode %04o lets others put keys into this folder; chmod 0700 it",
			dir, mode.Perm())
	}
	return nil
}

// readPassphrase reads a passphrase file; one trailing newline is not part of the passphrase. path
// "" is no passphrase.
func readPassphrase(path string, groupReadable bool) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := ReadPrivate(path, groupReadable)
	if err != nil {
		return nil, fmt.Errorf("passphrase_file: %w", err)
	}
	b = []byte(strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"))
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
