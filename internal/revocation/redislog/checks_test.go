package redislog_test

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/eventually"
)

// breaking passes connections on to a server, except that each ends when a word is first sent over
// it.
func breaking(t *testing.T, addr, word string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go pass(c, addr, []byte(word))
		}
	}()
	return l.Addr().String()
}

func pass(c net.Conn, addr string, word []byte) {
	defer c.Close()
	s, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer s.Close()
	go func() { _, _ = io.Copy(c, s) }()
	for b := make([]byte, 4096); ; {
		n, err := c.Read(b)
		if err != nil || bytes.Contains(b[:n], word) {
			return
		}
		if _, err := s.Write(b[:n]); err != nil {
			return
		}
	}
}

// TestABrokenConnectionIsNoFinding: an issuer that starts while Redis is in trouble asks again, and
// does not give up.
func TestABrokenConnectionIsNoFinding(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	for _, word := range []string{"info", "appendonly", "maxmemory-policy"} {
		findings, err := enforcing(t, breaking(t, r.addr(), word)).CheckRedis(t.Context())
		if err == nil || len(findings) > 0 {
			t.Errorf("%s: findings %v, error %v; want an error alone", word, findings, err)
		}
	}
}

// TestHowFullRedisIsIsShown: an operator sees it before Redis refuses what is written.
func TestHowFullRedisIsIsShown(t *testing.T) {
	t.Parallel()
	r := startRedis(t, "--maxmemory", "64mb")
	s := named("issuer-1")
	s.o.Registry = prometheus.NewRegistry()
	startIssuer(t, r.addr(), s)
	eventually.True(t, "the metrics tell of it", func() bool {
		used, limit := gathered(t, s.o.Registry,
			"sallyport_revocation_redis_used_bytes"), gathered(
			t,
			s.o.Registry,
			"sallyport_revocation_redis_limit_bytes",
		)
		return used > 500_000 && used < 64<<20 && limit == 64<<20
	})
}
