package faults

import (
	"slices"
	"time"
)

// deniedStaysDenied judges S3.
func (j *judge) deniedStaysDenied(s *story) {
	type one struct {
		gate, token string
		run         int
	}
	denied := map[one]*Event{}
	of := func(e *Event) one {
		// A cutoff goes by when each token was made, where that is before auth_time: so it may be
		// after a clock has moved, and in the second of a log out everywhere, behind which
		// auth_time is the next second's.
		if s.byToken() || j.clocksMoved(0, e.End) || j.rightBehind(s) {
			return one{e.At, e.Token, e.Run}
		}
		return one{e.At, "", e.Run}
	}
	for _, e := range s.calls {
		if key := of(e); e.Revoked() && e.Run != 0 && (denied[key] == nil || e.End < denied[key].End) {
			denied[key] = e
		}
	}
	for _, e := range s.calls {
		if before := denied[of(e)]; e.Allowed() && e.Run != 0 && before != nil && e.Begin > before.End {
			j.violated("S3", "", []*Event{before, e}, spanOf(before, e),
				"%s denied session %s as revoked and allowed it later", e.At, s.id)
			return
		}
	}
}

// rightBehind reports whether a session's login followed a log out everywhere of its user within
// about a second.
func (j *judge) rightBehind(s *story) bool {
	return s.begun != nil && s.begun.Op == Login && slices.ContainsFunc(j.broad, func(e *Event) bool {
		return (e.Op == Everywhere || e.Op == Disable) && e.Value == s.begun.Facts.Subject &&
			e.Begin < s.begun.End && e.End+margin > s.begun.Begin
	})
}

// inForce returns the time from which a revocation acknowledged at a time is in force at every
// gate: max_staleness later, or when all was found to be well.
func (j *judge) inForce(acknowledged time.Duration) time.Duration {
	from := acknowledged + j.MaxStaleness
	for _, s := range j.Spans {
		if s.Kind == Healthy && s.Covers > acknowledged {
			from = min(from, s.From)
		}
	}
	return from
}

// endedStaysEnded judges S1, S4, S5 and S6: which of them a token that passes has broken depends on
// when it was minted and on what had happened since.
func (j *judge) endedStaysEnded(s *story) {
	for _, e := range s.calls {
		ended := s.ended(e.Token)
		if ended == nil || !e.Allowed() || e.Begin <= j.inForce(ended.End) {
			continue
		}
		evidence := []*Event{ended, e}
		promise, minted := "S1", s.minted[e.Token]
		switch {
		case minted != nil && minted.Begin > ended.End:
			promise, evidence = "S6", append(evidence, minted)
		case ended.Op == Refresh:
			promise = "S5"
		case j.faulty(ended.End, e.End) || j.startedAfter(e, ended.End):
			promise = "S4"
		}
		j.violated(promise, j.overBudget(ended.Begin-electing, e.End), evidence,
			spanOf(evidence...), "%s allowed session %s %v after its end was acknowledged", e.At,
			s.id, (e.Begin - ended.End).Round(time.Millisecond))
		j.found[len(j.found)-1].Lost = true
		return
	}
	ended := s.ended("")
	for _, e := range s.changes {
		if ended != nil && e.Op == Refresh && e.Status == 200 && e.Begin > ended.End+j.MaxStaleness {
			j.violated("S6", j.overBudget(ended.Begin-electing, e.End), []*Event{ended, e},
				spanOf(ended, e), "%s refreshed session %s after its end was acknowledged", e.At,
				s.id)
			return
		}
	}
}

// waitedIsApplied judges S1 where the end was answered 200 with ?wait=: every gate that ran then
// has applied it.
func (j *judge) waitedIsApplied(s *story) {
	for i := range s.ends {
		n := &s.ends[i]
		if !n.certain || n.by.Status != 200 || !n.by.Wait {
			continue
		}
		for _, e := range s.calls {
			if e.Allowed() && n.about(e.Token) && e.Begin > n.by.End && e.Run != 0 &&
				!j.startedAfter(e, n.by.Begin) {
				j.violated("S1", "", []*Event{n.by, e}, spanOf(n.by, e),
					"%s allowed session %s after an end that every gate had applied", e.At, s.id)
				return
			}
		}
	}
}

