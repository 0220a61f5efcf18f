package revocation

import "time"

// A heartbeat confirms a copy: it shows that the copy has all that was in the log when the
// heartbeat was sent. It counts only if all of this is so, which Answered asks in this order:
//
//  1. it went over the connection that is in use: an answer of an earlier one may be of an earlier
//     primary;
//  2. as many replicas as configured have taken its write: a deposed primary has none;
//  3. the copy is complete, and on the log by epoch and chain: see judge;
//  4. the connection has settled: whoever still wrote to another primary has noticed;
//  5. nobody is mending the log: all that was revoked is in it;
//  6. the head that it returned has been applied.
//
// It then counts from when it was sent: what was revoked after that, it cannot have shown.

// settle is what is known of the heartbeats' connection. Its heartbeats count from the moment its
// first good one is Settle old: by then whoever still wrote to a deposed primary has found that
// out, and an issuer that holds what this log lacks has marked it as mending.
type settle struct {
	connection uint64
	begun      bool
	epoch      Epoch
	first      time.Duration // monotonic: when the first good heartbeat was answered
	last       Instant       // when the last good one was sent
}

// noteGood notes a good heartbeat (as many replicas as configured took it, and there was a head)
// on the log of an epoch. It reports whether the connection had settled when it was sent.
func (s *settle) noteGood(epoch Epoch, sent Instant, answered Instant, need time.Duration) bool {
	// If Redis stood still for longer than half of need, issuers that can mend this log need not have
	// had a heartbeat answered before need is over: it is measured anew.
	if !s.begun || s.epoch != epoch || sent.Since(s.last) > need/2 {
		*s = settle{
			connection: s.connection, begun: true, epoch: epoch, first: answered.Mono, last: sent,
		}
		return false
	}
	s.last = sent
	return sent.Mono-s.first >= need
}

// Beat returns the next heartbeat. One is under way at a time: answer it with Answered or
// BeatFailed before the next.
func (c *Copy) Beat(now Instant) Heartbeat {
	c.passed = c.passed[:0]
	return Heartbeat{
		At: now, Position: c.pos,
		connection: c.settle.connection, reading: c.reading,
	}
}

// Answered takes the answer to a heartbeat.
func (c *Copy) Answered(hb Heartbeat, a HeartbeatReply, now Instant) Outcome {
	if hb.connection != c.settle.connection {
		return Outcome{}
	}
	if a.Replicas < c.cfg.MinReplicas || !a.HeadFound {
		// Perhaps a deposed primary's. The last confirmation stays until it is stale.
		c.restartSettling()
		return Outcome{}
	}
	c.noteTime(&hb, &a, now)
	// Before all that may return: a connection settles while the log is loaded, too.
	settled := c.settle.noteGood(a.Head.Epoch, hb.At, now, c.cfg.Settle)
	if !c.complete {
		return c.keepLoading(&a.Head)
	}
	if hb.reading != c.reading {
		// It asked about a position that was given up after it was sent.
		return Outcome{}
	}
	// Judged although the connection has not settled: a wrong position is given up at once, and
	// only allowing has to wait.
	if cause := judge(&hb, &a); cause != "" {
		out := c.giveUp(cause)
		c.startLoad(&a.Head)
		return out
	}
	out := Outcome{Stalled: c.stalled(&a.Head, now)}
	// Mending is a time by Redis' clock, and is compared with Redis' time of the same step.
	if !settled || a.Head.Mending > a.Time {
		return out
	}
	return c.confirm(&hb, &a.Head, now, out)
}

// noteTime takes Redis' time and the head.
func (c *Copy) noteTime(hb *Heartbeat, a *HeartbeatReply, now Instant) {
	// A mark of mending ends at a time by Redis' clock. When that has jumped, a mark may have ended
	// early, and means nothing until issuers have renewed it: settle anew, as after a pause.
	if c.redis.jumped(a.Time, hb.At, now, c.cfg.Settle/2) {
		c.restartSettling()
	}
	c.redis = redisTime{known: true, at: a.Time, sent: hb.At, answered: now}
	c.head, c.headKnown = a.Head, true
	agreed, life := min(c.redis.earliest(now), now.Wall.UnixMilli()), c.entryLife()
	c.bounds.note(agreed, now.Mono, life)
	c.lasting.note(agreed, now.Mono, max(life, c.longest))
}

