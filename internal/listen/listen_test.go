package listen

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestADeadSocketIsReplacedAndALivingOneIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	living, err := Open("unix:"+path, DefaultConfig())
	if err != nil {
		t.Fatalf("a dead socket is in the way: %v", err)
	}
	if _, err := Open("unix:"+path, DefaultConfig()); err == nil ||
		!strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
	if err := living.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a closed socket is left: %v", err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("unix:"+path, DefaultConfig()); err == nil {
		t.Error("a file was replaced")
	}
}

func TestASocketOfASuccessorIsNotRemoved(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "gate.sock")
	first, err := Open("unix:"+path, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	second, err := Open("unix:"+path, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:99999": "port", "unix:/nonexistent/gate.sock": "/nonexistent", "nonsense": "address",
	} {
		if _, err := Open(address, DefaultConfig()); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", address, err)
		}
	}
}
