package revocation

import (
	"errors"
	"fmt"
	"time"
)

// Writer is an issuer's side of the log: a Copy that also appends. What it was asked to revoke is
// in its own set before it is anywhere else, and stays there; what the log has lost it appends
// again, the same in every field.
//
// writer.go has the way of a batch into the log and the issuer's heartbeats, missing.go what
// becomes of entries that the log lacks.
type Writer struct {
	*Copy
	lifetime time.Duration // this issuer's max_token_lifetime
	sessions func(issuer string) time.Duration
	// Every live entry in full. inLog has those that the copy has met in the log as it is now,
	// pending all others: on their way there, or lost. When the position is given up all are
	// pending again, until the load has met them.
	inLog, pending held
	acked          uint64   // up to this place of the copy all is acknowledged
	lastStored     Position // of the entries stored by appends of this issuer
}

// ErrNoTime means that Redis' time is not known, so that no entry can be made.
var ErrNoTime = errors.New(
	"revocation: Redis' time is not known: no heartbeat within max_staleness")

// NewWriter returns a writer that holds nothing and fills set. maxTokenLifetime is the longest life
// of any token that is to be revocable: entries live as long, and two clock_skew more.
func NewWriter(cfg CopyConfig, maxTokenLifetime time.Duration, set Set) *Writer {
	return &Writer{
		Copy: NewCopy(cfg, set), lifetime: maxTokenLifetime, inLog: held{}, pending: held{},
		sessions: func(string) time.Duration { return 0 },
	}
}

// SessionsLive tells the writer for how long a session of an issuer may go on, making tokens, after
// it has been revoked here: 0 for those that end with their revocation, as this issuer's own do.
// Entries that name sessions live as much longer.
func (w *Writer) SessionsLive(life func(issuer string) time.Duration) { w.sessions = life }

// Batch is entries to append in one step. Tell its outcome by Stored or Failed, once.
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
	at, ok := w.entryTime(now)
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
	// Once all are known to be valid: a batch that is refused must leave nothing behind.
	for i := range b.Entries {
		w.add(&b.Entries[i])
		w.appendBegun(&b.Entries[i])
	}
	return b, nil
}

func (w *Writer) entry(q *Request, at time.Time) (Entry, error) {
	if err := q.Validate(); err != nil {
		return Entry{}, err
	}
	e := Entry{
		Kind: q.Kind, Issuer: q.Issuer, Value: q.Value, Reason: q.Reason, Actor: q.Actor,
		At: at.UnixMilli(),
	}
	e.Expires = w.expiryOf(&e)
	if e.Expires >= MaxMillis {
		// No process could read it, and none skips what it cannot read.
		return Entry{}, fmt.Errorf("%w: it would have to live until after %s", ErrInvalidRequest,
			time.UnixMilli(MaxMillis).UTC().Format(time.DateOnly))
	}
	if q.Kind.Cutoff() {
		e.IssuedBefore = e.At
		if !q.IssuedBefore.IsZero() {
			e.IssuedBefore = q.IssuedBefore.UnixMilli()
		}
		// A cutoff that lies ahead would revoke tokens that do not exist yet, and shut their owners
		// out.
		if e.IssuedBefore > at.Add(w.cfg.ClockSkew).UnixMilli() || e.IssuedBefore < 0 {
			return Entry{}, fmt.Errorf("%w: issued_before %s is in the future", ErrInvalidRequest,
				q.IssuedBefore.UTC())
		}
	}
	return e, nil
}

// expiryOf returns when an entry expires that is made at its time At.
func (w *Writer) expiryOf(e *Entry) int64 {
	life := w.Life() + w.extraLife()
	if e.Kind.Sessions() {
		// The last token of a session may be made as it ends, and lives on from there.
		life += w.sessions(e.Issuer)
	}
	return e.At + life.Milliseconds()
}

// maxSetBack is the most by which this machine's clock alone makes an entry later than all else
// that is known of the time: so far Redis' clock may have been set back before this issuer
// started.
const maxSetBack = 24 * time.Hour

