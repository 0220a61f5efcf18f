package faults

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Judge gives every promise that the history shows to be broken, with the part of the history that shows it.
func Judge(h *History) []Violation {
	j := &judge{History: h, sessions: map[string]*sessionStory{}}
	slices.SortStableFunc(h.Events, func(a, b Event) int { return cmp.Compare(a.Begin, b.Begin) })
	for i := range h.Events {
		j.add(&h.Events[i])
	}
	for _, id := range j.order {
		s := j.sessions[id]
		j.end(s)
		j.deniedStaysDenied(s)
		j.endedStaysEnded(s)
		j.waitedIsApplied(s)
		j.refreshWorksOnce(s)
		j.validIsAllowed(s)
	}
	j.isolatedKnowsNothing()
	j.converges()
	return j.found
}

// judge goes through a history, one session after the other.
type judge struct {
	*History
	sessions map[string]*sessionStory
	order    []string
	found    []Violation
}

// sessionStory is what happened to one session, in the order of beginnings.
type sessionStory struct {
	id      string
	calls   []*Event
	changes []*Event          // logins, refreshes and logouts
	minted  map[string]*Event // by access token
	ended   *Event            // the first acknowledgement of its end
}

func (j *judge) add(e *Event) {
	s := j.sessions[e.Session]
	if s == nil {
		s = &sessionStory{id: e.Session, minted: map[string]*Event{}}
		j.sessions[e.Session] = s
		j.order = append(j.order, e.Session)
	}
	if e.Op == Call {
		s.calls = append(s.calls, e)
		return
	}
	s.changes = append(s.changes, e)
	if e.Token != "" && e.Status == 200 {
		s.minted[e.Token] = e
	}
}

func (j *judge) violated(promise string, evidence []*Event, around Span, format string, args ...any) {
	v := Violation{Promise: promise, What: fmt.Sprintf(format, args...)}
	slices.SortFunc(evidence, func(a, b *Event) int { return cmp.Compare(a.Begin, b.Begin) })
	for _, e := range evidence {
		around.From, around.To = min(around.From, e.Begin), max(around.To, e.End)
		v.Slice = append(v.Slice, e.String())
	}
	for i := range j.Spans {
		if s := &j.Spans[i]; s.Kind != Healthy && overlap(*s, around) {
			v.Slice = append(v.Slice, s.String())
		}
	}
	j.found = append(j.found, v)
}

func spanOf(events ...*Event) Span {
	s := Span{From: events[0].Begin, To: events[0].End}
	for _, e := range events {
		s.From, s.To = min(s.From, e.Begin), max(s.To, e.End)
	}
	return s
}

func overlap(a, b Span) bool { return a.From <= b.To && b.From <= a.To }

// faulty says whether there was any fault between two times.
func (j *judge) faulty(from, to time.Duration) bool {
	return slices.ContainsFunc(j.Spans, func(s Span) bool { return s.Kind == Fault && overlap(s, Span{From: from, To: to}) })
}

// inForce gives the time from which a revocation acknowledged at a time is in force at every gate: max_staleness later, or
// when all was found to be well.
func (j *judge) inForce(acknowledged time.Duration) time.Duration {
	from := acknowledged + j.MaxStaleness
	for _, s := range j.Spans {
		if s.Kind == Healthy && s.Covers > acknowledged {
			from = min(from, s.From)
		}
	}
	return from
}

// lossy says whether Redis may have lost sessions between two times.
func (j *judge) lossy(from, to time.Duration) bool {
	return slices.ContainsFunc(j.Spans, func(s Span) bool {
		return s.Kind == Fault && s.Loses && overlap(s, Span{From: from, To: to})
	})
}

// end finds when the session's end was first acknowledged: by a logout, or by the refusal of a refresh token that was known
// to be spent and replaced (S5). The latter says something only while Redis has lost nothing: a session it no longer knows
// is refused too, and is not ended.
func (j *judge) end(s *sessionStory) {
	for _, e := range s.changes {
		acknowledged := e.Acknowledged() || e.Op == Refresh && e.Status == 401 && j.reused(s, e) && !j.lossy(s.changes[0].Begin, e.End)
		if acknowledged && (s.ended == nil || e.End < s.ended.End) {
			s.ended = e
		}
	}
}

