package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// diskSize is what a Redis may fill that is to find its disk full: far more than a schedule writes.
const diskSize = "48m"

// canFill reports whether disks can be made that are small enough to be filled.
func canFill() bool { return os.Geteuid() == 0 }

// mountSmall puts a small disk at dir, and returns what takes it away.
func mountSmall(dir string) (func() error, error) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+diskSize); err != nil {
		return nil, fmt.Errorf("faults: a small disk at %s: %w", dir, err)
	}
	return func() error { return syscall.Unmount(dir, syscall.MNT_DETACH) }, nil
}

// fill takes all the space that is left where dir is, and returns what frees it again.
func fill(dir string) (func() error, error) {
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	block := make([]byte, 4<<10)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { return errors.Join(os.Remove(path), f.Close()) }, nil
}
