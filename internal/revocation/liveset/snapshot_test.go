package liveset_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"

	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

// taken is a snapshot of a set with entries of every kind, and its bytes.
func taken(t testing.TB, entries int) (*liveset.Snapshot, []byte) {
	t.Helper()
	s := &liveset.Snapshot{
		Position: revocation.Position{Epoch: revocation.Epoch{1}, Seq: 9, Chain: revocation.Chain{2}},
		Taken:    time.UnixMilli(at * 1000),
		Set:      newSet(4),
		Keys: []revocation.RevokedKey{
			{Issuer: iss, KeyID: "kid-1", Expires: at * 1000},
			{Issuer: iss, KeyID: "kid-2", Expires: at},
		},
	}
	for _, k := range revocation.Kinds() {
		for n := range entries {
			e := entry(k, fmt.Sprintf("%s-%d", k, n))
			e.Reason = []string{"logout", "reuse"}[n%2]
			s.Set.Add(e)
		}
	}
	return s, encoded(t, s)
}

func encoded(t testing.TB, s *liveset.Snapshot) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(b []byte) (*liveset.Snapshot, error) {
	return liveset.ReadSnapshot(bytes.NewReader(b), int64(len(b)), skew)
}

// TestSnapshotHoldsAll: what a set denied, the one read from its snapshot denies too, for the same
// reason.
func TestSnapshotHoldsAll(t *testing.T) {
	was, b := taken(t, 200)
	s, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	if s.Position != was.Position || !s.Taken.Equal(was.Taken) || len(s.Keys) != 2 ||
		s.Keys[1] != was.Keys[1] {
		t.Errorf("read %+v, want %+v", s, was)
	}
	for n := range 200 {
		for _, f := range []revocation.Facts{
			{Issuer: iss, SessionID: fmt.Sprintf("sid-%d", n)},
			{Issuer: iss, TokenID: fmt.Sprintf("jti-%d", n)},
			{Issuer: iss, KeyID: fmt.Sprintf("kid-%d", n)},
			{Issuer: iss, Subject: fmt.Sprintf("sub-%d", n), IssuedAt: at},
			{Issuer: iss, ClientID: fmt.Sprintf("client-%d", n), IssuedAt: at},
			{Issuer: iss, Tenant: fmt.Sprintf("tenant-%d", n), IssuedAt: at},
		} {
			if got, want := s.Set.Check(&f), was.Set.Check(&f); got != want || !got.Revoked {
				t.Fatalf("%+v: %+v, want %+v", f, got, want)
			}
		}
	}
	if f := (revocation.Facts{Issuer: iss, SessionID: "another", IssuedAt: at + 99}); s.Set.Check(
		&f).Revoked {
		t.Error("it denies what was never revoked")
	}
	for _, k := range revocation.Kinds() {
		if s.Set.Live(k) != was.Set.Live(k) {
			t.Errorf("%s: %d live, want %d", k, s.Set.Live(k), was.Set.Live(k))
		}
	}
	if !bytes.Equal(b, encoded(t, s)) {
		t.Error("it is not the same set")
	}
	s.Set.Add(entry(revocation.KindSID, "later"))
	if f := (revocation.Facts{Issuer: iss, SessionID: "later"}); s.Set.Check(&f).Reason != "test" {
		t.Error("a set read from a snapshot takes no further entry")
	}
	if n := s.Set.Sweep((at+4000)*1000, s.Set.Shards()); n != 7*200+1 {
		t.Errorf("swept %d", n)
	}
}

// resum makes changed bytes whole again: what is refused then is not refused by the checksum.
func resum(b []byte) []byte {
	sum := sha256.Sum256(b[:len(b)-sha256.Size])
	return append(b[:len(b)-sha256.Size:len(b)-sha256.Size], sum[:]...)
}

// TestBrokenSnapshots: every byte counts, and no number in a file is believed.
func TestBrokenSnapshots(t *testing.T) {
	_, good := taken(t, 3)
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1
		if _, err := read(b); err == nil {
			t.Errorf("byte %d of %d changed: accepted", i, len(good))
		}
		if _, err := read(good[:i]); err == nil {
			t.Errorf("cut to %d of %d bytes: accepted", i, len(good))
		}
	}
	if _, err := read(append(bytes.Clone(good), 0)); !errors.Is(err, liveset.ErrSnapshotBroken) {
		t.Errorf("with a byte more: %v", err)
	}
	const shards, seq, keys = 12, 56, 84
	put := func(at int, n uint64, size int) []byte {
		b := bytes.Clone(good)
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], n)
		copy(b[at:at+size], word[:])
		return resum(b)
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"another format":       {put(8, 2, 1), liveset.ErrSnapshotVersion},
		"another entry":        {put(9, 2, 1), liveset.ErrSnapshotVersion},
		"more kinds":           {put(10, 10, 1), liveset.ErrSnapshotVersion},
		"no shards":            {put(shards, 0, 4), liveset.ErrSnapshotBroken},
		"three shards":         {put(shards, 3, 4), liveset.ErrSnapshotBroken},
		"half the shards":      {put(shards, 2, 4), liveset.ErrSnapshotBroken},
		"no place":             {put(seq, 0, 8), liveset.ErrSnapshotBroken},
		"no possible place":    {put(seq, 1<<53, 8), liveset.ErrSnapshotBroken},
		"a time in the future": {put(32, 1<<42, 8), liveset.ErrSnapshotBroken},
		"a million keys":       {put(keys, 1<<20, 4), liveset.ErrSnapshotBroken},
		"more keys than bytes": {put(keys, 1<<16-1, 4), liveset.ErrSnapshotBroken},
		"one key fewer":        {put(keys, 1, 4), liveset.ErrSnapshotBroken},
		"another file": {
			[]byte("{\"version\":1,\"issuer\":\"https://issuer.example\"}"), liveset.ErrSnapshotBroken,
		},
		"an empty file": {nil, liveset.ErrSnapshotBroken},
	} {
		if _, err := read(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestASnapshotTakesNoMoreMemoryThanItsBytes: a file that claims four thousand million entries gets
// memory for none.
func TestASnapshotTakesNoMoreMemoryThanItsBytes(t *testing.T) {
	_, good := taken(t, 0)
	b := bytes.Clone(good)
	const firstShard = 84 + 4 + 2*(2+len(iss)+2+len("kid-1")+8)
	binary.LittleEndian.PutUint32(b[firstShard:], 1<<31-1)
	allocated := testing.Benchmark(func(t *testing.B) {
		for t.Loop() {
			// The size is a lie too, as a sparse file's is.
			if _, err := liveset.ReadSnapshot(bytes.NewReader(b), 1<<40, skew); err == nil {
				t.Fatal("accepted")
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 1<<20 {
		t.Errorf("%d bytes for a file of %d", allocated, len(b))
	}
}

// FuzzSnapshot: whatever is accepted is written again to the same bytes.
func FuzzSnapshot(f *testing.F) {
	for _, entries := range []int{0, 1, 3} {
		_, b := taken(f, entries)
		f.Add(b[:len(b)-sha256.Size])
	}
	f.Add([]byte("sallyrev"))
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		b := append(bytes.Clone(body), sum[:]...)
		s, err := read(b)
		if err != nil {
			if !errors.Is(err, liveset.ErrSnapshotBroken) &&
				!errors.Is(err, liveset.ErrSnapshotVersion) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		if !bytes.Equal(b, encoded(t, s)) {
			t.Error("accepted, and written again to other bytes")
		}
	})
}
