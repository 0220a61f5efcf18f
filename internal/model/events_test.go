//go:build model

package model

import (
	"github.com/sallyport/sallyport/internal/revocation"
)

// The events here mirror what package redislog's driver does with the machines and Redis, step by
// step.

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
	return m.once(
		event{evBeat, p, d, int32(epochs)<<3 | int32(bit(watched))<<2 | int32(n)},
		func() result {
			c, r := m.procs[p].clone(), result{data: d, epochs: epochs}
			if c.w == nil {
				hb := c.r.Beat(c.now())
				c.beat = &beat{hb: hb, reply: m.datas[d].reply(&hb), same: true}
				m.mutateHead(c, m.datas[d])
			} else {
				after := m.datas[d].clone()
				r.epochs += m.issuerBeat(n-1, c, after, epochs, watched)
				r.data = m.data(after)
			}
			r.proc = m.proc(c)
			return r
		},
	)
}

// issuerBeat is the heartbeat script. It returns how many epochs it began.
func (m *model) issuerBeat(i int, c *proc, d *data, epochs uint8, watched bool) (began uint8) {
	hb := c.w.Beat(c.now())
	m.mutateBeat(c, &hb)
	if (m.mutation != HeadNotCreated || d.head) && d.ensure(epochs, d.now()) {
		began = 1
	}
	// Judged before entries are carried on, which makes the log longer.
	lacks, misses := d.lacks(&hb), d.misses(&hb)
	reply := d.reply(&hb)
	m.trim(d, &hb, lacks)
	if misses {
		d.mending = max(d.mending, uint8(m.limits.Settle))
	}
	if watched {
		d.lines[i] = line{there: true, at: hb.Position}
	}
	after := d.reply(&hb)
	after.AtMine, after.AtMineFound = reply.AtMine, reply.AtMineFound
	c.beat = &beat{hb: hb, reply: after, other: d.lines[1-i], same: true}
	return began
}

// trim trims what a server holds, as an issuer's heartbeat does. Before a token's life has passed
// nothing has expired for as long as it must have.
func (m *model) trim(d *data, hb *revocation.Heartbeat, lacks bool) {
	if !d.late {
		return
	}
	t := trimming{
		now: d.now(), over: min(d.now(), hb.Times.Expired), skew: skew.Milliseconds(),
		life: (lifetime + 2*skew).Milliseconds(), spare: maxDead, carry: m.mutation != CarriedIsDropped,
	}
	d.trim(&t, hb.Live, lacks)
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
	c.forget()
	if m == NoSettleOnReconnect {
		return
	}
	if c.w != nil {
		c.w.BeatFailed(hb)
	} else {
		c.r.BeatFailed(hb)
	}
}

// answered brings a heartbeat's answer, with what WAIT answered; acked says that what an issuer's
// heartbeat found is held twice.
func (m *model) answered(p procID, replicas int, acked bool) result {
	number := int32(replicas)<<1 | int32(bit(acked))
	return m.once(event{kind: evAnswered, proc: p, number: number}, func() result {
		c := m.procs[p].clone()
		b := c.beat
		c.beat = nil
		b.reply.Replicas = replicas
		founded := replicas >= m.limits.MinReplicas && b.reply.HeadFound &&
			b.reply.Head.Mending <= b.reply.Time
		m.mutateAnswer(c, b)
		if acked && c.w != nil {
			c.w.Acknowledged(b.hb)
		}
		var out revocation.Outcome
		if c.w != nil {
			out = c.w.Answered(b.hb, b.reply, c.now())
		} else {
			out = c.r.Answered(b.hb, b.reply, c.now())
		}
		m.mutateHeld(c, &out)
		c.forget()
		r := m.outcome(c, &out)
		if out.Counted && !founded && c.w == nil {
			r.outcome |= unfounded
		}
		return r
	})
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
