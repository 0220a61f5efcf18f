package redislog_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/meshtest"
	"github.com/sallyport/sallyport/internal/revocation"
)

// startMovable starts a redis-server whose clock the test moves.
func startMovable(t *testing.T) (*server, func(time.Duration)) {
	t.Helper()
	s := &server{t: t, port: freePort(t), dir: t.TempDir()}
	clock, err := meshtest.NewClock(filepath.Join(s.dir, "clock"))
	if err != nil {
		t.Fatal(err)
	}
	s.env = append(clock.Env(), meshtest.PreloadedClock(meshtest.BuildPreloaded(t)))
	s.start()
	t.Cleanup(s.kill)
	return s, func(by time.Duration) {
		t.Helper()
		if err := clock.Move(by, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// skewed waits until every process has heard of a moved clock: none of them is ready.
func (m *mesh) skewed() {
	m.t.Helper()
	for _, i := range m.issuers {
		eventually.True(m.t, "no issuer is ready", func() bool { return i.Ready() != nil && !i.fresh() })
	}
	for _, g := range m.gates {
		eventually.True(m.t, "no gate is ready", func() bool { return g.Ready() != nil })
	}
}

// TestAMovedClockOfRedisLosesNothing: whatever else happens meanwhile, what was revoked before and
// during it is in force afterwards at every gate (S3), also at one that knows only the log (S4);
// nobody has to log in again.
func TestAMovedClockOfRedisLosesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		by        time.Duration
		meanwhile func(*mesh)
	}{
		"300 s ahead":                {300 * time.Second, nil},
		"300 s behind":               {-300 * time.Second, nil},
		"longer ahead than entries":  {2 * time.Hour, nil},
		"longer behind than entries": {-2 * time.Hour, nil},
		"days ahead":                 {50 * time.Hour, nil},
		"ahead, and the log deleted": {2 * time.Hour, func(m *mesh) { m.do("DEL", logKey) }},
		"ahead, and the log trimmed": {2 * time.Hour,
			func(m *mesh) { m.do("XTRIM", logKey, "MAXLEN", 2) }},
		"ahead, and Redis emptied":      {50 * time.Hour, func(m *mesh) { m.do("FLUSHALL") }},
		"behind, and Redis emptied":     {-300 * time.Second, func(m *mesh) { m.do("FLUSHALL") }},
		"ahead, and Redis restarted":    {2 * time.Hour, func(m *mesh) { m.kill(); m.start() }},
		"a little, and the log is gone": {20 * time.Second, func(m *mesh) { m.do("DEL", logKey) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, move := startMovable(t)
			m := healthyOn(t, r, 2, 2)
			m.neverAllows()
			era := r.do("HGET", headKey, "era")
			move(c.by)
			if c.by > quick().ClockSkew || c.by < -quick().ClockSkew {
				m.skewed()
			}
			m.revoke("meanwhile")
			if c.meanwhile != nil {
				c.meanwhile(m)
			}
			m.revoke("later")
			m.denied()
			move(0)
			m.survived()
			// the genesis lives no longer than it must
			if first := r.do("HGET", headKey, "first"); first != "1" && first != "2" {
				t.Errorf("live entries were trimmed: first is %v", first)
			}
			if now := r.do("HGET", headKey, "era"); now != era && !strings.HasSuffix(name, "emptied") {
				t.Error("a new era has begun: everybody must log in again")
			}
		})
	}
}

// TestAStaleIssuerWhoseClockIsNotRedisMintsNothing: a copy that is not confirmed any more says
// nothing of the clocks, and a token made by one that is ahead outlives its revocation.
func TestAStaleIssuerWhoseClockIsNotRedisMintsNothing(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	clock, s := newShift(), named("issuer-1")
	s.o.Instant = clock.instant
	i := startIssuer(t, r.addr(), s)
	eventually.True(t, "the issuer is fresh", i.fresh)
	if _, ok := i.MintingTime(); !ok {
		t.Error("with its clock in step there is no time to mint by")
	}
	clock.move(300 * time.Second)
	eventually.True(t, "the issuer is stale and knows Redis' time", func() bool {
		r.do("HSET", headKey, "mending", time.Now().Add(s.cfg.Settle).UnixMilli()) // no heartbeat counts
		_, known := i.Time()
		return known && i.Freshness(i.Instant()).Why == revocation.WhyStale
	})
	if at, ok := i.MintingTime(); ok {
		t.Errorf("it mints by %v", at)
	}
}

// TestAnEntryMadeWhileRedisIsBehindOutlivesItsTokens: by Redis' clock alone it would expire 300 s
// before them.
func TestAnEntryMadeWhileRedisIsBehindOutlivesItsTokens(t *testing.T) {
	t.Parallel()
	r, move := startMovable(t)
	m := healthyOn(t, r, 1, 1)
	move(-300 * time.Second)
	m.skewed()
	least := time.Now().Add(quick().MaxTokenLifetime)
	revoke(t, m.issuers[0], revocation.Request{Kind: revocation.KindTenant, Issuer: iss, Value: "t"})
	made := m.newest()
	if made.Expires < least.UnixMilli() {
		t.Errorf("expires %v before tokens that exist", least.Sub(time.UnixMilli(made.Expires)))
	}
	if sessions := least.Add(-quick().MaxTokenLifetime); made.IssuedBefore < sessions.UnixMilli() {
		t.Errorf("its cutoff is %v before sessions that have begun",
			sessions.Sub(time.UnixMilli(made.IssuedBefore)))
	}
}

// newest reads the newest entry.
func (m *mesh) newest() revocation.Entry {
	m.t.Helper()
	found, err := m.client().XRevRangeN(m.t.Context(), logKey, "+", "-", 1).Result()
	if err != nil || len(found) != 1 {
		m.t.Fatalf("the log's newest entry: %v, %v", found, err)
	}
	body, _ := found[0].Values[revocation.BodyField].(string)
	chain, _ := found[0].Values[revocation.ChainField].(string)
	e := revocation.Decode(1, body, chain)
	if e.Kind == 0 {
		m.t.Fatalf("the log's newest entry cannot be read: %q", body)
	}
	return e
}
