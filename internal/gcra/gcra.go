// Package gcra limits how often each of any number of keys may come, in fixed memory.
//
// It is the generic cell rate algorithm (a leaky bucket that keeps one time instead of a level) over
// a count-min sketch (Cormode and Muthukrishnan, 2005) with conservative update.
package gcra

import (
	"hash/maphash"
	"time"
)

// rows is how many cells a key has. It is held back only when others fill all of them.
const rows = 4

// Sketch counts how much of one rate each key has used up. A key has a cell in each row, and its
// count is the least of them. Other keys in its cells can only make a count larger, never smaller:
// however many keys come, none is forgotten before its time.
//
// Time is what has passed since a moment of the caller's choice. A Sketch is not for use by several
// goroutines at once.
type Sketch[K comparable] struct {
	burst time.Duration // what a bucket holds
	every time.Duration
	seeds [rows]maphash.Seed    // strangers cannot know whose counts share a cell
	cells [rows][]time.Duration // when the bucket will be empty
}

// New returns a sketch that lets burst through at once, and one more after each every. It takes 32
// bytes for each column.
func New[K comparable](burst int, every time.Duration, columns int) *Sketch[K] {
	s := &Sketch[K]{burst: time.Duration(burst) * every, every: every}
	for i := range s.cells {
		s.seeds[i] = maphash.MakeSeed()
		s.cells[i] = make([]time.Duration, columns)
	}
	return s
}

// Wait returns how long it is until the key may come n times more at once: 0 when it may now.
func (s *Sketch[K]) Wait(now time.Duration, key K, n int) time.Duration {
	return max(0, s.level(now, key)+time.Duration(n)*s.every-s.burst)
}

// Add counts that the key has come once.
func (s *Sketch[K]) Add(now time.Duration, key K) {
	// Conservative update: a cell that is fuller than this key's count holds others' and is left
	// alone, so that keys that share a cell push each other up as little as can be.
	until := now + s.level(now, key) + s.every
	for i := range rows {
		c := s.cell(i, key)
		*c = max(*c, until)
	}
}

// level returns how much is in the key's bucket, in time until it is empty.
func (s *Sketch[K]) level(now time.Duration, key K) time.Duration {
	least := *s.cell(0, key)
	for i := 1; i < rows; i++ {
		least = min(least, *s.cell(i, key))
	}
	return max(0, least-now)
}

func (s *Sketch[K]) cell(row int, key K) *time.Duration {
	cells := s.cells[row]
	return &cells[maphash.Comparable(s.seeds[row], key)%uint64(len(cells))]
}
