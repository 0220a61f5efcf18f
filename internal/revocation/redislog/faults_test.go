package redislog_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
)

const (
	logKey  = "{sallyport}:rev:log"
	headKey = "{sallyport}:rev:head"
)

// mesh is one Redis, issuers and gates. healthy gives one on which, if it has issuers, some
// sessions are revoked.
type mesh struct {
	*server
	issuers []issuer
	gates   []gate
	revoked []string
}

func healthy(t *testing.T, issuers, gates int) *mesh {
	t.Helper()
	return healthyOn(t, startRedis(t), issuers, gates)
}

func healthyOn(t *testing.T, r *server, issuers, gates int) *mesh {
	t.Helper()
	m := &mesh{server: r}
	for n := range issuers {
		m.issuers = append(m.issuers, startIssuer(t, m.addr(), named(fmt.Sprintf("issuer-%d", n+1))))
	}
	for n := range gates {
		m.gates = append(m.gates, startGate(t, m.addr(), named(fmt.Sprintf("gate-%d", n+1))))
	}
	if issuers == 0 {
		return m
	}
	m.converge()
	for n := range 5 {
		m.revoke(fmt.Sprintf("s%d", n))
	}
	m.denied()
	return m
}

func (m *mesh) revoke(id string) revocation.Receipt {
	m.t.Helper()
	r := revoke(m.t, m.issuers[len(m.revoked)%len(m.issuers)], sid(id))
	m.revoked = append(m.revoked, id)
	return r
}

// converge waits until every process is fresh (L1).
func (m *mesh) converge() {
	m.t.Helper()
	for _, i := range m.issuers {
		eventually.True(m.t, "every issuer is fresh", i.fresh)
	}
	for _, g := range m.gates {
		eventually.True(m.t, "every gate is fresh", g.fresh)
	}
}

// denied waits until everything revoked is denied everywhere, and nothing else is.
func (m *mesh) denied() {
	m.t.Helper()
	for n, g := range m.gates {
		for _, id := range m.revoked {
			eventually.True(m.t, fmt.Sprintf("gate %d denies %s", n+1, id),
				func() bool { return g.Check(session(id)).Revoked })
		}
		if g.Check(session("other")).Revoked {
			m.t.Errorf("gate %d denies a session nobody revoked (S8)", n+1)
		}
	}
}

// neverAllows watches, until the test's end, that no running gate allows what was revoked by now
// (S3).
func (m *mesh) neverAllows() {
	done, stopped := make(chan struct{}), make(chan struct{})
	gates, revoked := m.gates, append([]string(nil), m.revoked...)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(500 * time.Microsecond):
			}
			for n, g := range gates {
				for _, id := range revoked {
					if !g.Check(session(id)).Revoked {
						m.t.Errorf("gate %d allows %s, which it had denied (S3)", n+1, id)
						return
					}
				}
			}
		}
	}()
	m.t.Cleanup(func() { close(done); <-stopped })
}

// survived is what must hold after any fault has ended: all converge, what was revoked is still in
// force, also at a gate that starts now and knows only the log (S4), and revoking goes on.
func (m *mesh) survived() {
	m.t.Helper()
	m.converge()
	m.denied()
	late := startGate(m.t, m.addr(), named("gate-late"))
	eventually.True(m.t, "a new gate is fresh", late.fresh)
	for _, id := range m.revoked {
		if !late.Check(session(id)).Revoked {
			m.t.Errorf(
				"a gate that starts after the fault allows %s, which was acknowledged as revoked (S4)",
				id)
		}
	}
	m.revoke("afterwards")
	m.denied()
}

