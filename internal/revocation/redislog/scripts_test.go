package redislog_test

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// idle is an issuer that does not run: its heartbeats and appends are sent one by one.
type idle struct {
	*redislog.Issuer
	*server
}

func newIdle(t *testing.T, change ...func(*settings)) idle {
	t.Helper()
	r, s := startRedis(t), named("issuer-1")
	for _, c := range change {
		c(&s)
	}
	i, err := redislog.NewIssuer(connect(t, r.addr()), s.cfg, s.o)
	if err != nil {
		t.Fatal(err)
	}
	return idle{i, r}
}

func (i idle) beat(hb ...revocation.Heartbeat) revocation.HeartbeatReply {
	i.t.Helper()
	send := func() (revocation.HeartbeatReply, error) { return i.BeatOnce(i.t.Context()) }
	if len(hb) > 0 {
		send = func() (revocation.HeartbeatReply, error) { return i.BeatWith(i.t.Context(), hb[0]) }
	}
	r, err := send()
	if err != nil {
		i.t.Fatalf("heartbeat: %v", err)
	}
	return r
}

// appended appends entries as something that the log has had before.
func (i idle) appended(expect revocation.Position, entries ...revocation.Entry) string {
	i.t.Helper()
	status, _, err := i.AppendOnce(i.t.Context(),
		revocation.Batch{Entries: entries, Again: true, Expect: expect})
	if err != nil {
		i.t.Fatalf("append: %v", err)
	}
	return status
}

func (i idle) length() int64 { return i.do("XLEN", logKey).(int64) }

func lasting(id string, expires int64) revocation.Entry {
	return revocation.Entry{
		Kind: revocation.KindSID, Issuer: iss, Value: id, Reason: "logout", Actor: "test",
		Expires: expires, At: 1,
	}
}

// TestAnIdleIssuerCreatesTheHead: with nothing to say and nothing held.
func TestAnIdleIssuerCreatesTheHead(t *testing.T) {
	t.Parallel()
	i := newIdle(t)
	if r := i.beat(); !r.HeadFound || r.Head.Seq != 1 || i.length() != 1 {
		t.Errorf("after its first heartbeat: head %t at %d", r.HeadFound, r.Head.Seq)
	}
}

// TestALogWithoutItsEntriesIsAnotherLog: a head that outlived its log describes nothing.
func TestALogWithoutItsEntriesIsAnotherLog(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string][]any{
		"deleted":          {"DEL", logKey},
		"trimmed by hand":  {"XTRIM", logKey, "MAXLEN", 1},
		"one is gone":      {"XDEL", logKey, "2-0"},
		"the newest is":    {"XDEL", logKey, "3-0"},
		"of another chain": {"HSET", headKey, "chain", strings.Repeat("0", 40)},
	} {
		i := newIdle(t)
		before := i.beat()
		later := before.Time + time.Hour.Milliseconds()
		if s := i.appended(before.Head.Position(), lasting("a", later), lasting("b", later)); s != "OK" {
			t.Fatalf("append: %s", s)
		}
		i.do(lose...)
		if after := i.beat(); after.Head.Epoch == before.Head.Epoch || after.Head.Seq != 1 ||
			i.length() != 1 {
			t.Errorf("%s: the same epoch goes on at %d", name, after.Head.Seq)
		}
	}
}

// TestTheChainBeginsWithTheEpoch: an entry of one epoch never follows one of another. The sum is
// made here by hand.
func TestTheChainBeginsWithTheEpoch(t *testing.T) {
	t.Parallel()
	i := newIdle(t)
	epoch := i.beat().Head.Epoch.String()
	entry := i.do("XRANGE", logKey, "1-0", "1-0").([]any)[0].([]any)[1].([]any)
	seed := sha1.Sum([]byte(epoch))
	sum := sha1.Sum(fmt.Appendf(nil, "%s:1:%s", hex.EncodeToString(seed[:]), entry[1]))
	if chain := hex.EncodeToString(sum[:]); entry[3] != chain {
		t.Errorf("the first entry's chain is %s, expected %s", entry[3], chain)
	}
}

// TestATrimMovesFirst: what has expired leaves the log, and the log goes on.
func TestATrimMovesFirst(t *testing.T) {
	t.Parallel()
	i := newIdle(t, func(s *settings) { s.cfg.ClockSkew = time.Second })
	before := i.beat()
	i.appended(before.Head.Position(), lasting("a", before.Time+time.Hour.Milliseconds()))
	var after revocation.HeartbeatReply
	agreed := revocation.Heartbeat{
		Times: revocation.ScriptTimes{Expired: before.Time + time.Minute.Milliseconds()},
	}
	eventually.True(t, "the first entry has left the log",
		func() bool { after = i.beat(agreed); return i.length() == 1 })
	if after = i.beat(agreed); after.Head.First != 2 || after.Head.Seq != 2 ||
		after.Head.Epoch != before.Head.Epoch {
		t.Errorf("first is %d, seq %d, the epoch is the same: %t", after.Head.First,
			after.Head.Seq, after.Head.Epoch == before.Head.Epoch)
	}
}

