package model

import "iter"

// digests is a set of digests, in one table without pointers: an exploration has tens of millions.
type digests struct {
	table []digest // its length a power of two; the zero digest is an empty place
	n     int
}

// add puts d in and reports whether it is new.
func (s *digests) add(d digest) bool {
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

func (s *digests) has(d digest) bool {
	if s.n == 0 {
		return false
	}
	_, found := s.find(d)
	return found
}

func (s *digests) find(d digest) (place uint64, found bool) {
	mask := uint64(len(s.table) - 1)
	for place = d[0] & mask; s.table[place] != (digest{}); place = (place + 1) & mask {
		if s.table[place] == d {
			return place, true
		}
	}
	return place, false
}

func (s *digests) grow() {
	old := s.table
	s.table = make([]digest, max(2*len(old), 1024))
	for _, d := range old {
		if d != (digest{}) {
			place, _ := s.find(d)
			s.table[place] = d
		}
	}
}

// list is a long list, kept in pieces: it grows without being copied, and can be let go of piece by piece.
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

// drain gives each element with its place, and lets go of what has been given.
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
