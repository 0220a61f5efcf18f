package redislog_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

const issuersKey = "{sallyport}:issuers"

func gateKey(n int) string { return fmt.Sprintf("{sallyport}:replica:%d", n) }

// replicaOf starts a replica and waits until it is in step.
func replicaOf(t *testing.T, primary *server) *server {
	t.Helper()
	r := startRedis(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(primary.port))
	eventually.True(t, "the replica is in step", func() bool {
		return strings.Contains(fmt.Sprint(primary.do("INFO", "replication")), "state=online")
	})
	return r
}

// TestMinReplicas: an append that too few replicas have is an error (S7), and heartbeats they do
// not have do not count (S2): a deposed primary cannot keep anyone fresh.
func TestMinReplicas(t *testing.T) {
	t.Parallel()
	primary := startRedis(t)
	replica := replicaOf(t, primary)
	s := named("issuer-1")
	s.cfg.MinReplicas = 1
	i := startIssuer(t, primary.addr(), s)
	s.o.Name = "gate-1"
	g := startGate(t, primary.addr(), s)
	eventually.True(t, "both are fresh", func() bool { return i.fresh() && g.fresh() })
	revoke(t, i, sid("before"))

	signal(t, replica.cmd.Process.Pid, syscall.SIGSTOP)
	refused(t, i, "without its replica", sid("during"))
	if _, live := i.Live([]revocation.Request{sid("during")}); live {
		t.Error("an entry that no replica has is called acknowledged")
	}
	eventually.True(t, "the gate denies all the same",
		func() bool { return g.Check(session("during")).Revoked })
	eventually.True(t, "the gate is stale",
		func() bool { return g.Freshness(g.Instant()).Why == revocation.WhyStale })
	eventually.True(t, "the issuer is stale", func() bool { return !i.fresh() })

	signal(t, replica.cmd.Process.Pid, syscall.SIGCONT)
	eventually.True(t, "both are fresh again", func() bool { return i.fresh() && g.fresh() })
	revoke(t, i, sid("after"))
	eventually.True(t, "what was not acknowledged then is now", func() bool {
		_, live := i.Live([]revocation.Request{sid("during")})
		return live
	})
}

// TestFailoverThatMissedWrites: the server behind the address is replaced by one that never got
// some entries. The issuer that holds them appends them again (S4).
func TestFailoverThatMissedWrites(t *testing.T) {
	t.Parallel()
	m := healthy(t, 1, 1)
	replica := replicaOf(t, m.server)
	replica.do("REPLICAOF", "NO", "ONE") // from here on it misses everything
	m.revoke("missed")
	m.denied()
	m.neverAllows()
	replica.kill()
	m.kill()
	m.dir = replica.dir
	m.start()
	m.survived()
}

// TestSecondHolder: with another issuer alive, an append is acknowledged only when that one has
// applied it; once its line stands still, this one goes alone.
func TestSecondHolder(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	a, b := startIssuer(t, r.addr(), named("issuer-a")), startIssuer(t, r.addr(), named("issuer-b"))
	eventually.True(t, "both are fresh", func() bool { return a.fresh() && b.fresh() })
	if receipt := revoke(t, a, sid("s1")); receipt.Alone {
		t.Error("went alone beside a living issuer")
	}
	if !b.Check(session("s1")).Revoked {
		t.Error("acknowledged before the other issuer held it (S4)")
	}
	b.stop()
	if receipt := revoke(t, a, sid("s2")); !receipt.Alone {
		t.Error("an issuer that has gone was waited for and found")
	}
}

// TestSecondHolderThatHangs: an issuer whose line moves and does not take in the entry is alive: no
// acknowledgement without it. A gate's line never stands in for an issuer's.
func TestSecondHolderThatHangs(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := named("issuer-a")
	s.cfg.Settle, s.cfg.MaxStaleness = 2*time.Second, 5*time.Second
	i := startIssuer(t, r.addr(), s)
	g := startGate(t, r.addr(), named("gate-1"))
	eventually.True(t, "both are fresh", func() bool { return i.fresh() && g.fresh() })
	hanging := keepWriting(r,
		func(n int) []any {
			return []any{"HSET", issuersKey, "issuer-b", fmt.Sprintf("0 0 0 %d x {}", n)}
		})
	eventually.True(t, "the line is there",
		func() bool { return r.do("HLEN", issuersKey) == int64(2) })
	beats(t, r, "issuer-a", 2)
	refused(t, i, "beside an issuer that hangs", sid("s1"))
	if _, live := i.Live([]revocation.Request{sid("s1")}); live {
		t.Error("an entry without a second holder is called acknowledged")
	}
	hanging()
	eventually.True(t, "it goes alone once the other has gone", func() bool {
		receipt, err := i.Append(t.Context(), []revocation.Request{sid("s2")})
		return err == nil && receipt.Alone
	})
}