// entryLife is how long an entry lives that names no session of another issuer.
func (c *Copy) entryLife() time.Duration {
	return c.head.MaxTokenLifetime + 2*c.cfg.ClockSkew + c.cfg.MaxStaleness
}

// keepLoading leaves a load alone while it can still end in a complete copy. Otherwise it starts a
// load of the log that h describes.
func (c *Copy) keepLoading(h *Head) Outcome {
	if c.unreadable.on {
		if h.Epoch == c.unreadable.epoch && h.First <= c.unreadable.seq {
			return Outcome{}
		}
		c.unreadable = unreadable{}
	}
	l := &c.load
	// A head that has moved on is no reason to start anew: a load of a log that grows would never
	// end. What was added is read as the tail.
	if l.active && l.target.Epoch == h.Epoch && l.target.Seq <= h.Seq {
		return Outcome{}
	}
	out := Outcome{}
	switch {
	case c.reading == 0:
		out = c.giveUp(CauseStart)
	case l.active && l.target.Epoch != h.Epoch:
		out = c.giveUp(CauseEpoch)
	case l.active:
		out = c.giveUp(CauseRollback)
	}
	c.startLoad(h)
	return out
}

// confirm counts a heartbeat whose head is applied; one whose head is ahead waits for it.
func (c *Copy) confirm(hb *Heartbeat, h *Head, now Instant, out Outcome) Outcome {
	at := place{h.Seq, h.Chain}
	if h.Seq > c.pos.Seq {
		if len(c.waiting) < maxWaiting {
			c.waiting = append(c.waiting, waitingBeat{hb.At, at})
		}
		return out
	}
	// Entries may have arrived between the heartbeat's step in Redis and its answer. The head lies
	// behind the position then, and its chain must be the one that was applied at its place: where
	// the heartbeat was sent from (judge has compared that), where the copy is now, or a place
	// passed since. If it is none of them, nothing is known of it, and the heartbeat does not count.
	known := h.Seq == hb.Position.Seq
	if h.Seq == c.pos.Seq {
		known = true
		if h.Chain != c.pos.Chain {
			return c.giveUp(CauseChain)
		}
	}
	for _, p := range c.passed {
		if p.seq == h.Seq {
			known = true
			if p.chain != h.Chain {
				return c.giveUp(CauseChain)
			}
		}
	}
	if known {
		c.count(hb.At, now, &out)
	}
	return out
}

// count confirms the copy as of sent, which is when its heartbeat left.
func (c *Copy) count(sent, now Instant, out *Outcome) {
	skewed := c.redis.skew() > c.cfg.ClockSkew
	// A process whose clock is off never gets its first confirmation: it could not tell which tokens
	// have expired. One that has been confirmed goes on, and only says that it is not ready: a clock
	// that is set wrong must not stop every gate at once.
	if skewed && !c.counted {
		return
	}
	// Heartbeats that waited for their head may count after one that was sent later.
	if !c.counted || sent.Mono > c.last.Mono {
		c.last = sent
	}
	c.counted, out.Counted = true, true
	if !skewed {
		out.SetBack = c.clock.setBack(now)
	}
}

// stalled reports whether the head has been ahead for longer than Settle while nothing arrived.
func (c *Copy) stalled(h *Head, now Instant) bool {
	if h.Seq <= c.pos.Seq {
		c.behind = behind{}
		return false
	}
	if !c.behind.on || c.behind.seq != c.pos.Seq {
		c.behind = behind{on: true, since: now.Mono, seq: c.pos.Seq}
		return false
	}
	if now.Mono-c.behind.since <= c.cfg.Settle {
		return false
	}
	// Said once, then timed anew: the connection that is made for it needs a while, too.
	c.behind = behind{}
	return true
}

// Connected notes that heartbeats go over a new connection from now on: it must settle, and answers
// to earlier heartbeats mean nothing.
func (c *Copy) Connected() {
	c.settle = settle{connection: c.settle.connection + 1}
	c.passed = nil
}

// BeatFailed notes that a heartbeat got an error or no answer: settling starts anew.
func (c *Copy) BeatFailed(hb Heartbeat) {
	if hb.connection == c.settle.connection {
		c.restartSettling()
	}
}

func (c *Copy) restartSettling() {
	c.settle = settle{connection: c.settle.connection}
	c.passed = nil
}