// TestFaultsOfTheLog: whatever happens to the log, nothing acknowledged is lost (S4), nothing
// denied is allowed again (S3), and all is well again soon (L1) without a restart.
func TestFaultsOfTheLog(t *testing.T) {
	for name, fault := range map[string]func(m *mesh){
		"flushed":               func(m *mesh) { m.do("FLUSHALL") },
		"log deleted":           func(m *mesh) { m.do("DEL", logKey) },
		"head deleted":          func(m *mesh) { m.do("DEL", headKey) },
		"trimmed to one":        func(m *mesh) { m.do("XTRIM", logKey, "MAXLEN", 1) },
		"trimmed to none":       func(m *mesh) { m.do("XTRIM", logKey, "MAXLEN", 0) },
		"entry deleted":         func(m *mesh) { m.do("XDEL", logKey, "3-0") },
		"newest deleted":        func(m *mesh) { m.do("XDEL", logKey, "6-0") },
		"foreign entry":         func(m *mesh) { m.do("XADD", logKey, "*", "hello", "world") },
		"log of another type":   func(m *mesh) { m.do("SET", logKey, "x") },
		"head of another type":  func(m *mesh) { m.do("SET", headKey, "x") },
		"head's seq is garbage": func(m *mesh) { m.do("HSET", headKey, "seq", "x") },
		"head's chain is off": func(m *mesh) {
			m.do("HSET", headKey, "chain", strings.Repeat("0", 40))
		},
		"head's seq goes back": func(m *mesh) { m.do("HSET", headKey, "seq", "2") },
		"connections killed": func(m *mesh) {
			m.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		},
		"scripts forgotten":    func(m *mesh) { m.do("SCRIPT", "FLUSH") },
		"killed and restarted": func(m *mesh) { m.kill(); m.start() },
		"restarted empty":      func(m *mesh) { m.kill(); m.wipe(); m.start() },
	} {
		for _, issuers := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d issuers", name, issuers), func(t *testing.T) {
				t.Parallel()
				m := healthy(t, issuers, 2)
				m.neverAllows()
				fault(m)
				m.survived()
			})
		}
	}
}

