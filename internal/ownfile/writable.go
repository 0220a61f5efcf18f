package ownfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Access' question whether a file may be written to, or a folder have new names (POSIX access,
// W_OK).
const mayWrite = 2

// Writable returns nil if this process can write to a file, or make it in its folder where there is
// none. It changes nothing.
func Writable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return err
		}
		return Folder(filepath.Dir(path))
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s: expected a file, got a folder", path)
	}
	if err := syscall.Access(path, mayWrite); err != nil {
		return fmt.Errorf("%s: cannot be written to: %w", path, err)
	}
	return nil
}

// Folder returns nil if this process can put files into a folder, or make it where there is none.
// It changes nothing.
func Folder(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir:
		return Folder(filepath.Dir(dir))
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s: expected a folder", dir)
	}
	if err := syscall.Access(dir, mayWrite); err != nil {
		return fmt.Errorf("%s: no file can be put there: %w", dir, err)
	}
	return nil
}
