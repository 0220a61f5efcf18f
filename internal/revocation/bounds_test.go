package revocation_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// life is how long an entry lives in these tests.
var life = lifetime + 2*skew + times().MaxStaleness

// TestClocksThatLeapAheadTogetherForgetNothing: Redis' clock and this machine's are set ahead by
// the same wrong source for a while. What was revoked before stays so until it has expired by the
// time that there was before, carried on.
func TestClocksThatLeapAheadTogetherForgetNothing(t *testing.T) {
	d := newDesk(t)
	right := d.log.now
	began := d.mono
	d.moveAll(2 * time.Hour)
	for range 20 {
		d.health(1)
		now, ok := d.w.Expired(d.instant())
		if latest := right + (d.mono - began).Milliseconds(); !ok || now > latest {
			t.Fatalf("forgets up to %d ms ahead of the right time", now-latest)
		}
	}
}

// TestATimeThatLastsIsBelieved (L3): when clocks that were behind have been put right, what expires
// is let go again after an entry's life, and at once what had expired by the clocks that were
// behind.
func TestATimeThatLastsIsBelieved(t *testing.T) {
	d := newDesk(t)
	d.moveAll(2 * time.Hour)
	for passed := time.Duration(0); passed < 2*life; passed += life / 4 {
		d.health(1)
		d.pass(life / 4)
	}
	d.health(1)
	if now, _ := d.w.Expired(d.instant()); d.log.now-now > 1000 {
		t.Errorf("forgets only up to %d ms ago", d.log.now-now)
	}
}

// TestNewEntriesOutliveEveryTokenWhateverRedisClockSays: an entry that is made while Redis' clock
// is behind would expire before the tokens it names, and its cutoff would miss sessions that have
// begun.
func TestNewEntriesOutliveEveryTokenWhateverRedisClockSays(t *testing.T) {
	for name, move := range map[string]func(*desk){
		"Redis' clock behind":                   func(d *desk) { d.moveRedis(-300 * time.Second) },
		"Redis' and this machine's both behind": func(d *desk) { d.moveAll(-300 * time.Second) },
		"Redis' clock ahead":                    func(d *desk) { d.moveRedis(300 * time.Second) },
		"all clocks right":                      func(*desk) {},
	} {
		d := newDesk(t)
		right, began := d.log.now, d.mono
		move(d)
		d.health(2)
		right += (d.mono - began).Milliseconds()
		e := d.begin(request(revocation.KindTenant, "t")).Entries[0]
		if least := right + (lifetime + 2*skew).Milliseconds(); e.Expires < least {
			t.Errorf("%s: expires %d ms too early", name, least-e.Expires)
		}
		if e.IssuedBefore < right {
			t.Errorf("%s: the cutoff is %d ms before sessions that have begun", name, right-e.IssuedBefore)
		}
	}
}

// TestACutoffIsMadeByRedisClockWhileClocksAgree: a login right after it must work, so a machine's
// clock that is a little ahead counts for nothing.
func TestACutoffIsMadeByRedisClockWhileClocksAgree(t *testing.T) {
	d := newDesk(t)
	d.moveRedis(-20 * time.Second)
	d.health(2)
	if e := d.begin(request(revocation.KindClient, "c")).Entries[0]; e.IssuedBefore-d.log.now > 1000 {
		t.Errorf("the cutoff is %d ms ahead of Redis", e.IssuedBefore-d.log.now)
	}
}

// TestAMachineWhoseClockIsFarOffMakesNoLastingEntry: its cutoff would shut a tenant out for good,
// its entry stay for good, and one from later than an entry can hold would leave no reader a
// complete copy.
func TestAMachineWhoseClockIsFarOffMakesNoLastingEntry(t *testing.T) {
	for _, ahead := range []time.Duration{30 * 24 * time.Hour, 150 * 365 * 24 * time.Hour} {
		log := &fakeLog{now: at * 1000}
		set := newSet()
		d := &desk{
			t: t, clocks: clocks{log: log, off: -ahead}, log: log,
			w: revocation.NewWriter(times(), lifetime, set), set: set,
		}
		d.w.Connected()
		d.health(8)
		e := d.begin(request(revocation.KindTenant, "t")).Entries[0]
		if read := revocation.Decode(7, e.Body(), revocation.Chain{1}.String()); read.Kind != e.Kind {
			t.Errorf("a clock %s ahead makes an entry that nobody can read", ahead)
		}
		if off := time.Duration(e.IssuedBefore-d.log.now) * time.Millisecond; off > 25*time.Hour {
			t.Errorf("a clock %s ahead makes a cutoff %s ahead", ahead, off)
		}
	}
}

