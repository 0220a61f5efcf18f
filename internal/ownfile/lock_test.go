package ownfile

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestOnlyOneChangesAFileInAFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	unlock, err := Lock(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path, false); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
	second := make(chan error, 1)
	go func() {
		unlock, err := Lock(path, true)
		if err == nil {
			err = unlock()
		}
		second <- err
	}()
	if err := unlock(); err != nil {
		t.Error(err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
	if _, err := Lock(filepath.Join(path, "nowhere", "x"), true); err == nil {
		t.Error("a folder that is not there is locked")
	}
}