// refreshWorksOnce judges S5. That a token was spent may be among what Redis has lost.
func (j *judge) refreshWorksOnce(s *story) {
	for i, first := range s.changes {
		if first.Op != Refresh || first.Status != 200 {
			continue
		}
		if first.Next != first.Spent+1 {
			j.violated("S5", "", []*Event{first}, spanOf(first),
				"refresh token %d of session %s gave %d", first.Spent, s.id, first.Next)
			return
		}
		for _, again := range s.changes[i+1:] {
			if again.Op != Refresh || again.Status != 200 || again.Begin <= first.End ||
				j.lossy(first.Begin, again.End) {
				continue
			}
			evidence := []*Event{first, again}
			switch {
			case again.Spent == first.Spent && again.Next != first.Next:
				j.violated("S5", "", evidence, spanOf(evidence...),
					"refresh token %d of session %s gave two different ones", first.Spent, s.id)
			case again.Spent == first.Spent && again.Begin > first.End+j.graceOf(first, again):
				j.violated("S5", "", evidence, spanOf(evidence...),
					"refresh token %d of session %s worked twice", first.Spent, s.id)
			case again.Spent < first.Spent && again.Begin > first.End+j.graceOf(first, again):
				// It was spent before first.
				j.violated("S5", "", evidence, spanOf(evidence...),
					"refresh token %d of session %s worked long after its successor", again.Spent,
					s.id)
			default:
				continue
			}
			return
		}
	}
}

// spentIsRepeated judges S5: a refresh token that was spent less than the grace ago is not refused,
// unless the session may have ended, or more of its tokens have been spent since than issuers
// remember.
func (j *judge) spentIsRepeated(s *story) {
	for _, e := range s.changes {
		if e.Op != Refresh || e.Status != 401 || s.mayHaveEnded(e) ||
			j.lossy(s.changes[0].Begin, e.End) ||
			j.clocksMoved(0, e.End) {
			continue
		}
		for _, first := range s.changes {
			if first.Op == Refresh && first.Spent == e.Spent && first.Status == 200 &&
				e.End <= first.Begin+j.Grace &&
				s.spentBy(e)-e.Spent < remembered {
				j.violated("S5", "", []*Event{first, e}, spanOf(first, e),
					"refresh token %d of session %s was refused within the grace", e.Spent, s.id)
				return
			}
		}
	}
}

// remembered is how many spent refresh tokens of a session issuers remember at least.
const remembered = 8

// spentBy is the newest refresh token that may have been spent before the answer to e.
func (s *story) spentBy(e *Event) (newest int) {
	for _, other := range s.changes {
		if other.Op == Refresh && other.Begin < e.End {
			newest = max(newest, other.Spent)
		}
	}
	return newest
}

// mayHaveEnded reports whether anybody but a refresh that was answered 200 may have ended the
// session before the answer to e.
func (s *story) mayHaveEnded(e *Event) bool {
	return slices.ContainsFunc(s.ends, func(n end) bool {
		return n.by != e && n.token == "" && n.by.Begin < e.End &&
			!(n.by.Op == Refresh && n.by.Status == 200)
	})
}

// graceOf is how long a spent refresh token may be exchanged for its successor again: clocks may be
// wrong by clock_skew, unnoticed.
func (j *judge) graceOf(first, again *Event) time.Duration {
	if j.clocksMoved(0, again.End) {
		return j.Grace + skew
	}
	return j.Grace
}

// validIsAllowed judges S8 and L2. A session counts as valid until anything was tried that might
// end it. A gate that cannot know may say so (503), or not answer, once something has been wrong
// for long enough, or it was hurt itself; that a valid token is not valid (401, 403) it may never
// say.
func (j *judge) validIsAllowed(s *story) {
	for _, e := range s.calls {
		if e.Status == 200 || e.End >= s.validUntil(e.Token) || j.skewed(e) {
			continue
		}
		promise, doubt := "S8", ""
		if e.Status == 0 || e.Status == 503 {
			if promise = j.owed(e); promise == "" {
				continue
			}
			doubt = j.doubt(e.Begin-j.MaxStaleness, e.End)
		}
		j.violated(promise, doubt, []*Event{e}, spanOf(e),
			"%s answered %d %s to a valid token of session %s", e.At, e.Status, e.Reason, s.id)
		return
	}
}

