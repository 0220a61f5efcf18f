package faults

import (
	"fmt"
	"strings"
	"time"
)

// Op is what a client did.
type Op uint8

// What clients do.
const (
	Call    Op = iota // asked a gate with an access token
	Login             // began a session
	Refresh           // spent a refresh token
	Logout            // asked an issuer to end a session
)

func (o Op) String() string { return [...]string{"call", "login", "refresh", "logout"}[o] }

// Event is one request of a client and its answer. Times are monotonic, from the schedule's beginning.
type Event struct {
	Op         Op
	Begin, End time.Duration // before the request was sent; after the answer was read
	At         string        // the process asked: gate-1, issuer-2
	Life       int           // which of its lives, when it was the same before and after; 0 otherwise
	Session    string
	Token      string // of a Call the access token's id; of a Login or Refresh, of the one that was minted
	Spent      int    // of a Refresh: the counter of the refresh token
	Next       int    // of a Login or Refresh: the counter of the one handed out
	Wait       bool   // of a Logout: with ?wait=
	Status     int    // HTTP; 0: no answer
	Reason     string // of a gate's refusal
}

// Allowed says that a gate let the call pass.
func (e *Event) Allowed() bool { return e.Op == Call && e.Status == 200 }

// Revoked says that a gate refused the call because the token was revoked.
func (e *Event) Revoked() bool { return e.Op == Call && e.Status == 401 && e.Reason == "revoked" }

// Acknowledged says that the issuer acknowledged the end of the session.
func (e *Event) Acknowledged() bool {
	return e.Op == Logout && (e.Status == 200 || e.Status == 202)
}

func (e *Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%9.3f..%9.3f %-7s %-8s", e.Begin.Seconds(), e.End.Seconds(), e.Op, e.At)
	if e.Life != 0 {
		fmt.Fprintf(&b, " life %d", e.Life)
	}
	fmt.Fprintf(&b, " session %s", e.Session)
	if e.Token != "" {
		fmt.Fprintf(&b, " token %s", e.Token)
	}
	switch e.Op {
	case Refresh:
		fmt.Fprintf(&b, " n %d -> %d", e.Spent, e.Next)
	case Logout:
		if e.Wait {
			b.WriteString(" ?wait")
		}
	}
	fmt.Fprintf(&b, " = %d %s", e.Status, e.Reason)
	return strings.TrimSpace(b.String())
}

// SpanKind is what a span of time was.
type SpanKind uint8

// What spans tell.
const (
	Fault     SpanKind = iota // a fault lasted; Who is its kind
	Isolated                  // nothing that Redis sent could reach process Who
	Healthy                   // nothing was wrong
	Stalled                   // this machine was too busy to run even the harness
	Converged                 // from the end of the faults until all was well again
	Starting                  // the harness itself had killed gate Who, and started it anew
	Skewed                    // the clocks of gate Who and of Redis, or of who mints tokens, were too far apart
)

func (k SpanKind) String() string {
	return [...]string{"fault", "isolated", "healthy", "stalled", "converged", "starting", "skewed"}[k]
}

// Span is a stretch of time of which something is known.
type Span struct {
	Kind     SpanKind
	From, To time.Duration
	Who      string
	Note     string
	Loses    bool // Redis may have lost sessions or what was known of them
	// Covers, of Healthy, is when that was found out: what was acknowledged before is in force everywhere.
	Covers time.Duration
	Failed bool // of Converged: it did not come to pass
}

func (s *Span) String() string {
	return strings.TrimSpace(fmt.Sprintf("%9.3f..%9.3f %s %s %s", s.From.Seconds(), s.To.Seconds(), s.Kind, s.Who, s.Note))
}

// History is all that happened in a schedule.
type History struct {
	MaxStaleness  time.Duration // of the gates
	Grace         time.Duration // in which a refresh may be repeated
	ConvergeLimit time.Duration // L1
	Events        []Event
	Spans         []Span
	Births        map[string][]time.Duration // of each process: before each of its lives was started; life n is [n-1]
}

// Violation is a broken promise.
type Violation struct {
	Promise string
	What    string
	Slice   []string // the part of the history that shows it
}

func (v Violation) String() string {
	return v.Promise + ": " + v.What + "\n    " + strings.Join(v.Slice, "\n    ")
}
