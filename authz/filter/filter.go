// Package filter is a gate inside Envoy's own process: the core of an HTTP filter, in front of an
// authz.Engine. The module that Envoy loads (authz/module) hands it what Envoy's hooks bring, and
// does what its answers say; no C is known here.
//
// It promises:
//   - Nothing is kept of what a hook brings, nothing is waited for in a hook, and for a token that
//     is remembered nothing is allocated.
//   - An answer is written into memory of the caller's, and one that does not fit, or that nobody
//     has made, is a refusal. Each name and value of a header in it has been checked (RFC 9110
//     section 5.5): Envoy checks none.
//   - A request whose key is missing is held for the key_wait of the settings at most, on no thread
//     of Envoy's.
//   - A stream ends when its token is revoked (S9): whoever is let pass with a token is watched
//     until it is over, and every change of the copy of the revocation log has those who are
//     watched checked again. It ends too when the copy has not been confirmed for max_staleness.
package filter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// Host is Envoy, as far as a filter needs it outside of hooks. Its methods may be called from any
// goroutine, and do nothing for a stream that is over.
type Host interface {
	// Resume has the answer to a request that was held applied. It keeps nothing of it.
	Resume(s Stream, answer []byte)
	// End has a stream ended, and reports whether it is not over already. answer is for a client that
	// has had none yet.
	End(s Stream, why Ending, answer []byte) bool

	// Versions move when remembered answers are to be forgotten. They are the same at each call.
	Versions() *revocation.Versions
	// Watched calls f for each stream that was let pass by a remembered answer, and has not ended,
	// with that answer's entry. It is not called by two goroutines at a time.
	Watched(f func(s Stream, entry uint32))
	// Given calls f with what each worker has done by what it remembers.
	Given(f func(worker int, now Given))
}

// Ending is why a stream ends before its time.
type Ending uint8

// Endings.
const (
	Revoked Ending = iota // its token has been revoked
	Stale                 // for longer than max_staleness nobody could tell whether it has been
)

// Revocations are the gate's copy of the revocation log.
type Revocations interface {
	Check(*revocation.Facts) revocation.Verdict
	Classes(*revocation.Facts, []revocation.Class) []revocation.Class
	Freshness(revocation.Instant) revocation.Freshness
	// Changed returns a channel that is closed with the next change of the copy.
	Changed() <-chan struct{}
}

// Options is what a Filter stands on beside its engine. Host, Revocations, MaxStaleness and
// Check.Instant are needed.
type Options struct {
	Host        Host
	Revocations Revocations
	// MaxStaleness is how long a stream goes on while the copy is not confirmed.
	MaxStaleness time.Duration
	Streams      check.StreamConfig
	// Marked says that Envoy is to mark the requests of which it has removed identity headers: without
	// the mark a request is judged all the same, and the log says what is missing.
	Marked bool
	Check  check.Options
}

// Filter judges the requests of all of Envoy's workers. Its methods may be called from many
// threads.
type Filter struct {
	options Options
	checker *check.Checker
	streams *streams
	broken  []byte // the answer when all else fails
	closed  []byte // the answer once Run has ended
	// The answers to whoever waits for a response with a token that is revoked, or may be.
	revoked, stale []byte

	versions   *revocation.Versions
	remembered remembered
	kept       prometheus.Gauge

	ended atomic.Bool
	// Run's alone:
	confirmed time.Duration     // when the copy last was, by the monotonic clock
	given     [MaxWorkers]Given // what is counted of that
}

// New makes a filter. engine must have been made with Wire.
func New(engine *authz.Engine, o Options) (*Filter, error) {
	if engine == nil || o.Host == nil || o.Revocations == nil || o.MaxStaleness <= 0 {
		return nil, errors.New(
			"filter: expected an engine, a host, revocations and their max_staleness, got none")
	}
	if err := o.Streams.Validate(); err != nil {
		return nil, fmt.Errorf("filter: streams: %w", err)
	}
	checker, err := check.New(engine, o.Check)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	f := &Filter{options: o, checker: checker, streams: newStreams(o.Check.Registry)}
	f.versions, f.kept = o.Host.Versions(), newKept(o.Check.Registry)
	for reason, to := range map[token.Reason]*[]byte{
		token.ReasonInternal: &f.broken, token.ReasonNoCopy: &f.closed,
		token.ReasonRevoked: &f.revoked, token.ReasonStale: &f.stale,
	} {
		made, ok := engine.Refusal(reason).Wire.([]byte)
		if !ok {
			return nil, errors.New("filter: expected an engine made with Wire")
		}
		*to = made
	}
	return f, nil
}

