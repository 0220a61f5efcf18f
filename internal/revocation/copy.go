package revocation

import "time"

// CopyConfig is the durations and numbers that a Copy judges by.
type CopyConfig struct {
	MaxStaleness time.Duration
	Settle       time.Duration
	ClockSkew    time.Duration
	MinReplicas  int
	Page         int // entries in one read
}

// Copy is what a process has of the log: how far it has read, whether the copy is complete, and
// when that was last confirmed. It is a state machine without a clock or a connection: the driver
// reads what Next says and sends what Beat returns, and tells the outcome by Entries and Answered.
// Its Set may be read by others at any time; all else is for one goroutine at a time.
//
// copy.go has what a Copy knows, reading.go how it follows the log, heartbeat.go what confirms it.
type Copy struct {
	cfg   CopyConfig
	set   Set
	clock *Clock

	pos      Position // what has been applied
	complete bool     // pos ends a complete copy of the log of its epoch
	// reading numbers the readings of the log: it moves whenever reading starts from another place.
	// An answer that belongs to an earlier reading means nothing.
	reading    uint64
	load       load
	unreadable unreadable

	settle  settle
	waiting []waitingBeat // heartbeats that count once the head they returned is applied
	passed  []place       // applied since the newest heartbeat was sent

	counted bool
	last    Instant // when the newest counting heartbeat was sent

	head      Head
	headKnown bool
	redis     redisTime
	bounds    bounds
	lasting   bounds        // the same for as long as the longest entry lives
	longest   time.Duration // the life of the longest entry that has been applied
	behind    behind
}

// load is a reading of the whole log that is under way, from first to what was the head as it
// began.
type load struct {
	active bool
	first  uint64
	next   uint64 // the next entry expected
	chain  Chain  // the chain before it, unless next is first
	target Position
}

// unreadable is the place of an entry that this version cannot read: no copy is complete while the
// log holds it.
type unreadable struct {
	on    bool
	epoch Epoch
	seq   uint64
}

// waitingBeat is a heartbeat whose answer was good, and whose head was ahead of what is applied.
type waitingBeat struct {
	sent Instant
	head place
}

type place struct {
	seq   uint64
	chain Chain
}

// behind is since when the head has been ahead of what is applied.
type behind struct {
	on    bool
	since time.Duration // monotonic
	seq   uint64        // applied then
}

// maxWaiting and maxPassed bound what is remembered of heartbeats. What does not fit is a heartbeat
// that does not count; the next one may.
const (
	maxWaiting = 8
	maxPassed  = 4096
)

// Set holds the live entries that tokens are checked against: package liveset has it.
type Set interface {
	// Add puts an entry into force. It stays so until it has expired, whatever becomes of the log.
	Add(e *Entry)
}

// NewCopy returns a copy that holds nothing and fills set.
func NewCopy(cfg CopyConfig, set Set) *Copy {
	return &Copy{cfg: cfg, set: set, clock: &Clock{}}
}

// Restore begins at the position of a snapshot, whose Set the Copy must have been made with. It
// confirms nothing: the first heartbeat shows whether reading goes on from there or the log is
// loaded whole, and nothing is allowed before one counts. A Copy that knows of a log already is
// left as it is.
func (c *Copy) Restore(p Position) {
	if c.reading != 0 || c.complete || p.Seq == 0 {
		return
	}
	c.pos, c.complete = p, true
	c.reading++
}

// add puts an entry into force.
func (c *Copy) add(e *Entry) {
	c.set.Add(e)
	c.longest = max(c.longest, time.Duration(e.Expires-e.At)*time.Millisecond)
}

// HoldsFor notes that the Set came with entries, from a snapshot, that live for up to life from
// now.
func (c *Copy) HoldsFor(life time.Duration) { c.longest = max(c.longest, life) }

// Clock returns the clock that tokens expire by.
func (c *Copy) Clock() *Clock { return c.clock }

// Position returns how far the log has been applied. While Complete is false that log may be gone.
func (c *Copy) Position() Position { return c.pos }

// Complete reports whether Position ends a complete copy.
func (c *Copy) Complete() bool { return c.complete }

// Head returns the newest head that a heartbeat has shown, and whether there was one.
func (c *Copy) Head() (Head, bool) { return c.head, c.headKnown }

// Outcome is what an event changed.
type Outcome struct {
	Applied   []Entry // newly applied
	Resync    Cause   // the position was given up
	Completed bool    // a load has ended: the copy is complete
	Counted   bool    // a heartbeat counted
	SetBack   bool    // the clock was set back
	Stalled   bool    // the log moves on and nothing arrives: the reading connection must be renewed
}

// giveUp gives up the position: the log is to be loaded again.
func (c *Copy) giveUp(cause Cause) Outcome {
	// What set holds stays in force: a log that has lost entries must not bring revoked tokens back
	// (S3). So does the last confirmation, until it is stale: what was revoked up to then is held,
	// whichever log it came from, and a load that takes a second must deny nobody (L2).
	c.complete, c.load, c.behind = false, load{}, behind{}
	// Reads under way and heartbeats that wait speak of the log given up.
	c.reading++
	c.waiting, c.passed = nil, nil
	return Outcome{Resync: cause}
}

// startLoad starts to load the log that h describes.
func (c *Copy) startLoad(h *Head) {
	c.reading++
	c.load = load{
		active: true, first: h.First, next: h.First, chain: Seed(h.Epoch), target: h.Position(),
	}
}

// View returns what decides on the copy's freshness, as it is now.
func (c *Copy) View() View {
	v := View{
		Counted: c.counted, Last: c.last, Unreadable: c.unreadable.on, Complete: c.complete,
		Skew: c.Skew(), MaxSkew: c.cfg.ClockSkew, MaxStaleness: c.cfg.MaxStaleness,
		Head: c.headKnown, MaxTokenLifetime: c.head.MaxTokenLifetime, Era: c.head.Era, redis: c.redis,
	}
	return v
}

// Skew returns how far this process' wall clock was from Redis' time at the last good heartbeat.
func (c *Copy) Skew() time.Duration {
	if !c.redis.known {
		return 0
	}
	return c.redis.skew()
}

// Expired returns the time (unix ms) up to which entries may be forgotten; false while Redis' time
// is not known. It is the earliest of all that this process knows of the time: an entry forgotten
// by one clock that is ahead would let a token pass that another clock takes for valid.
func (c *Copy) Expired(now Instant) (int64, bool) {
	if !c.redis.known {
		return 0, false
	}
	wall := min(c.clock.Now(now).UnixMilli(), now.Wall.UnixMilli())
	return min(c.redis.earliest(now), wall, c.bounds.earliest(now.Mono),
		c.lasting.earliest(now.Mono)), true
}
