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
	Call       Op = iota // asked a gate with an access token
	Login                // began a session
	Refresh              // spent a refresh token
	Logout               // asked an issuer to end a session
	Mint                 // made a token itself, with a key that gates trust
	Revoke               // had an operator revoke what a selector names
	Everywhere           // had an operator log a user out everywhere
	Disable              // disabled a user in the users' file; End is when the file was in place
)

func (o Op) String() string {
	return [...]string{
		"call", "login", "refresh", "logout", "mint", "revoke", "everywhere", "disable",
	}[o]
}

// Facts are what selectors name in a token.
type Facts struct{ Issuer, Subject, Client, Tenant, KeyID string }

// Event is one request of a client and its answer. Times are monotonic, from the schedule's
// beginning.
type Event struct {
	Op         Op
	Begin, End time.Duration // before the request was sent; after the answer was read
	At         string        // the process asked: gate-1, issuer-2
	Run        int           // which of its runs, when it was the same before and after; 0 otherwise
	Session    string        // the session; of a token without one, the token
	// of a Call the access token's id; of a Login, Refresh or Mint, of the one that was made
	Token string
	Facts Facts         // of a Login or Mint: of the token, and so of all tokens of its session
	Old   time.Duration // of a Mint: how long before its making the token says that it was made
	// of a Revoke: what is named, as the API spells it; its issuer is in Facts
	Selector string
	Value    string // of a Revoke: its name; of an Everywhere or Disable, the user
	Spent    int    // of a Refresh: the counter of the refresh token
	Next     int    // of a Login or Refresh: the counter of the one handed out
	Wait     bool   // of what ends something: with ?wait=
	Status   int    // HTTP; 0: no answer
	Reason   string // of a gate's refusal
}

// Allowed reports whether a gate let the call pass.
func (e *Event) Allowed() bool { return e.Op == Call && e.Status == 200 }

// Revoked reports whether a gate refused the call because the token was revoked.
func (e *Event) Revoked() bool { return e.Op == Call && e.Status == 401 && e.Reason == "revoked" }

// Ends reports whether it was asked that something end.
func (e *Event) Ends() bool { return e.Op == Logout || e.Op == Revoke || e.Op == Everywhere }

// Acknowledged reports whether the issuer acknowledged that something has ended.
func (e *Event) Acknowledged() bool { return e.Ends() && (e.Status == 200 || e.Status == 202) }

func (e *Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%9.3f..%9.3f %-7s %-8s", e.Begin.Seconds(), e.End.Seconds(), e.Op, e.At)
	if e.Run != 0 {
		fmt.Fprintf(&b, " run %d", e.Run)
	}
	for _, one := range []struct{ name, value string }{
		{"session", e.Session}, {"token", e.Token}, {e.Selector, e.Value}, {"of", e.Facts.Issuer},
		{"user", e.Facts.Subject},
	} {
		if one.value != "" {
			b.WriteString(" " + strings.TrimSpace(one.name+" "+one.value))
		}
	}
	if e.Op == Refresh {
		fmt.Fprintf(&b, " n %d -> %d", e.Spent, e.Next)
	}
	if e.Wait {
		b.WriteString(" ?wait")
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
	Stopped                   // process Who had been stopped
	Promoted                  // Redis chose another primary, or tried to
	// the clocks of gate Who and of Redis, or of who mints tokens, were too far apart
	Skewed
)

func (k SpanKind) String() string {
	return [...]string{
		"fault", "isolated", "healthy", "stalled", "converged", "starting", "stopped", "promoted",
		"skewed",
	}[k]
}

// Span is a stretch of time of which something is known.
type Span struct {
	Kind     SpanKind
	From, To time.Duration
	Who      string
	Note     string
	Loses    bool // Redis may have lost sessions or what was known of them
	// Covers, of Healthy, is when that was found out: what was acknowledged before is in force
	// everywhere.
	Covers time.Duration
	Failed bool // of Converged: it did not come to pass
}

func (s *Span) String() string {
	return strings.TrimSpace(
		fmt.Sprintf("%9.3f..%9.3f %s %s %s", s.From.Seconds(), s.To.Seconds(), s.Kind, s.Who, s.Note))
}

// History is all that happened in a schedule.
type History struct {
	MaxStaleness  time.Duration // of the gates
	Outage        time.Duration // L2: a shorter one denies nobody
	Grace         time.Duration // in which a refresh may be repeated
	ConvergeLimit time.Duration // L1
	Events        []Event
	Spans         []Span
	// of each process: before each of its runs was started; run n is [n-1]
	Starts map[string][]time.Duration
}

// Violation is a broken promise.
type Violation struct {
	Promise string
	What    string
	Slice   []string // the part of the history that shows it
	Lost    bool     // it is that something acknowledged as ended was served again
	// Doubt is why the history does not prove it: the machine was too busy to run anything, or
	// Redis changed its primary on its own, which is a fault beyond those that the plan allows for.
	Doubt string
}

func (v Violation) String() string {
	if v.Doubt != "" {
		return "inconclusive (" + v.Doubt + "), " + v.text()
	}
	return v.text()
}

func (v Violation) text() string {
	return v.Promise + ": " + v.What + "\n    " + strings.Join(v.Slice, "\n    ")
}