// TestWhatTheLogLosesWhileRedisIsAheadIsMissing: by Redis' clock all has expired, and it is
// appended again all the same.
func TestWhatTheLogLosesWhileRedisIsAheadIsMissing(t *testing.T) {
	d := newDesk(t)
	d.store(d.begin(request(revocation.KindSID, "s")))
	d.health(2)
	d.moveRedis(2 * time.Hour)
	d.health(2)
	d.log.flush()
	d.health(3)
	b, found := d.w.Mend(d.instant(), 10)
	if !found || len(b.Entries) != 1 {
		t.Fatalf("mends %d entries, want 1", len(b.Entries))
	}
	d.store(b)
	d.health(4)
	d.moveRedis(0)
	d.health(8)
	if d.w.Missing() != 0 || len(d.log.entries) != 2 {
		t.Errorf("missing %d, the log has %d entries, want the genesis and the one",
			d.w.Missing(), len(d.log.entries))
	}
}

// TestNothingIsTrimmedAheadOfTheIssuersOwnTime: trimmed by Redis' clock alone, it would be lost to
// every gate that starts.
func TestNothingIsTrimmedAheadOfTheIssuersOwnTime(t *testing.T) {
	d := newDesk(t)
	d.store(d.begin(request(revocation.KindSID, "s")))
	d.store(d.begin(request(revocation.KindSID, "newest")))
	d.moveRedis(50 * time.Hour)
	d.health(4)
	if d.log.head.First != 1 {
		t.Errorf("trimmed up to %d", d.log.head.First)
	}
}

// TestAJumpOfRedisClockSettlesAnew: marks of mending are times. Until issuers have renewed theirs,
// a heartbeat says nothing.
func TestAJumpOfRedisClockSettlesAnew(t *testing.T) {
	for _, by := range []time.Duration{
		5 * time.Second, -5 * time.Second, 700 * time.Millisecond, -20 * time.Second,
	} {
		b := newBench(t).settled()
		b.moveRedis(by)
		counted := b.beat().Counted
		for range 3 {
			b.pass(heartbeat)
			counted = b.beat().Counted || counted
		}
		if counted {
			t.Errorf("a heartbeat counted within settle of a jump by %s", by)
		}
		b.pass(heartbeat)
		if !b.beat().Counted {
			t.Errorf("no heartbeat counts a settle after a jump by %s", by)
		}
	}
	b := newBench(t).settled()
	b.moveRedis(100 * time.Millisecond)
	if !b.beat().Counted {
		t.Error("a step of 100 ms settles anew")
	}
}

// TestAMarkFromAWrongClockEnds (L1): set while Redis' clock was ahead, it would keep every
// heartbeat from counting until then.
func TestAMarkFromAWrongClockEnds(t *testing.T) {
	d := newDesk(t)
	d.log.head.Mending = d.log.now + 300_000
	d.health(12)
	if out := d.w.View(); !out.Freshness(d.instant()).Fresh || d.log.head.Mending > d.log.now {
		t.Errorf("marked as mending for %d ms more", d.log.head.Mending-d.log.now)
	}
}

// TestTheBelievedTimeIsRedisOwnCarriedOn: a clock that leaps ahead must not make the log's last
// heartbeat look old.
func TestTheBelievedTimeIsRedisOwnCarriedOn(t *testing.T) {
	d := newDesk(t)
	before := d.log.now
	d.moveRedis(50 * time.Hour)
	if s := d.w.Beat(d.instant()).Times; s.Redis < before || s.Redis > before+2000 {
		t.Errorf("believes %d ms from the right time", s.Redis-before)
	}
	d.pass(2 * life)
	if s := d.w.ScriptTimes(d.instant()); s.Redis != 0 {
		t.Error("believes a time from longer ago than an entry lives")
	}
}
