package sessiontest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// ErrInjected is the error of every injected fault.
var ErrInjected = errors.New("sessiontest: injected fault")

// Log is a revocation log in memory, of as many issuers as share it. Its methods may be called from
// many goroutines.
type Log struct {
	mu        sync.Mutex
	now       time.Time
	known     bool
	outOfStep bool
	fresh     bool
	era       string
	seq       uint64
	entries   []Entry
	longer    map[string]time.Time // cutoffs beyond their entries' life
	fault     func(call string) error
	applied   revocation.Applied
}

// Part is how many entries of a batch are stored at once, or not at all.
const Part = 10

// Entry is one revocation in a Log.
type Entry struct {
	revocation.Request
	Seq   uint64
	InLog bool // false: in the issuer's own set only, after an append that failed
}

// NewLog makes a log that is fresh, at a time near the machine's.
func NewLog() *Log {
	return &Log{
		now: time.Now().Truncate(time.Millisecond), known: true, fresh: true, era: "era-1",
		longer: map[string]time.Time{},
	}
}

// Advance moves the log's clock.
func (l *Log) Advance(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
}

// Set changes what the log says of itself.
func (l *Log) Set(timeKnown, fresh bool, era string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known, l.fresh, l.era = timeKnown, fresh, era
}

// Fail makes every call ask fault first: "append" before anything is stored, "part" before each
// further part of a batch, "lost" after it is stored and before that is known, "remembered",
// "applied".
func (l *Log) Fail(fault func(call string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

// Forget drops all entries, as when they have expired; Cutoff and Ended still know them.
func (l *Log) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = nil
}

// LoseCutoffs drops what Redis remembers of cutoffs and ended sessions; the entries stay.
func (l *Log) LoseCutoffs() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.longer = map[string]time.Time{}
}

// Lose drops everything.
func (l *Log) Lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.longer = nil, map[string]time.Time{}
}

// Entries returns what has been appended, or tried to.
func (l *Log) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

// InLog counts the entries in the log that name a session.
func (l *Log) InLog(sessionID string) int {
	n := 0
	for _, e := range l.Entries() {
		if e.InLog && e.Kind == revocation.KindSID && e.Value == sessionID {
			n++
		}
	}
	return n
}

// SetApplied sets what Applied answers.
func (l *Log) SetApplied(a revocation.Applied) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied = a
}

func (l *Log) failing(call string) error {
	if l.fault == nil {
		return nil
	}
	return l.fault(call)
}

// Kept is for how long Append says that entries are kept.
const Kept = time.Hour

// Append puts the entries into the issuer's own set first, as an issuer does, and then into the
// log.
func (l *Log) Append(ctx context.Context,
	requests []revocation.Request) (revocation.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := len(l.entries)
	for _, r := range requests {
		if err := r.Validate(); err != nil {
			return revocation.Receipt{}, err
		}
		if r.Kind.Cutoff() && r.IssuedBefore.IsZero() {
			r.IssuedBefore = l.now
		}
		l.entries = append(l.entries, Entry{Request: r})
	}
	if err := errors.Join(ctx.Err(), l.failing("append")); err != nil {
		return revocation.Receipt{}, err
	}
	for i := first; i < len(l.entries); i++ {
		if i > first && (i-first)%Part == 0 {
			if err := l.failing("part"); err != nil {
				return revocation.Receipt{}, err
			}
		}
		l.seq++
		e := &l.entries[i]
		e.Seq, e.InLog = l.seq, true
		switch {
		case e.Kind.Cutoff():
			l.longer[e.Kind.String()+e.Value] = e.IssuedBefore
		case e.Kind == revocation.KindSID:
			l.longer[e.Kind.String()+e.Value] = l.now
		}
	}
	if err := l.failing("lost"); err != nil {
		return revocation.Receipt{}, err
	}
	return revocation.Receipt{Seq: l.seq, Epoch: "e", Until: l.now.Add(Kept).UnixMilli()}, nil
}

