//go:build model

package model

import (
	"github.com/sallyport/sallyport/internal/revocation"
)

// begun makes a request's entry: the issuer's own set has it from here on.
func (m *model) begun(p procID, q, s int) result {
	return m.once(event{kind: evBegin, proc: p, number: int32(q<<4 | s)}, func() result {
		c := m.procs[p].clone()
		b, err := c.w.Begin(requestFor(q, s), c.now())
		if err != nil {
			return result{proc: p}
		}
		m.batches[bit(c.late)][q][s] = b
		if m.mutation == OwnSetAfterAck {
			return result{proc: p, ok: true}
		}
		return result{proc: m.proc(c), ok: true}
	})
}

// batchFor is the batch that begun made: while now stands still, it is always the same, and no
// token's life passes while a request is under way.
func (m *model) batchFor(p procID, q, s int) revocation.Batch {
	return m.batches[bit(m.procs[p].late)][q][s]
}

// appendSent lets Redis run the append script.
func (m *model) appendSent(p procID, d dataID, epochs uint8, q, s int) result {
	return m.once(event{evAppend, p, d, int32(epochs)<<8 | int32(q<<4|s)}, func() result {
		return m.appendBatch(m.procs[p].clone(), d, epochs, int8(q), m.batchFor(p, q, s))
	})
}

func (m *model) appendBatch(c *proc, d dataID, epochs uint8, q int8, b revocation.Batch) result {
	after := m.datas[d].clone()
	if after.ensure(epochs, after.now()) {
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

// mendSent looks for what the log has lost and lets Redis append it again. Not ok: there is
// nothing.
func (m *model) mendSent(p procID, d dataID, epochs uint8) result {
	return m.once(event{evMend, p, d, int32(epochs)}, func() result {
		c := m.procs[p].clone()
		b, found := c.w.Mend(c.now(), mendSize)
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
	c.w.Failed(m.batchFor(p, q, s))
	return m.proc(c)
}
