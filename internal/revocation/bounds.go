package revocation

import "time"

// bounds remembers what Redis' clock and this machine's have agreed on, carried on by the monotonic
// clock, which nobody sets: the earliest and the latest within the last one to two lives of an
// entry. While a clock is wrong for less than that, what it says neither ends the life of an entry
// nor shortens that of a new one; a clock that was put right is believed after that.
type bounds struct {
	since        time.Duration // monotonic: when this began
	this, before agreed
}

// agreed is by how much a time in unix ms was ahead of the monotonic clock.
type agreed struct {
	known       bool
	least, most int64
}

// note takes the time that the clock that is behind says.
func (b *bounds) note(at int64, mono, life time.Duration) {
	if b.this.known && mono-b.since >= life {
		b.before, b.this = b.this, agreed{}
	}
	ahead := at - mono.Milliseconds()
	if !b.this.known {
		b.since, b.this = mono, agreed{true, ahead, ahead}
	}
	b.this.least, b.this.most = min(b.this.least, ahead), max(b.this.most, ahead)
}

// earliest and latest carry on what was noted, of which there must be something.
func (b *bounds) earliest(mono time.Duration) int64 {
	least := b.this.least
	if b.before.known {
		least = min(least, b.before.least)
	}
	return least + mono.Milliseconds()
}

func (b *bounds) latest(mono time.Duration) int64 {
	most := b.this.most
	if b.before.known {
		most = max(most, b.before.most)
	}
	return most + mono.Milliseconds()
}
