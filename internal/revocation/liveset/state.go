//go:build model

package liveset

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Clone returns a copy that shares nothing with s that either can change. Nothing may write to s
// meanwhile.
func (s *Set) Clone() *Set {
	c := New(Config{Key: s.key, Shards: len(s.shards)})
	c.skew, c.swept, c.byReason = s.skew, s.swept, maps.Clone(s.byReason)
	c.reasons.Store(s.reasons.Load())
	for i := range s.shards {
		if t := s.shards[i].Load(); t != nil {
			c.shards[i].Store(&table{slices.Clone(t.tags), slices.Clone(t.slots), t.used})
		}
	}
	for k := range s.live {
		c.live[k].Store(s.live[k].Load())
	}
	return c
}

// AppendState appends a canonical form of all that Check and Sweep depend on: two sets under one
// Key with the same state judge alike for ever. Reasons and places in the log, which decide
// nothing, are left out.
func (s *Set) AppendState(buf []byte) []byte {
	var all []slot
	for i := range s.shards {
		if t := s.shards[i].Load(); t != nil {
			t.each(func(e *slot) { all = append(all, *e) })
		}
	}
	slices.SortFunc(all, compareSlots)
	buf = binary.AppendUvarint(buf, uint64(len(all)))
	for _, e := range all {
		buf = binary.BigEndian.AppendUint64(buf, e.digest.lo)
		buf = binary.BigEndian.AppendUint64(buf, e.digest.hi)
		buf = binary.BigEndian.AppendUint64(buf, e.cutoff>>reasonBits)
		buf = binary.BigEndian.AppendUint64(buf, e.expiry>>seqBits)
	}
	return buf
}
