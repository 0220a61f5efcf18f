package redislog_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/token"
)

// shortLived are settings under which entries expire within the test.
func shortLived(name string) settings {
	s := named(name)
	s.cfg.ClockSkew, s.cfg.MaxTokenLifetime = time.Second, time.Second
	return s
}

// TestTrimmed (L3): what has expired leaves the log and every process, and nobody takes that for a
// fault.
func TestTrimmed(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	metrics := prometheus.NewRegistry()
	s := shortLived("issuer-1")
	s.o.Registry = metrics
	i := startIssuer(t, r.addr(), s)
	g := startGate(t, r.addr(), shortLived("gate-1"))
	eventually.True(t, "both are fresh", func() bool { return i.fresh() && g.fresh() })
	reqs := make([]revocation.Request, 2300)
	for n := range reqs {
		reqs[n] = sid(fmt.Sprintf("s%d", n))
	}
	revoke(t, i, reqs...)
	eventually.True(t, "the gate denies", func() bool { return g.Check(session("s2299")).Revoked })
	epoch := r.do("HGET", headKey, "epoch")
	eventually.True(t, "the log is trimmed to its newest entry",
		func() bool { return r.do("XLEN", logKey) == int64(1) })
	eventually.True(t, "the head's first has moved",
		func() bool { return r.do("HGET", headKey, "first") == "2301" })
	eventually.True(t, "the gate has let go of nearly all",
		func() bool { return liveEntries(t, metrics, "sid") < 2300/16 })
	revoke(t, i, sid("next"))
	eventually.True(t, "the gate denies what came after",
		func() bool { return g.Check(session("next")).Revoked })
	if now := r.do("HGET", headKey, "epoch"); now != epoch {
		t.Errorf("trimming began a new epoch")
	}
	late := startGate(t, r.addr(), shortLived("gate-2"))
	eventually.True(t, "a gate that starts on a trimmed log is fresh", late.fresh)
}

// TestATokenThatPassesDoesNotOutliveItsRevocation (S3, S6): neither does one whose lifetime is the
// second longer that gates forgive other issuers.
func TestATokenThatPassesDoesNotOutliveItsRevocation(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	m := healthyOn(t, r, 1, 1)
	cfg := quick()
	revoke(t, m.issuers[0], sid("foreign"))
	made := m.newest()

	p := token.DefaultProfile()
	p.MaxLifetime, p.ClockSkew = cfg.MaxTokenLifetime, cfg.ClockSkew
	// made as late as a gate may have seen it before it was revoked
	issued := time.UnixMilli(made.At).Truncate(time.Second).Add(cfg.ClockSkew)
	c := token.Claims{
		IssuedAt: issued.Unix(),
		Expiry:   issued.Add(cfg.MaxTokenLifetime + token.Forgiven).Unix(),
	}
	limit, known := m.gates[0].MaxTokenLifetime()
	if !known || c.Lifetime() > limit {
		t.Fatalf("expected a gate to know that %v is covered, got %v, %v", c.Lifetime(), limit, known)
	}
	last := time.Unix(c.Expiry, 0).Add(p.ClockSkew - time.Nanosecond)
	if err := p.CheckTime(&c, last); err != nil {
		t.Fatalf("expected it to be accepted until %v: %v", last, err)
	}
	// Beside max_staleness, which an entry may take until it is in the log.
	if until := time.UnixMilli(made.Expires).Add(-cfg.MaxStaleness); until.Before(last) {
		t.Errorf("its revocation ends %v before it does", last.Sub(until))
	}
	c.Expiry++
	if err := p.CheckTime(&c, issued); token.ReasonOf(err) != token.ReasonLifetime ||
		c.Lifetime() <= limit {
		t.Errorf("a second more: got %v, and revocations are kept for %v", err, limit)
	}
}

func liveEntries(t *testing.T, r *prometheus.Registry, kind string) float64 {
	t.Helper()
	return metric(t, r, "sallyport_revocation_live_entries", "kind", kind)
}

