//go:build model

package model

import (
	"github.com/sallyport/sallyport/internal/session"
)

// requestSteps carry a request to end a session on, as session.Store.End does: session.End says
// what is next.
func (m *model) requestSteps(s *state, q int, f emit) {
	r := &s.reqs[q]
	if r.phase == idle {
		m.arrivals(s, q, f)
		return
	}
	n := int(r.issuer)
	if r.phase >= acknowledged || s.procs[n].status != running {
		return
	}
	m.using(s, n, appends, func(s *state) {
		if x, there := m.target(s, n, appends); there {
			m.requestOn(s, q, n, x, f)
		}
	})
}

func (m *model) requestOn(s *state, q, n, x int, f emit) {
	r := &s.reqs[q]
	switch busy := m.procs[s.procs[n].id].app != nil; r.phase {
	case marking:
		m.markStep(s, q, x, f)
	case appendDue:
		m.beginStep(s, q, f)
	case queued:
		if !busy {
			m.appendStep(s, q, x, f)
		}
	case underWay, confirming:
		m.landStep(s, q, x, f)
	case uncertain:
		if !busy {
			m.confirmStep(s, q, x, f)
		}
	case stored:
		m.holderStep(s, q, x, f)
	case finishing:
		m.finishStep(s, q, x, f)
	}
}

// arrivals begin a request at any issuer, about any session. Issuers are alike until one has been
// asked, and so are sessions: the first request may be taken to be the first issuer's, about the
// first session.
func (m *model) arrivals(s *state, q int, f emit) {
	if q > 0 && s.reqs[q-1].phase == idle {
		return
	}
	for n := 1; n <= m.limits.Issuers; n++ {
		for i := range m.limits.Sessions {
			if q == 0 && (n > 1 || i > 0) || s.procs[n].status != running || s.late && i > 0 {
				continue
			}
			t := *s
			r := &t.reqs[q]
			r.issuer, r.session, r.phase = int8(n), int8(i), marking
			r.end.Begin()
			did := step{kind: stRequest, n: int8(n), x: int8(q), y: int8(i), order: 9}
			if m.limits.Requests > 1 {
				f(did, &t)
				continue
			}
			// The record is there for the next request alone.
			r.end.Marked(session.Active, false)
			r.phase = appendDue
			m.beginStep(&t, q, func(_ step, after *state) { f(did, after) })
		}
	}
}

func (m *model) fail(t *state, q int) {
	r := &t.reqs[q]
	r.end.Failed()
	*r = request{phase: failed, issuer: r.issuer, session: r.session}
}

// wait is a script and WAIT in one step: done when WAIT has answered, met when enough replicas have
// it.
func (m *model) wait(s *state, x int) (met, done bool) {
	replicas, done := m.waited(s, x, m.followers(s, x))
	return replicas >= m.limits.MinReplicas || m.mutation == WaitNotCompared, done
}

func (m *model) markStep(s *state, q, x int, f emit) {
	met, done := m.wait(s, x)
	if !done {
		return
	}
	t := *s
	r := &t.reqs[q]
	p := &t.procs[r.issuer]
	did := step{kind: stMark, n: r.issuer, x: int8(q), order: 5}
	if s.nodes[x].of != none { // READONLY
		p.conns[appends] = s.primary
		m.fail(&t, q)
		f(did, &t)
		return
	}
	after := m.datas[s.nodes[x].data].clone()
	before := after.mark(sid(int(r.session)))
	m.set(&t, x, m.data(after))
	if !met {
		m.fail(&t, q)
		f(did, &t)
		return
	}
	live := m.live(p.id, q, int(r.session))
	m.goOn(&t, q, r.end.Marked(before, live))
	f(did, &t)
}

// goOn takes the next step session.End asks for.
func (m *model) goOn(t *state, q int, next session.Step) {
	r := &t.reqs[q]
	switch next {
	case session.Append:
		r.phase = appendDue
	case session.Finish:
		r.phase = finishing
	case session.Answer:
		m.ack(t, q)
		*r = request{phase: acknowledged, issuer: r.issuer, session: r.session}
	default:
		m.fail(t, q)
	}
}

// ack remembers that a session's end has been acknowledged.
func (m *model) ack(t *state, q int) {
	if i := t.reqs[q].session; t.acked[i] == 0 {
		t.acked[i] = 1
		m.settleAck(t, int(i))
	}
}

// settleAck forgets when a session's end was acknowledged once the gate denies it: it has to deny
// it for ever then, and a gate that starts anew does all it does after the acknowledgement.
func (m *model) settleAck(t *state, i int) {
	if t.acked[i] > 0 && (t.denied>>i&1 == 1 || t.procs[0].status == down || m.limits.Gates == 0) {
		t.acked[i] = m.oldest()
	}
}

func (m *model) beginStep(s *state, q int, f emit) {
	t := *s
	r := &t.reqs[q]
	p := &t.procs[r.issuer]
	b := m.begun(p.id, q, int(r.session))
	p.id, r.phase, r.before = b.proc, queued, true
	if !b.ok {
		m.fail(&t, q)
	}
	f(step{kind: stBegin, n: r.issuer, x: int8(q), order: 5}, &t)
}

func (m *model) finishStep(s *state, q, x int, f emit) {
	met, done := m.wait(s, x)
	if !done {
		return
	}
	t := *s
	r := &t.reqs[q]
	did := step{kind: stFinish, n: r.issuer, x: int8(q), order: 5}
	if s.nodes[x].of != none {
		t.procs[r.issuer].conns[appends] = s.primary
		m.fail(&t, q)
		f(did, &t)
		return
	}
	after := m.datas[s.nodes[x].data].clone()
	if after.sessions[r.session] != session.Missing {
		after.sessions[r.session] = session.Ended
	}
	m.set(&t, x, m.data(after))
	if met {
		m.goOn(&t, q, r.end.Finished())
	} else {
		m.fail(&t, q)
	}
	f(did, &t)
}
