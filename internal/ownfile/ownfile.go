// Package ownfile is about the files that we write ourselves: they are replaced as a whole, and one
// that a process wrote for its next life is believed only if nobody else can have had a hand in it.
// It also reads, within bounds, the files that others write for us.
package ownfile

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Believable refuses a file that somebody else may have put there or changed: the folder may be
// another user's, or, as /tmp, everybody's, and the file's name is no secret. info is of the opened
// file, euid the process's effective user. What we write is ours, or root's, and has mode 0600.
func Believable(info fs.FileInfo, euid int) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("expected a regular file, got %v", info.Mode().Type())
	case !ok || int(owner.Uid) != euid && owner.Uid != 0:
		return errors.New("it belongs to another user")
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("mode %04o lets others write to it", info.Mode().Perm())
	}
	return nil
}
