package audit

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options of New. The zero value writes at once, with the system's clock.
type Options struct {
	Now      func() time.Time      // nil for time.Now
	Logger   *slog.Logger          // told when lines get lost; nil for nobody
	Registry prometheus.Registerer // for the metrics sallyport_audit_...; nil for none
	Limit    Limit                 // of the lines of failures; zero: each has its line
	// Queue is how many lines may wait to be written. With 0, Record returns when its line is
	// written: nothing gets lost unless the writer fails, and a slow writer slows its callers down.
	// With more, Record never waits: a line that finds the queue full is lost, and counted.
	Queue int
}

// Log writes events. It may be used by many goroutines.
type Log struct {
	w      io.Writer
	now    func() time.Time
	log    *slog.Logger
	events *prometheus.CounterVec
	lost   prometheus.Counter
	limits *limiter

	summing sync.Mutex // of summarise

	mu      sync.Mutex // of writing, and of what follows
	buf     []byte
	failing bool

	queue *Queue[[]byte] // nil: there is none
}

// New returns a log that writes to w, one Write for each line.
func New(w io.Writer, o Options) *Log {
	l := &Log{w: w, now: o.Now, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler))}
	if l.now == nil {
		l.now = time.Now
	}
	l.limits = newLimiter(o.Limit, l.summarise, l.panicked)
	l.measure(o.Registry)
	if o.Queue > 0 {
		l.queue = NewQueue(o.Queue, l.writeQueued, l.panicked)
	}
	return l
}

func (l *Log) measure(r prometheus.Registerer) {
	l.events = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_audit_events_total", Help: "Security events, by event and outcome.",
	}, []string{"event", "outcome"})
	l.lost = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sallyport_audit_lost_total", Help: "Security events whose line could not be written.",
	})
	if r != nil {
		r.MustRegister(l.events, l.lost, l.limits.suppressed)
	}
}

// Record writes one event, unless it is a failure beyond the limit. A failure to write it is
// counted and logged: it is no reason to refuse, or to allow, what the event tells of.
func (l *Log) Record(e Event) { l.Offer(e, nil) }

// Offer records an event of which only the name, the outcome and the reason are known yet, and
// reports whether it has a line. fill, if not nil, sets the rest, and is called only if it has
// one: an event beyond the limit costs its caller next to nothing.
func (l *Log) Offer(e Event, fill func(*Event)) bool {
	name, outcome := e.labels()
	l.events.WithLabelValues(name, outcome).Inc()
	if e.Outcome != Success && !l.limits.admits(name, e.Reason) {
		return false
	}
	if fill != nil {
		fill(&e)
	}
	l.put(e)
	return true
}

// summarise writes how many events were left out, a line for each kind.
func (l *Log) summarise() {
	l.summing.Lock() // so that Close waits for one under way
	defer l.summing.Unlock()
	for _, e := range l.limits.summaries() {
		guarded(func() { l.put(e) }, l.panicked) // the others have been counted for the last time, too
	}
}

// put writes an event, or queues it.
func (l *Log) put(e Event) {
	if e.Time.IsZero() {
		e.Time = l.now()
	}
	if l.queue != nil {
		if !l.queue.Put(appendLine(nil, &e)) {
			l.lost.Inc()
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = appendLine(l.buf[:0], &e)
	l.write(l.buf)
}

// labels returns the event's labels, of which there are so many and no more, whatever a caller
// names its event.
func (e *Event) labels() (name, outcome string) {
	switch e.Name {
	case Login, Refresh, Logout, Revoke, Deny, Reuse, Key, Users, Message, GateLine:
		return string(e.Name), string(e.outcome())
	}
	return "other", string(e.outcome())
}

func (l *Log) writeQueued(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(line)
}

// panicked counts an event whose line was lost that way. Of the panic only its type is said: a value
// may be a secret.
func (l *Log) panicked(value any) {
	l.lost.Inc()
	l.log.Error("audit: an event is lost: writing its line panicked", "panic", fmt.Sprintf("%T", value))
}

// write writes one line; the caller holds mu. It logs when writing begins to fail and when it
// works again.
func (l *Log) write(line []byte) {
	_, err := l.w.Write(line)
	// Once for each time that it begins or ends: a full disk must not fill the log as well.
	switch {
	case err != nil:
		l.lost.Inc()
		if !l.failing {
			l.log.Error("audit: events are being lost: their lines cannot be written", "error", err)
		}
	case l.failing:
		l.log.Warn("audit: events are being written again")
	}
	l.failing = err != nil
}

// Close writes how many events were left out, and what is queued, and returns when that is done.
// What is recorded afterwards is lost if there is a queue.
func (l *Log) Close() error {
	l.limits.stop()
	l.summarise()
	if l.queue != nil {
		l.queue.Close()
	}
	return nil
}
