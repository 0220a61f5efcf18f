//go:build model

package model

import (
	"github.com/sallyport/sallyport/internal/revocation"
)

func (m *model) appendStep(s *state, q, x int, f emit) {
	n, i := int(s.reqs[q].issuer), int(s.reqs[q].session)
	did := step{kind: stAppend, n: int8(n), x: int8(q), y: int8(x), order: 5}
	if s.nodes[x].of != none { // READONLY
		t := *s
		p := &t.procs[n]
		p.conns[appends], p.id, t.reqs[q].phase = s.primary, m.notSent(p.id, q, i), uncertain
		f(did, &t)
		return
	}
	a := m.appendSent(s.procs[n].id, s.nodes[x].data, s.epochs, q, i)
	m.saving(s, x, a.data, f, func(t *state) step {
		p := &t.procs[n]
		p.id, t.epochs, t.reqs[q].phase = a.proc, a.epochs, underWay
		m.set(t, x, a.data)
		p.have[appends] = m.followers(t, x)
		if !m.limits.Split {
			m.landStep(t, q, x, func(_ step, after *state) { *t = *after })
		}
		return did
	})
	if s.faults > 0 {
		m.appendFaults(s, q, n, x, a, f)
	}
}

// appendFaults are the faults that fall between an append's being sent and its answer: the
// connection is cut, before or after Redis has taken its step.
func (m *model) appendFaults(s *state, q, n, x int, a result, f emit) {
	cut := step{kind: stCut, n: int8(n), x: appends, y: int8(x), order: 9}
	if !m.limits.Split {
		t := *s
		t.faults--
		t.procs[n].id, t.epochs, t.reqs[q].phase = a.proc, a.epochs, underWay
		m.set(&t, x, a.data)
		m.drop(&t, n, appends)
		f(cut, &t)
	}
	t := *s
	t.faults--
	t.procs[n].id, t.reqs[q].phase = a.proc, underWay
	m.drop(&t, n, appends)
	cut.n, cut.kind = int8(n), stCutBefore
	f(cut, &t)
}

func (m *model) landStep(s *state, q, x int, f emit) {
	t := *s
	r := &t.reqs[q]
	p := &t.procs[r.issuer]
	replicas, done := m.waited(s, x, p.have[appends])
	if !done {
		return
	}
	confirmed := r.phase == confirming
	l := m.landed(p.id, replicas)
	p.id, p.have[appends] = l.proc, 0
	if l.changed {
		t.stored |= 1 << r.session
	}
	switch {
	case !l.ok:
		r.phase, r.rests = uncertain, confirmed
	case confirmed:
		r.phase = stored
	default:
		r.phase, r.at = stored, l.at
	}
	if m.mutation == SecondHolderIgnored && r.phase == stored {
		m.appended(&t, q)
	}
	f(step{kind: stLand, n: r.issuer, x: int8(q), y: int8(bit(l.ok)), order: 1}, &t)
}

func (m *model) appended(t *state, q int) {
	r := &t.reqs[q]
	r.at = 0
	m.ack(t, q) // of an append alone, this is the acknowledgement
	if m.limits.Requests == 1 {
		*r = request{phase: acknowledged, issuer: r.issuer, session: r.session}
		return
	}
	m.goOn(t, q, r.end.Appended())
}

// confirmStep looks for what an append may have stored, and has it confirmed.
func (m *model) confirmStep(s *state, q, x int, f emit) {
	n, i := int(s.reqs[q].issuer), int(s.reqs[q].session)
	at, found := m.locate(s.procs[n].id, q, i)
	if !found || s.reqs[q].rests || s.nodes[x].of != none {
		return
	}
	c := m.confirmSent(n, s.procs[n].id, s.nodes[x].data, q, at)
	if !c.ok {
		return
	}
	t := *s
	p := &t.procs[n]
	p.id, t.reqs[q].phase, t.reqs[q].at = c.proc, confirming, at
	m.set(&t, x, c.data)
	p.have[appends] = m.followers(&t, x)
	if !m.limits.Split {
		m.landStep(&t, q, x, func(_ step, after *state) { t = *after })
	}
	f(step{kind: stConfirm, n: int8(n), x: int8(q), y: int8(x), order: 5}, &t)
}

// holderStep looks for a second holder: by the lines of the last heartbeat, while it is recent, or
// by reading them.
func (m *model) holderStep(s *state, q, x int, f emit) {
	t := *s
	r := &t.reqs[q]
	p := &t.procs[r.issuer]
	at := m.poss[r.at]
	did := step{kind: stHolder, n: r.issuer, x: int8(q), order: 5}
	if r.before && p.recent < noLines && int(p.peerAge) > m.limits.Settle {
		m.appended(&t, q)
		f(did, &t)
		t = *s
	}
	d := m.datas[s.nodes[x].data]
	if !d.onLog(at) {
		m.fail(&t, q)
		f(did, &t)
		return
	}
	other := d.lines[2-r.issuer]
	if m.holder(other, p.peerAge, d.onLog(other.at), at) != revocation.HolderWaited {
		m.appended(&t, q)
	}
	f(did, &t)
}
