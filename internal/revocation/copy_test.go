package revocation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

// bench is one copy of one log.
type bench struct {
	t *testing.T
	clocks
	log     *fakeLog
	c       *revocation.Copy
	set     *liveset.Set
	resyncs map[revocation.Cause]int
}

// newBench is a log with some entries and a copy that has not met it.
func newBench(t *testing.T, change ...func(*revocation.CopyConfig)) *bench {
	log := &fakeLog{now: at * 1000}
	cfg := times()
	for _, c := range change {
		c(&cfg)
	}
	set := newSet()
	b := &bench{
		t: t, clocks: clocks{log: log}, log: log, c: revocation.NewCopy(cfg, set), set: set,
		resyncs: map[revocation.Cause]int{},
	}
	for n := range 7 {
		b.add(fmt.Sprintf("s%d", n))
	}
	b.c.Connected()
	return b
}

func (b *bench) add(sid string) {
	e := entry(revocation.KindSID, sid)
	e.Seq = 0
	b.log.append(revocation.Batch{Entries: []revocation.Entry{*e}})
}

func (b *bench) beat() revocation.Outcome {
	hb := b.c.Beat(b.instant())
	return b.noted(b.c.Answered(hb, b.log.gateBeat(hb), b.instant()))
}

func (b *bench) noted(out revocation.Outcome) revocation.Outcome {
	if out.Resync != "" {
		b.resyncs[out.Resync]++
	}
	return out
}

// read reads until there is nothing new.
func (b *bench) read() (last revocation.Outcome) {
	for {
		rd := b.c.Next()
		if rd.Mode == revocation.ReadNothing {
			return last
		}
		entries := b.log.read(rd)
		if len(entries) == 0 && rd.Mode == revocation.ReadTail {
			return last
		}
		last = b.noted(b.c.Entries(rd, entries, b.instant()))
	}
}

func (b *bench) fresh() bool {
	v := b.c.View()
	return v.Freshness(b.instant()).Fresh
}

func (b *bench) denies(sid string) bool {
	return b.set.Check(&revocation.Facts{Issuer: iss, SessionID: sid}).Revoked
}

// settled brings the copy to a counting heartbeat.
func (b *bench) settled() *bench {
	b.t.Helper()
	for range 8 {
		b.beat()
		b.read()
		b.pass(heartbeat)
	}
	if !b.fresh() || !b.denies("s6") {
		b.t.Fatal("no counting heartbeat in two seconds of health")
	}
	return b
}

// TestNotReadyBeforeTheLastPage (S2, CVE-2022-41316): nothing counts before the copy is complete,
// settled and confirmed.
func TestNotReadyBeforeTheLastPage(t *testing.T) {
	b := newBench(t)
	if out := b.beat(); out.Resync != revocation.CauseStart {
		t.Fatalf("first heartbeat: %+v", out)
	}
	for page := range 3 {
		if b.pass(200 * time.Millisecond); b.c.Complete() {
			t.Fatalf("complete before page %d", page)
		}
		if b.beat().Counted || b.fresh() {
			t.Fatalf("a heartbeat counts before page %d", page)
		}
		rd := b.c.Next()
		b.c.Entries(rd, b.log.read(rd), b.instant())
	}
	if !b.c.Complete() || !b.denies("s0") || !b.denies("s6") || b.fresh() {
		t.Fatal("after the last page: not complete, or fresh already")
	}
	b.pass(399 * time.Millisecond)
	if b.beat().Counted {
		t.Fatal("counted before the connection has settled")
	}
	b.pass(time.Millisecond)
	if !b.beat().Counted || !b.fresh() {
		t.Fatal("did not count once it has settled")
	}
}