// Live finds entries that are in the log.
func (l *Log) Live(requests []revocation.Request) (revocation.Receipt, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var last uint64
	for _, r := range requests {
		i := slices.IndexFunc(l.entries, func(e Entry) bool {
			return e.InLog && e.Kind == r.Kind && e.Issuer == r.Issuer && e.Value == r.Value &&
				!e.IssuedBefore.Before(r.IssuedBefore)
		})
		if i < 0 {
			return revocation.Receipt{}, false
		}
		last = max(last, l.entries[i].Seq)
	}
	return revocation.Receipt{Seq: last, Epoch: "e"}, true
}

// Time is the log's clock.
func (l *Log) Time() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now, l.known
}

// MintingTime is the log's clock: this issuer's is in step with it, unless OutOfStep says
// otherwise.
func (l *Log) MintingTime() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now, l.known && !l.outOfStep
}

// OutOfStep sets whether this issuer's clock and the log's are too far apart.
func (l *Log) OutOfStep(apart bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outOfStep = apart
}

// Era is the log's era.
func (l *Log) Era() (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.era, l.era != ""
}

// Instant is of no importance to a Log.
func (l *Log) Instant() revocation.Instant { return revocation.Instant{} }

// Freshness is what Set said.
func (l *Log) Freshness(revocation.Instant) revocation.Freshness {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.fresh {
		return revocation.Freshness{Why: revocation.WhyStale}
	}
	return revocation.Freshness{Fresh: true}
}

// CheckSession asks the issuer's own set.
func (l *Log) CheckSession(f *revocation.Facts, began time.Time) revocation.Verdict {
	return l.check(f, func(revocation.Kind) time.Time { return began })
}

func (l *Log) check(f *revocation.Facts, began func(revocation.Kind) time.Time) revocation.Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.Issuer == f.Issuer && names(e, f) &&
			(!e.Kind.Cutoff() || !began(e.Kind).After(e.IssuedBefore)) {
			return revocation.Verdict{Revoked: true, Kind: e.Kind, Reason: e.Reason, Seq: e.Seq}
		}
	}
	return revocation.Verdict{}
}

// Check asks the issuer's own set about a token, as a gate would.
func (l *Log) Check(f *revocation.Facts) revocation.Verdict {
	return l.check(f, func(k revocation.Kind) time.Time {
		switch {
		case f.SessionID == "":
			return time.Unix(f.IssuedAt, 0)
		case k == revocation.KindSub:
			return time.Unix(f.AuthTime, 0)
		}
		return time.Unix(min(f.AuthTime, f.IssuedAt), 0)
	})
}

func names(e Entry, f *revocation.Facts) bool {
	named := map[revocation.Kind]string{
		revocation.KindSID: f.SessionID, revocation.KindJTI: f.TokenID, revocation.KindSub: f.Subject,
		revocation.KindClient: f.ClientID, revocation.KindTenant: f.Tenant, revocation.KindKID: f.KeyID,
	}[e.Kind]
	return (named != "" && named == e.Value) || e.Kind == revocation.KindIss
}

// Remembered remembers cutoffs and ended sessions after their entries.
func (l *Log) Remembered(_ context.Context,
	_, sessionID, subject, client, tenant string) (revocation.Remembered, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("remembered"); err != nil {
		return revocation.Remembered{}, err
	}
	_, ended := l.longer["sid"+sessionID]
	found := revocation.Remembered{Ended: ended, Subject: l.longer["sub"+subject]}
	for _, name := range []string{"client" + client, "tenant" + tenant} {
		if t := l.longer[name]; t.After(found.Others) {
			found.Others = t
		}
	}
	return found, nil
}

// Applied answers what SetApplied said.
func (l *Log) Applied(context.Context, revocation.Receipt) (revocation.Applied, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("applied"); err != nil {
		return revocation.Applied{}, err
	}
	return l.applied, nil
}
