package redislog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

// follower keeps a process's copy of the log complete and fresh: what a gate and an issuer have in
// common.
type follower struct {
	client *redisconn.Client
	cfg    Config
	o      Options
	keys   keys
	id     string // of this run of the process: a later one has another
	field  string // the name of this process's line
	// lineCommand returns the command that writes its line, nil while it has no place for one.
	lineCommand func(line string) []any
	// stands returns the position that its line is to say when it is at own; nil: that.
	stands func(own revocation.Position) revocation.Position
	// send sends a heartbeat and reads the answer.
	send func(ctx context.Context, conn *redis.Conn,
		hb revocation.Heartbeat) (revocation.HeartbeatReply, error)

	log     *slog.Logger
	metrics *metrics
	instant func() revocation.Instant

	mu     sync.Mutex // guards the next five
	copy   *revocation.Copy
	writer *revocation.Writer // an issuer's, around copy; nil at a gate
	events events             // go to the writer, or to the copy where there is none
	noted  notedKeys          // for a snapshot; nil without one
	// history keeps what was applied last, for a relay; nil elsewhere.
	history *history

	// What follows is safe to use without mu.
	set     *liveset.Set
	clock   *revocation.Clock
	view    atomic.Pointer[revocation.View]
	kick    chan struct{} // asks for a heartbeat now
	wake    chan struct{} // tells the reader to look again
	renew   atomic.Bool   // tells the reader to take a new connection
	counter atomic.Uint64 // of the line
	wrote   atomic.Bool   // a heartbeat has written our line
	// rival is when another process was last found to have written our line.
	rival   atomic.Pointer[revocation.Instant]
	cause   atomic.Pointer[string] // why the last heartbeat kept nothing fresh; nil: no need to act
	applied *signal                // is broadcast after every change of the copy
}

// events are what a Writer does differently from the Copy in it.
type events interface {
	Beat(now revocation.Instant) revocation.Heartbeat
	Answered(hb revocation.Heartbeat, reply revocation.HeartbeatReply,
		now revocation.Instant) revocation.Outcome
	Entries(rd revocation.Read, entries []revocation.Entry,
		now revocation.Instant) revocation.Outcome
}

// pageSize is how many entries are read at a time.
const pageSize = 2000

func newFollower(client *redisconn.Client, cfg Config, o Options) (*follower, error) {
	if err := errors.Join(cfg.Validate(), o.validate()); err != nil {
		return nil, err
	}
	// The set's hash is keyed: whoever chooses the names that are revoked must not be able to choose
	// names that collide.
	var bits [24]byte
	_, _ = rand.Read(bits[:]) // never fails: crypto/rand ends the process instead
	key := liveset.Key{
		K0: binary.NativeEndian.Uint64(bits[:]), K1: binary.NativeEndian.Uint64(bits[8:]),
	}
	f := &follower{
		client: client, cfg: cfg, o: o, keys: keysUnder(cfg.Prefix), log: o.Logger, instant: o.Instant,
		id: hex.EncodeToString(bits[16:]),
		set: liveset.New(liveset.Config{
			ClockSkew: cfg.ClockSkew, Key: key, Versions: o.Versions,
		}),
		kick: make(chan struct{}, 1), wake: make(chan struct{}, 1), applied: newSignal(),
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if f.instant == nil {
		f.instant = machineClocks
	}
	f.view.Store(&revocation.View{MaxStaleness: cfg.MaxStaleness, MaxSkew: cfg.ClockSkew})
	return f, nil
}

// setCopy sets the follower's copy, and at an issuer the writer around it, and makes its metrics.
func (f *follower) setCopy(c *revocation.Copy, w *revocation.Writer) error {
	f.copy, f.writer, f.events, f.clock = c, w, c, c.Clock()
	if w != nil {
		f.events = w
	}
	registry := f.o.Registry
	if registry == nil {
		registry = prometheus.NewRegistry()
	}
	var err error
	f.metrics, err = newMetrics(f, registry)
	return err
}

func (c Config) copy() revocation.CopyConfig {
	return revocation.CopyConfig{
		MaxStaleness: c.MaxStaleness,
		Settle:       c.Settle,
		ClockSkew:    c.ClockSkew,
		MinReplicas:  c.MinReplicas,
		Page:         pageSize,
	}
}

// machineClocks reads both clocks of this machine.
func machineClocks() revocation.Instant {
	monotonic, wall := clock.Read()
	return revocation.Instant{Mono: monotonic, Wall: wall}
}

// change runs one event on the copy, publishes the view after it, and tells those who wait for it.
func (f *follower) change(
	event func(now revocation.Instant) revocation.Outcome) revocation.Outcome {
	f.mu.Lock()
	before := f.view.Load()
	out := event(f.instant())
	// Requests are checked by the published view, without the lock. It is published under the lock,
	// so that no older one ever replaces a newer.
	view := f.copy.View()
	if view != *before {
		f.view.Store(&view)
		// A clock that goes back may be before a token's nbf.
		if !view.JudgesAs(before) || out.SetBack {
			f.o.Versions.MoveAll()
		}
	}
	position := f.copy.Position()
	f.noted.note(out.Applied)
	f.history.note(out.Applied, position, f.copy.Complete())
	f.mu.Unlock()
	f.report(&out, before, &view, position)
	if out.Resync != "" || out.Completed {
		// Nothing is confirmed before the next heartbeat: that must not wait until it is due.
		poke(f.kick)
		poke(f.wake)
	}
	if out.Stalled || out.Resync != "" {
		// What the reader's connection shows is not what the heartbeats show: it may lead to a
		// primary that was deposed.
		f.renew.Store(true)
	}
	if len(out.Applied) > 0 || out.Completed || out.Resync != "" {
		f.applied.broadcast()
	}
	return out
}

// report logs and counts what an event changed.
func (f *follower) report(out *revocation.Outcome, before, after *revocation.View,
	p revocation.Position) {
	if out.Resync != "" {
		f.metrics.resyncs.WithLabelValues(string(out.Resync)).Inc()
		level := slog.LevelWarn
		if out.Resync == revocation.CauseStart {
			level = slog.LevelInfo
		}
		f.log.Log(context.Background(), level, "loading the revocation log",
			"cause", string(out.Resync))
	}
	if out.Completed {
		f.log.Info("the copy of the revocation log is complete",
			"epoch", p.Epoch.String(), "seq", p.Seq)
	}
	if out.SetBack {
		f.metrics.setBacks.Inc()
		f.log.Warn("this machine's clock has gone back")
	}
	if !before.Counted && after.Counted {
		f.log.Info("the copy of the revocation log is confirmed")
	}
	if !before.Unreadable && after.Unreadable {
		f.log.Error(
			"the revocation log holds an entry this version cannot read: nothing can be allowed")
	}
}

func (f *follower) position() revocation.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.copy.Position()
}

