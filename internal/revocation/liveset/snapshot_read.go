package liveset

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// The ways in which a snapshot is refused.
var (
	ErrSnapshotBroken  = errors.New("revocation: broken snapshot")
	ErrSnapshotVersion = errors.New("revocation: snapshot of another version")
)

// maxRevokedKeys bounds the keys revoked at once: far more than anyone has.
const maxRevokedKeys = 1 << 16

// ReadSnapshot reads a snapshot of size bytes, and nothing is believed of it before its checksum
// is. It takes no more memory than the bytes it has read justify. skew is the new Set's clock_skew.
func ReadSnapshot(r io.Reader, size int64, skew time.Duration) (*Snapshot, error) {
	d := &snapshotReader{left: size - sha256.Size, sum: sha256.New()}
	d.r = bufio.NewReaderSize(r, 1<<16)
	if err := d.version(); err != nil {
		return nil, err
	}
	s, c := &Snapshot{}, &snapshotContent{}
	shards := d.head(s, c)
	d.keys(s)
	for i := 0; i < shards && d.err == nil; i++ {
		c.tables = append(c.tables, d.table(c, i, shards))
	}
	d.reasons(c)
	// The Set is made last: nobody gets one of a file whose checksum is wrong.
	if d.checksum(); d.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshotBroken, d.err)
	}
	s.Set = c.set(skew)
	return s, nil
}

// snapshotContent is what becomes a Set.
type snapshotContent struct {
	key       Key
	tables    []*table
	live      [revocation.NumKinds]int64
	reasons   []string
	maxReason int
}

// snapshotReader reads within what is left before the checksum, and sums what it reads. After an
// error it reads nothing.
type snapshotReader struct {
	r     *bufio.Reader
	sum   hash.Hash
	left  int64
	err   error
	buf   [4096]byte
	slots []slot // of the shard that is being read
}

func (d *snapshotReader) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

// bytes returns the next n bytes, at most 4096, until the next call; zeros after an error.
func (d *snapshotReader) bytes(n int) []byte {
	b := d.buf[:n]
	// Counted before it is read: a number in the file must not lead the reader past its end.
	if d.left -= int64(n); d.left < 0 {
		d.fail("expected more bytes before the checksum")
	}
	if d.err == nil {
		if _, err := io.ReadFull(d.r, b); err != nil {
			d.fail("reading: %w", err)
		}
	}
	if d.err != nil {
		clear(b)
		return b
	}
	_, _ = d.sum.Write(b) // a hash's never fails
	return b
}

func (d *snapshotReader) uint64() uint64 { return binary.LittleEndian.Uint64(d.bytes(8)) }
func (d *snapshotReader) uint32() uint32 { return binary.LittleEndian.Uint32(d.bytes(4)) }

// millis reads a time as entries have it.
func (d *snapshotReader) millis() int64 {
	n := d.uint64()
	if n >= revocation.MaxMillis {
		d.fail("expected a time in milliseconds, got %d", n)
	}
	return int64(n)
}

// count reads a number of items that take at least each bytes.
func (d *snapshotReader) count(most, each int) int {
	n := int64(d.uint32())
	if n > int64(most) || n*int64(each) > d.left {
		d.fail("expected at most %d items in %d bytes, got %d", most, d.left, n)
	}
	if d.err != nil {
		return 0
	}
	return int(n)
}

func (d *snapshotReader) text(name string, most int) string {
	n := int(binary.LittleEndian.Uint16(d.bytes(2)))
	if n > most {
		d.fail("expected %s of up to %d bytes, got %d", name, most, n)
		return ""
	}
	return string(d.bytes(n))
}

// version comes first, and tells what is no snapshot from what another program has written.
func (d *snapshotReader) version() error {
	b := d.bytes(len(snapshotMagic) + 4)
	if d.err == nil && string(b[:len(snapshotMagic)]) != snapshotMagic {
		d.fail("expected it to begin with %q", snapshotMagic)
	}
	if d.err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshotBroken, d.err)
	}
	got := [4]byte(b[len(snapshotMagic):])
	want := [4]byte{snapshotFormat, revocation.Version, byte(revocation.NumKinds), 0}
	if got != want {
		return fmt.Errorf("%w: expected %v, got %v", ErrSnapshotVersion, want, got)
	}
	return nil
}

