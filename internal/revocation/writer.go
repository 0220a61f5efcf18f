package revocation

import (
	"errors"
	"fmt"
	"time"
)

// Writer is an issuer's side of the log: a Copy that also appends. What it was asked to revoke
// is in its own set before it is anywhere else, and stays there; what the log has lost it appends
// again, the same in every field.
type Writer struct {
	*Copy
	lifetime time.Duration // this issuer's max_token_lifetime
	// Every live entry in full: those seen in the log as it is now, and the others. When the
	// position is given up, all are unseen again until the load has met them.
	seen, unseen held
	acked        uint64   // up to this place of the copy all is acknowledged
	newest       Position // of the entries stored by appends of this issuer
}

// ErrNoTime means that Redis' time is not known, so that no entry can be made.
var ErrNoTime = errors.New(
	"revocation: Redis' time is not known: no heartbeat within max_staleness")

// NewWriter makes a writer that holds nothing and fills set. maxTokenLifetime is the longest life
// of any token that is to be revocable: entries live as long, and two clock_skew more.
func NewWriter(cfg CopyConfig, maxTokenLifetime time.Duration, set Set) *Writer {
	return &Writer{
		Copy: NewCopy(cfg, set), lifetime: maxTokenLifetime, seen: held{}, unseen: held{},
	}
}

// Batch is entries to append in one step. Give its outcome to Stored or Failed, once.
type Batch struct {
	Entries []Entry
	// Again means that the entries were in the log before. They may then be appended only to a log
	// whose head is Expect.
	Again  bool
	Expect Position
	More   bool // there are more to be appended again: the log is to stay marked as mending
}

// Begin makes entries of requests and puts them into this issuer's own set: from here on it denies
// what they name, whatever becomes of the batch. Errors wrap ErrInvalidRequest or are ErrNoTime.
func (w *Writer) Begin(reqs []Request, now Instant) (Batch, error) {
	at, ok := w.stamp(now)
	if !ok {
		return Batch{}, ErrNoTime
	}
	b := Batch{Entries: make([]Entry, 0, len(reqs))}
	for i := range reqs {
		e, err := w.entry(&reqs[i], at)
		if err != nil {
			return Batch{}, err
		}
		b.Entries = append(b.Entries, e)
	}
	for i := range b.Entries {
		w.set.Add(&b.Entries[i])
		w.launch(&b.Entries[i])
	}
	return b, nil
}

func (w *Writer) entry(q *Request, at time.Time) (Entry, error) {
	if err := q.Validate(); err != nil {
		return Entry{}, err
	}
	e := Entry{
		Kind: q.Kind, Issuer: q.Issuer, Value: q.Value, Reason: q.Reason, Actor: q.Actor,
		At: at.UnixMilli(), Expires: at.Add(w.Life() + w.onTheWay()).UnixMilli(),
	}
	if q.Kind.Cutoff() {
		e.IssuedBefore = e.At
		if !q.IssuedBefore.IsZero() {
			e.IssuedBefore = q.IssuedBefore.UnixMilli()
		}
		if e.IssuedBefore > at.Add(w.cfg.ClockSkew).UnixMilli() || e.IssuedBefore < 0 {
			return Entry{}, fmt.Errorf("%w: issued_before %s is in the future", ErrInvalidRequest,
				q.IssuedBefore.UTC())
		}
	}
	return e, nil
}

// mostAhead is by how much Redis' clock may have gone back before this issuer started, and its
// entries still make up for it.
const mostAhead = 24 * time.Hour

// stamp is the time that entries are made at: Redis', unless this machine's clock, or what the two
// have agreed on, is later by more than clock_skew. Then Redis' clock may have gone back, and an
// entry made by it would miss tokens that exist, or expire before they do. This machine's clock
// alone is believed up to mostAhead: what a wrong one makes, nobody can take back.
func (w *Writer) stamp(now Instant) (time.Time, bool) {
	view := w.View()
	at, ok := view.Time(now)
	if !ok {
		return at, false
	}
	latest := max(at.UnixMilli(), w.bounds.latest(now.Mono))
	latest = max(latest, min(now.Wall.UnixMilli(), latest+mostAhead.Milliseconds()))
	if latest > at.Add(w.cfg.ClockSkew).UnixMilli() {
		at = time.UnixMilli(latest)
	}
	return at, true
}

// Sight is what an issuer knows of the time, so that no script goes by Redis' clock alone. Times
// are unix ms.
type Sight struct {
	Expired int64 // nothing that expires later may be trimmed; 0: nothing at all
	// Redis' time, carried on from a heartbeat not longer ago than an entry lives; 0 if there was none
	Redis int64
}

