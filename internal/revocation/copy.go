package revocation

import (
	"time"
)

// CopyConfig are the times and numbers a Copy judges by.
type CopyConfig struct {
	MaxStaleness time.Duration
	Settle       time.Duration
	ClockSkew    time.Duration
	MinReplicas  int
	Page         int // entries in one read
}

// Copy is a process's copy of the log: where it stands, whether the copy is complete, and when
// that was last confirmed. It is a state machine without a clock or a connection: the driver sends
// what Beat and Next say and tells the outcome. Its Set may be read by others at any time; all else
// is for one goroutine at a time.
type Copy struct {
	cfg   CopyConfig
	set   Set
	clock *Clock

	pos        Position // what has been applied
	complete   bool     // pos ends a complete copy of the log of its epoch
	generation uint64   // moves whenever reading starts from another place: older answers mean nothing
	load       load
	blind      blind

	beats  uint64
	settle settle
	wait   []candidate // heartbeats that count once the head they returned is applied
	passed []place     // applied since the newest heartbeat was sent

	counted bool
	last    Instant // when the newest counting heartbeat was sent

	head      Head
	headKnown bool
	redis     redisTime
	bounds    bounds
	behind    behind
	resyncs   map[Cause]uint64
}

// load is a whole reading of the log under way, from first to the head it was begun for.
type load struct {
	active bool
	first  uint64
	next   uint64 // the next entry expected
	chain  Chain  // the chain before it, unless next is first
	target Position
}

// blind is the place of an entry this version cannot read: no copy of this log is complete while it
// holds it.
type blind struct {
	on    bool
	epoch Epoch
	seq   uint64
}

type candidate struct {
	sent Instant
	at   place
}

type place struct {
	seq   uint64
	chain Chain
}

// behind tells since when the head has been ahead of what is applied.
type behind struct {
	on    bool
	since time.Duration
	seq   uint64 // applied then
}

const (
	maxCandidates = 8
	maxPassed     = 4096
)

// Set holds the live entries that tokens are checked against: package liveset has it.
type Set interface {
	// Add puts an entry into force. It stays so until it has expired, whatever becomes of the log.
	Add(e *Entry)
}

// NewCopy makes a replica that holds nothing and fills set.
func NewCopy(cfg CopyConfig, set Set) *Copy {
	return &Copy{cfg: cfg, set: set, clock: &Clock{}, resyncs: map[Cause]uint64{}}
}

// Restore begins with a snapshot's position, whose Set this replica must have been made with. It
// confirms nothing: what the first heartbeat shows decides whether reading goes on from there or
// the log is loaded whole, and the one that counts allows something. Only a replica that has been
// told of nothing yet can restore.
func (r *Copy) Restore(p Position) {
	if r.generation != 0 || r.complete || p.Seq == 0 {
		return
	}
	r.pos, r.complete = p, true
	r.generation++
}

// Clock is the time tokens expire by.
func (r *Copy) Clock() *Clock { return r.clock }

// Position is what has been applied: of a log that may be gone, while Complete is false.
func (r *Copy) Position() Position { return r.pos }

// Complete reports whether Position ends a complete copy.
func (r *Copy) Complete() bool { return r.complete }

// Head is the newest head seen.
func (r *Copy) Head() (Head, bool) { return r.head, r.headKnown }

// Resyncs counts the resyncs by cause.
func (r *Copy) Resyncs(c Cause) uint64 { return r.resyncs[c] }

// Outcome is what an event changed.
type Outcome struct {
	Applied   []Entry // newly applied
	Resync    Cause   // the position was given up
	Completed bool    // a load has ended: the copy is complete
	Counted   bool    // a heartbeat counted
	SetBack   bool    // the clock was set back
	Stalled   bool    // the log moves on and nothing arrives: the reading connection must be renewed
}

// lose gives up the position. What is held stays in force; freshness runs on from the last
// heartbeat that counted.
func (r *Copy) lose(c Cause) Outcome {
	r.resyncs[c]++
	r.complete, r.load, r.behind = false, load{}, behind{}
	r.generation++
	r.wait, r.passed = nil, nil
	return Outcome{Resync: c}
}

// begin starts to load the log that h describes.
func (r *Copy) begin(h *Head) {
	r.generation++
	r.load = load{
		active: true, first: h.First, next: h.First, chain: Seed(h.Epoch), target: h.Position(),
	}
}

// View is the replica's freshness now.
func (r *Copy) View() View {
	v := View{
		Counted: r.counted, Last: r.last, Blind: r.blind.on, Complete: r.complete,
		Skew: r.Skew(), MaxSkew: r.cfg.ClockSkew, MaxStaleness: r.cfg.MaxStaleness,
		Head: r.headKnown, MaxTokenLifetime: r.head.MaxTokenLifetime, Era: r.head.Era, redis: r.redis,
	}
	return v
}

// Skew is how far this process' wall clock was from Redis' time at the last good heartbeat.
func (r *Copy) Skew() time.Duration {
	if !r.redis.known {
		return 0
	}
	return r.redis.skew()
}

// Expired is the time (unix ms) up to which entries may be forgotten: neither Redis' clock nor the
// one tokens expire by is behind it, nor what the two have agreed on. False while Redis' time is
// not known.
func (r *Copy) Expired(now Instant) (int64, bool) {
	if !r.redis.known {
		return 0, false
	}
	wall := min(r.clock.Now(now.Wall).UnixMilli(), now.Wall.UnixMilli())
	return min(r.redis.earliest(now), wall, r.bounds.earliest(now.Mono)), true
}
