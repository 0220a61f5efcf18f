package credential

import (
	"encoding/binary"
	"slices"
)

// familiar remembers from which addresses names have logged in, in fixed memory. Only a login that
// worked is remembered, in a set that depends on the name. So only who owns an account whose name
// falls into the same one of 16,384 sets can make it forget another's, and which set that is
// nobody outside the process knows.
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

// mark stands for a name and an address. It is never 0, which is an empty place.
func mark(pair digest) uint64 { return binary.BigEndian.Uint64(pair[:]) | 1 }

func (f *familiar) has(name, pair digest) bool {
	return slices.Contains(f.set(name)[:], mark(pair))
}

// add puts the pair first in its set.
func (f *familiar) add(name, pair digest) {
	set, carried := f.set(name), mark(pair)
	for i := range set {
		// Each moves one place on, until the pair's former place is free; else the oldest drops out.
		set[i], carried = carried, set[i]
		if carried == mark(pair) {
			return
		}
	}
}
