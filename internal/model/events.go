package model

import (
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// The events here mirror what package redislog's driver does with the machines and Redis, step by step.

func (m *model) passed(p procID) procID {
	return m.once(event{kind: evPass, proc: p}, func() result {
		c := m.procs[p].clone()
		c.pass(&m.limits)
		return result{proc: m.proc(c)}
	}).proc
}

func (m *model) connectedTo(p procID) procID {
	return m.once(event{kind: evConnected, proc: p}, func() result {
		c := m.procs[p].clone()
		if m.mutation != NoSettleOnReconnect {
			c.connected()
		}
		return result{proc: m.proc(c)}
	}).proc
}

// beatSent makes a heartbeat of process n and lets Redis take its step.
func (m *model) beatSent(n int, p procID, d dataID, epochs uint8, watched bool) result {
	return m.once(event{evBeat, p, d, int32(epochs)<<3 | int32(bit(watched))<<2 | int32(n)}, func() result {
		c, r := m.procs[p].clone(), result{data: d, epochs: epochs}
		if c.w == nil {
			hb := c.r.Beat(now)
			c.beat = &beat{hb: hb, reply: m.datas[d].reply(&hb), same: true}
			m.mutateHead(c, m.datas[d])
		} else {
			after := m.datas[d].clone()
			r.epochs += m.issuerBeat(n-1, c, after, epochs, watched)
			r.data = m.data(after)
		}
		r.proc = m.proc(c)
		return r
	})
}

// issuerBeat is the heartbeat script. It returns how many epochs it began.
func (m *model) issuerBeat(i int, c *proc, d *data, epochs uint8, watched bool) (began uint8) {
	hb := c.w.Beat(now)
	m.mutateBeat(c, &hb)
	if (m.mutation != HeadNotCreated || d.head) && d.ensure(epochs, redisNow) {
		began = 1
	}
	if d.misses(&hb) {
		d.mending = max(d.mending, uint8(m.limits.Settle))
	}
	if watched {
		d.lines[i] = line{there: true, at: hb.Position}
	}
	c.beat = &beat{hb: hb, reply: d.reply(&hb), other: d.lines[1-i], same: true}
	return began
}

func (m *model) mutateBeat(c *proc, hb *revocation.Heartbeat) {
	switch m.mutation {
	case LossInvisibleToWriter:
		hb.Stored = 0
	case MendingForever:
		hb.Mend, hb.Holds = true, true
	}
}

// mutateHead makes a gate without a confirmed copy take the end of the first page for the head.
func (m *model) mutateHead(c *proc, d *data) {
	if v := c.r.View(); m.mutation == ReadyBeforeLastPage && !v.Counted && len(d.entries) > pageSize {
		last := &d.entries[pageSize-1]
		c.beat.reply.Head.Seq, c.beat.reply.Head.Chain = last.Seq, last.Chain
	}
}

func (m *model) beatFailed(p procID) procID {
	return m.once(event{kind: evBeatFailed, proc: p}, func() result {
		c := m.procs[p].clone()
		c.failBeat(m.mutation)
		return result{proc: m.proc(c)}
	}).proc
}

func (c *proc) failBeat(m Mutation) {
	hb := c.beat.hb
	c.beat = nil
	if m == NoSettleOnReconnect {
		return
	}
	if c.w != nil {
		c.w.BeatFailed(hb)
	} else {
		c.r.BeatFailed(hb)
	}
}

// answered brings a heartbeat's answer, with what WAIT answered; acked says that what an issuer's heartbeat found is
// held twice.
func (m *model) answered(p procID, replicas int, acked bool) result {
	number := int32(replicas)<<1 | int32(bit(acked))
	return m.once(event{kind: evAnswered, proc: p, number: number}, func() result {
		c := m.procs[p].clone()
		b := c.beat
		c.beat = nil
		b.reply.Replicas = replicas
		founded := replicas >= m.limits.MinReplicas && b.reply.HeadFound && b.reply.Head.Mending <= b.reply.Time
		m.mutateAnswer(c, b)
		if acked && c.w != nil {
			c.w.Acknowledged(b.hb)
		}
		var out revocation.Outcome
		if c.w != nil {
			out = c.w.Answered(b.hb, b.reply, now)
		} else {
			out = c.r.Answered(b.hb, b.reply, now)
		}
		m.mutateHeld(c, &out)
		r := m.outcome(c, &out)
		if out.Counted && !founded && c.w == nil {
			r.outcome |= unfounded
		}
		return r
	})
}

// mutateAnswer makes of an answer what a machine without the rule would make of it.
func (m *model) mutateAnswer(c *proc, b *beat) {
	head := &b.reply.Head
	pos := b.hb.Position
	switch m.mutation {
	case WaitNotCompared:
		b.reply.Replicas = m.limits.MinReplicas
	case HeartbeatByRead:
		if c.w == nil {
			b.reply.Replicas = m.limits.MinReplicas
		}
	case MendingIgnored:
		head.Mending = 0
	case SeqWithoutChain:
		if b.reply.HeadFound && c.r.Complete() && pos.Seq <= head.Seq {
			head.Epoch, b.reply.AtMine, b.reply.AtMineFound = pos.Epoch, pos.Chain, true
			if pos.Seq == head.Seq {
				head.Chain = pos.Chain
			}
		}
	case HeadNotApplied:
		if b.reply.HeadFound && b.reply.AtMineFound && head.Epoch == pos.Epoch {
			head.Seq, head.Chain = pos.Seq, b.reply.AtMine
		}
	case GapTakenAsNothing:
		if b.reply.HeadFound && c.r.Complete() && (head.Epoch != pos.Epoch || head.Seq < pos.Seq) {
			head.Epoch, head.Seq, head.Chain = pos.Epoch, pos.Seq, pos.Chain
			b.reply.AtMine, b.reply.AtMineFound = pos.Chain, true
		}
	}
}

// mutateHeld makes a gate drop what it holds when it loads the log again.
func (m *model) mutateHeld(c *proc, out *revocation.Outcome) {
	if m.mutation != HeldDroppedOnReload || c.w != nil {
		return
	}
	for s := range m.limits.Sessions {
		if out.Resync != "" && c.r.Set().Check(&revocation.Facts{Issuer: iss, SessionID: sid(s)}).Revoked {
			c.dropped |= 1 << s
		}
		for i := range out.Applied {
			if out.Applied[i].Value == sid(s) {
				c.dropped &^= 1 << s
			}
		}
	}
}

func (m *model) outcome(c *proc, out *revocation.Outcome) result {
	r := result{proc: m.proc(c)}
	for i, set := range [...]bool{out.Resync != "", out.Completed, out.Counted, out.Stalled} {
		if set {
			r.outcome |= 1 << i
		}
	}
	return r
}

// read does one read on what a server holds.
func (m *model) read(p procID, d dataID) result {
	return m.once(event{kind: evRead, proc: p, data: d}, func() result {
		rd := m.procs[p].r.Next()
		entries := m.datas[d].read(rd.After, rd.Count)
		if rd.Mode == revocation.ReadNothing || rd.Mode == revocation.ReadTail && len(entries) == 0 {
			return result{proc: p}
		}
		c := m.procs[p].clone()
		out := c.entries(rd, entries)
		m.mutateHeld(c, &out)
		r := m.outcome(c, &out)
		r.changed = true
		return r
	})
}

// begun makes a request's entry: the issuer's own set has it from here on.
func (m *model) begun(p procID, q, s int) result {
	return m.once(event{kind: evBegin, proc: p, number: int32(q<<4 | s)}, func() result {
		c := m.procs[p].clone()
		b, err := c.w.Begin(requestFor(q, s), now)
		if err != nil {
			return result{proc: p}
		}
		m.batches[q][s] = b
		if m.mutation == OwnSetAfterAck {
			return result{proc: p, ok: true}
		}
		return result{proc: m.proc(c), ok: true}
	})
}

// batchFor is the batch that begun made: while now stands still, it is always the same.
func (m *model) batchFor(q, s int) revocation.Batch { return m.batches[q][s] }

// appendSent lets Redis run the append script.
func (m *model) appendSent(p procID, d dataID, epochs uint8, q, s int) result {
	return m.once(event{evAppend, p, d, int32(epochs)<<8 | int32(q<<4|s)}, func() result {
		return m.appendBatch(m.procs[p].clone(), d, epochs, int8(q), m.batchFor(q, s))
	})
}

func (m *model) appendBatch(c *proc, d dataID, epochs uint8, q int8, b revocation.Batch) result {
	after := m.datas[d].clone()
	if after.ensure(epochs, redisNow) {
		epochs++
	}
	if q < 0 { // sessions are marked again before their entries go in again
		for i := range b.Entries {
			after.mark(b.Entries[i].Value)
		}
	}
	a := &appending{request: q, batch: b, epoch: after.epoch}
	a.first, a.before, a.ok = after.append(&b)
	c.app = a
	return result{proc: m.proc(c), data: m.data(after), epochs: epochs, ok: true}
}

// mendSent looks for what the log has lost and lets Redis append it again. Not ok: there is nothing.
func (m *model) mendSent(p procID, d dataID, epochs uint8) result {
	return m.once(event{evMend, p, d, int32(epochs)}, func() result {
		c := m.procs[p].clone()
		b, found := c.w.Mend(now, mendSize)
		if !found || m.mutation == NoReappend {
			return result{proc: p, data: d, epochs: epochs}
		}
		return m.appendBatch(c, d, epochs, none, b)
	})
}

// confirmSent lets Redis run the confirm script. Not ok: the copy is not where the entry is.
func (m *model) confirmSent(n int, p procID, d dataID, q int, at posID) result {
	return m.once(event{evConfirm, p, d, int32(at)<<8 | int32(q)<<4 | int32(n)}, func() result {
		c, r := m.procs[p].clone(), result{data: d}
		mine, want := c.r.Position(), m.poss[at]
		if mine.Epoch != want.Epoch || mine.Seq < want.Seq {
			return result{proc: p, data: d}
		}
		c.app = &appending{request: int8(q), confirm: true}
		after := m.datas[d].clone()
		if after.confirm(n-1, mine, m.limits.Requests > 1) {
			r.data, c.app.ok = m.data(after), true
		}
		r.proc, r.ok = m.proc(c), true
		return r
	})
}

// landed brings the answer to an append: ok when it is in the log and enough replicas have it.
func (m *model) landed(p procID, replicas int) result {
	return m.once(event{kind: evLanded, proc: p, number: int32(replicas)}, func() result {
		c := m.procs[p].clone()
		a := c.app
		c.app = nil
		r := result{ok: a.ok && (replicas >= m.limits.MinReplicas || m.mutation == WaitNotCompared)}
		r.changed = a.ok && replicas >= m.limits.MinReplicas
		switch {
		case a.confirm:
		case a.ok:
			r.at = m.pos(c.w.Stored(a.batch, a.epoch, a.first, a.before))
		default:
			c.w.Failed(a.batch)
		}
		r.proc = m.proc(c)
		return r
	})
}

func (m *model) appendFailed(p procID) procID {
	return m.once(event{kind: evAppendFailed, proc: p}, func() result {
		c := m.procs[p].clone()
		if !c.app.confirm {
			c.w.Failed(c.app.batch)
		}
		c.app = nil
		return result{proc: m.proc(c)}
	}).proc
}

// notSent tells the writer that a request's append came to nothing.
func (m *model) notSent(p procID, q, s int) procID {
	c := m.procs[p].clone()
	c.w.Failed(m.batchFor(q, s))
	return m.proc(c)
}

// live is redislog.Issuer.Live.
func (m *model) live(p procID, q, s int) bool {
	return m.once(event{kind: evLive, proc: p, number: int32(q<<4 | s)}, func() result {
		fresh, _ := m.procs[p].view()
		_, found := m.procs[p].w.Find(requestFor(q, s), now)
		return result{ok: fresh && found}
	}).ok
}

func (m *model) locate(p procID, q, s int) (posID, bool) {
	r := m.once(event{kind: evLocate, proc: p, number: int32(q<<4 | s)}, func() result {
		at, found := m.procs[p].w.Locate(m.batchFor(q, s))
		return result{at: m.pos(at), ok: found}
	})
	return r.at, r.ok
}

// holder judges the issuers' lines: the other's as found, and whether it lies on the log. How old one is that is there,
// the issuer is taken to know exactly; one that is not there it last saw to move sight ago.
func (m *model) holder(other line, sight uint8, onLog bool, at revocation.Position) revocation.Holder {
	var l revocation.Lines
	lines := []revocation.Line{{Name: "other", Position: other.at, OnLog: onLog}}
	age := sight
	if other.there {
		age = other.age
	}
	if age < m.old() {
		l.Observe(lines, revocation.Instant{Mono: now.Mono - time.Duration(age)*tick, Wall: now.Wall})
	} else {
		l.Observe(lines, revocation.Instant{Mono: now.Mono - 3*time.Hour, Wall: now.Wall})
	}
	if !other.there {
		lines = nil
	}
	l.Observe(lines, now)
	return l.SecondHolder(lines, "self", at, time.Duration(m.limits.Settle)*tick, now)
}

// told is what a server holds once issuer n has written its line there.
func (m *model) told(n int, d dataID, at posID) dataID {
	return m.once(event{evTell, procID(n), d, int32(at)}, func() result {
		after := m.datas[d].clone()
		after.lines[n-1] = line{there: true, at: m.poss[at]}
		return result{data: m.data(after)}
	}).data
}