func metric(t *testing.T, r *prometheus.Registry, name string, label ...string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(label) == 0 ||
				m.GetLabel()[0].GetName() == label[0] && m.GetLabel()[0].GetValue() == label[1] {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s%v", name, label)
	return 0
}

// TestUnknownEntry: a process that meets an entry it cannot read has no complete copy, says so, and
// never skips it; once the log has left it behind, all is well.
func TestUnknownEntry(t *testing.T) {
	t.Parallel()
	body := "1\tsid\t" + iss + "\tx\t0\t1\t\t\t1"
	zeros := strings.Repeat("0", 40)
	for name, fields := range map[string][]any{
		"version":     {"e", "2" + body[1:], "c", zeros},
		"kind":        {"e", strings.Replace(body, "sid", "moon", 1), "c", zeros},
		"field":       {"e", body, "c", zeros, "z", "1"},
		"no fields":   {"hello", "world"},
		"other order": {"c", zeros, "e", body},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := healthy(t, 1, 1)
			m.issuers[0].stop() // or it would begin a new epoch
			m.do(append([]any{"XADD", logKey, "7-0"}, fields...)...)
			m.do("HSET", headKey, "seq", "7", "chain", zeros)
			g := m.gates[0]
			eventually.True(t, "the gate says why it is not fresh", func() bool {
				return g.Freshness(g.Instant()).Why == revocation.WhyUnknown && g.Ready() != nil
			})
			m.denied()
			late := startGate(t, m.addr(), named("gate-late"))
			eventually.True(t, "so does a new gate",
				func() bool { return late.Freshness(late.Instant()).Why == revocation.WhyUnknown })
			m.do("DEL", logKey)
			m.issuers[0] = startIssuer(t, m.addr(), named("issuer-1"))
			eventually.True(t, "both are fresh on another log",
				func() bool { return g.fresh() && late.fresh() })
		})
	}
}

// TestKeysAreReported: every kid entry, also one loaded at a start, is told to whoever holds the
// keys.
func TestKeysAreReported(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	eventually.True(t, "fresh", i.fresh)
	revoke(t, i,
		revocation.Request{Kind: revocation.KindKID, Issuer: iss, Value: "key-1", Reason: "stolen"})
	var mu sync.Mutex
	told := map[string]time.Time{}
	s := named("gate-1")
	s.o.OnKeyRevoked = func(iss, kid string, until time.Time) {
		mu.Lock()
		defer mu.Unlock()
		told[iss+" "+kid] = until
	}
	g := startGate(t, r.addr(), s)
	heard := func(kid string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return time.Until(told[iss+" "+kid]) > time.Hour
		}
	}
	eventually.True(t, "told of a loaded one", heard("key-1"))
	revoke(t, i, revocation.Request{Kind: revocation.KindKID, Issuer: iss, Value: "key-2"})
	eventually.True(t, "told of a new one", heard("key-2"))
	if !g.Check(&revocation.Facts{Issuer: iss, KeyID: "key-2", TokenID: "x"}).Revoked {
		t.Error("a token of a revoked key passes")
	}
}

// TestEra: sessions of before a lost head, or of before a silence longer than an entry lives, must
// begin anew; those of before a lost log need not.
func TestEra(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	eventually.True(t, "fresh", i.fresh)
	era := func() string { e, _ := i.Era(); return e }
	first := era()
	if first == "" {
		t.Fatal("no era on a fresh log")
	}
	epoch := r.do("HGET", headKey, "epoch")
	r.do("DEL", logKey)
	eventually.True(t, "a new epoch has begun",
		func() bool { return r.do("HGET", headKey, "epoch") != epoch })
	beats(t, r, "issuer-1", 3)
	if era() != first {
		t.Error("a lost log began a new era")
	}
	r.do("DEL", headKey)
	eventually.True(t, "a lost head begins a new era", func() bool { return era() != first })
	second := era()
	r.do("HSET", headKey, "beat", time.Now().Add(-2*time.Hour).UnixMilli())
	eventually.True(t, "a long silence begins a new era", func() bool { return era() != second })
}

// TestCutoffs: client, tenant and issuer cutoffs are remembered for refresh, the latest of all
// counts, also after their entries have expired.
func TestCutoffs(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), shortLived("issuer-1"))
	eventually.True(t, "fresh", i.fresh)
	now, ok := i.Time()
	if !ok {
		t.Fatal("no time on a fresh log")
	}
	older := now.Add(-time.Minute).Truncate(time.Millisecond)
	revoke(
		t,
		i,
		revocation.Request{Kind: revocation.KindClient, Issuer: iss, Value: "app", IssuedBefore: older},
		revocation.Request{
			Kind: revocation.KindTenant, Issuer: iss, Value: "acme",
			IssuedBefore: older.Add(-time.Second),
		},
		revocation.Request{
			Kind: revocation.KindClient, Issuer: iss, Value: "app",
			IssuedBefore: older.Add(-2 * time.Second),
		},
	)
	expect := func(client, tenant string, want time.Time) {
		t.Helper()
		got, err := i.Remembered(t.Context(), iss, "", "alice", client, tenant)
		if err != nil || !got.Others.Equal(want) || !got.Subject.IsZero() || got.Ended {
			t.Errorf("cutoff of client %q, tenant %q: %+v, %v; want %v", client, tenant, got, err, want)
		}
	}
	expect("app", "acme", older)
	expect("", "acme", older.Add(-time.Second))
	expect("other", "", time.Time{})
	eventually.True(t, "the entries have left the log",
		func() bool { return r.do("XLEN", logKey) == int64(1) })
	expect("app", "", older)
	r.kill()
	if _, err := i.Remembered(t.Context(), iss, "", "", "app", ""); err == nil {
		t.Error("without Redis there is an answer about cutoffs")
	}
}