// head reads what comes before the keys and returns the number of shards.
func (d *snapshotReader) head(s *Snapshot, c *snapshotContent) int {
	shards := d.uint32()
	if shards == 0 || shards > 1<<16 || shards&(shards-1) != 0 {
		d.fail("expected a power of two as the number of shards, got %d", shards)
		shards = 0
	}
	c.key = Key{d.uint64(), d.uint64()}
	s.Taken = time.UnixMilli(d.millis())
	copy(s.Position.Epoch[:], d.bytes(len(s.Position.Epoch)))
	s.Position.Seq = d.uint64()
	copy(s.Position.Chain[:], d.bytes(len(s.Position.Chain)))
	// Only a place that a log can have: the scripts' numbers are exact up to 2^53.
	if s.Position.Seq == 0 || s.Position.Seq >= 1<<53 || s.Position.Epoch == (revocation.Epoch{}) {
		d.fail("expected a place on a log, got %d", s.Position.Seq)
	}
	return int(shards)
}

func (d *snapshotReader) keys(s *Snapshot) {
	last := revocation.RevokedKey{}
	for range d.count(maxRevokedKeys, 2+2+8) {
		k := revocation.RevokedKey{
			Issuer: d.text("an issuer", revocation.MaxIssuer), KeyID: d.text("a kid", revocation.MaxValue),
			Expires: d.millis(),
		}
		if !k.Valid() || revocation.CompareRevokedKeys(last, k) >= 0 {
			d.fail("expected the name of a key, each once and in order")
		}
		if d.err != nil {
			return
		}
		s.Keys, last = append(s.Keys, k), k
	}
}

// table reads one of shards shards; nil when it is empty. It is made once its entries have been
// read, so that a number of them that is not true gets no memory.
func (d *snapshotReader) table(c *snapshotContent, shard, shards int) *table {
	n := d.count(math.MaxInt32, slotBytes)
	d.slots = d.slots[:0]
	for len(d.slots) < n && d.err == nil {
		b := d.bytes(min(n-len(d.slots), len(d.buf)/slotBytes) * slotBytes)
		for ; len(b) > 0 && d.err == nil; b = b[slotBytes:] {
			d.take(c, b, shard, shards)
		}
	}
	if n == 0 || d.err != nil {
		return nil
	}
	// As rebuilt does: no fuller than five sixths.
	t := newTable((n + n/5 + groupSize) / groupSize)
	for i := range d.slots {
		t.insert(d.slots[i])
	}
	return t
}

// take takes one entry of a shard: of a kind that revokes, and after the one before it.
func (d *snapshotReader) take(c *snapshotContent, b []byte, shard, shards int) {
	s := slot{
		digest{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])},
		binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:]),
	}
	k := kindOf(s.cutoff)
	switch n := len(d.slots); {
	case !k.Revokes() || !k.Cutoff() && issuedBefore(s.cutoff) != 0:
		d.fail("expected an entry that revokes something, got one of %s", k)
	case s.digest.hi&uint64(shards-1) != uint64(shard), n > 0 && compareSlots(d.slots[n-1], s) >= 0:
		d.fail("expected the entries of shard %d, each once and in order", shard)
	default:
		d.slots = append(d.slots, s)
		c.live[k]++
		c.maxReason = max(c.maxReason, reasonOf(s.cutoff))
	}
}

func (d *snapshotReader) reasons(c *snapshotContent) {
	seen := map[string]bool{}
	for i := range d.count(maxReasons, 2) {
		r := d.text("a reason", revocation.MaxReason)
		if seen[r] || (i == 0) != (r == "other") {
			d.fail("expected a reason, each once and \"other\" first, got %.70q", r)
		}
		if d.err != nil {
			return
		}
		c.reasons = append(c.reasons, r)
		seen[r] = true
	}
	if c.maxReason >= len(c.reasons) {
		d.fail("expected more than %d reasons, got %d", c.maxReason, len(c.reasons))
	}
}

// checksum ends the reading: nothing may lie between what was read and the sum, nor behind it.
func (d *snapshotReader) checksum() {
	if d.err == nil && d.left != 0 {
		d.fail("expected an end %d bytes earlier", d.left)
	}
	if d.err != nil {
		return
	}
	var sum [sha256.Size]byte
	if _, err := io.ReadFull(d.r, sum[:]); err != nil {
		d.fail("reading: %w", err)
	} else if !bytes.Equal(sum[:], d.sum.Sum(nil)) {
		d.fail("expected the checksum of its content, got another")
	} else if _, err := d.r.ReadByte(); err != io.EOF {
		d.fail("expected it to end after its checksum")
	}
}
