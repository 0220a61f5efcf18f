package session

// State is what the record of a session says of it.
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
// No path leads to Answer without the session's entry in the log: either this request appended it,
// or the record was `ending` or `ended` before and the entry was found alive in the log. An active
// session is appended anew even then, since a token minted meanwhile might outlive the older entry.
type End struct {
	due    Step
	before State
}

// Begin gives the first step.
func (e *End) Begin() Step {
	e.due = Mark
	return e.due
}

// Marked says what the record said before it was marked, and whether a live entry of the session
// was then found in the log.
func (e *End) Marked(before State, inLog bool) Step {
	if e.due != Mark {
		return e.fail()
	}
	e.before = before
	switch {
	case !inLog || before == Active:
		e.due = Append
	case before == Ending:
		e.due = Finish
	default:
		e.due = Answer
	}
	return e.due
}

// Appended says that the log has acknowledged the entry.
func (e *End) Appended() Step {
	if e.due != Append {
		return e.fail()
	}
	e.due = Finish
	return e.due
}

// Finished says that the record is marked `ended`.
func (e *End) Finished() Step {
	if e.due != Finish {
		return e.fail()
	}
	e.due = Answer
	return e.due
}

// Failed says that the step under way failed, or that its outcome is unknown. The next request
// starts over.
func (e *End) Failed() Step { return e.fail() }

func (e *End) fail() Step {
	e.due = Fail
	return e.due
}