// skewed reports whether the gate could not tell the time: it is not ready then, and may deny what
// is valid. What it knew wrongly it knows until it has heard of Redis again.
func (j *judge) skewed(e *Event) bool {
	return slices.ContainsFunc(j.Spans, func(s Span) bool {
		if s.Kind != Skewed || s.Who != e.At {
			return false
		}
		for _, deaf := range j.Spans {
			if deaf.Kind == Isolated && deaf.Who == e.At && overlap(deaf, s) {
				s.To = max(s.To, deaf.To+j.MaxStaleness)
			}
		}
		return overlap(s, Span{From: e.Begin, To: e.End})
	})
}

// owed names the promise by which a gate owes a verdict at the time of a call: S8 while all is
// well, L2 for as long after as an outage of Redis may last, "" when it owes none.
func (j *judge) owed(e *Event) string {
	for _, h := range j.Spans {
		if h.Kind != Healthy || h.From > e.Begin || j.hurt(e.At, h.To, e.Begin, e.End) {
			continue
		}
		if e.End <= h.To {
			return "S8"
		}
		if e.End < h.To+j.Outage && e.Status == 503 && !j.clocksMoved(h.To, e.End) {
			return "L2"
		}
	}
	return ""
}

// hurt reports whether a gate was itself stopped or killed since from, or is being started at the
// time of a call.
func (j *judge) hurt(gate string, from, begin, end time.Duration) bool {
	for _, start := range j.Starts[gate] {
		if start > from && start < end {
			return true
		}
	}
	return j.any(begin, end, func(s *Span) bool { return s.Kind == Starting && s.Who == gate }) ||
		j.any(from, end, func(s *Span) bool { return s.Kind == Stopped && s.Who == gate })
}

// disabledStaysOut judges S6 where a user has been disabled: no login and no refresh that begins
// after passes.
func (j *judge) disabledStaysOut() {
	for _, d := range j.broad {
		if d.Op != Disable {
			continue
		}
		for _, id := range j.order {
			s := j.stories[id]
			if s.begun == nil || s.begun.Facts.Subject != d.Value || s.begun.Facts.Issuer != issuerName {
				continue
			}
			for _, e := range s.changes {
				if (e.Op == Login || e.Op == Refresh) && e.Status == 200 && e.Begin > d.End {
					j.violated("S6", "", []*Event{d, e}, spanOf(d, e), "%s served a user who was disabled", e.At)
					break
				}
			}
		}
	}
}

// isolatedKnowsNothing judges S2 and S7: while nothing from Redis can reach a process, a gate
// allows nothing once its copy is too old, and nothing at all when it has been started since; an
// issuer acknowledges nothing.
func (j *judge) isolatedKnowsNothing() {
	for _, s := range j.Spans {
		if s.Kind != Isolated {
			continue
		}
		for i := range j.Events {
			e := &j.Events[i]
			if e.At != s.Who || e.Begin < s.From || e.End > s.To || e.Status != 200 && e.Status != 202 {
				continue
			}
			switch {
			case e.Op != Call:
				j.violated("S7", "", []*Event{e}, s, "%s acknowledged what it could not have stored", e.At)
			case e.Begin > s.From+j.MaxStaleness:
				j.violated("S2", "", []*Event{e}, s,
					"%s allowed a call %v after the last it can have heard of Redis", e.At,
					(e.Begin - s.From).Round(time.Millisecond))
			case j.startedAfter(e, s.From):
				j.violated("S2", "", []*Event{e}, s, "%s was started without Redis and allowed a call", e.At)
			default:
				continue
			}
			break
		}
	}
}

// converges judges L1. Time in which the machine ran nothing at all does not count.
func (j *judge) converges() {
	for _, s := range j.Spans {
		if s.Kind != Converged || s.To-s.From <= j.ConvergeLimit {
			continue
		}
		doubt := ""
		if s.To-s.From-j.stalledFor(s) <= j.ConvergeLimit || j.any(s.From, s.To, j.unplanned) {
			doubt = j.doubt(s.From, s.To)
		}
		j.violated("L1", doubt, nil, s, "not all was well %v after the faults had ended: %s",
			(s.To - s.From).Round(time.Millisecond), s.Note)
	}
}

// stalledFor returns how long the machine ran nothing within a span.
func (j *judge) stalledFor(within Span) (sum time.Duration) {
	for _, s := range j.Spans {
		if s.Kind == Stalled && overlap(s, within) {
			sum += min(s.To, within.To) - max(s.From, within.From)
		}
	}
	return sum
}
