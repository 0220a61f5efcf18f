package ownfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Replace writes a file so that a reader, or a crash, meets the old one or the new one whole, and a
// power cut after Replace has returned nil does not bring the old one back. write gets a new file
// of mode 0600 in the same folder, under a name after pattern (see [os.CreateTemp]); it may give it
// another mode and owner. Of a failure nothing is left behind; of a crash, a file of that name.
func Replace(path, pattern string, write func(*os.File) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			// there is none once it has been moved; else the error that led here is the one to tell
			_ = os.Remove(f.Name())
		}
	}()
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncFolder(dir)
}

// Write replaces a file by one of mode 0600 with the content data, for the folder's owner when root
// makes it.
func Write(path, pattern string, data []byte) error {
	return Replace(path, pattern, func(f *os.File) error {
		_, err := f.Write(data)
		return errors.Join(err, Inherit(f))
	})
}

// KeepOwner gives a file the mode and the owner of the one at path, which it is to replace.
func KeepOwner(path string, to *os.File) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok &&
		(int(owner.Uid) != os.Geteuid() || int(owner.Gid) != os.Getegid()) {
		if err := to.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return to.Chmod(info.Mode().Perm())
}

// SyncFolder makes the names in dir outlast a power cut, as far as its file system can: some know
// no such thing for folders.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// Inherit gives a file that root makes to the owner of its folder: what an operator's command
// writes must not lock out the process that is to read it.
func Inherit(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir := filepath.Dir(f.Name())
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner is unknown", dir)
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}
