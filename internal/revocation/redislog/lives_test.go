package redislog_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
)

// elsewhere is an issuer whose sessions live on when they are revoked here.
const elsewhere = "https://keycloak.example/realms/main"

// abroad is the token of a session there, as it is minted now.
func abroad(value string) *revocation.Facts {
	return &revocation.Facts{
		Issuer: elsewhere, SessionID: value, TokenID: "new", Subject: "alice",
		IssuedAt: time.Now().Unix(),
	}
}

func revokedAbroad(value string) revocation.Request {
	r := sid(value)
	r.Issuer = elsewhere
	return r
}

// shortTokens are settings under which tokens are short and sessions elsewhere are long.
func shortTokens(name string) settings {
	s := shortLived(name)
	s.o.SessionLifetime = func(issuer string) time.Duration {
		if issuer == elsewhere {
			return time.Hour
		}
		return 0
	}
	return s
}

// TestASessionElsewhereStaysRevokedWhileItMayLive (S6, S3, S4): long after every token that existed
// has expired, what the session has minted since is refused, by gates that were there and by one
// that starts; through every fault of the log; and what is dead has left Redis (L3).
func TestASessionElsewhereStaysRevokedWhileItMayLive(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*mesh){
		"no fault":              func(*mesh) {},
		"flushed":               func(m *mesh) { m.do("FLUSHALL") },
		"log deleted":           func(m *mesh) { m.do("DEL", logKey) },
		"head deleted":          func(m *mesh) { m.do("DEL", headKey) },
		"trimmed to one":        func(m *mesh) { m.do("XTRIM", logKey, "MAXLEN", 1) },
		"restarted":             func(m *mesh) { m.kill(); m.start() },
		"restarted empty":       func(m *mesh) { m.kill(); m.wipe(); m.start() },
		"one issuer and flush":  func(m *mesh) { m.issuers[0].stop(); m.do("FLUSHALL") },
		"issuers, one by one":   func(m *mesh) { m.restartIssuers() },
		"all issuers are away":  func(m *mesh) { m.awayIssuers() },
		"flushed a second time": func(m *mesh) { m.do("FLUSHALL"); m.whole(); m.do("FLUSHALL") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &mesh{server: startRedis(t)}
			for n := range 2 {
				m.issuers = append(m.issuers,
					startIssuer(t, m.addr(), shortTokens(fmt.Sprintf("issuer-%d", n+1))))
			}
			m.gates = append(m.gates, startGate(t, m.addr(), shortTokens("gate-1")))
			m.converge()
			revoke(t, m.issuers[0], revokedAbroad("abroad"))
			made := m.newest()
			reqs := make([]revocation.Request, 1500)
			for n := range reqs {
				reqs[n] = sid(fmt.Sprint("s", n))
			}
			revoke(t, m.issuers[1], reqs...)
			eventually.True(t, "what is dead has left Redis",
				func() bool { return m.do("XLEN", logKey).(int64) <= 2 })
			fault(m)
			m.whole()
			now, _ := m.issuers[len(m.issuers)-1].Time()
			if passed := now.Sub(time.UnixMilli(made.At)); passed < shortTokens("").cfg.MaxTokenLifetime {
				t.Fatalf("only %s have passed", passed)
			}
			if !m.gates[0].Check(abroad("abroad")).Revoked {
				t.Error("the gate allows the session (S3)")
			}
			late := startGate(t, m.addr(), shortTokens("gate-late"))
			eventually.True(t, "a new gate is fresh", late.fresh)
			if !late.Check(abroad("abroad")).Revoked {
				t.Error("a gate that starts later allows the session (S4)")
			}
			m.unchanged("abroad", made)
		})
	}
}

// whole waits until the log has the session again, and all are fresh.
func (m *mesh) whole() {
	m.t.Helper()
	eventually.True(m.t, "the log has the session", func() bool { return m.find("abroad").Kind != 0 })
	m.converge()
}

// unchanged checks that the newest entry of a value is the one that was made, in another place.
func (m *mesh) unchanged(value string, made revocation.Entry) {
	m.t.Helper()
	again := m.find(value)
	again.Seq, again.Chain = 0, revocation.Chain{}
	made.Seq, made.Chain = 0, revocation.Chain{}
	if again != made {
		m.t.Errorf("it was %+v and is %+v", made, again)
	}
}

