package redislog_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// asUser is a client of a user with these ACL rules.
func asUser(t *testing.T, r *server, name string, rules ...string) *redisconn.Client {
	t.Helper()
	args := []any{"ACL", "SETUSER", name, "on", ">secret"}
	for _, rule := range rules {
		args = append(args, rule)
	}
	r.do(args...)
	cfg := redisconn.DefaultConfig()
	cfg.Address, cfg.Username, cfg.Password, cfg.Checks = r.addr(), name, config.NewSecret(
		"secret"), redisconn.ChecksWarn
	cfg.ReadTimeout, cfg.WriteTimeout = 10*time.Second, 10*time.Second // what a thief writes is huge
	return open(t, cfg)
}

// deployedGateRules are the rules of the user gate in the access list that is deployed.
func deployedGateRules(t *testing.T) []string {
	t.Helper()
	list, err := os.ReadFile("../../../deploy/redis/users.acl")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(list)) {
		if words := strings.Fields(l); len(words) > 3 && words[1] == "gate" {
			return words[4:] // after user, gate, on, #password
		}
	}
	t.Fatal("the access list has no user gate")
	return nil
}

func gateAs(t *testing.T, c *redisconn.Client, s settings) gate {
	t.Helper()
	g, err := redislog.NewGate(c, s.cfg, s.options(t))
	if err != nil {
		t.Fatal(err)
	}
	return gate{g, running(t, g.Run)}
}

// TestAGatesUserCannotStopTheService: whoever takes over a gate writes what its Redis user may,
// as much as it may. Issuers and gates stay in service, logouts are stored and in force, and what
// he has written is dropped unread. The worst is that a logout that waits is answered 202.
func TestAGatesUserCannotStopTheService(t *testing.T) {
	t.Parallel()
	huge, made := strings.Repeat("x", 60<<20), strings.Repeat("ab", 20)
	for name, attack := range map[string]func(do func(args ...any)){
		"huge lines": func(do func(args ...any)) {
			do("HSET", "{sallyport}:replicas", "huge", huge)
			for n := 2; n < 5; n++ {
				do("SET", gateKey(n), huge)
			}
		},
		"many lines": func(do func(args ...any)) {
			for n := range 10_001 {
				do("HSET", "{sallyport}:replicas", fmt.Sprint("small", n), "x")
				do("SET", gateKey(n), fmt.Sprintf(`%s %d %s %d x {"name":"made-up"}`,
					strings.Repeat("cd", 16), n, made, n))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t)
			metrics, s, gs := prometheus.NewRegistry(), named("issuer-1"), named("gate-1")
			s.o.Registry = metrics
			// Redis takes its time to write hundreds of megabytes to disk
			s.cfg.MaxStaleness = 20 * time.Second
			gs.cfg.MaxStaleness = s.cfg.MaxStaleness
			i := startIssuer(t, r.addr(), s)
			rules := deployedGateRules(t)
			g := gateAs(t, asUser(t, r, "gate", rules...), gs)
			eventually.True(t, "both are fresh", func() bool { return i.fresh() && g.fresh() })

			thief := asUser(t, r, "thief", rules...)
			pipe := thief.Universal().Pipeline()
			flush := func() {
				if _, err := pipe.Exec(t.Context()); err != nil && !redis.HasErrorPrefix(err, "NOPERM") {
					t.Fatal(err)
				}
			}
			steal := func() {
				attack(func(args ...any) {
					pipe.Do(t.Context(), args...)
					if value := args[len(args)-1].(string); pipe.Len() > 500 || len(value) > 1<<20 {
						flush()
					}
				})
				flush()
			}
			steal()

			began := time.Now()
			for n := range 20 {
				id := fmt.Sprint("s", n)
				receipt := revoke(t, i, sid(id))
				ctx, cancel := timeout(t, time.Nanosecond)
				if _, err := i.Applied(ctx, receipt); err != nil {
					t.Fatalf("who has applied a stored revocation cannot be told: %v", err)
				}
				cancel()
				eventually.True(t, "the gate denies", func() bool { return g.Check(session(id)).Revoked })
				if lines, err := i.Gates(t.Context()); err != nil || len(lines) > 200 {
					t.Fatalf("%d lines, %v", len(lines), err)
				}
			}
			eventually.True(t, "both have been confirmed since", func() bool {
				if g.Ready() != nil || i.Ready() != nil {
					t.Fatalf("out of service: issuer %v, gate %v", i.Ready(), g.Ready())
				}
				since := time.Since(began)
				return i.Freshness(i.Instant()).Staleness < since && g.Freshness(g.Instant()).Staleness < since
			})
			eventually.True(t, "nothing huge is left", func() bool {
				for _, key := range []string{
					"{sallyport}:replicas", gateKey(2), gateKey(3), gateKey(4),
				} {
					if n, _ := r.do("MEMORY", "USAGE", key).(int64); n > 4096 {
						return false
					}
				}
				return true
			})
			eventually.True(t, "what was dropped is counted", func() bool {
				if name != "huge lines" ||
					metric(t, metrics, "sallyport_revocation_dropped_lines_total") > 0 {
					return true
				}
				// Whoever dropped them may have waited for the answer in vain.
				steal()
				return false
			})
		})
	}
}

