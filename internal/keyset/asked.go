package keyset

import (
	"hash/maphash"
	"time"
)

// asked remembers, of kids that were asked for and were not there, how many fetches had been begun
// before: whether one has begun since, and lacked the kid, is all that tells a made-up kid from one
// whose fetch is still to come. It holds no kid itself, and only so many hashes; who floods it has
// kids forgotten, which are then asked for as if for the first time.
type asked struct {
	seed        maphash.Seed
	now, before map[uint64]uint64 // hash of a kid -> fetches begun
	began       time.Time         // when now was begun
}

const (
	askedMax = 4096             // kids in each of the two maps: some 200 KB
	askedFor = 30 * time.Second // a kid is remembered for so long, or up to twice that
)

// note returns how many fetches had been begun when the kid was first asked for, which is now, with
// begun, unless it is remembered.
func (a *asked) note(kid string, begun uint64, now time.Time) uint64 {
	if since, ok := a.find(kid, now); ok {
		return since
	}
	if a.now == nil || len(a.now) >= askedMax {
		a.turn(now)
	}
	a.now[maphash.String(a.seed, kid)] = begun
	return begun
}

func (a *asked) find(kid string, now time.Time) (since uint64, ok bool) {
	if a.now == nil {
		return 0, false
	}
	switch age := now.Sub(a.began); {
	case age < 0 || age >= 2*askedFor: // a clock that has gone back tells no age
		a.turn(now)
		a.before = nil
	case age >= askedFor:
		a.turn(now)
	}
	hash := maphash.String(a.seed, kid)
	if since, ok = a.now[hash]; !ok {
		since, ok = a.before[hash]
	}
	return since, ok
}

// turn forgets what was asked for before the present map was begun.
func (a *asked) turn(now time.Time) {
	if a.now == nil {
		a.seed = maphash.MakeSeed()
	}
	a.before, a.now, a.began = a.now, make(map[uint64]uint64), now
}
