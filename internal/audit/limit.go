package audit

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Limit bounds how many lines failures get: what strangers can make happen as often as they like
// must not fill a disk. It holds for each event and reason by itself, so that a flood of one
// leaves the lines of the others alone. What succeeds always has its line.
type Limit struct {
	Rate  float64 // lines a second
	Burst int     // and at once
}

// summaryAfter is how long after the first event without a line its summary comes: the line that
// tells how many there were.
const summaryAfter = 10 * time.Second

// maxKinds is how many pairs of event and reason have a limit of their own. There are fewer: it
// keeps a caller who makes reasons up from filling the memory. Those beyond share one limit for
// each event.
const maxKinds = 128

// beyond is the reason that those beyond maxKinds are counted under.
const beyond = "other"

// kind is what has a limit of its own.
type kind struct{ event, reason string }

// limiter is a Limit at work. It counts what it leaves out, and has that written.
type limiter struct {
	limit      Limit
	summarise  func() // called summaryAfter the first event that is left out
	lost       func(panicked any)
	suppressed *prometheus.CounterVec

	mu      sync.Mutex
	kinds   map[kind]*tally
	timer   *time.Timer // runs while events were left out of which no summary tells yet
	stopped bool
}

// tally is what one kind may still write, and how many of it were left out since the last summary.
type tally struct {
	rate    *rate.Limiter
	leftOut uint64
}

func newLimiter(l Limit, summarise func(), lost func(panicked any)) *limiter {
	return &limiter{
		limit: l, summarise: summarise, lost: lost, kinds: map[kind]*tally{},
		suppressed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_audit_suppressed_total",
			Help: "Security events without a line of their own, there being too many with their reason.",
		}, []string{"event"}),
	}
}

// admits reports whether an event may have its line, and counts it if not.
func (l *limiter) admits(event, reason string) bool {
	if l.limit == (Limit{}) {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tally(event, reason)
	// time.Now, and not Options.Now: it is monotonic, so that a clock that is set back silences
	// nobody.
	if t.rate.AllowN(time.Now(), 1) {
		return true
	}
	t.leftOut++
	l.suppressed.WithLabelValues(event).Inc()
	if l.timer == nil && !l.stopped {
		l.timer = time.AfterFunc(summaryAfter, func() { guarded(l.summarise, l.lost) })
	}
	return false
}

// tally returns the tally of a kind; the caller holds mu.
func (l *limiter) tally(event, reason string) *tally {
	if t := l.kinds[kind{event, reason}]; t != nil {
		return t
	}
	// A copy: the reason may be a part of a request that must not be kept.
	k := kind{event, strings.Clone(cut(reason))}
	if len(l.kinds) >= maxKinds {
		k.reason = beyond
	}
	t := l.kinds[k]
	if t == nil {
		t = &tally{rate: rate.NewLimiter(rate.Limit(l.limit.Rate), l.limit.Burst)}
		l.kinds[k] = t
	}
	return t
}

// summaries returns an event for each kind of which something was left out, and begins to count
// anew.
func (l *limiter) summaries() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	var events []Event
	for k, t := range l.kinds {
		if t.leftOut > 0 {
			events = append(events, Event{
				Name: Name(k.event), Outcome: Failure, Reason: k.reason, Suppressed: t.leftOut,
			})
			t.leftOut = 0
		}
	}
	// A map has no order, and lines that come in one are easier to compare.
	slices.SortFunc(events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), strings.Compare(a.Reason, b.Reason))
	})
	return events
}

// stop keeps any more summaries from coming by themselves.
func (l *limiter) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
}
