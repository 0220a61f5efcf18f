//go:build model

package model

import (
	"github.com/sallyport/sallyport/internal/revocation"
)

// oldest is the age from which an acknowledgement's age makes no difference.
func (m *model) oldest() uint8 { return uint8(m.limits.MaxStaleness + 2) }

// beatSteps sends a heartbeat, or brings the answer to the one under way.
func (m *model) beatSteps(s *state, n int, f emit) {
	p := &s.procs[n]
	x, there := m.target(s, n, heartbeats)
	switch {
	case m.procs[p.id].beat != nil:
		if there {
			m.answerStep(s, n, x, step{kind: stAnswer, n: int8(n), x: int8(x), order: 1}, f)
		}
	case m.turn(s) == n:
		m.using(s, n, heartbeats, func(s *state) {
			if x, there := m.target(s, n, heartbeats); there {
				m.sendStep(s, n, x, f)
			}
		})
	}
}

func (m *model) sendStep(s *state, n, x int, f emit) {
	// what its cut connection would have brought, only the process itself knows: it is cut just
	// before it is used
	if s.faults > 0 {
		t := *s
		t.faults--
		m.drop(&t, n, heartbeats)
		if x, there := m.target(&t, n, heartbeats); there {
			m.sendStep(&t, n, x, func(st step, after *state) {
				f(step{kind: stCut, n: int8(n), x: heartbeats, y: int8(x), order: 9}, after)
			})
		}
	}
	t := *s
	p := &t.procs[n]
	if s.nodes[x].of != none { // READONLY
		m.drop(&t, n, heartbeats)
		f(step{kind: stReadOnly, n: int8(n), x: heartbeats, y: int8(x), order: 3}, &t)
		return
	}
	r := m.beatSent(n, p.id, s.nodes[x].data, s.epochs, m.watched(s, n))
	p.id, p.beaten, t.epochs = r.proc, true, r.epochs
	m.set(&t, x, r.data)
	p.have[heartbeats] = m.followers(&t, x)
	did := step{kind: stBeat, n: int8(n), x: int8(x), order: 4}
	if m.limits.Split {
		f(did, &t)
		return
	}
	if s.faults > 0 {
		m.beatFaults(&t, n, f)
	}
	if !m.answerStep(&t, n, x, did, f) {
		f(did, &t)
	}
}

// beatFaults are the faults that fall between a heartbeat's step in Redis and its answer.
func (m *model) beatFaults(s *state, n int, f emit) {
	t := *s
	t.faults--
	m.drop(&t, n, heartbeats)
	f(step{kind: stCut, n: int8(n), x: heartbeats, y: s.procs[n].conns[heartbeats], order: 9}, &t)
	t = *s
	t.faults--
	t.procs[n].status = stopped
	f(step{kind: stStop, n: int8(n), x: 1, order: 9}, &t)
}

func (m *model) answerStep(s *state, n, x int, did step, f emit) (answered bool) {
	p := &s.procs[n]
	replicas, done := m.waited(s, x, p.have[heartbeats])
	if !done {
		return false
	}
	t := *s
	met := replicas >= m.limits.MinReplicas
	acked := n > 0 && m.observes(s, n) && m.observe(&t, n, met)
	q := &t.procs[n]
	r := m.answered(p.id, replicas, acked)
	q.id, q.have[heartbeats] = r.proc, 0
	q.poked = n > 0
	m.follow(&t, n, &r)
	if r.outcome&unfounded != 0 {
		t.broken = true
	}
	if !met {
		// Who cannot fulfil WAIT may have been deposed: the driver asks again who is the primary.
		m.drop(&t, n, heartbeats)
		q.beaten = int(s.primary) == x
	}
	did.y = int8(r.outcome)
	f(did, &t)
	return true
}

// observe takes the issuers' lines that came with a heartbeat; true means that what the issuer has
// applied is held twice.
func (m *model) observe(s *state, n int, met bool) bool {
	p := &s.procs[n]
	b := m.procs[p.id].beat
	head, mine := b.reply.Head.Position(), b.hb.Position
	onLog := b.reply.AtMineFound && b.reply.AtMine == mine.Chain && head.Epoch == mine.Epoch
	h := m.holder(b.other, p.peerAge, b.other.at == head || onLog && b.other.at == mine, mine)
	p.recent = 0
	if b.other.there {
		p.peerAge = b.other.age
	}
	for q := range m.limits.Requests {
		if r := &s.reqs[q]; int(r.issuer) == n {
			r.before = false
		}
	}
	return onLog && met && h != revocation.HolderWaited
}

// old is the age from which a line's age makes no difference.
func (m *model) old() uint8 { return uint8(m.limits.Settle + 1) }

// follow keeps up with what a process has learnt.
func (m *model) follow(s *state, n int, r *result) {
	if r.outcome&stalled != 0 {
		s.procs[n].conns[reading] = s.primary
	}
	if n == 0 {
		g := m.procs[s.procs[0].id]
		s.loaded = s.loaded || g.r.Complete()
		for i := range m.limits.Sessions {
			// One whose tokens are over is denied by whoever still has the entry, and need not be.
			if g.denies(i) && !(s.late && i > 0) {
				s.denied |= 1 << i
				m.settleAck(s, i)
			}
		}
	}
}