// TestAGateWithAUserOfItsOwnHasItsOwnLine: the access list may give each gate a single key; it
// finds out which.
func TestAGateWithAUserOfItsOwnHasItsOwnLine(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	own := strings.Fields(
		"resetkeys %R~{sallyport}:rev:* ~{sallyport}:replica:7 -@all +set +getrange +hmget +xrange " +
			"+xread +wait +multi +exec +discard +time +hello +ping")
	c := asUser(t, r, "gate-7", own...)
	g := gateAs(t, c, named("gate-7"))
	other := gateAs(t, asUser(t, r, "gate", deployedGateRules(t)...), named("other"))
	eventually.True(t, "all are fresh", func() bool { return i.fresh() && g.fresh() && other.fresh() })
	receipt := revoke(t, i, sid("s1"))
	ctx, cancel := timeout(t, 10*time.Second)
	defer cancel()
	if a, err := i.Applied(ctx, receipt); err != nil || !a.All() || a.Total != 2 {
		t.Errorf("applied %+v, %v", a, err)
	}
	if text := fmt.Sprint(r.do("GET", gateKey(7))); !strings.Contains(text, `"gate-7"`) {
		t.Errorf("its line: %s", text)
	}
	if err := c.Universal().
		Set(t.Context(), gateKey(1), "x", 0).
		Err(); !redis.HasErrorPrefix(
		err,
		"NOPERM",
	) {
		t.Errorf("it writes another gate's line: %v", err)
	}
	none := asUser(t, r, "none",
		strings.Fields("resetkeys %R~{sallyport}:rev:* -@all +set +getrange +hmget +hello")...)
	lost, err := redislog.NewGate(none, quick(), named("lost").options(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lost.BeatOnce(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "allow it one") {
		t.Errorf("a gate that may write no line says %v", err)
	}
}

// TestGatesForWhichThereIsNoPlaceAreInService: and a logout that waits is never told that all
// have applied it.
func TestGatesForWhichThereIsNoPlaceAreInService(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	few := func(name string) settings {
		s := named(name)
		s.cfg.MaxGates = 1
		return s
	}
	i := startIssuer(t, r.addr(), few("issuer-1"))
	a, b := startGate(t, r.addr(), few("gate-1")), startGate(t, r.addr(), few("gate-2"))
	eventually.True(t, "all are fresh", func() bool { return i.fresh() && a.fresh() && b.fresh() })
	receipt := revoke(t, i, sid("s1"))
	ctx, cancel := timeout(t, 500*time.Millisecond)
	defer cancel()
	if got, err := i.Applied(ctx, receipt); err != nil || got.All() {
		t.Errorf("applied %+v, %v; want one behind at least", got, err)
	}
	b.stop()
	all, cancelAll := timeout(t, 10*time.Second)
	defer cancelAll()
	if got, err := i.Applied(all, receipt); err != nil || !got.All() || got.Total != 1 {
		t.Errorf("applied %+v, %v; want 1 of 1", got, err)
	}
}

// TestAGateWhosePlaceAnotherHasTakenTakesAnother: as after an emptied Redis, when one starts
// before the others have written again.
func TestAGateWhosePlaceAnotherHasTakenTakesAnother(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i, g := startIssuer(t, r.addr(), named("issuer-1")), startGate(t, r.addr(), named("gate-1"))
	eventually.True(t, "both are fresh", func() bool { return i.fresh() && g.fresh() })
	stop := keepWriting(r, func(n int) []any { return gateLine(1, "other", "0 0 0", n) })
	eventually.True(t, "it has taken another place", func() bool {
		text, _ := r.do("GET", gateKey(2)).(string)
		return strings.Contains(text, `"gate-1"`)
	})
	stop()
	if err := g.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
}

// TestAGateOfAnEarlierVersionIsBehind: its line is not read, so a logout that waits is not told
// that all have applied it.
func TestAGateOfAnEarlierVersionIsBehind(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	g := startGate(t, r.addr(), named("gate-1"))
	eventually.True(t, "both are fresh", func() bool { return i.fresh() && g.fresh() })
	old := keepWriting(r, func(n int) []any {
		return []any{"HSET", "{sallyport}:replicas", "old", fmt.Sprintf("0 0 0 %d x {}", n)}
	})
	look := func(d time.Duration) revocation.Applied {
		ctx, cancel := timeout(t, d)
		defer cancel()
		a, err := i.Applied(ctx, revoke(t, i, sid("s1")))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	eventually.True(t, "it is behind", func() bool {
		a := look(time.Millisecond)
		return a.Total == 2 && len(a.Behind) == 1 && strings.Contains(a.Behind[0], "earlier version")
	})
	old()
	if a := look(10 * time.Second); !a.All() || a.Total != 1 {
		t.Errorf("once it has gone: %+v, want 1 of 1", a)
	}
}

// TestEveryIssuerKnowsOfAGateOfAnEarlierVersion: whichever of them takes away what it writes, and
// leaves nothing there for the others to find.
func TestEveryIssuerKnowsOfAGateOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	one := startIssuer(t, r.addr(), named("issuer-1"))
	two, err := redislog.NewIssuer(connect(t, r.addr()), quick(), named("issuer-2").options(t))
	if err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the first issuer is fresh", one.fresh)
	r.do("HSET", "{sallyport}:replicas", "old", "0 0 0 1 x {}")
	eventually.True(t, "the first issuer has taken the line away", func() bool {
		return r.do("EXISTS", "{sallyport}:replicas") == int64(0)
	})
	eventually.True(t, "the other issuer to know", func() bool {
		ctx, cancel := timeout(t, 10*time.Second)
		defer cancel()
		seen, err := two.SeesFormer(ctx)
		return seen && err == nil
	})
}

// slow leads to a Redis that is some way off.
func slow(t *testing.T, to string, way time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			go late(in, out, way)
			go late(out, in, way)
		}
	}()
	return l.Addr().String()
}

