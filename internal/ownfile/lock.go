package ownfile

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// ErrLocked means that another process is changing a file in the folder.
var ErrLocked = errors.New("another process is changing a file in this folder")

// Lock keeps others of our programs from replacing a file in path's folder, from reading it until
// it has been replaced: else the second would write back what the first has changed. With wait
// it waits for them, else it returns ErrLocked. The lock ends with unlock, or with the process.
func Lock(path string, wait bool) (unlock func() error, err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	// On the folder: the file itself is replaced, and a lock would go with the old one.
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for {
		if err = syscall.Flock(int(dir.Fd()), how); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir.Close, nil
}
