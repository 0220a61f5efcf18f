package revocation

import "sync/atomic"

// Versions tell whoever remembers an answer whether it may have changed since: numbers that only
// move forward, one for each class of names that entries have, and one for everything else that
// answers are made by (policy, keys, whether the log can be read at all). A number moves once the
// change is in force, so that an answer made after its number was read is at least as new as that.
// All methods may be called from any number of goroutines. A nil *Versions is nobody's and never
// moves.
type Versions struct {
	all     *atomic.Uint64
	classes []atomic.Uint64
}

// Class is which of a Versions' numbers a name's entries move. Names share them: that costs whoever
// remembers an answer a question, and nothing else.
type Class uint32

// VersionWords is how many words of 64 bits a Versions lives in: the number of everything else, and
// behind it those of the classes.
const VersionWords = 1 + classes

// classes is a power of two.
const classes = 1 << 14

// NewVersions makes Versions in memory of the caller's, VersionWords long, which others may read
// besides.
func NewVersions(memory []atomic.Uint64) *Versions {
	return &Versions{&memory[0], memory[1:VersionWords]}
}

// ClassOf returns the class of a name of which hash is a hash.
func ClassOf(hash uint64) Class { return Class(hash % classes) }

// MoveAll says that any answer may have changed.
func (v *Versions) MoveAll() {
	if v != nil {
		v.all.Add(1)
	}
}

// Move says that what is revoked by a name of a class has changed.
func (v *Versions) Move(c Class) {
	if v != nil {
		v.classes[c].Add(1)
	}
}

// All returns the number of everything that is not of a class.
func (v *Versions) All() uint64 {
	if v == nil {
		return 0
	}
	return v.all.Load()
}

// Of returns the number of a class.
func (v *Versions) Of(c Class) uint64 {
	if v == nil {
		return 0
	}
	return v.classes[c].Load()
}

// MaxClasses is how many classes the names of one token may have: one of each kind of entry.
const MaxClasses = 7