// TestEndedSessionsAreRememberedBeyondTheirEntries on a Cluster: for as long as a session can live
// and no longer, by every issuer, and again after the log was lost and mended.
func TestEndedSessionsAreRememberedBeyondTheirEntries(t *testing.T) {
	t.Parallel()
	r := startRedis(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(t)))
	r.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
	eventually.True(t, "the cluster to be there",
		func() bool { return strings.Contains(fmt.Sprint(r.do("CLUSTER", "INFO")), "cluster_state:ok") })
	s := shortLived("issuer-1")
	cluster := redisconn.DefaultConfig()
	cluster.Mode, cluster.Address, cluster.Addresses = redisconn.ModeCluster, "", []string{r.addr()}
	cluster.Checks = redisconn.ChecksWarn // one node without a replica
	one, err := redislog.NewIssuer(open(t, cluster), s.cfg, s.options(t))
	if err != nil {
		t.Fatal(err)
	}
	i := issuer{one, running(t, one.Run)}
	eventually.True(t, "fresh", i.fresh)
	ended := func(session string) bool {
		t.Helper()
		found, err := i.Remembered(t.Context(), iss, session, "", "", "")
		if err != nil {
			t.Fatal(err)
		}
		return found.Ended
	}
	revoke(t, i, sid("s1"), revocation.Request{Kind: revocation.KindJTI, Issuer: iss, Value: "s2"})
	r.do("FLUSHALL")
	eventually.True(t, "the end is remembered anew when its entry is mended",
		func() bool { return ended("s1") })
	eventually.True(t, "the entries have left the log",
		func() bool { return r.do("XLEN", logKey) == int64(1) })
	if !ended("s1") || ended("s2") || ended("s3") {
		t.Errorf("ended: s1 %t, s2 %t, s3 %t; expected s1 alone", ended("s1"), ended("s2"), ended("s3"))
	}
	cutoffs := headKey[:len(headKey)-len("head")] + "cutoffs"
	r.do("ZADD", cutoffs, time.Now().Add(-s.cfg.MaxSessionLifetime-time.Minute).UnixMilli(),
		"sid:"+fmt.Sprint(len(iss))+":"+iss+":s0")
	if !ended("s0") {
		t.Fatal("the test does not know the member's name")
	}
	revoke(t, i, sid("s4"))
	if ended("s0") || !ended("s1") || !ended("s4") {
		t.Errorf(
			"ended: s0 %t, s1 %t, s4 %t; expected what no session can be older than to be forgotten",
			ended("s0"), ended("s1"), ended("s4"))
	}
}

// TestReappendedSessionsAreEndedAgain: an issuer that appends a sid entry again has the session
// ended again, however often that fails at first.
func TestReappendedSessionsAreEndedAgain(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	var mu sync.Mutex
	calls, ended := 0, map[string]bool{}
	s := named("issuer-1")
	s.o.OnReappend = func(_ context.Context, sids []revocation.SessionRef) error {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls < 3 {
			return fmt.Errorf("no sessions today")
		}
		for _, ref := range sids {
			ended[ref.Issuer+" "+ref.SessionID] = true
		}
		return nil
	}
	i := startIssuer(t, r.addr(), s)
	eventually.True(t, "fresh", i.fresh)
	revoke(t, i, sid("s1"), revocation.Request{Kind: revocation.KindJTI, Issuer: iss, Value: "t1"})
	r.do("FLUSHALL")
	eventually.True(t, "the session is ended again, and only it", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return ended[iss+" s1"] && len(ended) == 1
	})
	eventually.True(t, "the entries are back", func() bool { return r.do("XLEN", logKey) == int64(3) })
}

