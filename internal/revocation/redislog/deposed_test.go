package redislog_test

import (
	"io"
	"maps"
	"net"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
)

// door is an address that leads each new connection to where it leads then, as a resolver of the
// primary does.
type door struct {
	net.Listener
	to atomic.Pointer[string]
}

func openDoor(t *testing.T, to string) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{Listener: l}
	d.to.Store(&to)
	t.Cleanup(func() { _ = l.Close() })
	go d.run()
	return d
}

func (d *door) run() {
	for {
		in, err := d.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", *d.to.Load())
		if err != nil {
			_ = in.Close()
			continue
		}
		go carry(in, out)
		go carry(out, in)
	}
}

func carry(dst, src net.Conn) {
	_, _ = io.Copy(dst, src) // ends when either side does
	_ = dst.Close()
	_ = src.Close()
}

// TestDeposedPrimaryIsLeft: a primary that was replaced and answers on, with nobody to fulfil WAIT,
// keeps no connection. Else an issuer could not say in time what the new primary's log lacks (S4),
// and a gate would stay stale (L1).
func TestDeposedPrimaryIsLeft(t *testing.T) {
	t.Parallel()
	old := startRedis(t)
	next := replicaOf(t, old)
	d := openDoor(t, old.addr())
	s := named("issuer-1")
	s.cfg.MinReplicas = 1
	i := startIssuer(t, d.Addr().String(), s)
	s.o.Name = "gate-1"
	g := startGate(t, d.Addr().String(), s)
	eventually.True(t, "both are fresh", func() bool { return i.fresh() && g.fresh() })
	revoke(t, i, sid("before"))

	to := next.addr()
	d.to.Store(&to)
	next.do("REPLICAOF", "NO", "ONE")
	replicaOf(t, next)
	before := next.lines(issuersKey)
	eventually.True(t, "the issuer's heartbeats reach the new primary",
		func() bool { return !maps.Equal(next.lines(issuersKey), before) })
	revoke(t, i, sid("after"))
	eventually.True(t, "the gate hears of it there",
		func() bool { return g.Check(session("after")).Revoked && g.fresh() })
}