// reused says that the refresh spent a token whose successor had been spent before.
func (j *judge) reused(s *sessionStory, e *Event) bool {
	return slices.ContainsFunc(s.changes, func(other *Event) bool {
		return other.Op == Refresh && other.Status == 200 && other.Spent > e.Spent && other.End < e.Begin
	})
}

// deniedStaysDenied judges S3.
func (j *judge) deniedStaysDenied(s *sessionStory) {
	type one struct {
		gate string
		life int
	}
	denied := map[one]*Event{}
	for _, e := range s.calls {
		if key := (one{e.At, e.Life}); e.Revoked() && e.Life != 0 && (denied[key] == nil || e.End < denied[key].End) {
			denied[key] = e
		}
	}
	for _, e := range s.calls {
		if before := denied[one{e.At, e.Life}]; e.Allowed() && e.Life != 0 && before != nil && e.Begin > before.End {
			j.violated("S3", []*Event{before, e}, spanOf(before, e), "%s denied session %s as revoked and allowed it later", e.At, s.id)
			return
		}
	}
}

// endedStaysEnded judges S1, S4, S5 and S6: which of them a token that passes has broken depends on when it was minted and
// on what had happened since.
func (j *judge) endedStaysEnded(s *sessionStory) {
	if s.ended == nil {
		return
	}
	for _, e := range s.calls {
		if !e.Allowed() || e.Begin <= j.inForce(s.ended.End) {
			continue
		}
		evidence := []*Event{s.ended, e}
		promise, minted := "S1", s.minted[e.Token]
		switch {
		case minted != nil && minted.Begin > s.ended.End:
			promise, evidence = "S6", append(evidence, minted)
		case s.ended.Op == Refresh:
			promise = "S5"
		case j.faulty(s.ended.End, e.End) || j.bornAfter(e, s.ended.End):
			promise = "S4"
		}
		j.violated(promise, evidence, spanOf(evidence...), "%s allowed session %s %v after its end was acknowledged",
			e.At, s.id, (e.Begin - s.ended.End).Round(time.Millisecond))
		return
	}
	for _, e := range s.changes {
		if e.Op == Refresh && e.Status == 200 && e.Begin > s.ended.End+j.MaxStaleness {
			j.violated("S6", []*Event{s.ended, e}, spanOf(s.ended, e), "%s refreshed session %s after its end was acknowledged", e.At, s.id)
			return
		}
	}
}

// bornAfter says that the gate's life at the call began after t.
func (j *judge) bornAfter(e *Event, t time.Duration) bool {
	births := j.Births[e.At]
	return e.Life > 0 && e.Life <= len(births) && births[e.Life-1] > t
}

// waitedIsApplied judges S1 where a logout was answered 200 with ?wait=: every gate that lived then has applied it.
func (j *judge) waitedIsApplied(s *sessionStory) {
	for _, logout := range s.changes {
		if logout.Op != Logout || logout.Status != 200 || !logout.Wait {
			continue
		}
		for _, e := range s.calls {
			if e.Allowed() && e.Begin > logout.End && e.Life != 0 && !j.bornAfter(e, logout.Begin) {
				j.violated("S1", []*Event{logout, e}, spanOf(logout, e), "%s allowed session %s after a logout that every gate had applied", e.At, s.id)
				return
			}
		}
	}
}

// refreshWorksOnce judges S5. What Redis has lost, it cannot hold against anybody.
func (j *judge) refreshWorksOnce(s *sessionStory) {
	for i, first := range s.changes {
		if first.Op != Refresh || first.Status != 200 {
			continue
		}
		for _, again := range s.changes[i+1:] {
			if again.Op != Refresh || again.Status != 200 || again.Begin <= first.End || j.lossy(first.Begin, again.End) {
				continue
			}
			evidence := []*Event{first, again}
			switch {
			case again.Spent == first.Spent && again.Next != first.Next:
				j.violated("S5", evidence, spanOf(evidence...), "refresh token %d of session %s gave two different ones", first.Spent, s.id)
			case again.Spent == first.Spent && again.Begin > first.End+j.Grace:
				j.violated("S5", evidence, spanOf(evidence...), "refresh token %d of session %s worked twice", first.Spent, s.id)
			case again.Spent < first.Spent:
				j.violated("S5", evidence, spanOf(evidence...), "refresh token %d of session %s worked after its successor", again.Spent, s.id)
			default:
				continue
			}
			return
		}
	}
}

