package unary_test

import (
	"errors"
	"net"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
)

// hasWritten reports whether there is something that the peer has not read.
func (p *peer) hasWritten(t *testing.T) (something bool) {
	t.Helper()
	raw, err := p.Conn.(*net.TCPConn).SyscallConn()
	p.must(t, err)
	p.must(t, raw.Control(func(socket uintptr) {
		_, _, err := syscall.Recvfrom(int(socket), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		something = !errors.Is(err, syscall.EAGAIN)
	}))
	return something
}

// TestAnswersShareAWriteWhileCallsKeepComing: but none waits for more than a few calls that come after
// it, each by itself.
func TestAnswersShareAWriteWhileCallsKeepComing(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	p.asks(t, 1, "q")
	if _, said := p.goAwayOr(t); said { // all that was written until now has been read
		t.Fatal("the connection ends")
	}
	const calls = 50
	written := make([]bool, calls) // before call n was answered
	all := make(chan struct{})
	stream := func(n int) uint32 { return uint32(3 + 2*n) }
	message := func(n int) string { return "h" + strconv.Itoa(n) }
	b.hook = func(name string) {
		n, err := strconv.Atoi(name)
		p.must(t, err)
		if written[n] = p.hasWritten(t); n+1 == calls {
			close(all)
			return
		}
		p.call(t, stream(n+1), message(n+1)) // is there when this one has been answered
	}
	p.call(t, stream(0), message(0))
	<-all
	for n := range calls {
		if id, e := p.next(t); id != stream(n) || e != answered(message(n)) {
			t.Errorf("got %d, %+v", id, e)
		}
	}
	if first := slices.Index(written, true); first < 2 || first > 20 {
		t.Errorf("answers had been written before calls %v", written)
	}
}

// TestMemoryThatIsUsedAgainIsOneCalls: what is left of calls that have been answered.
func TestMemoryThatIsUsedAgainIsOneCalls(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	for n := range 3 {
		p.asks(t, uint32(1+2*n), "w"+strconv.Itoa(n))
	}
	const first, calls = 7, 8
	message := func(n int) string { return "x" + strconv.Itoa(n) }
	for n := range calls {
		p.call(t, uint32(first+2*n), message(n))
	}
	eventually.True(t, "all calls wait", func() bool { return b.waits.Load() == calls })
	close(b.release)
	for range calls {
		id, e := p.next(t)
		if want := answered(message(int(id-first) / 2)); e != want {
			t.Errorf("got %d, %+v, want %+v", id, e, want)
		}
	}
}
