package revocation_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

// desk is one issuer on one log.
type desk struct {
	t *testing.T
	clocks
	log *fakeLog
	w   *revocation.Writer
	set *liveset.Set
}

func newDesk(t *testing.T) *desk {
	log := &fakeLog{now: at * 1000}
	set := newSet()
	d := &desk{
		t: t, clocks: clocks{log: log}, log: log,
		w: revocation.NewWriter(times(), lifetime, set), set: set,
	}
	d.w.Connected()
	d.health(8)
	return d
}

// health is n heartbeats with everything read.
func (d *desk) health(n int) {
	for range n {
		d.beat()
		d.read()
		d.pass(heartbeat)
	}
}

func (d *desk) beat() revocation.Heartbeat {
	hb := d.w.Beat(d.instant())
	d.w.Answered(hb, d.log.issuerBeat(hb, times().Settle), d.instant())
	return hb
}

func (d *desk) read() {
	for {
		rd := d.w.Next()
		entries := d.log.read(rd)
		if rd.Mode == revocation.ReadNothing || len(entries) == 0 && rd.Mode == revocation.ReadTail {
			return
		}
		d.w.Entries(rd, entries, d.instant())
	}
}

func (d *desk) begin(reqs ...revocation.Request) revocation.Batch {
	d.t.Helper()
	b, err := d.w.Begin(reqs, d.instant())
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

func (d *desk) store(b revocation.Batch) revocation.Position {
	d.t.Helper()
	before := d.log.head.Chain
	epoch, first, ok := d.log.append(b)
	if !ok {
		d.t.Fatal("the head has moved")
	}
	return d.w.Stored(b, epoch, first, before)
}

func request(k revocation.Kind, value string) revocation.Request {
	return revocation.Request{Kind: k, Issuer: iss, Value: value, Reason: "test", Actor: "admin"}
}

func (d *desk) denies(sid string) bool {
	return d.set.Check(&revocation.Facts{Issuer: iss, SessionID: sid, Ours: true}).Revoked
}

// TestEntryOfARequest: what is asked becomes an entry in Redis' time that outlives every token it
// can name.
func TestEntryOfARequest(t *testing.T) {
	d := newDesk(t)
	for _, k := range revocation.Kinds() {
		q := request(k, "x")
		if k == revocation.KindIss {
			q.Value = ""
		}
		e := d.begin(q).Entries[0]
		if e.At < d.log.now || e.At > d.log.now+300 {
			t.Errorf("%s: made at %d, Redis has %d", k, e.At, d.log.now)
		}
		if life := e.Expires - e.At; life < (lifetime+2*skew).Milliseconds() ||
			life > (lifetime+3*skew).Milliseconds() {
			t.Errorf("%s: lives %d ms", k, life)
		}
		if want := map[bool]int64{true: e.At}[k.Cutoff()]; e.IssuedBefore != want {
			t.Errorf("%s: cutoff %d, want %d", k, e.IssuedBefore, want)
		}
		if e.Kind != k || e.Issuer != iss || e.Value != q.Value || e.Reason != "test" ||
			e.Actor != "admin" {
			t.Errorf("%s: %+v", k, e)
		}
	}
	d.log.head.MaxTokenLifetime = 2 * lifetime
	d.health(1)
	e := d.begin(request(revocation.KindSID, "y")).Entries[0]
	if e.Expires-e.At < (2*lifetime + 2*skew).Milliseconds() {
		t.Error("an entry does not live as long as the head's max_token_lifetime asks")
	}
}

// TestRefusedBegin: each row cannot become an entry, and leaves nothing behind.
func TestRefusedBegin(t *testing.T) {
	d := newDesk(t)
	future := request(revocation.KindClient, "x")
	future.IssuedBefore = time.UnixMilli(d.log.now).Add(skew + time.Second)
	for name, reqs := range map[string][]revocation.Request{
		"cutoff in the future": {future},
		"invalid":              {{Kind: revocation.KindSID, Issuer: iss}},
		"one of two invalid": {
			request(revocation.KindSID, "s"), {Kind: revocation.KindSID, Issuer: iss},
		},
	} {
		if _, err := d.w.Begin(reqs, d.instant()); !errors.Is(err, revocation.ErrInvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.pass(11 * time.Second)
	if _, err := d.w.Begin([]revocation.Request{request(revocation.KindSID, "s")},
		d.instant()); !errors.Is(
		err,
		revocation.ErrNoTime,
	) {
		t.Errorf("with Redis' time unknown: %v", err)
	}
	if d.denies("s") || d.w.Missing() != 0 {
		t.Error("a refused request left something behind")
	}
}

// TestOwnSetFirst: from Begin on, the issuer denies what it was asked to revoke, whatever becomes
// of the append.
func TestOwnSetFirst(t *testing.T) {
	d := newDesk(t)
	b := d.begin(request(revocation.KindSID, "s"))
	if !d.denies("s") {
		t.Error("not denied while the append is under way")
	}
	d.w.Failed(b)
	if !d.denies("s") {
		t.Error("not denied after the append has failed")
	}
}

// TestWhatIsMissing: each row is what became of an append; whether the log then lacks the entry,
// and whether the next heartbeat says so.
func TestWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		fate func(d *desk, b revocation.Batch)
		want bool
	}{
		"under way":            {func(*desk, revocation.Batch) {}, false},
		"failed":               {func(d *desk, b revocation.Batch) { d.w.Failed(b) }, true},
		"stored, not read yet": {func(d *desk, b revocation.Batch) { d.store(b) }, false},
		"stored and read":      {func(d *desk, b revocation.Batch) { d.store(b); d.read() }, false},
		"failed, stored, read": {
			func(d *desk, b revocation.Batch) { d.log.append(b); d.w.Failed(b); d.read() }, false,
		},
		"read before it is told": {
			func(d *desk, b revocation.Batch) { d.log.append(b); d.read(); d.w.Failed(b) }, false,
		},
		"stored, log flushed": {
			func(d *desk, b revocation.Batch) { d.store(b); d.log.flush(); d.health(2) }, true,
		},
		"stored, log went back": {func(d *desk, b revocation.Batch) {
			d.store(b)
			cut(d.log, 1)
			d.beat()
		}, true},
		"log went back and grew": {func(d *desk, b revocation.Batch) {
			d.store(b)
			cut(d.log, 1)
			d.log.append(revocation.Batch{Entries: []revocation.Entry{*entry(revocation.KindSID, "other")}})
			d.health(1)
		}, true},
		"failed and expired": {
			func(d *desk, b revocation.Batch) { d.w.Failed(b); d.pass(2 * time.Hour); d.health(1) }, false,
		},
	} {
		d := newDesk(t)
		b := d.begin(request(revocation.KindSID, "s"))
		c.fate(d, b)
		if hb := d.w.Beat(d.instant()); hb.Mend != c.want {
			t.Errorf("%s: the heartbeat says %v, want %v", name, hb.Mend, c.want)
		}
		mend, found := d.w.Mend(d.instant(), 10)
		if found != c.want {
			t.Errorf("%s: to mend %v, want %v", name, found, c.want)
		}
		if !found {
			continue
		}
		if mend.Entries[0] != b.Entries[0] {
			t.Errorf("%s: %+v is appended again, was %+v", name, mend.Entries[0], b.Entries[0])
		}
		if !mend.Again || mend.Expect != d.log.head.Position() {
			t.Errorf("%s: not bound to the head it was computed against", name)
		}
		if _, twice := d.w.Mend(d.instant(), 10); twice {
			t.Errorf("%s: mended twice at a time", name)
		}
		d.store(mend)
		d.health(2)
		if d.w.Missing() != 0 || d.w.Beat(d.instant()).Mend {
			t.Errorf("%s: still missing after it was mended", name)
		}
	}
}

// TestMendingIsMarkedInTheHeartbeatThatShowsIt: before anybody can read the log that lacks it.
func TestMendingIsMarkedInTheHeartbeatThatShowsIt(t *testing.T) {
	for name, fault := range map[string]func(*fakeLog){
		"flushed":       func(l *fakeLog) { l.flush() },
		"log deleted":   func(l *fakeLog) { l.entries = nil },
		"went back":     func(l *fakeLog) { cut(l, 1) },
		"two went back": func(l *fakeLog) { cut(l, 2) },
	} {
		d := newDesk(t)
		d.store(d.begin(request(revocation.KindSID, "a")))
		d.read()
		d.store(d.begin(request(revocation.KindSID, "unread")))
		fault(d.log)
		d.beat()
		if d.log.head.Mending != d.log.now+times().Settle.Milliseconds() {
			t.Errorf("%s: mending %d at %d", name, d.log.head.Mending, d.log.now)
		}
	}
	d := newDesk(t)
	d.store(d.begin(request(revocation.KindSID, "a")))
	d.health(4)
	if d.log.head.Mending != 0 {
		t.Error("a healthy log was marked as mending")
	}
	empty := newDesk(t)
	empty.log.flush()
	empty.health(2)
	if empty.log.head.Mending != 0 {
		t.Error("an issuer that holds nothing marked the log as mending")
	}
}

// TestMendingWaitsForACompleteCopy: what is missing cannot be known before.
func TestMendingWaitsForACompleteCopy(t *testing.T) {
	d := newDesk(t)
	for n := range 9 {
		d.store(d.begin(request(revocation.KindSID, fmt.Sprint(n))))
	}
	d.read()
	d.log.flush()
	d.beat()
	if _, found := d.w.Mend(d.instant(), 10); found {
		t.Error("mended before the new log is read")
	}
	d.read()
	mend, _ := d.w.Mend(d.instant(), 4)
	if len(mend.Entries) != 4 || mend.Entries[0].Value != "0" {
		t.Errorf("first batch %+v, want the oldest four", mend.Entries)
	}
}

// TestFind: a live entry counts once it is acknowledged, and only on the log it was found in.
func TestFind(t *testing.T) {
	d := newDesk(t)
	reqs := []revocation.Request{request(revocation.KindSID, "s")}
	find := func() bool { _, ok := d.w.Find(reqs, d.instant()); return ok }
	b := d.begin(reqs...)
	if find() {
		t.Error("found while the append is under way")
	}
	at := d.store(b)
	d.read()
	if find() {
		t.Error("found before it is acknowledged")
	}
	if p, ok := d.w.Locate(b); !ok || p != at {
		t.Errorf("located at %+v, stored at %+v", p, at)
	}
	d.w.Acknowledged(d.beat())
	if p, ok := d.w.Find(reqs, d.instant()); !ok || p != at {
		t.Errorf("found at %+v, stored at %+v", p, at)
	}
	old := d.beat()
	d.log.flush()
	d.beat()
	if find() {
		t.Error("found in a log that is gone")
	}
	d.health(1)
	mend, _ := d.w.Mend(d.instant(), 10)
	d.store(mend)
	d.read()
	d.w.Acknowledged(old)
	if find() {
		t.Error("acknowledged by a heartbeat on a log that is gone")
	}
	d.w.Acknowledged(d.beat())
	if !find() {
		t.Error("not found after it was mended and acknowledged")
	}
	d.pass(2 * time.Hour)
	d.health(1)
	if find() {
		t.Error("found after it has expired")
	}
}

// TestFindCutoff: a cutoff is found by one at or after it.
func TestFindCutoff(t *testing.T) {
	d := newDesk(t)
	made := request(revocation.KindClient, "app")
	cutoff := time.UnixMilli(d.log.now - 5000)
	made.IssuedBefore = cutoff
	d.store(d.begin(made))
	d.read()
	d.w.Acknowledged(d.beat())
	for want, before := range map[time.Time]bool{
		cutoff.Add(-time.Millisecond): true, cutoff: true, cutoff.Add(time.Millisecond): false, {}: false,
	} {
		made.IssuedBefore = want
		if _, ok := d.w.Find([]revocation.Request{made}, d.instant()); ok != before {
			t.Errorf("a cutoff at %v is found for %v: %v", cutoff, want, ok)
		}
	}
}

// TestTooEarly: entries that Redis' clock finds too short-lived get a later life, and nothing is
// kept of the earlier.
func TestTooEarly(t *testing.T) {
	d := newDesk(t)
	b := d.begin(request(revocation.KindSID, "s"))
	ahead := d.log.now + 60_000
	later := d.w.TooEarly(b, ahead, lifetime)
	if e := later.Entries[0]; e.Expires < ahead+(lifetime+2*skew).Milliseconds() || e.At < ahead {
		t.Errorf("%+v at %d", e, ahead)
	}
	d.store(later)
	d.health(2)
	if d.w.Missing() != 0 || !d.denies("s") {
		t.Errorf("%d missing", d.w.Missing())
	}
}

// TestAnAppendThatWasTooEarlyHidesNoJump: the heartbeat after it settles anew, since marks of
// mending have run out meanwhile.
func TestAnAppendThatWasTooEarlyHidesNoJump(t *testing.T) {
	d := newDesk(t)
	b := d.begin(request(revocation.KindSID, "s"))
	d.log.now += 20_000
	d.store(d.w.TooEarly(b, d.log.now, lifetime))
	d.read()
	hb := d.w.Beat(d.instant())
	if out := d.w.Answered(hb, d.log.issuerBeat(hb, times().Settle), d.instant()); out.Counted {
		t.Error("a heartbeat counted although Redis' clock had jumped by 20 s since the last one")
	}
}

// TestForget (L3): what has expired is let go, what is live or under way is not.
func TestForget(t *testing.T) {
	d := newDesk(t)
	for n := range 2000 {
		d.store(d.begin(request(revocation.KindSID, fmt.Sprint(n))))
	}
	d.read()
	d.log.now += 3_000_000
	d.mono += 3000 * time.Second
	d.health(8)
	young := d.begin(request(revocation.KindSID, "young"))
	d.w.Failed(young)
	d.pass(20 * time.Minute)
	now, _ := d.w.Expired(d.instant())
	d.w.Forget(now, 10_000)
	if d.beat(); !d.w.Beat(d.instant()).Holds || d.w.Missing() != 1 {
		t.Errorf("holds %v, missing %d; want the young one alone", d.w.Beat(d.instant()).Holds,
			d.w.Missing())
	}
	d.pass(2 * time.Hour)
	d.health(1)
	now, _ = d.w.Expired(d.instant())
	d.w.Forget(now, 10_000)
	if d.w.Beat(d.instant()).Holds {
		t.Error("holds entries after all have expired")
	}
}
