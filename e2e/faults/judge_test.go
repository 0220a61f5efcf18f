package faults

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Judge returns every promise that the history shows to be broken, with the part of the history
// that shows it. It knows of the promises what a client can see:
//
//	S1  what was acknowledged is in force max_staleness later, or, when all was found to be well
//	    after it, from then on (endedStaysEnded); where the answer says that all gates have applied
//	    it, at once (waitedIsApplied). That p99 is at most 50 ms is measured elsewhere.
//	S2  a gate that nothing from Redis can reach allows nothing once that has lasted max_staleness,
//	    and nothing at all in a run that began since (isolatedKnowsNothing)
//	S3  what a gate has denied as revoked, it never allows in the same run (deniedStaysDenied)
//	S4  S1, for what was acknowledged before or during a fault, and for gates started since
//	    (endedStaysEnded)
//	S5  one refresh token has one successor and does not work after the grace (refreshWorksOnce);
//	    within it, it is not refused, its successor spent or not (spentIsRepeated); its reuse ends
//	    the session (ended, endedStaysEnded)
//	S6  no token of an ended session passes, whenever it was made, nor does a refresh
//	    (endedStaysEnded); a disabled user neither logs in nor refreshes (disabledStaysOut)
//	S7  an issuer that nothing from Redis can reach acknowledges nothing (isolatedKnowsNothing);
//	    whatever is acknowledged without having been stored breaks S4
//	S8  a token that nobody has tried to end is never denied as one that is not valid, and while all
//	    is well never at all (validIsAllowed)
//	L1  all is well again within a limit after the faults have ended (converges)
//	L2  for as long after the first fault as an outage may last, a gate that was not hurt itself
//	    denies nothing (validIsAllowed)
func Judge(h *History) []Violation {
	j := newJudge(h)
	for _, id := range j.order {
		s := j.stories[id]
		j.deniedStaysDenied(s)
		j.endedStaysEnded(s)
		j.waitedIsApplied(s)
		j.refreshWorksOnce(s)
		j.spentIsRepeated(s)
		j.validIsAllowed(s)
	}
	j.disabledStaysOut()
	j.isolatedKnowsNothing()
	j.converges()
	return j.found
}

// Ended counts the sessions, and tokens without one, whose end was acknowledged.
func Ended(h *History) (count int) {
	for _, s := range newJudge(h).stories {
		if slices.ContainsFunc(s.ends, func(n end) bool { return n.certain }) {
			count++
		}
	}
	return count
}

func newJudge(h *History) *judge {
	j := &judge{History: h, stories: map[string]*story{}}
	slices.SortStableFunc(h.Events, func(a, b Event) int { return cmp.Compare(a.Begin, b.Begin) })
	for i := range h.Events {
		j.add(&h.Events[i])
	}
	for _, id := range j.order {
		j.settleEnds(j.stories[id])
	}
	return j
}

// judge goes through a history, one session after the other.
type judge struct {
	*History
	stories map[string]*story
	order   []string
	broad   []*Event // revocations that may name more than one session
	found   []Violation
}

// story is what happened to one session, in the order of beginnings.
type story struct {
	id      string
	begun   *Event // its Login or Mint
	calls   []*Event
	changes []*Event          // what its clients did to it: logins, refreshes and logouts
	minted  map[string]*Event // by access token
	ends    []end
}

func (j *judge) add(e *Event) {
	if e.Op == Revoke || e.Op == Everywhere || e.Op == Disable {
		j.broad = append(j.broad, e)
		return
	}
	s := j.stories[e.Session]
	if s == nil {
		s = &story{id: e.Session, minted: map[string]*Event{}}
		j.stories[e.Session] = s
		j.order = append(j.order, e.Session)
	}
	if e.Op == Call {
		s.calls = append(s.calls, e)
		return
	}
	if s.begun == nil && (e.Op == Login || e.Op == Mint) {
		s.begun = e
	}
	s.changes = append(s.changes, e)
	if e.Token != "" && e.Status == 200 {
		s.minted[e.Token] = e
	}
}

// violated notes a violation. doubt is why it may be none, "" when it certainly is one.
func (j *judge) violated(promise, doubt string, evidence []*Event, around Span, format string,
	args ...any) {
	v := Violation{Promise: promise, What: fmt.Sprintf(format, args...), Doubt: doubt}
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

// any reports whether there is a span that overlaps a stretch of time and is what is asked for.
func (j *judge) any(from, to time.Duration, wanted func(*Span) bool) bool {
	return slices.ContainsFunc(j.Spans,
		func(s Span) bool { return overlap(s, Span{From: from, To: to}) && wanted(&s) })
}

func (j *judge) faulty(from, to time.Duration) bool {
	return j.any(from, to, func(s *Span) bool { return s.Kind == Fault })
}

// lossy reports whether Redis may have lost sessions between two times.
func (j *judge) lossy(from, to time.Duration) bool {
	return j.any(from, to, func(s *Span) bool { return s.Kind == Fault && s.Loses || j.unplanned(s) })
}

// electing is how long after a fault its consequences may still make Redis choose other primaries.
const electing = 5 * time.Second

// unplanned reports whether Redis chose another primary although no fault gave it cause: the
// machine was too busy for it.
func (j *judge) unplanned(s *Span) bool {
	return s.Kind == Promoted && !j.faulty(s.From-electing, s.To)
}

// doubt returns why what happened in a stretch of time proves nothing of a promise that holds while
// all is well, or within a time.
func (j *judge) doubt(from, to time.Duration) string {
	switch {
	case j.any(from, to, func(s *Span) bool { return s.Kind == Stalled }):
		return "the machine stalled"
	case j.any(from, to, j.unplanned):
		return "Redis changed its primary by itself"
	}
	return ""
}

// overBudget returns why a revocation may be lost all the same: there was one more fault than the
// plan has.
func (j *judge) overBudget(from, to time.Duration) string {
	if j.any(from, to, j.unplanned) {
		return "Redis changed its primary by itself"
	}
	return ""
}

// startedAfter reports whether the gate's run at the call began after t.
func (j *judge) startedAfter(e *Event, t time.Duration) bool {
	starts := j.Starts[e.At]
	return e.Run > 0 && e.Run <= len(starts) && starts[e.Run-1] > t
}
