package revocation

import (
	"time"
)

// ReplicaConfig are the times and numbers a Replica judges by.
type ReplicaConfig struct {
	MaxStaleness time.Duration
	Settle       time.Duration
	ClockSkew    time.Duration
	MinReplicas  int
	Page         int // entries in one read
}

// Replica is a process's copy of the log: where it stands, whether the copy is complete, and when
// that was last confirmed. It is a state machine without a clock or a connection: the driver sends
// what Beat and Next say and tells the outcome. Its Set may be read by others at any time; all else
// is for one goroutine at a time.
type Replica struct {
	cfg   ReplicaConfig
	set   *Set
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

// NewReplica makes a replica that holds nothing and fills set.
func NewReplica(cfg ReplicaConfig, set *Set) *Replica {
	return &Replica{cfg: cfg, set: set, clock: &Clock{}, resyncs: map[Cause]uint64{}}
}

// Restore begins with a snapshot's position, whose Set this replica must have been made with. It
// confirms nothing: what the first heartbeat shows decides whether reading goes on from there or
// the log is loaded whole, and the one that counts allows something. Only a replica that has been
// told of nothing yet can restore.
func (r *Replica) Restore(p Position) {
	if r.generation != 0 || r.complete || p.Seq == 0 {
		return
	}
	r.pos, r.complete = p, true
	r.generation++
}

// Set is what tokens are checked against.
func (r *Replica) Set() *Set { return r.set }

// Clock is the time tokens expire by.
func (r *Replica) Clock() *Clock { return r.clock }

// Position is what has been applied: of a log that may be gone, while Complete is false.
func (r *Replica) Position() Position { return r.pos }

// Complete reports whether Position ends a complete copy.
func (r *Replica) Complete() bool { return r.complete }

// Head is the newest head seen.
func (r *Replica) Head() (Head, bool) { return r.head, r.headKnown }

// Resyncs counts the resyncs by cause.
func (r *Replica) Resyncs(c Cause) uint64 { return r.resyncs[c] }

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
func (r *Replica) lose(c Cause) Outcome {
	r.resyncs[c]++
	r.complete, r.load, r.behind = false, load{}, behind{}
	r.generation++
	r.wait, r.passed = nil, nil
	return Outcome{Resync: c}
}

// begin starts to load the log that h describes.
func (r *Replica) begin(h *Head) {
	r.generation++
	r.load = load{
		active: true, first: h.First, next: h.First, chain: Seed(h.Epoch), target: h.Position(),
	}
}
