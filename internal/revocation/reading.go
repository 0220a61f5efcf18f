package revocation

// Read is what the driver is to read next.
type Read struct {
	Mode    ReadMode
	After   uint64 // entries after this place, in order
	Count   int    // at most so many
	reading uint64 // the Copy's when this was asked for
}

// ReadMode is how to read. The zero ReadMode is not to.
type ReadMode uint8

// How to read.
const (
	ReadNothing ReadMode = iota // wait for a heartbeat
	ReadPage                    // XRANGE: what is there now
	ReadTail                    // XREAD BLOCK: wait for what comes
)

// Next returns what to read.
func (c *Copy) Next() Read {
	switch {
	case c.unreadable.on:
		// More reading would come to the same entry. The next heartbeat shows when it is gone.
		return Read{}
	case c.complete:
		return Read{ReadTail, c.pos.Seq, c.cfg.Page, c.reading}
	case c.load.active:
		return Read{ReadPage, c.load.next - 1, c.cfg.Page, c.reading}
	}
	return Read{}
}

// Entries takes what a Read returned, in order. The entries are applied up to the first that does
// not follow the one before it.
func (c *Copy) Entries(rd Read, entries []Entry, now Instant) Outcome {
	if rd.reading != c.reading || rd.Mode == ReadNothing {
		// It was asked for before the position was given up, and is of another log, or of another
		// place in it.
		return Outcome{}
	}
	if rd.Mode == ReadTail {
		return c.tail(entries, now)
	}
	return c.page(entries)
}

// tail applies entries that were read behind the position of a complete copy.
func (c *Copy) tail(entries []Entry, now Instant) Outcome {
	out := Outcome{}
	for i := range entries {
		e := &entries[i]
		if cause := follows(e, c.pos.Seq+1, c.pos.Chain); cause != "" {
			return c.reject(e, cause, entries[:i])
		}
		c.add(e)
		c.pos.Seq, c.pos.Chain = e.Seq, e.Chain
		// The heartbeat under way may return this place as its head after more has been applied.
		if len(c.passed) < maxPassed {
			c.passed = append(c.passed, place{e.Seq, e.Chain})
		}
		// At each entry, not once for all: a heartbeat that waits for a place is judged by the chain
		// there, which only this moment knows.
		if cause := c.countWaiting(now, &out); cause != "" {
			lost := c.giveUp(cause)
			lost.Applied = entries[:i+1]
			return lost
		}
	}
	out.Applied = entries
	return out
}

// countWaiting counts the heartbeats that waited for the place just applied.
func (c *Copy) countWaiting(now Instant, out *Outcome) Cause {
	kept := c.waiting[:0]
	for _, beat := range c.waiting {
		switch {
		case beat.head.seq > c.pos.Seq:
			kept = append(kept, beat)
		case beat.head.chain != c.pos.Chain:
			// The heartbeat saw another entry at this place: what was read is no longer the log.
			return CauseChain
		default:
			c.count(beat.sent, now, out)
		}
	}
	c.waiting = kept
	return ""
}

// page applies a page of a load. The copy is complete when the target's place is reached without a
// gap and in its chain.
func (c *Copy) page(entries []Entry) Outcome {
	l, done := &c.load, false
	for i := range entries {
		e := &entries[i]
		if cause := l.accepts(e); cause != "" {
			return c.reject(e, cause, entries[:i])
		}
		// The head proves the whole load: its chain covers each entry back to the first.
		if e.Seq == l.target.Seq && e.Chain != l.target.Chain {
			return c.reject(e, CauseChain, entries[:i])
		}
		// In force at once, complete or not: what denies may never come too early.
		c.add(e)
		l.next, l.chain = e.Seq+1, e.Chain
		done = done || e.Seq == l.target.Seq
	}
	if len(entries) == 0 {
		// The head had promised more: the log has been deleted or trimmed meanwhile.
		return c.giveUp(CauseVanished)
	}
	if done {
		c.pos = Position{l.target.Epoch, l.next - 1, l.chain}
		c.complete, c.load = true, load{}
		c.reading++
	}
	return Outcome{Applied: entries, Completed: done}
}

// accepts returns why e is not the entry that the load expects next, or nothing.
func (l *load) accepts(e *Entry) Cause {
	if l.next != l.first || l.first == 1 {
		return follows(e, l.next, l.chain)
	}
	// What came before the first entry of a trimmed log is not known. The entry's chain is believed
	// here, and proved once the head's is reached.
	switch {
	case e.Kind == 0:
		return CauseUnknown
	case e.Seq != l.next:
		return CauseGap
	}
	return ""
}

// follows returns why e is not the entry at seq behind one with the chain previous, or nothing.
func follows(e *Entry, seq uint64, previous Chain) Cause {
	switch {
	case e.Seq != seq:
		return CauseGap
	case e.Kind == 0, (e.Kind == KindEpoch) != (e.Seq == 1):
		return CauseUnknown
	case e.After(previous) != e.Chain:
		return CauseChain
	}
	return ""
}

// reject gives up the position at an entry that does not follow, with what was applied before it.
func (c *Copy) reject(e *Entry, cause Cause, applied []Entry) Outcome {
	epoch := c.pos.Epoch
	if c.load.active {
		epoch = c.load.target.Epoch
	}
	out := c.giveUp(cause)
	out.Applied = applied
	if cause == CauseUnknown {
		// Nobody knows what it revokes, so it is not skipped, and the earlier confirmation ends at
		// once instead of running out: no copy is fresh until the log has left the entry behind.
		c.unreadable = unreadable{true, epoch, e.Seq}
		c.counted = false
	}
	return out
}