// TestDoesNotCount: each row is one reason why a heartbeat that would have counted does not, and
// must not keep a gate fresh beyond max_staleness.
func TestDoesNotCount(t *testing.T) {
	reply := func(change func(*revocation.HeartbeatReply)) func(*bench) revocation.Outcome {
		return func(b *bench) revocation.Outcome {
			hb := b.c.Beat(b.instant())
			r := b.log.gateBeat(hb)
			change(&r)
			return b.c.Answered(hb, r, b.instant())
		}
	}
	for name, beat := range map[string]func(*bench) revocation.Outcome{
		"no head":          reply(func(r *revocation.HeartbeatReply) { r.HeadFound = false }),
		"too few replicas": reply(func(r *revocation.HeartbeatReply) { r.Replicas = -1 }),
		"mending": reply(func(r *revocation.HeartbeatReply) {
			r.Head.Mending = r.Time + 1
		}),
		"another epoch": reply(func(r *revocation.HeartbeatReply) {
			r.Head.Epoch = revocation.Epoch{9}
		}),
		"another entry at my seq": reply(func(r *revocation.HeartbeatReply) {
			r.AtMine = revocation.Chain{9}
		}),
		"my entry gone": reply(func(r *revocation.HeartbeatReply) {
			r.AtMineFound, r.Head.Chain = false, revocation.Chain{9}
		}),
		"head behind me": reply(func(r *revocation.HeartbeatReply) { r.Head.Seq-- }),
		"head's chain not mine": reply(func(r *revocation.HeartbeatReply) {
			r.Head.Chain = revocation.Chain{9}
		}),
		"head not applied": reply(func(r *revocation.HeartbeatReply) { r.Head.Seq++ }),
		"answer to an older connection": func(b *bench) revocation.Outcome {
			hb := b.c.Beat(b.instant())
			b.c.Connected()
			return b.c.Answered(hb, b.log.gateBeat(hb), b.instant())
		},
		"new connection": func(b *bench) revocation.Outcome { b.c.Connected(); return b.beat() },
		"after an error": func(b *bench) revocation.Outcome {
			b.c.BeatFailed(b.c.Beat(b.instant()))
			return b.beat()
		},
		"after a pause": func(b *bench) revocation.Outcome {
			b.pass(1100 * time.Millisecond)
			return b.beat()
		},
		"after half a settle without one": func(b *bench) revocation.Outcome {
			b.pass(300 * time.Millisecond)
			return b.beat()
		},
		"after a suspension": func(b *bench) revocation.Outcome {
			b.log.now += 2000
			return b.beat()
		},
	} {
		b := newBench(t).settled()
		if !b.beat().Counted {
			t.Fatal("a healthy heartbeat does not count")
		}
		b.pass(heartbeat)
		if out := beat(b); out.Counted {
			t.Errorf("%s: counted", name)
		}
		if !b.fresh() {
			t.Errorf("%s: earlier freshness lost at once", name)
		}
		b.pass(10 * time.Second)
		if b.fresh() {
			t.Errorf("%s: still fresh after max_staleness", name)
		}
		if !b.denies("s3") {
			t.Errorf("%s: forgot what it had denied (S3)", name)
		}
		for range 12 {
			b.beat()
			b.read()
			b.pass(heartbeat)
		}
		if !b.fresh() {
			t.Errorf("%s: not fresh again after three seconds of health (L1)", name)
		}
	}
}

// TestSettlingTakesSettle: after a new connection, the first heartbeat that counts was sent settle
// after the first good one was answered.
func TestSettlingTakesSettle(t *testing.T) {
	b := newBench(t).settled()
	b.c.Connected()
	hb := b.c.Beat(b.instant())
	b.pass(200 * time.Millisecond) // the answer is slow
	b.c.Answered(hb, b.log.gateBeat(hb), b.instant())
	for passed := time.Duration(0); passed < time.Second; passed += 100 * time.Millisecond {
		if b.beat().Counted {
			t.Fatalf("counted %s after the first good answer", passed)
		}
		b.pass(100 * time.Millisecond)
	}
	if !b.beat().Counted {
		t.Error("does not count once settled")
	}
}

// TestSettlesAnewOnAnotherEpoch: also when the connection stays.
func TestSettlesAnewOnAnotherEpoch(t *testing.T) {
	b := newBench(t).settled()
	b.log.flush()
	b.log.whole()
	b.beat()
	b.read()
	for passed := time.Duration(0); passed < time.Second; passed += heartbeat {
		if b.beat().Counted {
			t.Fatalf("counted %s after the first good answer", passed)
		}
		b.pass(heartbeat)
	}
	if !b.beat().Counted {
		t.Error("does not count once settled")
	}
}

// TestAnswerFromBeforeALoad: a heartbeat sent before a load had ended says nothing of the copy it
// made.
func TestAnswerFromBeforeALoad(t *testing.T) {
	b := newBench(t).settled()
	b.log.flush()
	b.log.whole()
	b.beat()
	hb := b.c.Beat(b.instant())
	answer := b.log.gateBeat(hb)
	b.read()
	if out := b.c.Answered(hb, answer, b.instant()); out.Counted || out.Resync != "" ||
		!b.c.Complete() {
		t.Errorf("%+v", out)
	}
}

