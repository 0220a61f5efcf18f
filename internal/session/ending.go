package session

// State is what a session's record says of it.
type State uint8

// The states of a session's record. Missing is the zero value: what is not known to live is not
// alive.
const (
	Missing State = iota // no record: expired, or lost by Redis
	Active
	Ending // no refresh passes any more; not yet known to be in the log
	Ended  // was in the log when this was written
)

func (s State) String() string {
	return [...]string{"missing", "active", "ending", "ended"}[s]
}

// Step is what the end of a session needs next.
type Step uint8

// The steps of an end, in their order. Fail is the zero value: an end that does not know what to do
// has not happened.
const (
	Fail   Step = iota // answer with an error: nothing is acknowledged
	Mark               // mark the record `ending`, on enough replicas
	Append             // append the session's entry to the log and wait for its acknowledgement
	Finish             // mark the record `ended`, on enough replicas
	Answer             // acknowledge
)

func (s Step) String() string {
	return [...]string{"fail", "mark", "append", "finish", "answer"}[s]
}

// End is the state machine of one request that ends a session: what happened goes in, the next step
// comes out. It does nothing itself, so that a test can drive it through every order of events. The
// zero value is ready for its first step, Mark.
//
// Each step has its place for a reason:
//
//   - Mark comes first. From here on no refresh passes, so that no access token is minted beside
//     the entry that is to revoke it, or after it.
//   - Append comes next, and returns only once the log has acknowledged the entry. Before that
//     nothing may be answered: no other process knows of the record, and Redis may lose it.
//   - Finish comes after the entry is in the log, never before: a record that says `ended` claims
//     that it is. Until then every request about the session tries its end again.
//   - Answer is last, and no path leads to it without the session's entry in the log. Either this
//     request appended it, or the record was `ending` or `ended` before and the entry was found
//     alive in the log. An active session is appended anew even then, since a token minted
//     meanwhile might outlive the older entry.
//
// Whatever fails ends the request with an error. Nothing is undone: the marks and entries that are
// there deny, and the next request goes through all steps again.
type End struct{ due Step }

// Begin returns the first step.
func (e *End) Begin() Step {
	e.due = Mark
	return e.due
}

// Marked takes what the record said before it was marked, and whether a live entry of the session
// was then found in the log. It returns the next step.
func (e *End) Marked(before State, inLog bool) Step {
	if e.due != Mark {
		return e.Failed()
	}
	switch {
	case !inLog || before == Active:
		e.due = Append
	case before == Ending:
		e.due = Finish
	default:
		// Ended, or no record is left to finish.
		e.due = Answer
	}
	return e.due
}

// Appended takes that the log has acknowledged the entry. It returns the next step.
func (e *End) Appended() Step {
	if e.due != Append {
		return e.Failed()
	}
	e.due = Finish
	return e.due
}

// Finished takes that the record is marked `ended`. It returns the next step.
func (e *End) Finished() Step {
	if e.due != Finish {
		return e.Failed()
	}
	e.due = Answer
	return e.due
}

// Failed takes that the step under way failed, or that its outcome is unknown.
func (e *End) Failed() Step {
	e.due = Fail
	return e.due
}