// line makes this process's line, with a counter that none had before.
func (f *follower) line(p revocation.Position) string {
	if f.stands != nil {
		p = f.stands(p)
	}
	return formatLine(p, f.counter.Add(1), f.id, f.details())
}

// commandAt returns the command that writes this process's line when it is at a position, nil
// while it has no place for one.
func (f *follower) commandAt(p revocation.Position) []any { return f.lineCommand(f.line(p)) }

func (f *follower) details() details {
	now := f.instant()
	view := f.view.Load()
	d := details{
		Version:     f.o.Version,
		StalenessMS: view.Freshness(now).Staleness.Milliseconds(),
		Ready:       view.Ready(now) == nil,
		MaxMS:       f.cfg.MaxStaleness.Milliseconds(),
	}
	if f.writer == nil {
		d.Name, d.Shared = f.o.Name, f.shared(now)
	}
	if f.o.KeySetAge != nil {
		d.KeySetAgeMS = f.o.KeySetAge().Milliseconds()
	}
	return d
}

// Ready returns nil when the copy may be relied on: it is complete, confirmed and fresh, and the
// clocks agree. Otherwise the error says why not.
func (f *follower) Ready() error { return f.withCause(f.view.Load().Ready(f.instant())) }

// withCause puts why the last heartbeat kept nothing fresh before an error that follows from it.
func (f *follower) withCause(err error) error {
	cause := f.cause.Load()
	if err == nil || cause == nil {
		return err
	}
	return fmt.Errorf("%s; %w", *cause, err)
}

// setCause keeps the cause for Ready; "" is none.
func (f *follower) setCause(cause string) {
	if cause == "" {
		f.cause.Store(nil)
		return
	}
	cause = oneLine(cause)
	f.cause.Store(&cause)
}

// shared reports whether another process writes this one's line, too.
func (f *follower) shared(now revocation.Instant) bool {
	seen := f.rival.Load()
	return seen != nil && now.Since(*seen) < f.cfg.MaxStaleness
}

// Check reports whether a token is revoked. It takes no lock and makes no call. Ask Freshness too:
// "not revoked" is worth something only while the copy is fresh.
func (f *follower) Check(facts *revocation.Facts) revocation.Verdict { return f.set.Check(facts) }

// Classes appends the classes of all names by which Check looks for a token.
func (f *follower) Classes(facts *revocation.Facts, to []revocation.Class) []revocation.Class {
	return f.set.Classes(facts, to)
}

// Freshness reports whether anything may be allowed at now.
func (f *follower) Freshness(now revocation.Instant) revocation.Freshness {
	return f.view.Load().Freshness(now)
}

// Instant returns the time by both clocks, for Freshness.
func (f *follower) Instant() revocation.Instant { return f.instant() }

// Now returns the time by which tokens expire here at a moment: between two counting heartbeats it
// never goes back.
func (f *follower) Now(at revocation.Instant) time.Time { return f.clock.Now(at) }

// MaxTokenLifetime returns the longest life of a token that the log covers: an issuer whose tokens
// live longer must be refused. It is false until the first heartbeat has shown a head.
func (f *follower) MaxTokenLifetime() (time.Duration, bool) {
	v := f.view.Load()
	return v.MaxTokenLifetime, v.Head
}
