package unary

import (
	"errors"
	"io"
	"syscall"
)

// Answers wait for others, to share a system call with them, while there is more to be read at once;
// but for no more than so many reads, and so many bytes.
const (
	sharedReads = 16
	sharedBytes = 16 << 10
)

// reader is what the framer reads from. Before it waits, what there is to do is handed out, and what
// there is to write is written.
type reader struct {
	*conn
	raw   syscall.RawConn           // nil with TLS, which can't be asked whether there is more
	take  func(socket uintptr) bool // r.taken
	since int                       // reads since it has written

	// of the read that is under way
	to  []byte
	n   int
	err error
}

func newReader(c *conn) (*reader, error) {
	r := &reader{conn: c}
	r.take = r.taken
	socket, ok := c.net.(syscall.Conn)
	if !ok {
		return r, nil
	}
	var err error
	r.raw, err = socket.SyscallConn()
	return r, err
}

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	r.dispatch()
	if r.raw == nil || r.since >= sharedReads || len(r.out) >= sharedBytes {
		if err := r.settled(); err != nil {
			return 0, err
		}
	}
	r.since++
	r.to, r.n, r.err = b, 0, nil
	err := r.unlocked(func() error {
		if r.raw != nil {
			return r.raw.Read(r.take)
		}
		r.n, r.err = r.net.Read(b)
		return nil
	})
	r.reads.Add(1)
	if err == nil {
		err = r.err
	}
	return r.n, err
}

// settled writes what there is to write. It returns an error if nothing is to be read any more.
func (r *reader) settled() error {
	r.since = 0
	switch r.flush(); {
	case r.failed != nil:
		return r.failed
	case r.over(): // since what waited has been written, and no frame need come any more
		return io.EOF
	}
	return nil
}

// taken reads what is there. If nothing is, it returns false, and is called again when there may be.
func (r *reader) taken(socket uintptr) bool {
	for {
		switch r.n, r.err = syscall.Read(int(socket), r.to); {
		case errors.Is(r.err, syscall.EINTR):
			continue
		case errors.Is(r.err, syscall.EAGAIN):
			r.mu.Lock()
			defer r.mu.Unlock()
			r.n, r.err = 0, r.settled()
			return r.err != nil
		case r.n == 0 && r.err == nil && len(r.to) > 0:
			r.err = io.EOF
		}
		r.n = max(r.n, 0)
		return true
	}
}
