package liveset

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// Snapshot is a complete copy of the log at one place, as a gate keeps it on disk for its next
// start. It proves nothing: a Copy that begins with it allows nothing before a heartbeat that
// counts.
type Snapshot struct {
	Position revocation.Position
	Taken    time.Time               // to the millisecond, by the wall clock of whoever took it
	Keys     []revocation.RevokedKey // sorted by name, each once
	Set      *Set                    // every live entry up to Position, and perhaps later ones
}

// A snapshot's bytes, numbers in little-endian order: magic, format, version of the entries and
// number of their kinds, shards, the digests' key, the time, the position; the revoked keys; each
// shard's slots, sorted by digest; the reasons; and SHA-256 of all before it. There is one
// spelling: what is accepted is written again to the same bytes.
const (
	snapshotMagic  = "sallyrev"
	snapshotFormat = 1
	slotBytes      = 32
)

// Encode writes the snapshot. Readers of its Set do not wait; whoever writes to it waits for the
// copying of one shard at most.
func (s *Snapshot) Encode(w io.Writer) error {
	if len(s.Keys) > maxRevokedKeys {
		return fmt.Errorf("revocation: expected at most %d revoked keys in a snapshot, got %d",
			maxRevokedKeys, len(s.Keys))
	}
	sum := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	e := encoder{w: buffered}
	e.head(s)
	e.keys(s.Keys)
	var slots []slot
	for i := range s.Set.shards {
		slots = s.Set.copyShard(i, slots[:0])
		e.slots(slots)
	}
	// After the slots: the list only grows, so it has every reason that they name.
	e.reasons(*s.Set.reasons.Load())
	if err := buffered.Flush(); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// copyShard appends a shard's slots to buf, sorted.
func (s *Set) copyShard(i int, buf []slot) []slot {
	// Under the lock, since each is the writer's alone; sorted without it.
	s.mu.Lock()
	if t := s.shards[i].Load(); t != nil {
		t.each(func(e *slot) { buf = append(buf, *e) })
	}
	s.mu.Unlock()
	slices.SortFunc(buf, compareSlots)
	return buf
}

func compareSlots(a, b slot) int {
	return cmp.Or(cmp.Compare(a.digest.lo, b.digest.lo), cmp.Compare(a.digest.hi, b.digest.hi))
}

// encoder writes the parts of a snapshot. It ignores errors: Flush returns the first.
type encoder struct {
	w   *bufio.Writer
	buf []byte
}

func (e *encoder) flush() {
	_, _ = e.w.Write(e.buf)
	e.buf = e.buf[:0]
}

func (e *encoder) head(s *Snapshot) {
	e.buf = append(e.buf, snapshotMagic...)
	e.buf = append(e.buf, snapshotFormat, revocation.Version, byte(revocation.NumKinds), 0)
	e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(len(s.Set.shards)))
	e.buf = binary.LittleEndian.AppendUint64(e.buf, s.Set.key.K0)
	e.buf = binary.LittleEndian.AppendUint64(e.buf, s.Set.key.K1)
	e.buf = binary.LittleEndian.AppendUint64(e.buf, uint64(s.Taken.UnixMilli()))
	e.buf = append(e.buf, s.Position.Epoch[:]...)
	e.buf = binary.LittleEndian.AppendUint64(e.buf, s.Position.Seq)
	e.buf = append(e.buf, s.Position.Chain[:]...)
	e.flush()
}

func (e *encoder) keys(keys []revocation.RevokedKey) {
	e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(len(keys)))
	for i := range keys {
		e.text(keys[i].Issuer)
		e.text(keys[i].KeyID)
		e.buf = binary.LittleEndian.AppendUint64(e.buf, uint64(keys[i].Expires))
		e.flush()
	}
	e.flush()
}

func (e *encoder) slots(slots []slot) {
	e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(len(slots)))
	for i := range slots {
		s := &slots[i]
		for _, n := range [...]uint64{s.digest.lo, s.digest.hi, s.cutoff, s.expiry} {
			e.buf = binary.LittleEndian.AppendUint64(e.buf, n)
		}
		if len(e.buf) >= 1<<12 {
			e.flush()
		}
	}
	e.flush()
}

func (e *encoder) reasons(reasons []string) {
	e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(len(reasons)))
	for _, r := range reasons {
		e.text(r)
	}
	e.flush()
}

func (e *encoder) text(s string) {
	e.buf = binary.LittleEndian.AppendUint16(e.buf, uint16(len(s)))
	e.buf = append(e.buf, s...)
}

// set returns a Set of a snapshot's content.
func (c *snapshotContent) set(skew time.Duration) *Set {
	s := New(Config{ClockSkew: skew, Key: c.key, Shards: len(c.tables)})
	for i, r := range c.reasons {
		s.byReason[r] = i
	}
	s.reasons.Store(&c.reasons)
	for i, t := range c.tables {
		if t != nil {
			s.shards[i].Store(t)
		}
	}
	for k, n := range c.live {
		s.live[k].Store(n)
	}
	return s
}