// TestNothingLeavesTheLogEarly: an entry is trimmed a clock_skew after it has expired by Redis'
// clock, whatever the issuer's clock says.
func TestNothingLeavesTheLogEarly(t *testing.T) {
	t.Parallel()
	clock := newShift()
	i := newIdle(t, func(s *settings) { s.o.Instant = clock.instant })
	before := i.beat()
	i.appended(before.Head.Position(), lasting("a", before.Time+5000),
		lasting("b", before.Time+time.Hour.Milliseconds()))
	clock.move(25 * time.Second) // clock_skew is 30 s
	for _, expired := range []int64{
		before.Time + 25_000, before.Time + time.Hour.Milliseconds(), before.Time, 0,
	} {
		if r := i.beat(
			revocation.Heartbeat{Times: revocation.ScriptTimes{Expired: expired}}); r.Head.First != 1 ||
			i.length() != 3 {
			t.Fatalf("trimmed up to %d, %d entries are left of 3", r.Head.First, i.length())
		}
	}
}

// TestAppendingAgainIsBoundToItsHead: to the log it was computed against and no other.
func TestAppendingAgainIsBoundToItsHead(t *testing.T) {
	t.Parallel()
	i := newIdle(t)
	r := i.beat()
	at, later := r.Head.Position(), r.Time+time.Hour.Milliseconds()
	elsewhere := at
	elsewhere.Epoch[0]++
	forked := at
	forked.Chain[0]++
	for name, expect := range map[string]revocation.Position{
		"nowhere": {}, "another epoch": elsewhere, "another chain": forked,
	} {
		if s := i.appended(expect, lasting("a", later)); s != "MOVED" || i.length() != 1 {
			t.Errorf("%s: %s, and %d entries", name, s, i.length())
		}
	}
	if s := i.appended(at, lasting("a", later)); s != "OK" || i.length() != 2 {
		t.Errorf("on its head: %s, and %d entries", s, i.length())
	}
	if s := i.appended(at, lasting("a", later)); s != "MOVED" || i.length() != 2 {
		t.Errorf("a second time: %s, and %d entries", s, i.length())
	}
}

// TestMendingLastsFromTheLastHeartbeatThatAsksForIt: one settle, however long ago it was marked
// first.
func TestMendingLastsFromTheLastHeartbeatThatAsksForIt(t *testing.T) {
	t.Parallel()
	i := newIdle(t)
	lacking := revocation.Heartbeat{Holds: true, Mend: true}
	first := i.beat(lacking)
	var r revocation.HeartbeatReply
	eventually.True(t, "Redis' time has moved",
		func() bool { r = i.beat(lacking); return r.Time > first.Time })
	cfg := quick()
	if left := r.Head.Mending - r.Time; left != cfg.Settle.Milliseconds() {
		t.Errorf("marked for %d ms more, expected settle", left)
	}
}

// TestALongSilenceBeginsANewEra: longer than an entry lives. A shorter one does not.
func TestALongSilenceBeginsANewEra(t *testing.T) {
	t.Parallel()
	i := newIdle(t)
	first := i.beat()
	i.do("HSET", headKey, "beat", first.Time-time.Minute.Milliseconds())
	if r := i.beat(); r.Head.Era != first.Head.Era {
		t.Error("a minute began a new era")
	}
	i.do("HSET", headKey, "beat", first.Time-2*time.Hour.Milliseconds())
	if r := i.beat(); r.Head.Era == first.Head.Era {
		t.Error("two hours began no new era")
	}
}

// TestALineIsOnTheLogByItsChain: the same place of the same epoch may be another entry.
func TestALineIsOnTheLogByItsChain(t *testing.T) {
	t.Parallel()
	i := newIdle(t)
	r := i.beat()
	at := r.Head.Position()
	i.do("SET", gateKey(1), fmt.Sprintf("%s %d %s 1 x {}", at.Epoch, at.Seq, at.Chain))
	i.do("SET", gateKey(2), fmt.Sprintf("%s %d %s 1 x {}", at.Epoch, at.Seq, strings.Repeat("ab", 20)))
	lines, err := i.Gates(t.Context())
	if err != nil || len(lines) != 2 || !lines[0].OnLog || lines[1].OnLog {
		t.Errorf("lines %+v, %v; expected the first on the log and not the second", lines, err)
	}
}
