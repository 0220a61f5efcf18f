package liveset

import (
	"math/bits"
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/revocation"
)

// table is one shard's hash table: open addressing over groups of eight slots. A group has one word
// of tags, a byte for each slot, zero while the slot is empty, so that a look-up that finds nothing
// touches little more than one word. One writer at a time changes it; readers take no lock. A slot,
// once filled, keeps its digest: expired entries leave with the whole table, when a smaller one
// takes its place.
type table struct {
	tags  []uint64
	slots []slot
	used  int // the writer's
}

// slot is 32 bytes without a pointer. Its two facts only ever grow, each in one atomic store, so a
// reader who sees one new and one old still sees a state between the two.
type slot struct {
	digest digest
	cutoff uint64 // issued_before in ms, 42 bits; kind, 4; number of the reason, 18
	expiry uint64 // expires in units of 4 s, rounded up, 30 bits; seq, 34, saturating
}

const (
	groupSize  = 8
	tagOnes    = 0x0101010101010101
	tagHighs   = 0x8080808080808080
	cutoffBits = 22 // below the cutoff
	reasonBits = 18
	seqBits    = 34
	maxSeq     = 1<<seqBits - 1
	expiryUnit = 4000 // ms
	// What expires later than the field can say, in the year 2106, expires then.
	maxExpiry = 1<<(64-seqBits) - 1
)

func packCutoff(issuedBefore int64, k revocation.Kind, reason int) uint64 {
	return uint64(issuedBefore)<<cutoffBits | uint64(k)<<reasonBits | uint64(reason)
}

func packExpiry(expires int64, seq uint64) uint64 {
	units := min(uint64((expires+expiryUnit-1)/expiryUnit), maxExpiry)
	return units<<seqBits | min(seq, maxSeq)
}

func issuedBefore(cutoff uint64) int64     { return int64(cutoff >> cutoffBits) }
func kindOf(cutoff uint64) revocation.Kind { return revocation.Kind(cutoff >> reasonBits & 15) }
func reasonOf(cutoff uint64) int           { return int(cutoff & (1<<reasonBits - 1)) }
func expires(expiry uint64) int64          { return int64(expiry>>seqBits) * expiryUnit }
func seqOf(expiry uint64) uint64           { return expiry & maxSeq }

func newTable(groups int) *table {
	return &table{tags: make([]uint64, groups), slots: make([]slot, groups*groupSize)}
}

// full is the number of slots from which the table must grow: one of the last group's always stays
// empty, or a look-up for a name that is not there would never end.
func (t *table) full() int { return len(t.slots) - len(t.slots)/16 - 1 }

func tagOf(d digest) uint64 { return 0x80 | d.hi>>57 }

func (t *table) home(d digest) int {
	hi, _ := bits.Mul64(d.lo, uint64(len(t.tags)))
	return int(hi)
}

// find returns the slot that holds d, or nil.
func (t *table) find(d digest) *slot {
	pattern := tagOf(d) * tagOnes
	for g := t.home(d); ; {
		tags := atomic.LoadUint64(&t.tags[g])
		// match has the high bit of each byte that is zero in diff, and perhaps of the one above it:
		// the digest decides.
		diff := tags ^ pattern
		for match := (diff - tagOnes) &^ diff & tagHighs; match != 0; match &= match - 1 {
			s := &t.slots[g*groupSize+bits.TrailingZeros64(match)/8]
			if s.digest == d {
				return s
			}
		}
		// insert fills the first free slot from home on, so d lies behind no free one.
		if tags&tagHighs != tagHighs {
			return nil
		}
		if g++; g == len(t.tags) {
			g = 0
		}
	}
}

// insert puts s, whose digest is not there yet, into a table that is not full.
func (t *table) insert(s slot) {
	for g := t.home(s.digest); ; {
		tags := t.tags[g]
		if empty := ^tags & tagHighs; empty != 0 {
			i := bits.TrailingZeros64(empty) / 8
			// The slot before its tag: a reader looks at a slot only when its tag is there.
			t.slots[g*groupSize+i] = s
			atomic.StoreUint64(&t.tags[g], tags|tagOf(s.digest)<<(8*i))
			t.used++
			return
		}
		if g++; g == len(t.tags) {
			g = 0
		}
	}
}

// each calls f with every filled slot; the writer's.
func (t *table) each(f func(*slot)) {
	for g, tags := range t.tags {
		for full := tags & tagHighs; full != 0; full &= full - 1 {
			f(&t.slots[g*groupSize+bits.TrailingZeros64(full)/8])
		}
	}
}

// rebuilt returns a table with room for n entries that holds what keep keeps, which is no more than
// that; nil when n is 0.
func (t *table) rebuilt(n int, keep func(*slot) bool) *table {
	if n == 0 {
		return nil
	}
	fresh := newTable((n + n/5 + groupSize) / groupSize)
	t.each(func(s *slot) {
		if keep(s) {
			fresh.insert(*s)
		}
	})
	return fresh
}
