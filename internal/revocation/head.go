package revocation

import "time"

// Head is the log's head as one answer of Redis had it.
type Head struct {
	Epoch Epoch
	Seq   uint64 // the newest entry
	Chain Chain  // the chain there
	First uint64 // the oldest entry not trimmed
	// Mending is the Redis time (unix ms) up to which an issuer appends entries that the log has lost.
	Mending          int64
	MaxTokenLifetime time.Duration
	Era              string // sessions of another era must log in again
}

// Position is the head's own position.
func (h *Head) Position() Position { return Position{h.Epoch, h.Seq, h.Chain} }

// Heartbeat is one heartbeat to send: what the process says of itself, and the place it asks about.
type Heartbeat struct {
	At       Instant // when it is sent
	Position Position

	// The Copy's numbers of its connection and reading as the heartbeat was sent: they tell whether
	// the answer still speaks of what the Copy has.
	connection, reading uint64

	// An issuer's alone.
	Mend  bool // live entries it holds are missing from the log, or may be
	Holds bool // it holds live entries
	// Stored is the place in Position's epoch up to which the issuer's appends have stored entries.
	// A log that ends before it has lost them, and is to be marked as mending in the heartbeat's
	// own step.
	Stored uint64
	Times  ScriptTimes
	// Live is how many entries it has met in the log that have not expired; -1 while it does not
	// know them all.
	Live int
}

// HeartbeatReply is Redis' answer to a Heartbeat. All of it is from one atomic step but Replicas,
// which is WAIT's answer on the same connection right after it.
type HeartbeatReply struct {
	Replicas    int
	Time        int64 // Redis' TIME, unix ms
	HeadFound   bool
	Head        Head
	AtMineFound bool
	AtMine      Chain // the chain of the entry at the Heartbeat's Position.Seq
}

// Cause is why a process gave up its position and loads the log again.
type Cause string

// The causes of a resync.
const (
	CauseStart    Cause = "start"    // there was no copy yet
	CauseEpoch    Cause = "epoch"    // the log has begun a new epoch
	CauseRollback Cause = "rollback" // the log ends before our position
	CauseTrimmed  Cause = "trimmed"  // our position has been trimmed away and is not the head's
	CauseChain    Cause = "chain"    // the log holds another entry at our position
	CauseGap      Cause = "gap"      // an entry was missing from what was read
	CauseVanished Cause = "vanished" // the log ended before its head while it was loaded
	CauseUnknown  Cause = "unknown"  // the log held an entry this version cannot read
)

// Causes are all causes, for a metric's labels.
func Causes() []Cause {
	return []Cause{
		CauseStart, CauseEpoch, CauseRollback, CauseTrimmed, CauseChain, CauseGap, CauseVanished,
		CauseUnknown,
	}
}

// judge returns why the process that sent hb is not on the log that r describes, or nothing if it
// is: if and only if the epoch is the same and the log's chain at its place is its own.
func judge(hb *Heartbeat, r *HeartbeatReply) Cause {
	p, h := hb.Position, &r.Head
	switch {
	case p.Epoch != h.Epoch:
		return CauseEpoch
	case p.Seq > h.Seq:
		return CauseRollback
	case r.AtMineFound && r.AtMine != p.Chain:
		// The log has gone back and grown again: a place alone says nothing.
		return CauseChain
	case !r.AtMineFound && p != h.Position():
		// The entry has been trimmed, and so may be some that follow it. If it is the head's, none
		// follows.
		return CauseTrimmed
	case p.Seq == h.Seq && p.Chain != h.Chain:
		return CauseChain
	}
	return ""
}
