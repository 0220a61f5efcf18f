//go:build model

package model

// target is the node a connection leads to; false when nothing answers there.
func (m *model) target(s *state, n, purpose int) (int, bool) {
	to := int(s.procs[n].conns[purpose])
	return to, !s.nodes[to].paused && s.nodes[to].of != gone
}

// using calls f as a connection is used that nothing is under way on; if it leads to a server that
// is not the primary any more, also as it is found broken, and a new one leads to the primary:
// until it is used, that makes no difference.
func (m *model) using(s *state, n, purpose int, f func(*state)) {
	f(s)
	if m.astray(s, n, purpose) {
		t := *s
		m.drop(&t, n, purpose)
		f(&t)
	}
}

func (m *model) astray(s *state, n, purpose int) bool {
	return s.procs[n].conns[purpose] != s.primary && !m.isUnderWay(&s.procs[n], purpose)
}

// reaches reports whether a use of a connection, or of the one that takes its place, is answered.
func (m *model) reaches(s *state, n, purpose int) bool {
	_, there := m.target(s, n, purpose)
	return there || m.astray(s, n, purpose) && !s.nodes[s.primary].paused
}

// dropSteps breaks connections that lead to a server which was deposed or does not answer: in time
// each breaks.
func (m *model) dropSteps(s *state, n int, f emit) {
	for purpose, x := range s.procs[n].conns {
		if m.isUnderWay(&s.procs[n], purpose) &&
			(x != s.primary && s.nodes[x].of == none || x == s.primary && s.nodes[x].paused && m.begins(s)) {
			t := *s
			m.drop(&t, n, purpose)
			f(step{kind: stDrop, n: int8(n), x: int8(purpose), y: x, order: 0}, &t)
		}
	}
}

// drop breaks a connection: what is under way on it gets no answer. A new one leads to the primary.
func (m *model) drop(s *state, n, purpose int) {
	p := &s.procs[n]
	c := m.procs[p.id]
	p.conns[purpose] = s.primary
	switch purpose {
	case heartbeats:
		if c.beat != nil {
			p.id, p.have[heartbeats], p.beaten = m.beatFailed(p.id), 0, false
		}
		p.id = m.connectedTo(p.id)
	case appends:
		if c.app != nil {
			m.lostAppend(s, n)
		}
	}
}

func (m *model) lostAppend(s *state, n int) {
	p := &s.procs[n]
	q := m.procs[p.id].app.request
	p.id, p.have[appends] = m.appendFailed(p.id), 0
	if q == none {
		p.poked = false
		return
	}
	r := &s.reqs[q]
	r.phase = uncertain
	if m.mutation == AppendErrorIgnored {
		m.ack(s, int(q))
		r.phase = acknowledged
	}
}