// late carries bytes after a while.
func late(dst, src net.Conn, way time.Duration) {
	defer func() { _, _ = dst.Close(), src.Close() }()
	b := make([]byte, 64<<10)
	for {
		n, err := src.Read(b)
		time.Sleep(way) // the wire's length, not a wait for something
		if _, failed := dst.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}

// TestWhoHasAppliedIsToldByWhoeverHasNoTimeLeft: a logout for which there is no place to wait
// asks how things stand, with a Redis that is 2 ms away. It is answered, costs no connection, and
// neither does it cut short what others read.
func TestWhoHasAppliedIsToldByWhoeverHasNoTimeLeft(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	g := startGate(t, r.addr(), named("gate-1"))
	c := connect(t, slow(t, r.addr(), 2*time.Millisecond))
	i, err := redislog.NewIssuer(c, quick(), named("issuer-1").options(t))
	if err != nil {
		t.Fatal(err)
	}
	running(t, i.Run)
	eventually.True(t, "both are fresh",
		func() bool { return i.Freshness(i.Instant()).Fresh && g.fresh() })
	receipt, err := i.Append(t.Context(), asked("s1"))
	if err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the gate has it", func() bool { return g.Check(session("s1")).Revoked })
	failed := 0
	before := c.Universal().PoolStats().Misses
	for range 50 {
		for _, d := range []time.Duration{time.Millisecond, 0} {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			if a, err := i.Applied(ctx, receipt); err != nil || a.Total != 1 {
				failed++
			}
			cancel()
		}
	}
	if failed > 0 {
		t.Errorf("%d of 100 were answered with an error, or without the gate", failed)
	}
	if opened := c.Universal().PoolStats().Misses - before; opened > 2 {
		t.Errorf("%d connections were opened anew", opened)
	}
}

// deployedLimits are the settings of the deployed redis.conf that bound what its clients may take.
func deployedLimits(t *testing.T) (args []string) {
	t.Helper()
	conf, err := os.ReadFile("../../../deploy/config/redis.conf")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(conf)) {
		if words := strings.Fields(l); len(words) == 2 &&
			(strings.HasPrefix(words[0], "maxmemory") || words[0] == "proto-max-bulk-len") {
			args = append(args, "--"+words[0], words[1])
		}
	}
	return args
}

// TestAGatesUserCannotFillRedis: with the settings that are deployed, neither by writing all it
// may as large as it may, nor by asking for the log again and again and leaving the answers in
// Redis. Revocations are stored all the while.
func TestAGatesUserCannotFillRedis(t *testing.T) {
	t.Parallel()
	r := startRedis(t, deployedLimits(t)...)
	fill(t, r, 20_000)
	s := named("issuer-1")
	s.cfg.MaxStaleness = 20 * time.Second
	i := startIssuer(t, r.addr(), s)
	eventually.True(t, "the issuer is fresh", i.fresh)
	thief := asUser(t, r, "thief", deployedGateRules(t)...).Universal()
	// Redis cuts that connection, so it is one of its own.
	cut := asUser(t, r, "thief", deployedGateRules(t)...).Universal()
	if err := cut.Set(t.Context(), gateKey(1), strings.Repeat("x", 2<<20), 0).Err(); err == nil {
		t.Error("a value of two megabytes was taken")
	}
	largest := strings.Repeat("x", 1<<20-64)
	for n := 1; n <= 99; n++ {
		if err := thief.Set(t.Context(), gateKey(n), largest, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	revoke(t, i, sid("full of lines"))
	for n := range 10 {
		c, err := net.Dial("tcp", r.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := fmt.Fprint(c, "AUTH thief secret\r\n",
			strings.Repeat("XRANGE {sallyport}:rev:log - +\r\n", 10)); err != nil {
			t.Fatal(err)
		}
		revoke(t, i, sid(fmt.Sprint("unread answers ", n)))
	}
	eventually.True(t, "Redis has what it had before",
		func() bool { return r.do("EXISTS", gateKey(2), gateKey(99)) == int64(0) })
	revoke(t, i, sid("afterwards"))
}
