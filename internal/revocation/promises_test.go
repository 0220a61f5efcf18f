package revocation_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// TestASuspendedMachineIsStale (S2): the monotonic clock stops while a machine sleeps, revocations
// do not.
func TestASuspendedMachineIsStale(t *testing.T) {
	b := newBench(t).settled()
	b.log.now += (10*time.Second + heartbeat).Milliseconds() // and not the monotonic clock
	if b.fresh() {
		t.Error("fresh after sleeping for longer than max_staleness")
	}
	if !b.denies("s3") {
		t.Error("forgot what it had denied (S3)")
	}
}

// TestASessionsTokensAreRevokedWheneverTheyWereMade (S6): an issuer that had not heard yet may mint
// one after its session's end, and whoever stole a key picks iat at will.
func TestASessionsTokensAreRevokedWheneverTheyWereMade(t *testing.T) {
	d := newDesk(t)
	d.store(d.begin(request(revocation.KindSID, "s")))
	d.read()
	for _, off := range []int64{-3600, 0, 1, 60, 3600} {
		f := &revocation.Facts{
			Issuer: iss, SessionID: "s", TokenID: "t", IssuedAt: d.log.now/1000 + off,
			AuthTime: at, Ours: true,
		}
		if !d.set.Check(f).Revoked {
			t.Errorf("a token made %d s after its session's end passes", off)
		}
	}
}

// TestALoadBeginsInItsEpoch: what another server's log holds, whose epoch is not the head's, is no
// part of the copy from its first entry on.
func TestALoadBeginsInItsEpoch(t *testing.T) {
	epochs := [2]revocation.Epoch{{1}, {2}}
	if revocation.Seed(epochs[0]) == revocation.Seed(epochs[1]) {
		t.Error("two epochs begin with the same chain")
	}
	b := newBench(t)
	b.beat()
	other := &fakeLog{now: b.log.now, epochs: 7}
	other.append(revocation.Batch{Entries: []revocation.Entry{*entry(revocation.KindSID, "other")}})
	rd := b.c.Next()
	if out := b.c.Entries(rd, other.read(rd),
		b.instant()); out.Resync != revocation.CauseChain || len(out.Applied) > 0 ||
		b.denies("other") {
		t.Errorf("entries of another epoch: %+v", out)
	}
}