// TestLoadOfATrimmedLogEndsInItsChain: what came before the first entry is not known, so entries of
// another log would follow each other well: the head's chain tells.
func TestLoadOfATrimmedLogEndsInItsChain(t *testing.T) {
	b := newBench(t)
	b.log.entries, b.log.head.First = b.log.entries[3:], 4
	other := b.log.snapshot()
	for i := range other.entries {
		e := &other.entries[i]
		e.Value = "other"
		previous := revocation.Chain{1}
		if i > 0 {
			previous = other.entries[i-1].Chain
		}
		e.Chain = e.After(previous)
	}
	b.beat()
	var out revocation.Outcome
	for range 2 {
		rd := b.c.Next()
		out = b.c.Entries(rd, other.read(rd), b.instant())
	}
	if out.Resync != revocation.CauseChain || b.c.Complete() {
		t.Errorf("%+v, want a resync by chain", out)
	}
	b.settled()
}

// TestFreshFromWhenItWasSent: staleness runs from a heartbeat's sending, not from its answer.
func TestFreshFromWhenItWasSent(t *testing.T) {
	b := newBench(t).settled()
	hb := b.c.Beat(b.instant())
	b.pass(9 * time.Second)
	if !b.c.Answered(hb, b.log.gateBeat(hb), b.instant()).Counted {
		t.Fatal("a slow heartbeat does not count")
	}
	b.pass(1001 * time.Millisecond)
	if b.fresh() {
		t.Error("fresh max_staleness after the answer, not after the sending")
	}
}

// TestCountsOnceItsHeadIsApplied: under steady traffic the head is always a little ahead. A
// heartbeat counts, as of its sending, when that head is reached in the same chain.
func TestCountsOnceItsHeadIsApplied(t *testing.T) {
	b := newBench(t).settled()
	b.add("new")
	sent := b.instant()
	if b.beat().Counted {
		t.Fatal("counted before its head is applied")
	}
	b.pass(heartbeat)
	if out := b.read(); !out.Counted {
		t.Fatal("does not count once its head is applied")
	}
	v := b.c.View()
	if v.Last != sent {
		t.Errorf("counts as of %v, was sent at %v", v.Last, sent)
	}
}

// TestCountsWhenReadingWasFaster: what was applied between a heartbeat's sending and its answer
// does not hide that its head is part of it.
func TestCountsWhenReadingWasFaster(t *testing.T) {
	b := newBench(t).settled()
	hb := b.c.Beat(b.instant())
	b.add("one")
	answer := b.log.gateBeat(hb)
	b.add("two")
	b.read()
	if !b.c.Answered(hb, answer, b.instant()).Counted {
		t.Error("does not count")
	}
	hb = b.c.Beat(b.instant())
	b.add("three")
	answer = b.log.gateBeat(hb)
	answer.Head.Chain = revocation.Chain{1}
	b.add("four")
	b.read()
	if out := b.c.Answered(hb, answer, b.instant()); out.Counted ||
		out.Resync != revocation.CauseChain {
		t.Errorf("a head in another chain: %+v", out)
	}
}

// TestResyncs: each row is a way the log can turn into another one, and what it is called.
func TestResyncs(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*bench)
		want   revocation.Cause
	}{
		"another epoch":   {func(b *bench) { b.log.flush(); b.log.whole() }, revocation.CauseEpoch},
		"lost its newest": {func(b *bench) { cut(b.log, 2) }, revocation.CauseRollback},
		"lost and grew again": {
			func(b *bench) { cut(b.log, 2); b.add("x"); b.add("y"); b.add("z") }, revocation.CauseChain,
		},
		"grew as far": {
			func(b *bench) { cut(b.log, 2); b.add("x"); b.add("y") }, revocation.CauseChain,
		},
		"trimmed past us": {
			func(b *bench) {
				b.add("x")
				b.add("y")
				b.log.entries = b.log.entries[8:]
				b.log.head.First = 9
			},
			revocation.CauseTrimmed,
		},
	} {
		b := newBench(t).settled()
		c.change(b)
		if out := b.beat(); out.Resync != c.want || b.resyncs[c.want] != 1 {
			t.Errorf("%s: cause %q, want %q", name, out.Resync, c.want)
		}
		for range 8 {
			b.read()
			b.pass(heartbeat)
			b.beat()
		}
		if p := b.c.Position(); p != b.log.head.Position() || !b.fresh() {
			t.Errorf("%s: not on the log two seconds later", name)
		}
		if !b.denies("s6") {
			t.Errorf("%s: forgot what the log has lost (S3)", name)
		}
	}
}

// cut takes the newest n entries away, as a failover to a replica that missed them does.
func cut(l *fakeLog, n int) {
	l.entries = l.entries[:len(l.entries)-n]
	last := l.entries[len(l.entries)-1]
	l.head.Seq, l.head.Chain = last.Seq, last.Chain
}