// TestSlowSessionsAreAllEndedAgain: more than can be ended in the time there is for it at once end
// bit by bit, and none of it keeps the entries waiting.
func TestSlowSessionsAreAllEndedAgain(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	var mu sync.Mutex
	ended := map[string]bool{}
	s := named("issuer-1")
	s.o.OnReappend = func(ctx context.Context, sids []revocation.SessionRef) error {
		for _, ref := range sids {
			if time.Sleep(2 * time.Millisecond); ctx.Err() != nil {
				return ctx.Err()
			}
			mu.Lock()
			ended[ref.SessionID] = true
			mu.Unlock()
		}
		return nil
	}
	i := startIssuer(t, r.addr(), s)
	eventually.True(t, "fresh", i.fresh)
	const all = 1000
	reqs := make([]revocation.Request, all)
	for n := range reqs {
		reqs[n] = sid(fmt.Sprint("s", n))
	}
	revoke(t, i, reqs...)
	r.do("FLUSHALL")
	eventually.True(t, "all sessions are ended again", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(ended) == all
	})
}

// TestChecks: an issuer does not start on a Redis that would lose revocations, unless it is told to
// only warn.
func TestChecks(t *testing.T) {
	t.Parallel()
	safe := startRedis(t)
	for name, c := range map[string]struct {
		set  string
		want string
	}{
		"no append-only file":   {"CONFIG SET appendonly no", "appendonly"},
		"append-only file lags": {"CONFIG SET appendfsync everysec", "appendfsync"},
		"evicts":                {"CONFIG SET maxmemory-policy allkeys-lru", "maxmemory-policy"},
		"drops transactions at restart": {"ACL SETUSER default -exec",
			"user default off resetpass ~* &* +@all"},
		"drops entries at restart":  {"ACL SETUSER default -xadd", "may not run XADD"},
		"drops sessions at restart": {"ACL SETUSER default resetkeys ~{sallyport}*", "{session}"},
		"hides who may do what":     {"ACL SETUSER default -acl", "+acl|dryrun"},
		"as it should be":           {},
	} {
		t.Run(name, func(t *testing.T) {
			r := safe
			if c.want != "" {
				r = startRedis(t)
				var command []any
				for word := range strings.FieldsSeq(c.set) {
					command = append(command, word)
				}
				r.do(command...)
			}
			i := enforcing(t, r.addr())
			findings, err := i.CheckRedis(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if len(findings) > 0 {
					t.Fatalf("findings %v, want none", findings)
				}
				return
			}
			if len(findings) != 1 || !strings.Contains(findings[0].Error(), c.want) {
				t.Errorf("findings %v, want one that names %s", findings, c.want)
			}
			if err := i.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("run: %v, want an error that names %s", err, c.want)
			}
			if i.Ready() == nil {
				t.Error("ready on an unsafe Redis")
			}
		})
	}
}

func enforcing(t *testing.T, addr string) *redislog.Issuer {
	t.Helper()
	cfg := redisconn.DefaultConfig()
	cfg.Address = addr
	c, err := redisconn.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	i, err := redislog.NewIssuer(c, quick(), redislog.Options{Name: "issuer-1"})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestEndedSessionsAreNotRememberedWhereTheyShareTheLogsFate: without a Cluster the session's own
// record and the log go back together, and what each end costs is gone with its entry.
func TestEndedSessionsAreNotRememberedWhereTheyShareTheLogsFate(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), shortLived("issuer-1"))
	eventually.True(t, "fresh", i.fresh)
	revoke(t, i, sid("s1"), revocation.Request{Kind: revocation.KindSub, Issuer: iss, Value: "alice"})
	if found, err := i.Remembered(t.Context(), iss, "s1", "alice", "",
		""); err != nil || found.Ended ||
		found.Subject.IsZero() {
		t.Errorf("got %+v, %v; expected the user's cutoff alone", found, err)
	}
	eventually.True(t, "the entries have left the log",
		func() bool { return r.do("XLEN", logKey) == int64(1) })
	cutoffs := headKey[:len(headKey)-len("head")] + "cutoffs"
	if n := r.do("ZCARD", cutoffs); n != int64(1) {
		t.Errorf("%v are remembered, expected the user's cutoff alone", n)
	}
	r.kill()
	if _, err := i.Remembered(t.Context(), iss, "s1", "", "", ""); err == nil {
		t.Error("without Redis there is an answer about ended sessions")
	}
}
