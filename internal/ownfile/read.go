package ownfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ErrNotRegular is the error for a path that leads to no file that can be read twice.
var ErrNotRegular = errors.New("expected a regular file, got a folder, a device or a pipe")

// maxPrivate is the most bytes that ReadPrivate reads.
const maxPrivate = 1 << 20

// OpenRegular opens a regular file for reading. check, which may be nil, judges the file that was
// opened, not what its name stands for a moment later. A symbolic link is followed: the files of a
// Kubernetes Secret are such links. Errors name the path.
func OpenRegular(path string, check func(fs.FileInfo) error) (*os.File, fs.FileInfo, error) {
	// O_NONBLOCK, because opening a pipe that nobody writes to would wait without end.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotRegular // first: chmod would be the wrong advice for a folder
	}
	if err == nil && check != nil {
		err = check(info)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return f, info, nil
}

// ReadRegular returns the content of a file that [OpenRegular] opens, and an error when it has more
// than most bytes.
func ReadRegular(path string, most int64, check func(fs.FileInfo) error) ([]byte, error) {
	f, _, err := OpenRegular(path, check)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The size that Stat gave is not relied on: the file may grow while it is read.
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(content)) > most {
		err = fmt.Errorf("%s: expected at most %d bytes, got more", path, most)
	}
	if err != nil {
		return nil, err
	}
	return content, nil
}

// Secret returns a secret out of a file's content: all but one line break at the end, which editors
// put there. Blanks may be meant.
func Secret(content []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
}

// ReadPrivate reads a file that holds a secret. It refuses one that others may read or write (with
// groupReadable, its group may read it, as Kubernetes mounts a Secret for a pod with an fsGroup),
// one that is no regular file, and one larger than 1 MiB.
func ReadPrivate(path string, groupReadable bool) ([]byte, error) {
	return ReadRegular(path, maxPrivate, Private(groupReadable))
}

// Private is the check of a file that holds a secret, as ReadPrivate makes it.
func Private(groupReadable bool) func(fs.FileInfo) error {
	return func(info fs.FileInfo) error {
		return checkPrivate(info.Mode().Perm(), groupReadable)
	}
}

func checkPrivate(mode fs.FileMode, groupReadable bool) error {
	if mode&0o077 == 0 || groupReadable && mode&0o037 == 0 {
		return nil
	}
	hint := "chmod 0600 it"
	if mode&0o037 == 0 {
		hint += ", or permit its group to read it with group_readable: true"
	}
	return fmt.Errorf("mode %04o lets others read or write this secret; %s", mode, hint)
}

// CheckFolder refuses a folder in which others could put a file in the place of one of ours.
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
		return fmt.Errorf("%s: mode %04o lets others put files into this folder; chmod 0700 it",
			dir, mode.Perm())
	}
	return nil
}
