//go:build model

package revocation

import (
	"encoding/binary"
	"slices"
	"time"
)

// Clone returns a copy of c that shares nothing with it that either can change, and fills set: a
// clone of c's own.
func (c *Copy) Clone(set Set) *Copy {
	clone := *c
	clone.set = set
	clone.clock = &Clock{}
	clone.clock.lead.Store(c.clock.lead.Load())
	clone.waiting, clone.passed = slices.Clone(c.waiting), slices.Clone(c.passed)
	return &clone
}

// Pass makes all that c remembers older by d, but nothing older than most, as of now: so a model
// can let time go by while now stands still. most must be longer than every time c judges by.
func (c *Copy) Pass(d, most time.Duration, now Instant) {
	// The zero Instant stands for "never", and stays so.
	back := func(t *Instant) {
		if *t != (Instant{}) {
			age := min(now.Mono-t.Mono+d, most)
			*t = Instant{now.Mono - age, now.Wall.Add(-age)}
		}
	}
	mono := func(t *time.Duration) { *t = max(*t-d, now.Mono-most) }
	if c.settle.begun {
		mono(&c.settle.first)
		back(&c.settle.last)
	}
	if c.behind.on {
		mono(&c.behind.since)
	}
	for i := range c.waiting {
		back(&c.waiting[i].sent)
	}
	back(&c.last)
	if c.redis.known {
		// Redis' time moves with the instant of its answer, so that what it is carried on to now
		// stays as it is.
		c.redis.at += now.Mono.Milliseconds() - c.redis.answered.Mono.Milliseconds()
		back(&c.redis.sent)
		back(&c.redis.answered)
		c.redis.at -= now.Mono.Milliseconds() - c.redis.answered.Mono.Milliseconds()
	}
	mono(&c.bounds.began)
	mono(&c.lasting.began)
	if c.head.Mending -= d.Milliseconds(); c.head.Mending <= now.Wall.UnixMilli() {
		c.head.Mending = 0
	}
}

// Later moves all that c remembers by d, as when now moves by as much and nothing gets older.
func (c *Copy) Later(d time.Duration) {
	on := func(t *Instant) {
		if *t != (Instant{}) {
			*t = Instant{t.Mono + d, t.Wall.Add(d)}
		}
	}
	if c.settle.begun {
		c.settle.first += d
		on(&c.settle.last)
	}
	if c.behind.on {
		c.behind.since += d
	}
	for i := range c.waiting {
		on(&c.waiting[i].sent)
	}
	on(&c.last)
	if c.redis.known {
		on(&c.redis.sent)
		on(&c.redis.answered)
		c.redis.at += d.Milliseconds()
	}
	c.bounds.began += d
	c.lasting.began += d
	if c.head.Mending > 0 {
		c.head.Mending += d.Milliseconds()
	}
}

// AppendState appends a canonical form of all that c's answers to coming events depend on, its Set
// excepted, which only takes entries. Two copies with one configuration and the same state behave
// alike for ever. Counters that only tell how often something happened are left out, and numbers of
// connections and readings, which are only compared with those of answers under way; so is the
// place of the newest head: what is judged is the head of the answer at hand.
func (c *Copy) AppendState(buf []byte) []byte {
	buf = appendPosition(buf, c.pos)
	buf = appendBools(buf, c.complete, c.load.active, c.unreadable.on, c.settle.begun, c.counted,
		c.headKnown, c.redis.known, c.behind.on)
	buf = appendInts(buf, int64(c.load.first), int64(c.load.next))
	buf = append(buf, c.load.chain[:]...)
	buf = appendPosition(buf, c.load.target)
	buf = appendPosition(buf, Position{Epoch: c.unreadable.epoch, Seq: c.unreadable.seq})
	buf = append(buf, c.settle.epoch[:]...)
	buf = appendInts(buf, int64(c.settle.first))
	buf = appendInstants(buf, c.settle.last, c.last, c.redis.sent, c.redis.answered)
	buf = appendInts(buf, int64(len(c.waiting)), int64(len(c.passed)))
	for _, w := range c.waiting {
		buf = appendPosition(appendInstants(buf, w.sent), Position{Seq: w.head.seq, Chain: w.head.chain})
	}
	for _, p := range c.passed {
		buf = appendPosition(buf, Position{Seq: p.seq, Chain: p.chain})
	}
	buf = appendInts(buf, int64(c.head.MaxTokenLifetime), int64(len(c.head.Era)))
	buf = append(buf, c.head.Era...)
	buf = c.lasting.appendState(c.bounds.appendState(buf))
	if !c.lasting.settled() {
		buf = appendInts(buf, int64(c.longest))
	}
	return appendInts(buf, c.redis.at, int64(c.behind.since), int64(c.behind.seq),
		c.clock.lead.Load())
}

// appendState leaves out when the bounds began while all that is known of them is one and the same.
func (b *bounds) appendState(buf []byte) []byte {
	buf = appendBools(buf, b.current.known, b.previous.known)
	buf = appendInts(buf, b.current.least, b.current.most, b.previous.least, b.previous.most)
	if b.settled() {
		return buf
	}
	return appendInts(buf, int64(b.began))
}

// settled reports whether all that is known is one and the same.
func (b *bounds) settled() bool {
	return b.current.least == b.current.most && (!b.previous.known || b.previous == b.current)
}

func appendPosition(buf []byte, p Position) []byte {
	buf = append(buf, p.Epoch[:]...)
	buf = binary.BigEndian.AppendUint64(buf, p.Seq)
	return append(buf, p.Chain[:]...)
}

func appendInts(buf []byte, ns ...int64) []byte {
	for _, n := range ns {
		buf = binary.BigEndian.AppendUint64(buf, uint64(n))
	}
	return buf
}

func appendBools(buf []byte, bs ...bool) []byte {
	for _, b := range bs {
		if b {
			buf = append(buf, 1)
		} else {
			buf = append(buf, 0)
		}
	}
	return buf
}

func appendInstants(buf []byte, ts ...Instant) []byte {
	for _, t := range ts {
		wall := int64(0)
		if t.Wall != (time.Time{}) {
			wall = t.Wall.UnixNano()
		}
		buf = appendInts(buf, int64(t.Mono), wall)
	}
	return buf
}
