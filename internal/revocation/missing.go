package revocation

// launch notes that an entry made here is on its way into the log.
func (w *Writer) launch(e *Entry) {
	item := w.unseen.get(e)
	if item == nil {
		item = w.unseen.add(e)
	}
	item.inFlight++
}

// land notes that an append of e has ended; it returns nil when the log has shown e already.
func (w *Writer) land(e *Entry) *heldItem {
	item := w.unseen.get(e)
	if item != nil && item.inFlight > 0 {
		item.inFlight--
		item.mending = item.mending && item.inFlight > 0
	}
	return item
}

// meet notes that an entry is in the log.
func (w *Writer) meet(e *Entry) {
	if e.Kind == KindEpoch {
		return
	}
	w.unseen.drop(e)
	if old := w.seen.get(e); old != nil {
		old.entry.Seq, old.entry.Chain = e.Seq, e.Chain
		return
	}
	w.seen.add(e)
}

// lost notes that the log of an epoch ends at seq, though appends of this issuer have stored
// entries behind that: it has gone back. They are missing then, even though the copy never came to
// where they were.
func (w *Writer) lost(epoch Epoch, seq uint64) {
	w.unseen.each(func(item *heldItem) bool {
		if item.epoch == epoch && item.seq > seq {
			item.seq = 0
		}
		return true
	})
	if w.newest.Epoch == epoch {
		w.newest.Seq = min(w.newest.Seq, seq)
	}
}

// missing reports whether the log, of which the copy is complete, lacks an item: no append of a new
// one is under way, and none has put it where the copy has yet to come. One that is being mended is
// missing until it is known to be stored.
func (w *Writer) missing(item *heldItem, expired int64) bool {
	switch {
	case item.inFlight > 0 && !item.mending:
		return false
	case item.entry.Expires <= expired:
		return false
	case item.seq > 0 && item.epoch == w.pos.Epoch && item.seq > w.pos.Seq:
		return false
	}
	return true
}

func (w *Writer) missingAny(now Instant) (found bool) {
	expired, _ := w.Expired(now)
	w.unseen.each(func(item *heldItem) bool {
		found = w.missing(item, expired)
		return !found
	})
	return found
}

// missingFirst gives what is missing and not being mended.
func (w *Writer) missingFirst(now Instant, most int) []Entry {
	expired, _ := w.Expired(now)
	var found []Entry
	w.unseen.each(func(item *heldItem) bool {
		if item.inFlight == 0 && w.missing(item, expired) {
			found = append(found, item.entry.bare())
		}
		return len(found) < most
	})
	return found
}

// Missing is the number of live entries that are held here and not in the log as far as it is
// known.
func (w *Writer) Missing() int { return w.unseen.live }

// Mend makes a batch of at most most entries that the log has lost, the same in every field as they
// were. It is computed against the head as it is known: if the log's is another one, nothing of it
// may be appended. False when there is nothing to mend, or the copy is not complete, so that this
// cannot be known.
func (w *Writer) Mend(now Instant, most int) (Batch, bool) {
	if !w.complete || !w.redis.known {
		return Batch{}, false
	}
	entries := w.missingFirst(now, most+1)
	more := len(entries) > most
	entries = entries[:min(len(entries), most)]
	for i := range entries {
		item := w.unseen.get(&entries[i])
		item.inFlight, item.mending = item.inFlight+1, true
	}
	return Batch{Entries: entries, Again: true, Expect: w.pos, More: more}, len(entries) > 0
}

// Rebase computes a batch of Mend anew after some time has passed: against the head as it is known
// now, and without what the log has got meanwhile. False when nothing is left, or this cannot be
// known now: then b has Failed.
func (w *Writer) Rebase(b Batch) (Batch, bool) {
	if !w.complete || !w.redis.known {
		return Batch{}, false
	}
	again := Batch{Again: true, Expect: w.pos, More: b.More}
	for i := range b.Entries {
		if w.unseen.get(&b.Entries[i]) != nil {
			again.Entries = append(again.Entries, b.Entries[i])
		}
	}
	return again, len(again.Entries) > 0
}

// Acknowledged says that everything up to the position a heartbeat was sent with is stored as an
// append must be: the heartbeat found the position on the log, its WAIT was met, and the second
// holder is there.
func (w *Writer) Acknowledged(hb Heartbeat) {
	if w.complete && hb.generation == w.generation && hb.Position.Seq > w.acked {
		w.acked = hb.Position.Seq
	}
}

// findAmong is how many entries of one name Find looks at: what it overlooks is only appended once
// more.
const findAmong = 1000

// Find looks for live and acknowledged entries in the log that do what reqs ask, and returns the
// place of the last. False unless there is one for each: for a kind with a cutoff, one at or after
// an IssuedBefore that must be given.
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
		w.seen.ofName(name{q.Kind, q.Issuer, q.Value}, func(_ uint64, item *heldItem) bool {
			e := &item.entry
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

// later is the later of a place and an entry's.
func later(p Position, e *Entry) Position {
	if e.Seq > p.Seq {
		p.Seq, p.Chain = e.Seq, e.Chain
	}
	return p
}

// Locate tells where the entries of a batch are in the log: the place of the last. False while any
// has not been seen.
func (w *Writer) Locate(b Batch) (Position, bool) {
	last := Position{Epoch: w.pos.Epoch}
	for i := range b.Entries {
		item := w.seen.get(&b.Entries[i])
		if item == nil || !w.complete {
			return Position{}, false
		}
		last = later(last, &item.entry)
	}
	return last, last.Seq > 0
}

// Forget drops what has expired at now (see Expired) among the next n entries in turn.
func (w *Writer) Forget(now int64, n int) {
	w.seen.forget(now, n)
	w.unseen.forget(now, n)
}
