package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/ownfile"
)

const unixPrefix = "unix:"

// CheckAddress refuses what Open cannot open, as far as that can be known without opening it. path
// is the setting's.
func CheckAddress(path, address string) error {
	socket, unix := strings.CutPrefix(address, unixPrefix)
	switch {
	case !unix:
		return daemon.CheckListen(path, address)
	case socket == "":
		return config.At(path, "expected host:port or unix:/path, got %q", address)
	case len(socket) > maxSocket:
		return config.At(path, "expected a path of at most %d bytes for a socket, got %d",
			maxSocket, len(socket))
	}
	return nil
}

// IsUnix reports whether an address is that of a Unix socket.
func IsUnix(address string) bool { return strings.HasPrefix(address, unixPrefix) }

// CheckSocket returns what would keep Open from making a Unix socket, and nil for other
// addresses. It changes nothing.
func CheckSocket(address string) error {
	socket, unix := strings.CutPrefix(address, unixPrefix)
	if !unix {
		return nil
	}
	if _, err := os.Stat(filepath.Dir(socket)); err != nil {
		return fmt.Errorf("listen: listen on %s: %w", address, err)
	}
	if err := ownfile.Folder(filepath.Dir(socket)); err != nil {
		return fmt.Errorf("listen: listen on %s: %w", address, err)
	}
	return nil
}

// maxSocket is the longest path of a Unix socket that Linux takes, less what is put behind it while
// it is made.
const maxSocket = 107 - len(".4194304")

// Open opens host:port or unix:/path. A Unix socket gets c.SocketMode before anybody can reach it,
// takes the place of one that nobody answers on, and is removed when it is closed.
func Open(address string, c Config) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, unixPrefix)
	if !unix {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		return l, nil
	}
	mode, err := c.mode()
	if err != nil {
		return nil, err // Validate refuses it
	}
	l, err := listenUnix(path, fs.FileMode(mode))
	if err != nil {
		return nil, fmt.Errorf("listen: listen on %s: %w", address, err)
	}
	return l, nil
}

// listenUnix binds beside the path and moves the socket there, so that it is never seen with
// another mode.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if err := vacant(path); err != nil {
		return nil, err
	}
	// A name of this process' own: what stands there is left by one of the same number that died.
	beside := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: beside, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it would remove the name that the socket does not have any more
	bound, err := place(beside, path, mode)
	if err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(beside))
	}
	return &unixListener{UnixListener: l, path: path, bound: bound}, nil
}

// place moves a socket to its path once it has its mode.
func place(beside, path string, mode fs.FileMode) (fs.FileInfo, error) {
	if err := os.Chmod(beside, mode); err != nil {
		return nil, err
	}
	bound, err := os.Lstat(beside)
	if err != nil {
		return nil, err
	}
	return bound, os.Rename(beside, path)
}

// vacant refuses a path that something other than a dead socket has.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("expected a socket or nothing there, got something else")
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil // left by a process that is gone: the rename takes its place
	}
	return errors.Join(errors.New("another process answers there already"), conn.Close())
}

// unixListener removes its socket when it is closed, unless another process has put its own there.
type unixListener struct {
	*net.UnixListener
	path  string
	bound fs.FileInfo
	once  sync.Once
}

// Close closes the socket and removes it.
func (l *unixListener) Close() (err error) {
	l.once.Do(func() {
		err = l.UnixListener.Close()
		if now, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(now, l.bound) {
			err = errors.Join(err, os.Remove(l.path))
		}
	})
	return err
}