// entryTime returns the time that entries are made at: Redis', unless a later one is likely.
func (w *Writer) entryTime(now Instant) (time.Time, bool) {
	view := w.View()
	at, ok := view.Time(now)
	if !ok {
		return at, false
	}
	// When this machine's clock, or what the two clocks have agreed on, is later than Redis' by more
	// than clock_skew, Redis' clock may have been set back. An entry made by it would miss tokens
	// that exist, or expire before they do. This machine's clock alone is believed up to
	// maxSetBack: an entry of a wrong time cannot be taken back.
	latest := max(at.UnixMilli(), w.bounds.latest(now.Mono))
	latest = max(latest, min(now.Wall.UnixMilli(), latest+maxSetBack.Milliseconds()))
	if latest > at.Add(w.cfg.ClockSkew).UnixMilli() {
		at = time.UnixMilli(latest)
	}
	return at, true
}

// ScriptTimes is what an issuer tells the scripts of the time, so that none goes by Redis' clock
// alone: it may have been set. Both are unix ms.
type ScriptTimes struct {
	// Expired bounds the trimming: nothing that expires later may be trimmed; 0: nothing at all.
	Expired int64
	// Redis is Redis' time: that of the newest good heartbeat, carried on by the monotonic clock; 0
	// if that heartbeat was sent longer ago than an entry lives.
	Redis int64
}

// ScriptTimes returns what this issuer knows of the time.
func (w *Writer) ScriptTimes(now Instant) (t ScriptTimes) {
	t.Expired, _ = w.Expired(now)
	if w.redis.known && now.Since(w.redis.sent) <= w.Life() {
		t.Redis = w.redis.latest(now)
	}
	return t
}

// extraLife is how much longer an entry lives than it must, because Redis' time goes on until it is
// in the log.
func (w *Writer) extraLife() time.Duration { return w.cfg.MaxStaleness }

// Life returns how long any entry that is stored now must live at least: as long as any token that
// exists can be valid, by whichever clock.
func (w *Writer) Life() time.Duration {
	return max(w.lifetime, w.head.MaxTokenLifetime) + 2*w.cfg.ClockSkew
}

// Lifetime is this issuer's max_token_lifetime.
func (w *Writer) Lifetime() time.Duration { return w.lifetime }

// Stored notes that a batch is in the log of an epoch: its entries from first on, in order, behind
// one with chain before. It returns the place of the last. That is not an acknowledgement yet.
func (w *Writer) Stored(b Batch, epoch Epoch, first uint64, before Chain) Position {
	last := Position{epoch, first - 1, before}
	for i := range b.Entries {
		e := b.Entries[i]
		e.Seq = first + uint64(i)
		last.Seq, last.Chain = e.Seq, e.After(last.Chain)
		// The place is remembered until the copy comes to it: up to then the entry is not missing.
		if item := w.appendEnded(&b.Entries[i]); item != nil {
			item.epoch, item.seq = epoch, first+uint64(i)
		}
	}
	if epoch != w.lastStored.Epoch || last.Seq > w.lastStored.Seq {
		w.lastStored = last
	}
	return last
}

// Failed notes that a batch may or may not be in the log. Its entries are missing, and are mended,
// unless the copy meets them there.
func (w *Writer) Failed(b Batch) {
	for i := range b.Entries {
		w.appendEnded(&b.Entries[i])
	}
}

// TooEarly notes that a batch was refused because Redis' clock, at redisNow (unix ms), or the
// head's max_token_lifetime, is ahead of what was believed. It returns the batch with a later life,
// to be tried again.
func (w *Writer) TooEarly(b Batch, redisNow int64, lifetime time.Duration) Batch {
	// Redis' time itself is for the next heartbeat to tell, which sees how far it has jumped.
	w.head.MaxTokenLifetime = max(w.head.MaxTokenLifetime, lifetime)
	later := Batch{Entries: make([]Entry, len(b.Entries))}
	for i, e := range b.Entries {
		// With another time it is another entry: kept, the old one would be appended as missing.
		w.pending.drop(&e)
		e.At = max(e.At, redisNow)
		e.Expires = max(e.Expires, w.expiryOf(&e))
		w.add(&e)
		w.appendBegun(&e)
		later.Entries[i] = e
	}
	return later
}

