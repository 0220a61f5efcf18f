package credential

import (
	"encoding/binary"
	"time"
)

// sketch counts, for any number of keys in fixed memory, how much of a Rate each has used up. It is
// a count-min sketch (Cormode and Muthukrishnan, 2005) of leaky buckets with conservative update: a
// key has a cell in each of four rows, and its count is the least of them. Other keys in its cells
// can only make a count larger, never smaller: however many names are tried, no failure is
// forgotten before its time. And they hardly make it larger: each failure that is counted has cost
// a password hash, and no machine computes enough of these to fill the cells faster than they leak.
type sketch struct {
	by    string
	burst time.Duration // what may be in a bucket
	every time.Duration
	rows  [sketchRows][]time.Duration // when the bucket will be empty
	under map[digest]int              // attempts under way, as many as may hash or wait
}

const (
	sketchRows  = 4
	sketchCells = 1 << 16 // of a row; the whole is 2 MiB
)

func newSketch(by string, r Rate) *sketch {
	s := &sketch{
		by: by, burst: time.Duration(r.Burst) * r.Every, every: r.Every, under: map[digest]int{},
	}
	for i := range s.rows {
		s.rows[i] = make([]time.Duration, sketchCells)
	}
	return s
}

// cell is where row i keeps the key's bucket.
func (s *sketch) cell(i int, key digest) *time.Duration {
	return &s.rows[i][binary.BigEndian.Uint64(key[8*i:])%sketchCells]
}

// level is how much is in the key's bucket at a time, in time to leak.
func (s *sketch) level(now time.Duration, key digest) time.Duration {
	least := *s.cell(0, key)
	for i := 1; i < sketchRows; i++ {
		least = min(least, *s.cell(i, key))
	}
	return max(0, least-now)
}

// add puts one more into the key's bucket.
func (s *sketch) add(now time.Duration, key digest) {
	until := now + s.level(now, key) + s.every
	for i := range sketchRows {
		c := s.cell(i, key)
		*c = max(*c, until)
	}
}

// refuse says when there will be room for one more besides those under way; nil when there is.
func (s *sketch) refuse(now time.Duration, key digest) *ThrottledError {
	over := s.level(now, key) + time.Duration(s.under[key]+1)*s.every - s.burst
	if over <= 0 {
		return nil
	}
	return &ThrottledError{RetryAfter: over, By: s.by}
}

func (s *sketch) enter(key digest) { s.under[key]++ }

func (s *sketch) exit(key digest) {
	if s.under[key]--; s.under[key] <= 0 {
		delete(s.under, key)
	}
}

// familiar remembers from which addresses names have logged in, in fixed memory. Only a login that
// worked is remembered, in a set that depends on the name: nobody makes it forget another's but by
// owning an account whose name falls into the same one of 16,384 sets, which he cannot know.
type familiar struct {
	sets [][familiarWays]uint64 // the newest first; 0 is none
}

const (
	familiarSets = 1 << 14
	familiarWays = 8
)

func newFamiliar() *familiar { return &familiar{sets: make([][familiarWays]uint64, familiarSets)} }

func (f *familiar) set(name digest) *[familiarWays]uint64 {
	return &f.sets[binary.BigEndian.Uint64(name[:])%familiarSets]
}

// mark stands for a name and an address.
func mark(pair digest) uint64 { return binary.BigEndian.Uint64(pair[:]) | 1 }

func (f *familiar) has(name, pair digest) bool {
	for _, m := range f.set(name) {
		if m == mark(pair) {
			return true
		}
	}
	return false
}

// add puts the pair first in its set.
func (f *familiar) add(name, pair digest) {
	set, carried := f.set(name), mark(pair)
	for i := range set {
		set[i], carried = carried, set[i]
		if carried == mark(pair) {
			return
		}
	}
}