// beats waits until an issuer has sent n more heartbeats.
func beats(t *testing.T, r *server, issuer string, n int) {
	t.Helper()
	count := func() int {
		for field, line := range r.lines(issuersKey) {
			if strings.HasPrefix(field, issuer+"#") {
				c, err := strconv.Atoi(strings.Fields(line)[3])
				if err != nil {
					t.Fatalf("line %q: %v", line, err)
				}
				return c
			}
		}
		return 0
	}
	from := count()
	eventually.True(t, "the issuer has sent heartbeats", func() bool { return count() >= from+n })
}

// gateLine is a gate's line of a number, as it would write it itself.
func gateLine(n int, name, position string, counter int) []any {
	return []any{"SET", gateKey(n), fmt.Sprintf(`%s %d x {"name":%q}`, position, counter, name)}
}

// keepWriting moves a line until the returned function is called.
func keepWriting(r *server, command func(int) []any) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	c := r.client()
	go func() {
		defer close(stopped)
		for n := 1; ; n++ {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
				if err := c.Do(r.t.Context(), command(n)...).Err(); err != nil {
					r.t.Errorf("writing a line: %v", err)
					return
				}
			}
		}
	}()
	var stopOnce bool
	stop = func() {
		if !stopOnce {
			stopOnce = true
			close(done)
			<-stopped
		}
	}
	r.t.Cleanup(stop)
	return stop
}

// TestAppliedNamesTheGatesBehind: a gate that has not applied an entry is named for as long as its
// line may still be alive; a line of another epoch or with a chain that is not the log's is behind,
// however high its place.
func TestAppliedNamesTheGatesBehind(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	g := startGate(t, r.addr(), named("gate-1"))
	eventually.True(t, "both are fresh", func() bool { return i.fresh() && g.fresh() })
	epoch := fmt.Sprint(r.do("HGET", headKey, "epoch"))
	high := "999 " + strings.Repeat("ab", 20)
	r.do("SET", gateKey(99), "garbage")
	stops := []func(){
		keepWriting(r, func(n int) []any { return gateLine(7, "other-chain", epoch+" "+high, n) }),
		keepWriting(r,
			func(n int) []any { return gateLine(50, "other-epoch", strings.Repeat("cd", 16)+" "+high, n) }),
	}
	eventually.True(t, "all lines are there", func() bool {
		return r.do("EXISTS", gateKey(1), gateKey(7), gateKey(50), gateKey(99)) == int64(4)
	})
	receipt := revoke(t, i, sid("s1"))
	ctx, cancel := timeout(t, 200*time.Millisecond)
	defer cancel()
	a, err := i.Applied(ctx, receipt)
	if err != nil || a.Applied != 1 || fmt.Sprint(a.Behind) != "[line 99 other-chain other-epoch]" {
		t.Fatalf("applied %+v, %v; want 1 of 4, three named", a, err)
	}
	for _, stop := range stops {
		stop()
	}
	began := time.Now()
	all, cancelAll := timeout(t, 10*time.Second)
	defer cancelAll()
	if a, err = i.Applied(all, receipt); err != nil || !a.All() || a.Total != 1 {
		t.Errorf("applied %+v, %v; want 1/1 once the others are gone", a, err)
	}
	cfg := quick()
	if waited := time.Since(began); waited < cfg.MaxStaleness {
		t.Errorf("gates left the count after %s, before they could have gone stale", waited)
	}
	lines, err := i.Gates(t.Context())
	if err != nil || len(lines) != 4 || lines[0].Name != "gate-1" || !lines[0].OnLog ||
		lines[1].OnLog {
		t.Errorf("gates: %+v, %v", lines, err)
	}
	if left := r.do("PTTL", gateKey(1)).(int64); left <= 0 || left > time.Hour.Milliseconds() {
		t.Errorf("a gate's line goes by itself in %d ms", left)
	}
}

// TestBatch: many requests are one receipt, and in force together.
func TestBatch(t *testing.T) {
	t.Parallel()
	m := healthy(t, 0, 1)
	metrics, s := prometheus.NewRegistry(), named("issuer-1")
	s.o.Registry = metrics
	m.issuers = append(m.issuers, startIssuer(t, m.addr(), s))
	m.converge()
	for n := range 5 {
		m.revoke(fmt.Sprintf("s%d", n))
	}
	reqs := make([]revocation.Request, 2500)
	for n := range reqs {
		reqs[n] = sid(fmt.Sprintf("batch-%d", n))
		m.revoked = append(m.revoked, reqs[n].Value)
	}
	receipt := revoke(t, m.issuers[0], reqs...)
	if want := uint64(1 + 5 + len(reqs)); receipt.Seq != want {
		t.Errorf("receipt for place %d, want %d", receipt.Seq, want)
	}
	m.denied()
	if n := metric(t, metrics, "sallyport_revocation_mended_entries_total"); n != 0 {
		t.Errorf("%v entries were appended again on a healthy log", n)
	}
	entries, err := m.issuers[0].Entries(t.Context(), 1, 2)
	if err != nil || len(entries) != 2 || entries[0].Value != "s0" || entries[0].Actor != "test" {
		t.Errorf("entries %+v, %v", entries, err)
	}
	m.neverAllows()
	m.do("FLUSHALL")
	m.survived()
}

