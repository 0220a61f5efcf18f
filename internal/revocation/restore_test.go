package revocation_test

import (
	"bytes"
	"testing"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

// TestASnapshotConfirmsNothing: S2 and S3 over a restart. Whatever the log has become since, a
// copy that begins with a snapshot allows nothing before a heartbeat that counts, and denies
// what the snapshot denies from the first moment.
func TestASnapshotConfirmsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		since  func(b *bench)
		resync revocation.Cause // "" : reading goes on from the snapshot's place
	}{
		"nothing": {func(*bench) {}, ""},
		"more entries": {
			func(b *bench) { b.add("s7"); b.add("s8"); b.add("s9"); b.add("s10") }, "",
		},
		"a new epoch": {
			func(b *bench) { b.log.flush(); b.log.whole(); b.add("s7") }, revocation.CauseEpoch,
		},
		"an old disk": {func(b *bench) { cut(b.log, 2) }, revocation.CauseRollback},
		"another entry in its place": {
			func(b *bench) { cut(b.log, 1); b.add("other"); b.add("s8") }, revocation.CauseChain,
		},
		"trimmed": {func(b *bench) {
			b.add("s7")
			b.add("s8")
			b.log.head.First, b.log.entries = 12, b.log.entries[11:]
		}, revocation.CauseTrimmed},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t).settled()
			for _, sid := range []string{"s1", "s2", "s3"} {
				b.add(sid)
			}
			b.read()
			var file bytes.Buffer
			taken := liveset.Snapshot{Position: b.c.Position(), Taken: b.instant().Wall, Set: b.set}
			if err := taken.Encode(&file); err != nil {
				t.Fatal(err)
			}
			c.since(b)
			s, err := liveset.ReadSnapshot(&file, int64(file.Len()), skew)
			if err != nil {
				t.Fatal(err)
			}
			b.c, b.set = revocation.NewCopy(times(), s.Set), s.Set
			b.c.Restore(s.Position)
			clear(b.resyncs)
			for beats := 0; !b.fresh(); beats++ {
				if !b.denies("s1") || !b.denies("s3") {
					t.Fatal("what the file denies is allowed")
				}
				if beats == 0 {
					b.c.Connected()
				}
				if beats > 20 {
					t.Fatal("never fresh")
				}
				b.beat()
				if b.fresh() && beats < int(times().Settle/heartbeat) {
					t.Fatalf("fresh after %d heartbeats: before the connection has settled", beats)
				}
				b.read()
				b.pass(heartbeat)
			}
			for _, cause := range revocation.Causes() {
				if want := map[bool]int{true: 1}[cause == c.resync]; b.resyncs[cause] != want {
					t.Errorf("%d resyncs of cause %s, want %d", b.resyncs[cause], cause, want)
				}
			}
			for _, e := range b.log.entries {
				if e.Kind == revocation.KindSID && !b.denies(e.Value) {
					t.Errorf("%s is in the log and allowed", e.Value)
				}
			}
		})
	}
}