// Beat returns the next heartbeat, which also tells whether this issuer holds what the log may
// lack.
func (w *Writer) Beat(now Instant) Heartbeat {
	hb := w.Copy.Beat(now)
	hb.Times = w.ScriptTimes(now)
	// What has been met in a log that is still being loaded is in it as far as is known: it is
	// missing once that log is lost, and then it is pending. Gates that were confirmed by that log
	// must settle anew by then, which takes longer than a heartbeat.
	hb.Holds = w.pending.live > 0 || w.inLog.live > 0 && w.complete
	// While the copy is not complete, all that is pending may be missing.
	hb.Mend = hb.Holds && (!w.complete || w.missingAny(now))
	if w.lastStored.Epoch == w.pos.Epoch {
		hb.Stored = w.lastStored.Seq
	}
	if hb.Live = w.inLog.live; !w.complete {
		hb.Live = -1
	}
	return hb
}

// Answered takes the answer to a heartbeat.
func (w *Writer) Answered(hb Heartbeat, a HeartbeatReply, now Instant) Outcome {
	out := w.Copy.Answered(hb, a, now)
	w.note(&out)
	if a.HeadFound && a.Head.Epoch == hb.Position.Epoch && a.Head.Seq < hb.Stored {
		w.logWentBack(hb.Position.Epoch, a.Head.Seq)
	}
	return out
}

// Entries takes what a Read returned.
func (w *Writer) Entries(rd Read, entries []Entry, now Instant) Outcome {
	out := w.Copy.Entries(rd, entries, now)
	w.note(&out)
	return out
}

// note follows what the copy did.
func (w *Writer) note(out *Outcome) {
	for i := range out.Applied {
		w.foundInLog(&out.Applied[i])
	}
	// After the loop: what was applied before the position was given up is of the log given up, and
	// is pending with the rest.
	if out.Resync != "" {
		w.pending, w.inLog, w.acked = merged(w.pending, w.inLog), held{}, 0
	}
}

// Acknowledged notes that everything up to the position a heartbeat was sent with is stored as an
// append must be: the heartbeat found the position on the log, its WAIT was met, and another issuer
// holds it.
func (w *Writer) Acknowledged(hb Heartbeat) {
	if w.complete && hb.reading == w.reading && hb.Position.Seq > w.acked {
		w.acked = hb.Position.Seq
	}
}

// findAmong is how many entries of one name Find looks at: what it overlooks is only appended once
// more.
const findAmong = 1000

// Find looks for live and acknowledged entries in the log that do what reqs ask, and returns the
// place of the last. It reports false unless there is one for each: for a kind with a cutoff, one
// at or after an IssuedBefore that must be given.
func (w *Writer) Find(reqs []Request, now Instant) (Position, bool) {
	if !w.complete || !w.redis.known || len(reqs) == 0 {
		return Position{}, false
	}
	last, redisNow := Position{}, w.redis.latest(now)
	for i := range reqs {
		q, found, left := &reqs[i], false, findAmong
		if q.Kind.Cutoff() && q.IssuedBefore.IsZero() {
			return Position{}, false
		}
		w.inLog.ofName(name{q.Kind, q.Issuer, q.Value}, func(_ uint64, item *heldItem) bool {
			e := &item.entry
			// Acknowledged, not merely read: the answer that this earns says that no single fault
			// loses it.
			if e.Seq <= w.acked && e.Expires > redisNow &&
				(!q.Kind.Cutoff() || e.IssuedBefore >= q.IssuedBefore.UnixMilli()) {
				found, last = true, later(last, e)
			}
			left--
			return !found && left > 0
		})
		if !found {
			return Position{}, false
		}
	}
	last.Epoch = w.pos.Epoch
	return last, true
}

// Locate returns where the entries of a batch are in the log: the place of the last. It reports
// false while the copy has not met each of them.
func (w *Writer) Locate(b Batch) (Position, bool) {
	last := Position{Epoch: w.pos.Epoch}
	for i := range b.Entries {
		item := w.inLog.get(&b.Entries[i])
		if item == nil || !w.complete {
			return Position{}, false
		}
		last = later(last, &item.entry)
	}
	return last, last.Seq > 0
}

// later returns the later of a place and an entry's.
func later(p Position, e *Entry) Position {
	if e.Seq > p.Seq {
		p.Seq, p.Chain = e.Seq, e.Chain
	}
	return p
}