// TestOlderDisk: Redis comes back with the disk of some time ago. What was revoked since is not
// lost.
func TestOlderDisk(t *testing.T) {
	t.Parallel()
	m := healthy(t, 2, 2)
	m.kill()
	older := filepath.Join(t.TempDir(), "aof")
	run(t, "cp", "-r", filepath.Join(m.dir, "appendonlydir"), older)
	m.start()
	m.converge()
	m.revoke("since")
	m.denied()
	m.neverAllows()
	m.kill()
	m.wipe()
	run(t, "cp", "-r", older, filepath.Join(m.dir, "appendonlydir"))
	m.start()
	m.survived()
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// TestOutage: a Redis that does not answer denies nobody at first (L2), everybody from
// max_staleness on (S2), what is revoked all the while (S3), and nobody again once it answers (L1).
func TestOutage(t *testing.T) {
	t.Parallel()
	m := healthy(t, 1, 1)
	m.neverAllows()
	g := m.gates[0]
	cfg := quick()
	signal(t, m.cmd.Process.Pid, syscall.SIGSTOP)
	short := cfg.MaxStaleness - cfg.Settle - 4*cfg.Heartbeat
	for began := time.Now(); time.Since(began) < short/2; time.Sleep(time.Millisecond) {
		if !g.fresh() {
			t.Fatalf("stale %s after an outage began", time.Since(began))
		}
	}
	eventually.True(t, "the gate is stale",
		func() bool { return g.Freshness(g.Instant()).Why == revocation.WhyStale })
	if err := g.Ready(); err == nil {
		t.Error("a stale gate calls itself ready")
	}
	refused(t, m.issuers[0], "during an outage", sid("during"))
	signal(t, m.cmd.Process.Pid, syscall.SIGCONT)
	m.survived()
}

func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// TestUnacknowledgedIsInForceHereAndComesLater: an append that fails is an error (S7), denied at
// once by the issuer itself, and in the log as soon as there is one.
func TestUnacknowledgedIsInForceHereAndComesLater(t *testing.T) {
	t.Parallel()
	m := healthy(t, 1, 1)
	m.kill()
	i := m.issuers[0]
	refused(t, i, "without Redis", sid("during"))
	if !i.Check(session("during")).Revoked {
		t.Error("the issuer's own set does not hold what it was asked to revoke")
	}
	if _, live := i.Live([]revocation.Request{sid("during")}); live {
		t.Error("called live in the log, while it is only in the issuer's own set")
	}
	m.start()
	m.revoked = append(m.revoked, "during")
	m.survived()
}

// TestMissingHeadWithGatesOnly: a gate never creates a head, and does not become fresh without one.
func TestMissingHeadWithGatesOnly(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	g := startGate(t, r.addr(), named("gate-1"))
	eventually.True(t, "the gate has sent heartbeats",
		func() bool { return r.do("EXISTS", gateKey(1)) == int64(1) })
	if f := g.Freshness(g.Instant()); f.Fresh || f.Why != revocation.WhyNoCopy {
		t.Errorf("freshness without a log: %+v", f)
	}
	if n := r.do("EXISTS", headKey, logKey); n != int64(0) {
		t.Errorf("a gate created %v keys of the log", n)
	}
	startIssuer(t, r.addr(), named("issuer-1"))
	eventually.True(t, "an idle issuer has created the head and the gate is fresh", g.fresh)
}

// TestGateWithoutRedisAllowsNothing (S2): a gate that starts while Redis is down is neither fresh
// nor ready.
func TestGateWithoutRedisAllowsNothing(t *testing.T) {
	t.Parallel()
	m := healthy(t, 1, 0)
	m.kill()
	g := startGate(t, m.addr(), named("gate-1"))
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; time.Sleep(time.Millisecond) {
		if g.fresh() || g.Ready() == nil {
			t.Fatal("a gate that has never seen the log is fresh")
		}
	}
	m.start()
	m.gates = append(m.gates, g)
	m.survived()
}

// TestClocks: a process whose clock is further than clock_skew from Redis' is not ready, and a new
// one not fresh either.
func TestClocks(t *testing.T) {
	t.Parallel()
	m := healthy(t, 1, 0)
	for _, off := range []time.Duration{-300 * time.Second, 300 * time.Second} {
		clock := newShift()
		s := named(fmt.Sprintf("gate%d", off/time.Second))
		s.o.Instant = clock.instant
		g := startGate(t, m.addr(), s)
		eventually.True(t, "a gate with its clock in step is ready",
			func() bool { return g.Ready() == nil })
		clock.move(off)
		eventually.True(t, "a gate with its clock off is not ready", func() bool {
			err := g.Ready()
			return err != nil && strings.Contains(err.Error(), "clock")
		})
		s.o.Name += "-new"
		late := startGate(t, m.addr(), s)
		eventually.True(t, "the new gate has a copy", func() bool {
			f := late.Freshness(late.Instant())
			return !f.Fresh && f.Why == revocation.WhyClock
		})
		clock.move(-off)
		eventually.True(t, "both are ready",
			func() bool { return g.Ready() == nil && late.Ready() == nil })
	}
}

// TestClockNeverRevivesAToken: the time tokens expire by does not follow a wall clock that goes
// back by more than clock_skew, and follows one that goes back by less only once a heartbeat has
// counted.
func TestClockNeverRevivesAToken(t *testing.T) {
	t.Parallel()
	m := healthy(t, 1, 0)
	clock := newShift()
	s := named("gate-1")
	s.o.Instant = clock.instant
	g := startGate(t, m.addr(), s)
	eventually.True(t, "fresh", g.fresh)
	before := g.Now(clock.instant())
	clock.move(-time.Hour)
	eventually.True(t, "not ready", func() bool { return g.Ready() != nil })
	if g.Now(clock.instant()).Before(before) {
		t.Error("the clock went back an hour")
	}
	clock.move(time.Hour - 20*time.Second)
	eventually.True(t, "the clock is set back within clock_skew",
		func() bool { return g.Now(clock.instant()).Before(before) })
}

// TestContext: an append whose caller has gone is not an acknowledgement.
func TestContext(t *testing.T) {
	t.Parallel()
	m := healthy(t, 1, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.issuers[0].Append(ctx, []revocation.Request{sid("x")}); !errors.Is(err,
		revocation.ErrUnavailable) {
		t.Errorf("append with a cancelled context: %v", err)
	}
	if _, err := m.issuers[0].Append(t.Context(), nil); !errors.Is(err, revocation.ErrInvalidRequest) {
		t.Errorf("append of nothing: %v", err)
	}
}