// Sight is what this issuer knows of the time.
func (w *Writer) Sight(now Instant) (s Sight) {
	s.Expired, _ = w.Expired(now)
	if w.redis.known && now.Since(w.redis.sent) <= w.Life() {
		s.Redis = w.redis.latest(now)
	}
	return s
}

// onTheWay is what an entry is given to live longer than it must, because Redis' time goes on until
// it is in the log.
func (w *Writer) onTheWay() time.Duration { return w.cfg.MaxStaleness }

// Life is how long an entry that is stored now must live: as long as any token that exists can be
// valid, by whichever clock.
func (w *Writer) Life() time.Duration {
	return max(w.lifetime, w.head.MaxTokenLifetime) + 2*w.cfg.ClockSkew
}

// Lifetime is this issuer's max_token_lifetime.
func (w *Writer) Lifetime() time.Duration { return w.lifetime }

// Stored says that a batch is in the log of an epoch: its entries from first on, in order, after
// one with chain before. It returns the place of the last.
func (w *Writer) Stored(b Batch, epoch Epoch, first uint64, before Chain) Position {
	last := Position{epoch, first - 1, before}
	for i := range b.Entries {
		e := b.Entries[i]
		e.Seq = first + uint64(i)
		last.Seq, last.Chain = e.Seq, e.After(last.Chain)
		if item := w.land(&b.Entries[i]); item != nil {
			item.epoch, item.seq = epoch, first+uint64(i)
		}
	}
	if epoch != w.newest.Epoch || last.Seq > w.newest.Seq {
		w.newest = last
	}
	return last
}

// Failed says that a batch may or may not be in the log. What does not come back from it will be
// missing.
func (w *Writer) Failed(b Batch) {
	for i := range b.Entries {
		w.land(&b.Entries[i])
	}
}

// TooEarly says that a batch was refused because Redis' clock, at redisNow (unix ms), or the head's
// max_token_lifetime, is ahead of what was believed. Its entries get a later life, and may be tried
// again. Redis' time itself is for the next heartbeat to tell, which sees how far it has jumped.
func (w *Writer) TooEarly(b Batch, redisNow int64, lifetime time.Duration) Batch {
	w.head.MaxTokenLifetime = max(w.head.MaxTokenLifetime, lifetime)
	later := Batch{Entries: make([]Entry, len(b.Entries))}
	for i, e := range b.Entries {
		w.unseen.drop(&e)
		e.At = max(e.At, redisNow)
		e.Expires = max(e.Expires, e.At+(w.Life()+w.onTheWay()).Milliseconds())
		w.set.Add(&e)
		w.launch(&e)
		later.Entries[i] = e
	}
	return later
}

// Beat makes the next heartbeat, which also says whether this issuer holds what the log may lack.
func (w *Writer) Beat(now Instant) Heartbeat {
	hb := w.Copy.Beat(now)
	hb.Sight = w.Sight(now)
	// What has been seen in a log that is still being loaded is in it as far as is known: it is
	// missing once that log is lost, and then it is unseen. Gates that were confirmed by that log
	// must settle anew by then, which takes longer than a heartbeat.
	hb.Holds = w.unseen.live > 0 || w.seen.live > 0 && w.complete
	hb.Mend = hb.Holds && (!w.complete || w.missingAny(now))
	if w.newest.Epoch == w.pos.Epoch {
		hb.Stored = w.newest.Seq
	}
	return hb
}

// Answered takes the answer to a heartbeat.
func (w *Writer) Answered(hb Heartbeat, a HeartbeatReply, now Instant) Outcome {
	out := w.Copy.Answered(hb, a, now)
	w.note(&out)
	if a.HeadFound && a.Head.Epoch == hb.Position.Epoch && a.Head.Seq < hb.Stored {
		w.lost(hb.Position.Epoch, a.Head.Seq)
	}
	return out
}

// Entries takes what a Read returned.
func (w *Writer) Entries(rd Read, entries []Entry, now Instant) Outcome {
	out := w.Copy.Entries(rd, entries, now)
	w.note(&out)
	return out
}

// note follows what the replica did. Entries applied before a position was given up belong to the
// log given up.
func (w *Writer) note(out *Outcome) {
	for i := range out.Applied {
		w.meet(&out.Applied[i])
	}
	if out.Resync != "" {
		w.unseen, w.seen, w.acked = merged(w.unseen, w.seen), held{}, 0
	}
}
