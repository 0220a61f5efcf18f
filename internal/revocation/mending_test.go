package revocation_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/revocation"
)

// lossy is a desk whose log has lost two entries, and has been read since.
func lossy(t *testing.T) *desk {
	d := newDesk(t)
	d.store(d.begin(request(revocation.KindSID, "a"), request(revocation.KindSID, "b")))
	d.read()
	d.log.flush()
	d.health(2)
	return d
}

// TestMendingIsMarkedUntilTheEntriesAreStored: while they are on their way, however long that
// takes, a gate that reads the log must not take it for complete.
func TestMendingIsMarkedUntilTheEntriesAreStored(t *testing.T) {
	d := lossy(t)
	b, found := d.w.Mend(d.instant(), 10)
	if !found {
		t.Fatal("nothing to mend")
	}
	for range 20 { // settle is far shorter
		d.health(1)
		if d.log.head.Mending <= d.log.now {
			t.Fatalf("no longer marked as mending at %d: %d", d.log.now, d.log.head.Mending)
		}
	}
	d.w.Failed(b)
	if !d.w.Beat(d.instant()).Mend {
		t.Error("not missing after the append has failed")
	}
	b, _ = d.w.Mend(d.instant(), 10)
	d.store(b)
	if d.w.Beat(d.instant()).Mend {
		t.Error("missing although it is stored")
	}
	d.health(2)
	if d.w.Missing() != 0 {
		t.Errorf("%d missing", d.w.Missing())
	}
}

// TestAStartingIssuerMarksNothing: what it has read so far of the log that it loads is not missing
// there, however long that takes. When that log is lost meanwhile, it says so.
func TestAStartingIssuerMarksNothing(t *testing.T) {
	full := newDesk(t)
	for n := range 3 * times().Page {
		full.store(full.begin(request(revocation.KindSID, fmt.Sprint(n))))
	}
	for name, c := range map[string]struct {
		fault func(*fakeLog)
		marks bool
	}{
		"in health": {func(*fakeLog) {}, false},
		"flushed":   {func(l *fakeLog) { l.flush() }, true},
		"went back": {func(l *fakeLog) { cut(l, 2) }, true},
	} {
		log := *full.log
		log.entries = slices.Clone(full.log.entries)
		set := newSet()
		d := &desk{
			t: t, clocks: clocks{log: &log}, log: &log,
			w: revocation.NewWriter(times(), lifetime, set), set: set,
		}
		d.w.Connected()
		d.beat()
		rd := d.w.Next()
		d.w.Entries(rd, log.read(rd), d.instant())
		if d.w.Complete() || d.set.Live(revocation.KindSID) == 0 {
			t.Fatalf("%s: the log was not read in part", name)
		}
		for range 20 {
			d.beat()
			d.pass(heartbeat)
		}
		if log.head.Mending != 0 {
			t.Errorf("%s: marked as mending while nothing is missing", name)
		}
		c.fault(&log)
		d.beat() // shows it
		d.pass(heartbeat)
		d.beat()
		if marked := log.head.Mending > log.now; marked != c.marks {
			t.Errorf("%s: marked as mending: %v", name, marked)
		}
		for d.health(2); d.w.Missing() > 0; d.health(2) {
			b, found := d.w.Mend(d.instant(), 100)
			if !found {
				t.Fatalf("%s: nothing to mend with %d missing", name, d.w.Missing())
			}
			d.store(b)
		}
	}
}

// TestAMendFollowsTheHead: what others have appended meanwhile, even some of the very entries,
// makes it neither wrong nor late.
func TestAMendFollowsTheHead(t *testing.T) {
	d := lossy(t)
	b, _ := d.w.Mend(d.instant(), 10)
	d.log.append(
		revocation.Batch{Entries: []revocation.Entry{*entry(revocation.KindSID, "other"), b.Entries[0]}})
	if again, found := d.w.Rebase(b); !found || len(again.Entries) != 2 {
		t.Errorf("before the log is read: %+v", again)
	}
	d.health(1)
	again, found := d.w.Rebase(b)
	if !found || len(again.Entries) != 1 || again.Entries[0] != b.Entries[1] ||
		again.Expect != d.log.head.Position() ||
		!again.Again {
		t.Fatalf("%v %+v", found, again)
	}
	d.store(again)
	d.health(1)
	if _, found := d.w.Rebase(again); found || d.w.Missing() != 0 {
		t.Errorf("still %d to mend", d.w.Missing())
	}
	d.log.flush()
	d.beat()
	if _, found := d.w.Rebase(again); found {
		t.Error("computed against a log that has not been read")
	}
}
