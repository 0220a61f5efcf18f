package revocation

import (
	"time"
)

// Beat makes the next heartbeat. One is under way at a time: answer it with Answered or BeatFailed
// before the next.
func (r *Copy) Beat(now Instant) Heartbeat {
	r.beats++
	r.passed = r.passed[:0]
	return Heartbeat{
		At: now, Counter: r.beats, Position: r.pos,
		connection: r.settle.connection, generation: r.generation,
	}
}

// Answered takes the answer to a heartbeat.
func (r *Copy) Answered(hb Heartbeat, a HeartbeatReply, now Instant) Outcome {
	if hb.connection != r.settle.connection {
		return Outcome{}
	}
	if a.Replicas < r.cfg.MinReplicas || !a.HeadFound {
		r.unsettle()
		return Outcome{}
	}
	r.tell(&hb, &a, now)
	settled := r.settle.good(a.Head.Epoch, hb.At, now, r.cfg.Settle)
	if !r.complete {
		return r.pursue(&a.Head)
	}
	if hb.generation != r.generation {
		return Outcome{}
	}
	if cause := judge(&hb, &a); cause != "" {
		out := r.lose(cause)
		r.begin(&a.Head)
		return out
	}
	out := Outcome{Stalled: r.stalled(&a.Head, now)}
	if !settled || a.Head.Mending > a.Time {
		return out
	}
	return r.confirm(&hb, &a.Head, now, out)
}

// tell takes Redis' time. When that has jumped, marks of mending that it was to count down mean
// nothing until issuers have renewed them: the connection settles anew, as after a pause.
func (r *Copy) tell(hb *Heartbeat, a *HeartbeatReply, now Instant) {
	if r.redis.jumped(a.Time, hb.At, now, r.cfg.Settle/2) {
		r.unsettle()
	}
	r.redis = redisTime{known: true, at: a.Time, sent: hb.At, answered: now}
	r.head, r.headKnown = a.Head, true
	r.bounds.note(min(r.redis.earliest(now), now.Wall.UnixMilli()), now.Mono, r.life())
}

// life is how long an entry lives.
func (r *Copy) life() time.Duration {
	return r.head.MaxTokenLifetime + 2*r.cfg.ClockSkew + r.cfg.MaxStaleness
}

// pursue keeps a load going while it can still end in a complete copy, and else begins one for h.
func (r *Copy) pursue(h *Head) Outcome {
	if r.blind.on {
		if h.Epoch == r.blind.epoch && h.First <= r.blind.seq {
			return Outcome{}
		}
		r.blind = blind{}
	}
	l := &r.load
	if l.active && l.target.Epoch == h.Epoch && l.target.Seq <= h.Seq {
		return Outcome{}
	}
	out := Outcome{}
	switch {
	case r.generation == 0:
		out = r.lose(CauseStart)
	case l.active && l.target.Epoch != h.Epoch:
		out = r.lose(CauseEpoch)
	case l.active:
		out = r.lose(CauseRollback)
	}
	r.begin(h)
	return out
}

// confirm counts a heartbeat whose head is applied; one whose head is ahead waits for it.
func (r *Copy) confirm(hb *Heartbeat, h *Head, now Instant, out Outcome) Outcome {
	at := place{h.Seq, h.Chain}
	if h.Seq > r.pos.Seq {
		if len(r.wait) < maxCandidates {
			r.wait = append(r.wait, candidate{hb.At, at})
		}
		return out
	}
	known := h.Seq == hb.Position.Seq // judged already
	if h.Seq == r.pos.Seq {
		known = true
		if h.Chain != r.pos.Chain {
			return r.lose(CauseChain)
		}
	}
	for _, p := range r.passed {
		if p.seq == h.Seq {
			known = true
			if p.chain != h.Chain {
				return r.lose(CauseChain)
			}
		}
	}
	if known {
		r.count(hb.At, now, &out)
	}
	return out
}

// count confirms the copy as of sent. A process with a clock that is off never gets its first
// confirmation: it could not tell which tokens have expired.
func (r *Copy) count(sent, now Instant, out *Outcome) {
	skewed := r.redis.skew() > r.cfg.ClockSkew
	if skewed && !r.counted {
		return
	}
	if !r.counted || sent.Mono > r.last.Mono {
		r.last = sent
	}
	r.counted, out.Counted = true, true
	if !skewed {
		out.SetBack = r.clock.setBack(now.Wall)
	}
}

// stalled reports that the head has been ahead for longer than Settle while nothing arrived.
func (r *Copy) stalled(h *Head, now Instant) bool {
	if h.Seq <= r.pos.Seq {
		r.behind = behind{}
		return false
	}
	if !r.behind.on || r.behind.seq != r.pos.Seq {
		r.behind = behind{on: true, since: now.Mono, seq: r.pos.Seq}
		return false
	}
	if now.Mono-r.behind.since <= r.cfg.Settle {
		return false
	}
	r.behind = behind{}
	return true
}

// Connected says that heartbeats go over a new connection from now on: it must settle, and answers
// to earlier heartbeats mean nothing.
func (r *Copy) Connected() {
	r.settle = settle{connection: r.settle.connection + 1}
	r.passed = nil
}

// BeatFailed says that a heartbeat got an error or no answer: settling starts anew.
func (r *Copy) BeatFailed(hb Heartbeat) {
	if hb.connection == r.settle.connection {
		r.unsettle()
	}
}

func (r *Copy) unsettle() {
	r.settle = settle{connection: r.settle.connection}
	r.passed = nil
}
