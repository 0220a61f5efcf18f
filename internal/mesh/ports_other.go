//go:build unix && !linux

package mesh

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// holdPort finds a free port when port is 0. Only Linux can also keep it for us until a child
// listens on it: elsewhere another program may be faster, and Start chooses another.
func holdPort(port int) (*os.File, int, error) {
	l, err := net.Listen("tcp4", address(port))
	if err != nil {
		return nil, 0, err
	}
	return nil, l.Addr().(*net.TCPAddr).Port, l.Close()
}

func isTaken(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
