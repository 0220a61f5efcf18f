//go:build model

package model

import "iter"

// digests is a set of digests without pointers: an exploration has hundreds of millions. It is kept
// in parts, so that no more than a small one of them is there twice while it grows.
type digests struct {
	parts [1 << partBits]digestTable
}

const partBits = 8

func (s *digests) part(d digest) *digestTable { return &s.parts[d[1]>>(64-partBits)] }

// add puts d in and reports whether it is new.
func (s *digests) add(d digest) bool { return s.part(d).add(d) }

func (s *digests) has(d digest) bool { return s.part(d).has(d) }

// digestTable is a part of digests.
type digestTable struct {
	table []digest // its length a power of two; the zero digest is an empty place
	n     int
}

func (s *digestTable) add(d digest) bool {
	if s.n*8 >= len(s.table)*7 {
		s.grow()
	}
	place, found := s.find(d)
	if found {
		return false
	}
	s.table[place] = d
	s.n++
	return true
}

func (s *digestTable) has(d digest) bool {
	if s.n == 0 {
		return false
	}
	_, found := s.find(d)
	return found
}

func (s *digestTable) find(d digest) (place uint64, found bool) {
	mask := uint64(len(s.table) - 1)
	for place = d[0] & mask; s.table[place] != (digest{}); place = (place + 1) & mask {
		if s.table[place] == d {
			return place, true
		}
	}
	return place, false
}

func (s *digestTable) grow() {
	old := s.table
	s.table = make([]digest, max(2*len(old), 16))
	for _, d := range old {
		if d != (digest{}) {
			place, _ := s.find(d)
			s.table[place] = d
		}
	}
}

// list is a long list, kept in pieces: it grows without being copied, and can be let go of piece by
// piece.
type list[T any] struct {
	pieces [][]T
	n      int
}

const piece = 1 << 14

func (l *list[T]) add(v T) {
	if l.n%piece == 0 {
		l.pieces = append(l.pieces, make([]T, 0, piece))
	}
	last := len(l.pieces) - 1
	l.pieces[last] = append(l.pieces[last], v)
	l.n++
}

func (l *list[T]) at(i int) T { return l.pieces[i/piece][i%piece] }

// drain returns each element with its place, and lets go of what has been given.
func (l *list[T]) drain() iter.Seq2[int, *T] {
	return func(yield func(int, *T) bool) {
		for p := range l.pieces {
			for i := range l.pieces[p] {
				if !yield(p*piece+i, &l.pieces[p][i]) {
					return
				}
			}
			l.pieces[p] = nil
		}
	}
}
