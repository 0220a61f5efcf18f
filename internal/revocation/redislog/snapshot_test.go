package redislog_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// kept is a gate with a snapshot file, which a test stops and starts again.
type kept struct {
	t        *testing.T
	addr     string
	file     string
	settings settings

	mu       sync.Mutex
	keys     map[string]time.Time // told of
	registry *prometheus.Registry
}

func newKept(t *testing.T, addr string) *kept {
	return &kept{
		t: t, addr: addr, file: filepath.Join(t.TempDir(), "state", "log.snapshot"),
		settings: named("gate-1"),
	}
}

func (k *kept) start() gate {
	k.t.Helper()
	k.registry = prometheus.NewRegistry()
	k.keys = map[string]time.Time{}
	s := k.settings
	s.o.Registry, s.o.Snapshot = k.registry, redislog.SnapshotConfig{
		File: config.Path(k.file), Every: time.Hour,
	}
	s.o.OnKeyRevoked = func(_, kid string, until time.Time) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.keys[kid] = until
	}
	return startGate(k.t, k.addr, s)
}

func (k *kept) told(kid string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.keys[kid].IsZero()
}

func (k *kept) metric(name string, label ...string) float64 {
	k.t.Helper()
	return metric(k.t, k.registry, name, label...)
}

const (
	loads  = "sallyport_revocation_snapshot_loads_total"
	writes = "sallyport_revocation_snapshot_writes_total"
)

func (k *kept) resyncs() (n float64) {
	for _, c := range revocation.Causes() {
		n += k.metric("sallyport_revocation_resyncs_total", "cause", string(c))
	}
	return n
}

// TestAGateStartsFromItsSnapshot: it denies what it denied before Redis says a word, allows nothing
// until a heartbeat counts (S2), and reads only what came while it was away.
func TestAGateStartsFromItsSnapshot(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	k := newKept(t, r.addr())
	g := k.start()
	eventually.True(t, "all are fresh", func() bool { return g.fresh() && i.fresh() })
	revoke(
		t,
		i,
		sid("s1"),
		revocation.Request{
			Kind: revocation.KindKID, Issuer: iss, Value: "stolen", Reason: "admin",
			Actor: "test",
		},
	)
	eventually.True(t, "the gate denies",
		func() bool { return g.Check(session("s1")).Revoked && k.told("stolen") })
	g.stop()
	if k.metric(loads, "outcome", "absent") != 1 || k.metric(writes, "outcome", "written") != 1 {
		t.Error("the clean stop wrote no snapshot")
	}
	if info, err := os.Stat(k.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file: %v, %v, want mode 0600", info, err)
	}
	revoke(t, i, sid("s2"))
	i.stop()
	r.kill()

	g = k.start()
	if !g.Check(session("s1")).Revoked || g.fresh() || g.Ready() == nil {
		t.Error("without Redis: what the file denies is allowed, or a file alone made it fresh (S2)")
	}
	eventually.True(t, "the revoked key is told of", func() bool { return k.told("stolen") })
	r.start()
	startIssuer(t, r.addr(), named("issuer-1"))
	eventually.True(t, "the gate is fresh", g.fresh)
	if !g.Check(session("s1")).Revoked || !g.Check(session("s2")).Revoked ||
		g.Check(session("s3")).Revoked {
		t.Error("fresh without all that the log holds")
	}
	if k.metric(loads, "outcome", "used") != 1 || k.resyncs() != 0 {
		t.Errorf("used %v snapshots and loaded the log %v times, want 1 and 0",
			k.metric(loads, "outcome", "used"), k.resyncs())
	}
}

// TestASnapshotOfALogThatIsGone: the log is loaded whole, and what the file denies stays denied.
func TestASnapshotOfALogThatIsGone(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	k := newKept(t, r.addr())
	g := k.start()
	eventually.True(t, "all are fresh", func() bool { return g.fresh() && i.fresh() })
	revoke(t, i, sid("s1"))
	eventually.True(t, "the gate denies", func() bool { return g.Check(session("s1")).Revoked })
	g.stop()
	i.stop() // nobody is left who could mend
	r.do("FLUSHALL")
	i = startIssuer(t, r.addr(), named("issuer-1"))
	eventually.True(t, "the issuer is fresh", i.fresh)
	revoke(t, i, sid("s2"))
	g = k.start()
	if !g.Check(session("s1")).Revoked {
		t.Error("what the file denies is allowed")
	}
	eventually.True(t, "the gate is fresh", g.fresh)
	if !g.Check(session("s1")).Revoked || !g.Check(session("s2")).Revoked {
		t.Error("fresh, and allows what the file or the log denies")
	}
	if n := k.metric("sallyport_revocation_resyncs_total", "cause", "epoch"); n != 1 {
		t.Errorf("%v resyncs because of the epoch, want 1", n)
	}
}