// TestPartsOfABatchThatWereNeverSentAreMended: a batch is sent in parts of a thousand, and those
// behind one that failed are as much owed to the log as it is.
func TestPartsOfABatchThatWereNeverSentAreMended(t *testing.T) {
	t.Parallel()
	m := healthy(t, 1, 1)
	m.neverAllows()
	reqs := make([]revocation.Request, 2500)
	for n := range reqs {
		reqs[n] = sid(fmt.Sprintf("part-%d", n))
		m.revoked = append(m.revoked, reqs[n].Value)
	}
	m.kill()
	if _, err := m.issuers[0].Append(t.Context(), reqs); !errors.Is(err, revocation.ErrUnavailable) {
		t.Errorf("an append without Redis: %v", err)
	}
	m.start()
	m.survived()
}

// TestEveryPartOfABatchIsAcknowledged: when the log goes back between two parts, whoever holds the
// last need not hold the first.
func TestEveryPartOfABatchIsAcknowledged(t *testing.T) {
	t.Parallel()
	m := healthy(t, 2, 0)
	first := revoke(t, m.issuers[0], sid("first"))
	m.do("FLUSHALL")
	m.converge()
	last := revoke(t, m.issuers[0], sid("last"))
	if _, err := m.issuers[0].AcknowledgeAll(t.Context(), last); err != nil {
		t.Errorf("the last part alone: %v", err)
	}
	if _, err := m.issuers[0].AcknowledgeAll(t.Context(), first, last); !errors.Is(err,
		revocation.ErrUnavailable) {
		t.Errorf("a part that the log has lost since is acknowledged with the last one: %v", err)
	}
}

// TestTwoOfOneName: two issuers of one name are still two to each other. Two gates of one name go
// on answering, since whoever has a gate's Redis user could write any name, and are counted as
// behind by logouts that wait. Operators are shown both.
func TestTwoOfOneName(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	a, b := startIssuer(t, r.addr(), named("issuer")), startIssuer(t, r.addr(), named("issuer"))
	eventually.True(t, "both are fresh", func() bool { return a.fresh() && b.fresh() })
	if receipt := revoke(t, a, sid("s1")); receipt.Alone {
		t.Error("took the other issuer's line for its own")
	}
	shared := func(list func(context.Context) ([]redislog.Line, error), name string) (n int) {
		lines, err := list(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			if l.Name == name && l.Shared {
				n++
			}
		}
		return n
	}
	eventually.True(t, "both issuers are shown to share a name",
		func() bool { return shared(a.Issuers, "issuer") == 2 })
	g := startGate(t, r.addr(), named("gate"))
	eventually.True(t, "one gate is ready", func() bool { return g.Ready() == nil })
	if n := shared(a.Gates, "gate"); n != 0 {
		t.Errorf("%d gates are shown to share a name with another, of one", n)
	}
	h := startGate(t, r.addr(), named("gate"))
	eventually.True(t, "two gates are shown to share a name",
		func() bool { return shared(a.Gates, "gate") == 1 })
	eventually.True(t, "both are fresh", func() bool { return g.fresh() && h.fresh() })
	receipt := revoke(t, a, sid("s2"))
	ctx, cancel := timeout(t, 200*time.Millisecond)
	defer cancel()
	if got, err := a.Applied(ctx, receipt); err != nil || got.All() ||
		fmt.Sprint(got.Behind) != "[gate]" {
		t.Errorf("two gates of one name: %+v, %v; want it behind", got, err)
	}
	for _, both := range []gate{g, h} {
		if err := both.Ready(); err != nil {
			t.Errorf("a gate whose name another writes is out of service: %v", err)
		}
	}
	h.stop()
	b.stop()
	eventually.True(t, "the one that stays is alone",
		func() bool { return shared(a.Gates, "gate") == 0 && shared(a.Issuers, "issuer") == 0 })
	all, cancelAll := timeout(t, 10*time.Second)
	defer cancelAll()
	if got, err := a.Applied(all, receipt); err != nil || !got.All() {
		t.Errorf("one gate of the name: %+v, %v", got, err)
	}
}