// find reads the newest entry of a value, or none.
func (m *mesh) find(value string) (last revocation.Entry) {
	m.t.Helper()
	found, err := m.client().XRange(m.t.Context(), logKey, "-", "+").Result()
	if err != nil {
		return last
	}
	for _, f := range found {
		body, _ := f.Values[revocation.BodyField].(string)
		chain, _ := f.Values[revocation.ChainField].(string)
		if e := revocation.Decode(1, body, chain); e.Value == value {
			last = e
		}
	}
	return last
}

func (m *mesh) restartIssuers() {
	for n := range m.issuers {
		m.issuers[n].stop()
		m.issuers[n] = startIssuer(m.t, m.addr(), shortTokens(fmt.Sprintf("issuer-%d", n+1)))
		eventually.True(m.t, "the issuer is fresh", m.issuers[n].fresh)
	}
}

// awayIssuers stops all issuers for longer than any token lives.
func (m *mesh) awayIssuers() {
	for n := range m.issuers {
		m.issuers[n].stop()
	}
	gone := time.Now()
	eventually.True(m.t, "a token's life has passed",
		func() bool { return time.Since(gone) > 4*time.Second })
	for n := range m.issuers {
		m.issuers[n] = startIssuer(m.t, m.addr(), shortTokens(fmt.Sprintf("issuer-%d", n+1)))
	}
}

// TestASnapshotHoldsASessionElsewhere: a gate that starts from its file denies it before Redis says
// a word, when all that was made with it has expired.
func TestASnapshotHoldsASessionElsewhere(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), shortTokens("issuer-1"))
	k := newKept(t, r.addr())
	k.file = filepath.Join(t.TempDir(), "state", "log.snapshot")
	k.settings.cfg = shortTokens("").cfg
	g := k.start()
	eventually.True(t, "both are fresh", func() bool { return i.fresh() && g.fresh() })
	revoke(t, i, revokedAbroad("abroad"))
	revoke(t, i, sid("ours"))
	began := time.Now()
	eventually.True(t, "the gate denies", func() bool { return g.Check(abroad("abroad")).Revoked })
	eventually.True(t, "the tokens of then have expired",
		func() bool { return time.Since(began) > 7*time.Second && g.fresh() })
	g.stop()
	r.kill()
	g = k.start()
	if !g.Check(abroad("abroad")).Revoked || g.fresh() {
		t.Errorf("from its file it denies: %t, and is fresh: %t",
			g.Check(abroad("abroad")).Revoked, g.fresh())
	}
	r.start()
	eventually.True(t, "it is fresh", g.fresh)
	if !g.Check(abroad("abroad")).Revoked {
		t.Error("once it is fresh it allows the session")
	}
}

// TestWhatARevokedSessionTakesInRedis: the entry of a session elsewhere, which lies there for long.
// The pages that speak of its size are to be looked at when this fails.
func TestWhatARevokedSessionTakesInRedis(t *testing.T) {
	r := startRedis(t)
	s := named("issuer-1")
	const there = "https://keycloak.example.com/realms/main"
	s.o.SessionLifetime = func(string) time.Duration { return 720 * time.Hour }
	i := startIssuer(t, r.addr(), s)
	eventually.True(t, "fresh", i.fresh)
	used := func() int {
		for line := range strings.Lines(fmt.Sprint(r.do("INFO", "memory"))) {
			if text, found := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); found {
				n, err := strconv.Atoi(text)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatal("Redis does not say how much memory it uses")
		return 0
	}
	before := used()
	const entries = 20_000
	reqs := make([]revocation.Request, entries)
	for n := range reqs {
		reqs[n] = revocation.Request{
			Kind: revocation.KindSID, Issuer: there, Reason: "logout", Actor: there,
			Value: fmt.Sprintf("%08x-0000-4000-8000-%012x", n, n),
		}
	}
	revoke(t, i, reqs...)
	each := float64(used()-before) / entries
	t.Logf("%.0f bytes for each", each)
	if each > 300 {
		t.Errorf("a revoked session takes %.0f bytes in Redis, expected at most 300", each)
	}
}