// TestSnapshotsThatAreNotUsed: each is counted by its reason, and the gate starts as without.
func TestSnapshotsThatAreNotUsed(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	first := newKept(t, r.addr())
	g := first.start()
	eventually.True(t, "all are fresh", func() bool { return g.fresh() && i.fresh() })
	revoke(t, i, sid("s1"))
	eventually.True(t, "the gate denies", func() bool { return g.Check(session("s1")).Revoked })
	g.stop()
	good, err := os.ReadFile(first.file)
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int) []byte {
		b := append([]byte(nil), good...)
		b[at]++
		return b
	}
	for outcome, c := range map[string]struct {
		content []byte
		mode    os.FileMode
		wall    time.Duration
	}{
		"broken":  {change(len(good) / 2), 0o600, 0},
		"version": {change(8), 0o600, 0},
		"foreign": {good, 0o620, 0},
		"old":     {good, 0o600, 2 * time.Hour},
		"future":  {good, 0o600, -time.Hour},
		"used":    {good, 0o600, 0}, // the control
	} {
		t.Run(outcome, func(t *testing.T) {
			k := newKept(t, r.addr())
			if err := os.Mkdir(filepath.Dir(k.file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(k.file, c.content, c.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(k.file, c.mode); err != nil { // whatever the umask is
				t.Fatal(err)
			}
			clocks := newShift()
			clocks.move(c.wall)
			k.settings.o.Instant = clocks.instant
			g := k.start()
			if denied := g.Check(session("s1")).Revoked; denied != (outcome == "used") {
				// A heartbeat may have been faster than this line.
				eventually.True(t, "the log is loaded", func() bool { return k.resyncs() == 1 })
			}
			if n := k.metric(loads, "outcome", outcome); n != 1 {
				t.Errorf("%v loads counted as %s, want 1", n, outcome)
			}
			clocks.move(-c.wall) // the machine's clock is set right
			eventually.True(t, "the gate is fresh and denies",
				func() bool { return g.fresh() && g.Check(session("s1")).Revoked })
		})
	}
}

// longSessions starts an issuer whose entries about sessions live for ten hours more than others,
// and returns it with a gate to be started, and that one's clocks.
func longSessions(t *testing.T, r *server) (issuer, *kept, *shift) {
	s, k, clocks := named("issuer-1"), newKept(t, r.addr()), newShift()
	s.o.SessionLifetime = func(string) time.Duration { return 10 * time.Hour }
	k.settings.o.Instant = clocks.instant
	return startIssuer(t, r.addr(), s), k, clocks
}

// TestAClockThatIsAheadForgetsNoRevokedKey: what a gate notes for its next life outlives a leap of
// its own clock, whether a file is written or read meanwhile.
func TestAClockThatIsAheadForgetsNoRevokedKey(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i, k, clocks := longSessions(t, r)
	g := k.start()
	eventually.True(t, "all are fresh", func() bool { return g.fresh() && i.fresh() })
	revoke(t, i, revokedAbroad("abroad"),
		revocation.Request{Kind: revocation.KindKID, Issuer: iss, Value: "stolen"})
	eventually.True(t, "the revoked key is told of", func() bool { return k.told("stolen") })
	clocks.move(2 * time.Hour)
	g.SaveSnapshot()
	clocks.move(-2 * time.Hour)
	eventually.True(t, "the gate is fresh again", g.fresh)
	g.stop()
	clocks.move(2 * time.Hour) // the file is of use: the session's entry lives on
	r.kill()
	g = k.start()
	eventually.True(t, "the next life is told of it", func() bool { return k.told("stolen") })
}

// TestASnapshotIsUsedWhileAnythingInItIsInForce: an entry about a session elsewhere outlives every
// token.
func TestASnapshotIsUsedWhileAnythingInItIsInForce(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i, k, clocks := longSessions(t, r)
	g := k.start()
	eventually.True(t, "all are fresh", func() bool { return g.fresh() && i.fresh() })
	revoke(t, i, revokedAbroad("abroad"))
	eventually.True(t, "the gate denies", func() bool { return g.Check(abroad("abroad")).Revoked })
	g.stop()
	r.kill()
	for _, c := range []struct {
		later   time.Duration
		outcome string
	}{{9 * time.Hour, "used"}, {3 * time.Hour, "old"}} {
		clocks.move(c.later)
		g = k.start()
		if k.metric(loads, "outcome", c.outcome) != 1 ||
			g.Check(abroad("abroad")).Revoked != (c.outcome == "used") {
			t.Errorf("%s later it is not %s", c.later, c.outcome)
		}
		g.stop()
	}
}

// TestSnapshotFolders: one in which others can put files is refused at the start, and so is what is
// no folder.
func TestSnapshotFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open, file := filepath.Join(dir, "open"), filepath.Join(dir, "file")
	for _, err := range []error{
		os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.WriteFile(file, nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		filepath.Join(open, "snapshot"): "lets others", filepath.Join(file, "snapshot"): "snapshot",
	} {
		s := named("gate-1")
		s.o.Snapshot = redislog.SnapshotConfig{File: config.Path(name), Every: time.Minute}
		if _, err := redislog.NewGate(connect(t, "127.0.0.1:1"), s.cfg,
			s.options(t)); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", name, err, want)
		}
	}
}

// TestASnapshotIsWrittenWhole: what a crash left half written is no snapshot, and is cleared away;
// one that cannot be written leaves the one before.
func TestASnapshotIsWrittenWhole(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	k := newKept(t, r.addr())
	dir := filepath.Dir(k.file)
	half := filepath.Join(dir, ".log.snapshot.tmp-123")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(half, []byte("sallyrev"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := k.start()
	eventually.True(t, "all are fresh", func() bool { return g.fresh() && i.fresh() })
	if _, err := os.Stat(half); err == nil {
		t.Error("what a crash has left is still there")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	g.stop()
	if n := k.metric(writes, "outcome", "failed"); n != 1 {
		t.Errorf("%v failed writes counted, want 1: the folder is gone", n)
	}
}
