//go:build model

package revocation

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"
)

// Clone returns a copy of r that shares nothing with it that either can change, and fills set: a
// clone of r's own.
func (r *Copy) Clone(set Set) *Copy {
	c := *r
	c.set = set
	c.clock = &Clock{}
	c.clock.floor.Store(r.clock.floor.Load())
	c.wait, c.passed = slices.Clone(r.wait), slices.Clone(r.passed)
	c.resyncs = maps.Clone(r.resyncs)
	return &c
}

// Pass makes all that r remembers older by d, but nothing older than most, seen from now: so a
// model can let time go by while now stands still. most must be longer than every time r judges by.
func (r *Copy) Pass(d, most time.Duration, now Instant) {
	back := func(t *Instant) {
		if *t != (Instant{}) {
			age := min(now.Mono-t.Mono+d, most)
			*t = Instant{now.Mono - age, now.Wall.Add(-age)}
		}
	}
	mono := func(t *time.Duration) { *t = max(*t-d, now.Mono-most) }
	if r.settle.begun {
		mono(&r.settle.first)
		back(&r.settle.last)
	}
	if r.behind.on {
		mono(&r.behind.since)
	}
	for i := range r.wait {
		back(&r.wait[i].sent)
	}
	back(&r.last)
	if r.redis.known {
		r.redis.at += now.Mono.Milliseconds() - r.redis.answered.Mono.Milliseconds()
		back(&r.redis.sent)
		back(&r.redis.answered)
		r.redis.at -= now.Mono.Milliseconds() - r.redis.answered.Mono.Milliseconds()
	}
	mono(&r.bounds.since)
	if r.head.Mending -= d.Milliseconds(); r.head.Mending <= now.Wall.UnixMilli() {
		r.head.Mending = 0
	}
}

// AppendState appends a canonical form of all that r's answers to coming events depend on, its Set
// excepted, which only takes entries. Two
// replicas with one configuration and the same state behave alike for ever. Counters that only tell
// how often something happened are left out, and numbers of connections and generations, which are
// only compared with those of answers under way; so is the place of the newest head seen: what is
// judged is the head of the answer at hand.
func (r *Copy) AppendState(buf []byte) []byte {
	buf = appendPosition(buf, r.pos)
	buf = appendBools(buf, r.complete, r.load.active, r.blind.on, r.settle.begun, r.counted,
		r.headKnown, r.redis.known, r.behind.on)
	buf = appendInts(buf, int64(r.load.first), int64(r.load.next))
	buf = append(buf, r.load.chain[:]...)
	buf = appendPosition(buf, r.load.target)
	buf = appendPosition(buf, Position{Epoch: r.blind.epoch, Seq: r.blind.seq})
	buf = append(buf, r.settle.epoch[:]...)
	buf = appendInts(buf, int64(r.settle.first))
	buf = appendInstants(buf, r.settle.last, r.last, r.redis.sent, r.redis.answered)
	buf = appendInts(buf, int64(len(r.wait)), int64(len(r.passed)))
	for _, c := range r.wait {
		buf = appendPosition(appendInstants(buf, c.sent), Position{Seq: c.at.seq, Chain: c.at.chain})
	}
	for _, p := range r.passed {
		buf = appendPosition(buf, Position{Seq: p.seq, Chain: p.chain})
	}
	buf = appendInts(buf, int64(r.head.MaxTokenLifetime), int64(len(r.head.Era)))
	buf = append(buf, r.head.Era...)
	buf = r.bounds.appendState(buf)
	return appendInts(buf, r.redis.at, int64(r.behind.since), int64(r.behind.seq),
		r.clock.floor.Load())
}

// appendState leaves out when the bounds began while all that is known of them is one and the same.
func (b *bounds) appendState(buf []byte) []byte {
	buf = appendBools(buf, b.this.known, b.before.known)
	buf = appendInts(buf, b.this.least, b.this.most, b.before.least, b.before.most)
	if b.this.least == b.this.most && (!b.before.known || b.before == b.this) {
		return buf
	}
	return appendInts(buf, int64(b.since))
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