// validIsAllowed judges S8. A session counts as valid until anything was tried that might end it. A gate that cannot know
// may say so (503) while something is wrong; that a valid token is not valid (401, 403) it may never say.
func (j *judge) validIsAllowed(s *sessionStory) {
	until := time.Duration(1<<63 - 1)
	for _, e := range s.changes {
		if e.Op == Logout || e.Op == Refresh && (e.Status != 200 || j.doubtful(s, e)) {
			until = min(until, e.Begin)
		}
	}
	for _, e := range s.calls {
		if e.Status == 200 || e.End >= until {
			continue
		}
		if j.skewed(e) {
			continue
		}
		if e.Status == 0 || e.Status == 503 {
			healthy := slices.IndexFunc(j.Spans, func(h Span) bool { return h.Kind == Healthy && h.From <= e.Begin && e.End <= h.To })
			if healthy < 0 || j.starting(e) || j.stalled(e.Begin-j.MaxStaleness, e.End) {
				continue
			}
		}
		j.violated("S8", []*Event{e}, spanOf(e), "%s answered %d %s to a valid token of session %s", e.At, e.Status, e.Reason, s.id)
		return
	}
}

// doubtful says that a refresh may have been taken for a reuse, although it was answered 200: a token was spent twice.
func (j *judge) doubtful(s *sessionStory, e *Event) bool {
	return slices.ContainsFunc(s.changes, func(other *Event) bool { return other != e && other.Op == Refresh && other.Spent == e.Spent })
}

func (j *judge) starting(e *Event) bool {
	return slices.ContainsFunc(j.Spans, func(s Span) bool {
		return s.Kind == Starting && s.Who == e.At && overlap(s, Span{From: e.Begin, To: e.End})
	})
}

// skewed says that the gate could not tell the time: it is not ready then, and may deny what is valid.
func (j *judge) skewed(e *Event) bool {
	return slices.ContainsFunc(j.Spans, func(s Span) bool {
		return s.Kind == Skewed && s.Who == e.At && overlap(s, Span{From: e.Begin, To: e.End})
	})
}

func (j *judge) stalled(from, to time.Duration) bool {
	return slices.ContainsFunc(j.Spans, func(s Span) bool { return s.Kind == Stalled && overlap(s, Span{From: from, To: to}) })
}

// isolatedKnowsNothing judges S2 and S7: while nothing from Redis can reach a process, a gate allows nothing once its copy
// is too old, and nothing at all when it has been started since; an issuer acknowledges nothing.
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
				j.violated("S7", []*Event{e}, s, "%s acknowledged what it could not have stored", e.At)
			case e.Begin > s.From+j.MaxStaleness:
				j.violated("S2", []*Event{e}, s, "%s allowed a call %v after the last it can have heard of Redis", e.At, (e.Begin - s.From).Round(time.Millisecond))
			case j.bornAfter(e, s.From):
				j.violated("S2", []*Event{e}, s, "%s was started without Redis and allowed a call", e.At)
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
		if s.Kind == Converged && s.To-s.From-j.stalledFor(s) > j.ConvergeLimit {
			j.violated("L1", nil, s, "not all was well %v after the faults had ended: %s", (s.To - s.From).Round(time.Millisecond), s.Note)
		}
	}
}

// stalledFor gives how long the machine ran nothing within a span.
func (j *judge) stalledFor(within Span) (sum time.Duration) {
	for _, s := range j.Spans {
		if s.Kind == Stalled && overlap(s, within) {
			sum += min(s.To, within.To) - max(s.From, within.From)
		}
	}
	return sum
}