// TestTrimmedHeadIsMine: a position whose entry is trimmed is on the log if it is the head's.
func TestTrimmedHeadIsMine(t *testing.T) {
	b := newBench(t).settled()
	b.log.entries, b.log.head.First = nil, b.log.head.Seq+1
	if out := b.beat(); !out.Counted {
		t.Errorf("%+v, want counted", out)
	}
}

// TestBadReads: each row is something a read may return that does not follow. It is not applied,
// and the copy is loaded again.
func TestBadReads(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]revocation.Entry) []revocation.Entry
		want   revocation.Cause
	}{
		"gap": {
			func(e []revocation.Entry) []revocation.Entry { return e[1:] }, revocation.CauseGap,
		},
		"gap inside": {
			func(e []revocation.Entry) []revocation.Entry { return append(e[:1:1], e[2:]...) },
			revocation.CauseGap,
		},
		"twice": {
			func(e []revocation.Entry) []revocation.Entry { return append(e[:1:1], e...) },
			revocation.CauseGap,
		},
		"altered": {
			func(e []revocation.Entry) []revocation.Entry { e[0].Value = "other"; return e },
			revocation.CauseChain,
		},
		"another chain": {
			func(e []revocation.Entry) []revocation.Entry { e[0].Chain[0]++; return e },
			revocation.CauseChain,
		},
		"unknown": {
			func(e []revocation.Entry) []revocation.Entry { e[0].Kind = 0; return e },
			revocation.CauseUnknown,
		},
		"epoch within": {
			func(e []revocation.Entry) []revocation.Entry { e[0].Kind = revocation.KindEpoch; return e },
			revocation.CauseUnknown,
		},
	} {
		b := newBench(t).settled()
		for n := range 3 {
			b.add(fmt.Sprintf("x%d", n))
		}
		rd := b.c.Next()
		out := b.c.Entries(rd, c.change(b.log.read(rd)), b.instant())
		if out.Resync != c.want || b.c.Complete() {
			t.Errorf("%s: cause %q, want %q", name, out.Resync, c.want)
		}
		if b.denies("other") {
			t.Errorf("%s: an entry that does not follow was applied", name)
		}
		if fresh := b.fresh(); fresh == (c.want == revocation.CauseUnknown) {
			t.Errorf("%s: fresh %v", name, fresh)
		}
		if again := b.c.Entries(rd, b.log.read(rd), b.instant()); len(again.Applied) > 0 {
			t.Errorf("%s: the answer to an old read was applied", name)
		}
		for range 8 {
			b.beat()
			b.read()
			b.pass(heartbeat)
		}
		if c.want != revocation.CauseUnknown && (!b.denies("x2") || !b.fresh()) {
			t.Errorf("%s: not in step two seconds later", name)
		}
	}
}

// TestUnknownEntryIsNeverSkipped: no copy is complete until the log has left the entry behind.
func TestUnknownEntryIsNeverSkipped(t *testing.T) {
	b := newBench(t).settled()
	b.add("x")
	b.log.entries[8].Kind = 0
	rd := b.c.Next()
	b.c.Entries(rd, b.log.read(rd), b.instant())
	for range 20 {
		b.beat()
		b.read()
		b.pass(heartbeat)
		v := b.c.View()
		if f := v.Freshness(b.instant()); f.Fresh || f.Why != revocation.WhyUnknown ||
			v.Ready(b.instant()) == nil {
			t.Fatalf("beside an unknown entry: %+v", f)
		}
	}
	if !b.denies("s6") {
		t.Error("forgot what it had denied (S3)")
	}
	b.add("y")
	b.log.entries, b.log.head.First = b.log.entries[9:], 10
	for range 8 {
		b.beat()
		b.read()
		b.pass(heartbeat)
	}
	if !b.fresh() || !b.denies("y") {
		t.Error("not fresh though the entry has been trimmed")
	}
}

