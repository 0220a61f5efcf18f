package revocation

// Read is what the driver is to read next.
type Read struct {
	Mode       ReadMode
	After      uint64 // entries after this place, in order
	Count      int    // at most so many
	generation uint64
}

// ReadMode says how to read. The zero ReadMode is not to.
type ReadMode uint8

// How to read.
const (
	ReadNothing ReadMode = iota // wait for a heartbeat
	ReadPage                    // XRANGE: what is there now
	ReadTail                    // XREAD BLOCK: wait for what comes
)

// Next says what to read.
func (r *Copy) Next() Read {
	switch {
	case r.blind.on:
		return Read{}
	case r.complete:
		return Read{ReadTail, r.pos.Seq, r.cfg.Page, r.generation}
	case r.load.active:
		return Read{ReadPage, r.load.next - 1, r.cfg.Page, r.generation}
	}
	return Read{}
}

// Entries takes what a Read returned, in order. The entries are applied up to the first that does
// not follow; the Read of an earlier generation means nothing.
func (r *Copy) Entries(rd Read, entries []Entry, now Instant) Outcome {
	if rd.generation != r.generation || rd.Mode == ReadNothing {
		return Outcome{}
	}
	if rd.Mode == ReadTail {
		return r.tail(entries, now)
	}
	return r.page(entries)
}

func (r *Copy) tail(entries []Entry, now Instant) Outcome {
	out := Outcome{}
	for i := range entries {
		e := &entries[i]
		if cause := follows(e, r.pos.Seq+1, r.pos.Chain); cause != "" {
			return r.refuse(e, cause, entries[:i])
		}
		r.apply(e)
		r.pos.Seq, r.pos.Chain = e.Seq, e.Chain
		if len(r.passed) < maxPassed {
			r.passed = append(r.passed, place{e.Seq, e.Chain})
		}
		if cause := r.reached(now, &out); cause != "" {
			lost := r.lose(cause)
			lost.Applied = entries[:i+1]
			return lost
		}
	}
	out.Applied = entries
	return out
}

// reached counts the heartbeats that waited for the place just applied.
func (r *Copy) reached(now Instant, out *Outcome) Cause {
	kept := r.wait[:0]
	for _, c := range r.wait {
		switch {
		case c.at.seq > r.pos.Seq:
			kept = append(kept, c)
		case c.at.chain != r.pos.Chain:
			return CauseChain
		default:
			r.count(c.sent, now, out)
		}
	}
	r.wait = kept
	return ""
}

// page applies a page of a load. The copy is complete when the target's place is reached without a
// gap and in its chain.
func (r *Copy) page(entries []Entry) Outcome {
	l, done := &r.load, false
	for i := range entries {
		e := &entries[i]
		if cause := l.accepts(e); cause != "" {
			return r.refuse(e, cause, entries[:i])
		}
		if e.Seq == l.target.Seq && e.Chain != l.target.Chain {
			return r.refuse(e, CauseChain, entries[:i])
		}
		r.apply(e)
		l.next, l.chain = e.Seq+1, e.Chain
		done = done || e.Seq == l.target.Seq
	}
	if len(entries) == 0 {
		return r.lose(CauseVanished)
	}
	if done {
		r.pos = Position{l.target.Epoch, l.next - 1, l.chain}
		r.complete, r.load = true, load{}
		r.generation++
	}
	return Outcome{Applied: entries, Completed: done}
}

// accepts wants the entry that comes next. What came before the first entry of a trimmed log is not
// known: its chain is taken at its word, and proved by the head's.
func (l *load) accepts(e *Entry) Cause {
	if l.next != l.first || l.first == 1 {
		return follows(e, l.next, l.chain)
	}
	switch {
	case e.Kind == 0:
		return CauseUnknown
	case e.Seq != l.next:
		return CauseGap
	}
	return ""
}

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

// refuse gives up the position at an entry that does not follow. One that cannot be read is never
// skipped: no copy is complete, nor fresh, until the log has left it behind.
func (r *Copy) refuse(e *Entry, cause Cause, applied []Entry) Outcome {
	epoch := r.pos.Epoch
	if r.load.active {
		epoch = r.load.target.Epoch
	}
	out := r.lose(cause)
	out.Applied = applied
	if cause == CauseUnknown {
		r.blind = blind{true, epoch, e.Seq}
		r.counted = false
	}
	return out
}

func (r *Copy) apply(e *Entry) { r.set.Add(e) }
