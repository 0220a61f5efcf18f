package redislog_test

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
)

func newVersions() *revocation.Versions {
	return revocation.NewVersions(make([]atomic.Uint64, revocation.VersionWords))
}

// moved returns by how much the numbers of a token's names have moved in all.
func moved(g gate, v *revocation.Versions, f *revocation.Facts) (sum uint64) {
	for _, c := range g.Classes(f, nil) {
		sum += v.Of(c)
	}
	return sum
}

// TestAGatesVersionsMoveWithWhatItRefuses: with each entry that it applies, with the set that it has
// made or has read from a snapshot, and when it can no longer read the log.
func TestAGatesVersionsMoveWithWhatItRefuses(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	k := newKept(t, r.addr())
	for _, from := range []string{"an empty set", "a snapshot"} {
		v := newVersions()
		k.settings.o.Versions = v
		g := k.start()
		eventually.True(t, "all are fresh", func() bool { return g.fresh() && i.fresh() })
		if v.All() == 0 {
			t.Errorf("from %s: the first confirmed copy has moved nothing", from)
		}
		if used := k.metric(loads, "outcome", "used"); (from == "a snapshot") != (used == 1) {
			t.Fatalf("from %s: %v snapshots are used", from, used)
		}
		name := strings.ReplaceAll(from, " ", "-")
		before := moved(g, v, session(name))
		revoke(t, i, sid(name))
		eventually.True(t, "the gate denies", func() bool { return g.Check(session(name)).Revoked })
		if moved(g, v, session(name)) == before {
			t.Errorf("from %s: a revocation has moved none of its token's numbers", from)
		}
		g.stop()
	}

	v := newVersions()
	k.settings.o.Versions = v
	g := k.start()
	eventually.True(t, "it is fresh", g.fresh)
	i.stop() // or it would begin a new epoch
	before := v.All()
	zeros := strings.Repeat("0", 40)
	last, err := strconv.Atoi(r.do("HGET", headKey, "seq").(string))
	if err != nil {
		t.Fatal(err)
	}
	next := strconv.Itoa(last + 1)
	r.do("XADD", logKey, next+"-0", "e", "1\tmoon\t"+iss+"\tx\t0\t1\t\t\t1", "c", zeros)
	r.do("HSET", headKey, "seq", next, "chain", zeros)
	eventually.True(t, "the log cannot be read", func() bool {
		return g.Freshness(g.Instant()).Why == revocation.WhyUnknown
	})
	if v.All() == before {
		t.Error("a log that cannot be read has moved nothing")
	}
}