// TestLoadingIsWhole: each row is a log that changes while it is loaded: never complete with
// something missing.
func TestLoadingIsWhole(t *testing.T) {
	for name, change := range map[string]func(*bench){
		"trimmed":         func(b *bench) { b.log.entries, b.log.head.First = b.log.entries[6:], 7 },
		"another epoch":   func(b *bench) { b.log.flush(); b.log.whole(); b.add("x") },
		"lost its newest": func(b *bench) { cut(b.log, 3) },
		"lost everything": func(b *bench) { b.log.flush() },
		"deleted":         func(b *bench) { b.log.entries = nil }, // and its head kept
		"grew":            func(b *bench) { b.add("x"); b.add("y") },
		"other entries": func(b *bench) {
			cut(b.log, 4)
			b.add("a")
			b.add("b")
			b.add("c")
			b.add("d")
			b.add("e")
		},
	} {
		for pages := range 3 {
			b := newBench(t)
			b.beat()
			for range pages {
				rd := b.c.Next()
				b.c.Entries(rd, b.log.read(rd), b.instant())
			}
			change(b)
			for range 12 {
				b.beat()
				rd := b.c.Next()
				if rd.Mode != revocation.ReadNothing {
					b.c.Entries(rd, b.log.read(rd), b.instant())
				}
				b.pass(heartbeat)
				if !b.fresh() {
					continue
				}
				for _, e := range b.log.entries {
					if e.Kind == revocation.KindSID && !b.denies(e.Value) {
						t.Errorf("%s after %d pages: fresh without %s", name, pages, e.Value)
					}
				}
			}
			if gone := name == "lost everything" || name == "deleted"; b.fresh() == gone {
				t.Errorf("%s after %d pages: fresh %v in the end", name, pages, b.fresh())
			}
		}
	}
}

// TestStalledReader: a head that moves on while nothing arrives means that the reading connection
// is dead.
func TestStalledReader(t *testing.T) {
	b := newBench(t).settled()
	b.add("x")
	stalled := 0
	for range 8 {
		if b.beat().Stalled {
			stalled++
		}
		b.pass(heartbeat)
	}
	if stalled != 1 {
		t.Errorf("stalled %d times in two seconds, want once", stalled)
	}
}

// TestClock: between counting heartbeats the clock that tokens expire by does not go back; a
// counting one lets it, unless the wall clock is then further than clock_skew from Redis'.
func TestClock(t *testing.T) {
	b := newBench(t).settled()
	c := b.c.Clock()
	wall := b.instant().Wall
	behind := func(d time.Duration) revocation.Instant {
		i := b.instant()
		i.Wall = i.Wall.Add(-d)
		return i
	}
	c.Now(b.instant())
	if !c.Now(behind(20 * time.Second)).Equal(wall) {
		t.Error("went back without a heartbeat")
	}
	later := behind(20 * time.Second)
	later.Mono, later.Wall = later.Mono+time.Second, later.Wall.Add(time.Second)
	if got := c.Now(later); !got.Equal(wall.Add(time.Second)) {
		t.Errorf("a second later by both clocks it is %v later", got.Sub(wall))
	}
	beat := func(d time.Duration) revocation.Outcome {
		hb := b.c.Beat(behind(d))
		return b.c.Answered(hb, b.log.gateBeat(hb), behind(d))
	}
	if out := beat(300 * time.Second); out.SetBack ||
		!c.Now(behind(300*time.Second)).Equal(wall) {
		t.Error("set back 300 s, which is more than clock_skew")
	}
	if v := b.c.View(); v.Ready(behind(300*time.Second)) == nil {
		t.Error("ready with a clock 300 s off")
	}
	// Setting the clock right is a pause to whoever looks at it: the connection settles anew.
	for range 4 {
		if out := beat(20 * time.Second); out.Counted || out.SetBack {
			t.Fatalf("set back before a heartbeat counts: %+v", out)
		}
		b.pass(heartbeat)
	}
	if out := beat(20 * time.Second); !out.Counted || !out.SetBack ||
		!c.Now(behind(20*time.Second)).Equal(behind(20*time.Second).Wall) {
		t.Errorf("not set back within clock_skew: %+v", out)
	}
}

// TestForgetsOnlyWhatHasExpiredByEveryClock: an entry outlives its expiry on a clock that is ahead.
func TestForgetsOnlyWhatHasExpiredByEveryClock(t *testing.T) {
	b := newBench(t).settled()
	ahead := b.instant()
	ahead.Wall = ahead.Wall.Add(2 * time.Hour)
	if now, ok := b.c.Expired(ahead); !ok || now > b.log.now {
		t.Errorf("with the wall clock ahead: %d, Redis has %d", now, b.log.now)
	}
	b.log.now += 2 * time.Hour.Milliseconds()
	late := b.instant()
	late.Wall = late.Wall.Add(-2 * time.Hour)
	hb := b.c.Beat(late)
	b.c.Answered(hb, b.log.gateBeat(hb), late)
	if now, _ := b.c.Expired(late); now > late.Wall.UnixMilli() {
		t.Errorf("with Redis' clock ahead: %d, the wall clock has %d", now, late.Wall.UnixMilli())
	}
}
