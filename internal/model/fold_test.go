//go:build model

package model

// fold makes states alike that can only behave alike, and be judged alike: what nothing that may
// come asks for is forgotten.
func (m *model) fold(s *state) {
	if s.faults == 0 {
		m.foldEnd(s)
	}
	if !m.mustSurvive() {
		for i := range s.acked {
			s.acked[i] = min(s.acked[i], 1)
		}
	}
	for q := range m.limits.Requests {
		if r := &s.reqs[q]; m.limits.Requests == 1 && r.phase > appendDue && !r.before {
			s.procs[r.issuer].recent = noLines
		}
	}
	if m.asks(s) {
		return
	}
	// No request will look for a second holder, or for what is stored.
	s.stored = 0
	for q := range m.limits.Requests {
		s.reqs[q] = request{phase: failed}
	}
	for n := 1; n <= m.limits.Issuers; n++ {
		s.procs[n].peerAge, s.procs[n].recent = m.old(), noLines
	}
	for x := range m.limits.Nodes {
		s.nodes[x].data = m.withoutLines(s.nodes[x].data)
	}
	s.disk = m.withoutLines(s.disk)
}

// foldEnd forgets what only a fault would bring to light: the old disk, and which of two equal
// servers is read.
func (m *model) foldEnd(s *state) {
	s.disk = 0
	if s.due != none {
		return
	}
	for n := range s.procs {
		to := &s.procs[n].conns[reading]
		if nd := &s.nodes[*to]; nd.of == s.primary && nd.lag == inStep && !nd.paused {
			*to = s.primary
		}
	}
}

// asks reports whether a request is under way or may come.
func (m *model) asks(s *state) bool {
	for q := range m.limits.Requests {
		if s.reqs[q].phase < acknowledged {
			return true
		}
	}
	return false
}

func (m *model) withoutLines(d dataID) dataID {
	if m.datas[d].lines == [maxIssuers]line{} {
		return d
	}
	return m.once(event{kind: evForgetLines, data: d}, func() result {
		c := m.datas[d].clone()
		c.lines = [maxIssuers]line{}
		return result{data: m.data(c)}
	}).data
}

// mustSurvive reports whether S4 speaks of so many faults.
func (m *model) mustSurvive() bool { return m.limits.Faults <= min(m.limits.Issuers, 2) }

// observes reports whether issuer n may ever make use of the other's line.
func (m *model) observes(s *state, n int) bool {
	return m.asks(s) && (n == 1 || m.limits.Requests > 1)
}

// watched reports whether anybody may ever look at issuer n's line: only another issuer that is
// asked to end a session.
func (m *model) watched(s *state, n int) bool {
	return m.asks(s) && m.limits.Issuers > 1 && (n > 1 || m.limits.Requests > 1)
}
