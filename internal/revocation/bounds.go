package revocation

import "time"

// bounds remembers how far apart the clocks and the monotonic clock have been, over the last one to
// two lives of an entry. It answers two questions that no clock may answer alone, since anybody can
// set one wrong, Redis' and this machine's alike: what is the earliest and what is the latest that
// it can be now?
//
// An example, with entries that live for an hour. At 12:00 both clocks are right, and the monotonic
// clock, which nobody sets, stands at 5:00: the offset is 7:00. At 12:10 a broken time server puts
// both clocks six hours ahead, to 18:10: the offset is 13:00. Of the time at 12:15, when the
// monotonic clock stands at 5:15, is known then:
//
//	earliest  5:15 +  7:00 = 12:15   an entry that expires at 12:40 is kept, though both clocks say
//	                                 18:15; without this it would be forgotten, and what it revokes
//	                                 would pass once the clocks are put right
//	latest    5:15 + 13:00 = 18:15   an entry made after the clocks have been put right again still
//	                                 reaches the tokens that were issued at "18:10"
//
// An offset is forgotten one to two lives after it was last noted: each entry that was made while
// it held has expired by then. So a change that lasts is believed in the end. Where some entries
// live longer than others, what is the earliest is remembered for as long as they live; the latest
// is not: tokens that were issued by a clock that was ahead live no longer than others.
type bounds struct {
	began             time.Duration // monotonic: when current began
	current, previous offsets       // of the current life of an entry and of the one before it
}

// offsets are the least and the most, in ms, that the clocks' time (unix ms) was ahead of the
// monotonic clock.
type offsets struct {
	known       bool
	least, most int64
}

// note takes the time, in unix ms, of whichever clock is behind the other: the time that the two
// agree has come. life is how long an entry lives.
func (b *bounds) note(at int64, mono, life time.Duration) {
	// Two spans in turn instead of the time of each offset: an offset is remembered for at least a
	// life, as it must be, and for two at most.
	if b.current.known && mono-b.began >= life {
		b.previous, b.current = b.current, offsets{}
	}
	ahead := at - mono.Milliseconds()
	if !b.current.known {
		b.began, b.current = mono, offsets{true, ahead, ahead}
	}
	b.current.least, b.current.most = min(b.current.least, ahead), max(b.current.most, ahead)
}

// earliest is the earliest that it can be now, in unix ms. Something must have been noted.
func (b *bounds) earliest(mono time.Duration) int64 {
	least := b.current.least
	if b.previous.known {
		least = min(least, b.previous.least)
	}
	return least + mono.Milliseconds()
}

// latest is the latest that it can be now, in unix ms. Something must have been noted.
func (b *bounds) latest(mono time.Duration) int64 {
	most := b.current.most
	if b.previous.known {
		most = max(most, b.previous.most)
	}
	return most + mono.Milliseconds()
}