// Panicked counts and logs a panic of the engine's that was recovered from.
func (f *Filter) Panicked(what string, stack []byte) { f.checker.Panicked(what, stack) }

// requests are used again, for their memory.
var requests = sync.Pool{New: func() any { return new(check.Request) }}

// Origin is where a request came from, and what Envoy's route says of it.
type Origin struct {
	Peer   string       // whose certificate Envoy has checked on the connection; "" for nobody's
	Source check.Source // nil when nobody knows
	Policy string       // which policy the route names; "" for none
}

// Request judges the request that a stream begins with. headers are all that it has, the
// pseudo-headers too; they and from may be views, and nothing is kept of them. The answer is appended
// to out, and never outgrows it. keep, unless it is nil, is told whether and for how long the same
// request may be given the same answer without asking.
func (f *Filter) Request(s Stream, headers []authz.Header, from Origin, out []byte,
	keep *Keep) (answer []byte) {
	var found found
	var none Keep
	if keep == nil {
		none.Entry = NoEntry
		keep = &none
	}
	*keep = Keep{Entry: keep.Entry}
	// Not recovered from, a panic would end Envoy.
	defer func() {
		if value := recover(); value != nil {
			f.checker.Recovered(value)
			answer, keep.For = fixed(out, f.broken, found), 0
		}
	}()
	before, version := f.streams.round(), f.versions.All()
	r := requests.Get().(*check.Request)
	found = read(r, headers)
	r.Peer, r.Source, r.Policy = from.Peer, from.Source, from.Policy
	r.Tally = int(s.Worker)
	if f.options.Marked && found&foundMark == 0 {
		f.checker.Unmarked()
	}
	if f.ended.Load() {
		answer = fixed(out, f.closed, found)
	} else if d, decided := f.checker.Try(r); decided {
		answer = f.answer(out, &d, headers, found, keep)
		if watched(&d) {
			f.streams.put(s, d.Identity, d.AllowsStale())
			f.lookAgain(before)
		}
		if passes(answer[len(out):]) {
			f.remember(keep, version, s, r, &d)
		}
	} else {
		f.hold(s, r, found)
		answer = appendHead(out, head{verdict: verdictHeld, found: found})
	}
	*r = check.Request{}
	requests.Put(r)
	return answer
}

// hold decides on a request when its key has come, or it is known that it does not.
func (f *Filter) hold(s Stream, r *check.Request, found found) {
	held, place := clone(r), f.streams.claim(s)
	go func() {
		// A hook that has let go of a request must be told something, whatever happens here.
		answer := fixed(nil, f.broken, found)
		defer func() {
			defer func() { f.options.Host.Resume(s, answer) }()
			if value := recover(); value != nil {
				answer = fixed(nil, f.broken, found)
				f.checker.Recovered(value)
			}
		}()
		before := f.streams.round()
		// The checker waits for key_wait and no longer.
		d := f.checker.Check(context.Background(), held)
		answer = f.answer(make([]byte, 0, maxAnswer), &d, held.Headers, found, new(Keep))
		if watched(&d) {
			place.put(d.Identity)
			f.lookAgain(before)
		}
		// What was decided while the filter ended may be what nobody counts any more.
		if f.ended.Load() {
			answer = fixed(nil, f.closed, found)
		}
	}()
}

// clone copies a request and all that it views.
func clone(r *check.Request) *check.Request {
	c := &check.Request{Malformed: r.Malformed, ID: strings.Clone(r.ID), Tally: r.Tally}
	c.Method, c.Host = strings.Clone(r.Method), strings.Clone(r.Host)
	c.Path, c.Peer = strings.Clone(r.Path), strings.Clone(r.Peer)
	c.Policy = strings.Clone(r.Policy)
	if r.Source != nil {
		c.Source = check.Address(r.Source.Address())
	}
	c.Headers = make([]authz.Header, len(r.Headers))
	for i, h := range r.Headers {
		c.Headers[i] = authz.Header{Name: strings.Clone(h.Name), Value: strings.Clone(h.Value)}
	}
	return c
}

