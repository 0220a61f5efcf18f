package mesh

import (
	"errors"
	"os"
	"syscall"
)

// holdPort binds a port, a free one for 0, without listening on it. While the file is open, the
// kernel gives the port to nobody who asks for any free one, but lets a child listen on it: like
// Go, Envoy and Redis, it sets SO_REUSEADDR, which Linux honours between sockets that have it as
// long as none of them listens already.
func holdPort(port int) (*os.File, int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "port")
	reuse := func() error {
		return os.NewSyscallError("setsockopt",
			syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	}
	bind := func() error {
		return os.NewSyscallError("bind",
			syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
	}
	// A port that was asked for may have connections of its last owner left (TIME_WAIT), a free one
	// must have nothing.
	steps := []func() error{bind, reuse}
	if port != 0 {
		steps = []func() error{reuse, bind}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			file.Close()
			return nil, 0, err
		}
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		file.Close()
		return nil, 0, os.NewSyscallError("getsockname", err)
	}
	return file, bound.(*syscall.SockaddrInet4).Port, nil
}

func isTaken(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
