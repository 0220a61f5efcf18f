package revocation

// appendBegun notes that an entry made here is on its way into the log.
func (w *Writer) appendBegun(e *Entry) {
	item := w.pending.get(e)
	if item == nil {
		item = w.pending.add(e)
	}
	item.appends++
}

// appendEnded notes that an append of e has ended, well or not. It returns what is pending of e:
// nil when the copy has met it in the log already.
func (w *Writer) appendEnded(e *Entry) *heldItem {
	item := w.pending.get(e)
	if item != nil && item.appends > 0 {
		item.appends--
		item.mending = item.mending && item.appends > 0
	}
	return item
}

// foundInLog notes that the copy has met an entry in the log.
func (w *Writer) foundInLog(e *Entry) {
	if e.Kind == KindEpoch {
		return
	}
	w.pending.drop(e)
	// One that is there already was carried on from its earlier place, or an append that had seemed
	// lost was not. The later place counts. It goes to the end here as it does there, so that the
	// memory between the two is let go.
	w.inLog.drop(e)
	w.inLog.add(e)
}

// logWentBack notes that the log of an epoch ends at seq, though appends of this issuer have stored
// entries behind that. They are missing then, even though the copy never came to where they were.
func (w *Writer) logWentBack(epoch Epoch, seq uint64) {
	w.pending.each(func(item *heldItem) bool {
		if item.epoch == epoch && item.seq > seq {
			item.seq = 0
		}
		return true
	})
	if w.lastStored.Epoch == epoch {
		w.lastStored.Seq = min(w.lastStored.Seq, seq)
	}
}

// missing reports whether the log, of which the copy is complete, lacks a pending entry.
func (w *Writer) missing(item *heldItem, expired int64) bool {
	switch {
	case item.appends > 0 && !item.mending:
		// A new entry on its way: whoever asked for it has no answer yet, so nothing is lost. One
		// that is appended again is missing until it is known to be stored: gates may not count
		// themselves fresh while that may yet fail.
		return false
	case item.entry.Expires <= expired:
		// Every token that it names has expired.
		return false
	case item.seq > 0 && item.epoch == w.pos.Epoch && item.seq > w.pos.Seq:
		// An append has put it where the copy has yet to come.
		return false
	}
	return true
}

func (w *Writer) missingAny(now Instant) (found bool) {
	expired, _ := w.Expired(now)
	w.pending.each(func(item *heldItem) bool {
		found = w.missing(item, expired)
		return !found
	})
	return found
}

// missingFirst returns up to most entries that are missing and not being appended, oldest first.
func (w *Writer) missingFirst(now Instant, most int) []Entry {
	expired, _ := w.Expired(now)
	var found []Entry
	w.pending.each(func(item *heldItem) bool {
		if item.appends == 0 && w.missing(item, expired) {
			// Without its place: the log that had it there is gone.
			found = append(found, item.entry.bare())
		}
		return len(found) < most
	})
	return found
}

// Missing is the number of live entries that are held here and not in the log as far as it is
// known.
func (w *Writer) Missing() int { return w.pending.live }

// Mend returns a batch of at most most entries that the log has lost, the same in every field as
// they were. It is computed against the head as it is known: if the log's is another one, nothing
// of it may be appended. It reports false when there is nothing to mend, or the copy is not
// complete, so that this cannot be known.
func (w *Writer) Mend(now Instant, most int) (Batch, bool) {
	if !w.complete || !w.redis.known {
		return Batch{}, false
	}
	// One more than asked for tells whether the log has to stay marked as mending after this batch.
	entries := w.missingFirst(now, most+1)
	more := len(entries) > most
	entries = entries[:min(len(entries), most)]
	// The same value, expiry and time, so that whoever has the entry already, this issuer or
	// another one that mends at the same time, knows it for the same.
	for i := range entries {
		item := w.pending.get(&entries[i])
		item.appends, item.mending = item.appends+1, true
	}
	return Batch{Entries: entries, Again: true, Expect: w.pos, More: more}, len(entries) > 0
}

// Rebase computes a batch of Mend anew after some time has passed: against the head as it is known
// now, and without what the log has got meanwhile. It reports false when nothing is left, or this
// cannot be known now: then b has Failed.
func (w *Writer) Rebase(b Batch) (Batch, bool) {
	if !w.complete || !w.redis.known {
		return Batch{}, false
	}
	again := Batch{Again: true, Expect: w.pos, More: b.More}
	for i := range b.Entries {
		if w.pending.get(&b.Entries[i]) != nil {
			again.Entries = append(again.Entries, b.Entries[i])
		}
	}
	return again, len(again.Entries) > 0
}

// Forget drops what has expired at now (see Expired) among the next n entries in turn.
func (w *Writer) Forget(now int64, n int) {
	w.inLog.forget(now, n)
	w.pending.forget(now, n)
}