// watched reports whether a stream may pass by a token, and ends when that is revoked.
func watched(d *authz.Decision) bool {
	return d.Allow && d.Identity != nil && d.Identity.Facts != nil
}

// lookAgain has all streams looked through once more, if a look has begun since before, the round
// under way when a decision began: it may have missed the stream that is watched since.
func (f *Filter) lookAgain(before uint64) {
	if f.streams.round() != before {
		f.streams.again()
	}
}

// Run ends streams whose tokens are revoked, or may be for longer than max_staleness, until ctx
// ends. From then on nothing passes: nobody counts this gate any more.
func (f *Filter) Run(ctx context.Context) error {
	defer func() {
		f.ended.Store(true)
		f.versions.MoveAll()
		f.countGiven()
	}()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	f.confirmed = f.options.Check.Instant().Mono
	for {
		changed := f.options.Revocations.Changed()
		begun := time.Now()
		f.endRevoked()
		// Looking through the streams takes a tenth of a processor at most, however fast the log grows.
		pause := time.NewTimer(max(leastPause, 9*time.Since(begun)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil
		}
		if !f.await(ctx, changed, look.C) {
			return nil
		}
	}
}

// await returns when there is something to look for in the streams, or false when ctx ends. At each
// look, and then, it ends what is stale.
func (f *Filter) await(ctx context.Context, changed <-chan struct{}, look <-chan time.Time) bool {
	for {
		again := true
		select {
		case <-changed:
		case <-f.streams.wake:
		case <-look:
			again = false
		case <-ctx.Done():
			return false
		}
		f.endStale()
		f.countGiven()
		if again {
			return true
		}
	}
}

const (
	// leastPause is the time between two looks through the streams.
	leastPause = 2 * time.Millisecond
	// lookEvery is how often the copy is asked how stale it is.
	lookEvery = 100 * time.Millisecond
)

// endRevoked looks once through all streams.
func (f *Filter) endRevoked() {
	f.streams.begin()
	f.each(func(s Stream, facts *revocation.Facts, _ bool) bool {
		if !f.options.Revocations.Check(facts).Revoked {
			return true
		}
		f.end(s, Revoked, f.revoked)
		return false
	})
}

// endStale ends all streams when the copy will not have been confirmed for max_staleness by the next
// look: what has been revoked since then, nobody here knows. As for requests, a route with
// allow_stale goes on while the copy is complete, and stale alone.
func (f *Filter) endStale() {
	at := f.options.Check.Instant()
	at.Mono, at.Wall = at.Mono+lookEvery, at.Wall.Add(lookEvery)
	freshness := f.options.Revocations.Freshness(at)
	if freshness.Fresh {
		f.confirmed = at.Mono - freshness.Staleness
		return
	}
	stale := freshness.Why == revocation.WhyStale
	if !stale && at.Mono-f.confirmed <= f.options.MaxStaleness {
		return // a copy that is loaded again is confirmed soon
	}
	f.each(func(s Stream, _ *revocation.Facts, allowsStale bool) bool {
		if stale && allowsStale {
			return true
		}
		f.end(s, Stale, f.stale)
		return false
	})
}

// each calls look for every stream that is watched, and watches those no more that it says no to.
func (f *Filter) each(look func(s Stream, facts *revocation.Facts, allowsStale bool) bool) {
	f.streams.each(look)
	f.options.Host.Watched(func(s Stream, entry uint32) {
		if by := f.remembered.at(s.Worker, entry); by != nil {
			look(s, by.facts, by.allowsStale)
		}
	})
}

func (f *Filter) end(s Stream, why Ending, answer []byte) {
	if f.options.Host.End(s, why, answer) {
		f.streams.ended.Inc()
	}
}

func newEnded(registry prometheus.Registerer) prometheus.Counter {
	ended := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sallyport_gate_streams_ended_total",
		Help: "Streams that were ended because their token was revoked, or nobody could tell for longer " +
			"than max_staleness.",
	})
	if registry != nil {
		registry.MustRegister(ended)
	}
	return ended
}
