package faults

import (
	"slices"
	"time"
)

// end is something that ends a session, or one token of it, or may.
type end struct {
	by    *Event
	token string // the only token that it is about; "" for all
	// it is acknowledged and about this session: from by.End on, within B, no token passes
	certain bool
}

// about reports whether an end is about a token.
func (n *end) about(token string) bool { return n.token == "" || n.token == token }

// margin is how far a cutoff, in seconds of Redis' time as an issuer knows it, may lie from the
// moments before and after it.
const margin = 2 * time.Second

// skew is what gates add to a cutoff for tokens of other issuers: clock_skew and its margin.
const skew = 30*time.Second + margin

// settleEnds collects what ends a session, by its clients or from above.
func (j *judge) settleEnds(s *story) {
	for _, e := range s.changes {
		switch {
		case e.Op == Logout:
			s.ends = append(s.ends, end{by: e, certain: e.Acknowledged()})
		case e.Op == Refresh && e.Status == 401:
			s.ends = append(s.ends, end{by: e, certain: j.refusedForGood(s, e)})
		case e.Op == Refresh && (e.Status != 200 || j.doubtful(s, e)):
			s.ends = append(s.ends, end{by: e})
		}
	}
	for _, e := range j.broad {
		if n, ok := j.meant(s, e); ok {
			s.ends = append(s.ends, n)
		}
	}
	slices.SortStableFunc(s.ends, func(a, b end) int { return int(a.by.End - b.by.End) })
}

// refusedForGood reports whether a refusal is the end of the session: the token was known to be
// spent for longer than the grace (S5), or its user is disabled. It says so only while Redis has
// lost nothing: a session it no longer knows is refused too, and is not ended.
func (j *judge) refusedForGood(s *story, e *Event) bool {
	disabled := s.begun != nil && slices.ContainsFunc(j.broad, func(d *Event) bool {
		return d.Op == Disable && d.Value == s.begun.Facts.Subject && d.End < e.Begin
	})
	return (disabled || j.reused(s, e)) && !j.lossy(s.changes[0].Begin, e.End)
}

// reused reports whether the refresh spent a token that had been spent, as had every one before a
// spent one, longer than the grace ago.
func (j *judge) reused(s *story, e *Event) bool {
	return slices.ContainsFunc(s.changes, func(other *Event) bool {
		return other.Op == Refresh && other.Status == 200 && other.Spent >= e.Spent &&
			other.End+j.graceOf(other, e) < e.Begin
	})
}

// doubtful reports whether a refresh may have been taken for a reuse, although it was answered 200:
// a token was spent twice.
func (j *judge) doubtful(s *story, e *Event) bool {
	return slices.ContainsFunc(s.changes,
		func(other *Event) bool { return other != e && other.Op == Refresh && other.Spent == e.Spent })
}

// meant returns the end that a revocation from above is of a session; ok is whether it may be one.
func (j *judge) meant(s *story, e *Event) (n end, ok bool) {
	if s.begun == nil {
		return end{}, false
	}
	f := s.begun.Facts
	if e.Op == Everywhere || e.Op == Disable {
		return j.meantByUser(s, e)
	}
	if e.Facts.Issuer != f.Issuer {
		return end{}, false
	}
	switch e.Selector {
	case "sid":
		return end{by: e, certain: e.Acknowledged()}, e.Value == s.id
	case "jti":
		return end{by: e, token: e.Value, certain: e.Acknowledged()}, s.minted[e.Value] != nil
	case "kid":
		return end{by: e, certain: e.Acknowledged()}, e.Value == f.KeyID
	}
	named := map[string]string{"sub": f.Subject, "client": f.Client, "tenant": f.Tenant, "iss": ""}
	if value, known := named[e.Selector]; !known || value != e.Value {
		return end{}, false
	}
	return j.cutOff(s, e)
}

// cutOff judges a revocation of all that began before it: certainly what was made, by its own
// account, well before it was asked for; not what was made well after.
func (j *judge) cutOff(s *story, e *Event) (end, bool) {
	after := margin
	if s.begun.Facts.Issuer != issuerName {
		after = skew
	}
	moved := j.clocksMoved(s.begun.Begin-s.begun.Old, e.End)
	// What was wrong with either time may be wrong with the other alone.
	if j.clocksMoved(0, max(e.End, s.begun.End)) {
		after += 2 * skew
	}
	before := s.begun.End-s.begun.Old+margin < e.Begin
	return end{by: e, certain: e.Acknowledged() && !moved && before},
		s.begun.Begin-s.begun.Old <= e.End+after
}

// clocksMoved reports whether somebody's idea of the time may have been wrong between two times, or
// just before.
func (j *judge) clocksMoved(from, to time.Duration) bool {
	return j.any(from-margin, to, func(s *Span) bool {
		return s.Kind == Fault && Injection{Kind: Kind(s.Who)}.movesClock()
	})
}

// meantByUser judges a log out everywhere: all sessions that a login had begun before are ended,
// and none that a login begins after. Issuers know them by Redis; sessions of which it has no
// record are ended when they began, by their own account, well before.
func (j *judge) meantByUser(s *story, e *Event) (end, bool) {
	f := s.begun.Facts
	if e.Value != f.Subject || f.Issuer != issuerName {
		return end{}, false
	}
	if s.begun.Begin-s.begun.Old > e.End {
		// A login begins behind the cutoff whatever it was made by. A token that was made past the
		// issuers knows neither of one in its second nor of one that a clock which was ahead has
		// put into the future.
		maybe := s.begun.Op == Mint &&
			(s.begun.Begin-s.begun.Old <= e.End+margin || j.clocksMoved(0, s.begun.End))
		return end{by: e}, maybe
	}
	made := s.begun.End - s.begun.Old
	recorded := s.begun.Op == Login && s.begun.End < e.Begin && !j.lossy(s.begun.Begin, e.End)
	older := made+margin < e.Begin && !j.clocksMoved(made, e.End)
	return end{by: e, certain: e.Acknowledged() && (recorded || older)}, true
}

// byToken reports whether somebody tried to end one token of several, so that what holds for one
// says nothing of the others.
func (s *story) byToken() bool {
	return slices.ContainsFunc(s.ends, func(n end) bool { return n.token != "" })
}

// ended returns the first certain end of a token.
func (s *story) ended(token string) *Event {
	for i := range s.ends {
		if s.ends[i].certain && s.ends[i].about(token) {
			return s.ends[i].by
		}
	}
	return nil
}

// validUntil returns the time from which somebody may have ended a token.
func (s *story) validUntil(token string) time.Duration {
	until := time.Duration(1<<63 - 1)
	for i := range s.ends {
		if s.ends[i].about(token) {
			until = min(until, s.ends[i].by.Begin)
		}
	}
	return until
}
