package faults

import (
	"bufio"
	"net"
	"os"
	"testing"
	"time"
)

// echo answers each line with itself, and returns where.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if _, err := c.Write([]byte(line)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// newTestNetwork knows this process as "us".
func newTestNetwork(t *testing.T) (n *network, at string) {
	t.Helper()
	n = newNetwork(func(c net.Conn) string { return ownerOf(c, map[string]int{"us": os.Getpid()}) })
	t.Cleanup(n.close)
	at, err := n.listen("server", echo(t))
	if err != nil {
		t.Fatal(err)
	}
	return n, at
}

// ask sends a line over a connection, and says whether it came back within a time.
func ask(c net.Conn, within time.Duration) bool {
	_ = c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write([]byte("x\n")); err != nil {
		return false
	}
	b := make([]byte, 2)
	_, err := c.Read(b)
	return err == nil
}

func dial(t *testing.T, at string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const (
	long  = 20 * time.Second
	short = 50 * time.Millisecond
)

func TestWhatIsHeldArrivesWhenItIsLifted(t *testing.T) {
	n, at := newTestNetwork(t)
	c := dial(t, at)
	if !ask(c, long) {
		t.Fatal("nothing comes through")
	}
	lift := n.impose(pair{"us", "server"}, manner{hold: true})
	if ask(c, short) || ask(dial(t, at), short) {
		t.Error("something comes through")
	}
	lift()
	_ = c.SetDeadline(time.Now().Add(long))
	if _, err := c.Read(make([]byte, 2)); err != nil {
		t.Errorf("what was held is lost: %v", err)
	}
}

func TestARefusedConnectionEnds(t *testing.T) {
	n, at := newTestNetwork(t)
	c := dial(t, at)
	if !ask(c, long) {
		t.Fatal("nothing comes through")
	}
	lift := n.impose(pair{to: "server"}, manner{refuse: true})
	if ask(c, long) || ask(dial(t, at), long) {
		t.Error("something comes through")
	}
	lift()
	if !ask(dial(t, at), long) {
		t.Error("nothing comes through any more")
	}
}

func TestOthersAreNotParted(t *testing.T) {
	n, at := newTestNetwork(t)
	for _, p := range []pair{
		{"us", "other server"}, {"them", "server"}, {from: "them"}, {to: "other server"},
	} {
		defer n.impose(p, manner{refuse: true})()
	}
	if !ask(dial(t, at), long) {
		t.Error("nothing comes through")
	}
}

// TestTwoRulesForOnePair: each is lifted by itself.
func TestTwoRulesForOnePair(t *testing.T) {
	n, at := newTestNetwork(t)
	first := n.impose(pair{from: "us"}, manner{hold: true})
	second := n.impose(pair{from: "us"}, manner{hold: true})
	first()
	first()
	if ask(dial(t, at), short) {
		t.Error("the second rule is gone with the first")
	}
	second()
	if !ask(dial(t, at), long) {
		t.Error("nothing comes through")
	}
}
