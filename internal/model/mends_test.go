//go:build model

package model

// mendSteps appends again what is missing, or brings the answer to that.
func (m *model) mendSteps(s *state, n int, f emit) {
	p := &s.procs[n]
	x, there := m.target(s, n, appends)
	c := m.procs[p.id]
	switch {
	case c.app != nil && c.app.request == none:
		if there {
			m.mendedStep(s, n, x, f)
		}
	case c.app == nil && p.poked:
		m.using(s, n, appends, func(s *state) {
			if x, there := m.target(s, n, appends); there {
				m.mendStep(s, n, x, f)
			}
		})
	}
}

func (m *model) mendStep(s *state, n, x int, f emit) {
	t := *s
	p := &t.procs[n]
	r := m.mendSent(p.id, s.nodes[x].data, s.epochs)
	if !r.ok {
		return
	}
	if s.nodes[x].of != none { // READONLY
		p.conns[appends], p.poked = s.primary, false
		f(step{kind: stReadOnly, n: int8(n), x: appends, y: int8(x), order: 3}, &t)
		return
	}
	m.saving(s, x, r.data, f, func(t *state) step {
		p := &t.procs[n]
		p.id, t.epochs = r.proc, r.epochs
		m.set(t, x, r.data)
		p.have[appends] = m.followers(t, x)
		did := step{kind: stMend, n: int8(n), x: int8(x), order: 3}
		if !m.limits.Split {
			m.mendedStep(t, n, x, func(st step, after *state) {
				*t, did.y = *after, st.y
			})
		}
		return did
	})
}

func (m *model) mendedStep(s *state, n, x int, f emit) {
	replicas, done := m.waited(s, x, s.procs[n].have[appends])
	if !done {
		return
	}
	t := *s
	p := &t.procs[n]
	r := m.landed(p.id, replicas)
	p.id, p.have[appends] = r.proc, 0
	p.poked = r.ok
	f(step{kind: stMended, n: int8(n), x: int8(x), y: int8(bit(r.ok)), order: 1}, &t)
}

// saving lets a change of the log happen twice: as it is, and with the server's old disk keeping
// what was before.
func (m *model) saving(s *state, x int, after dataID, f emit, change func(*state) step) {
	t := *s
	did := change(&t)
	f(did, &t)
	if before := s.nodes[x].data; s.faults > 0 && x == int(s.primary) && before != s.disk &&
		before != after {
		t := *s
		did := change(&t)
		t.disk, did.order = before, 9
		f(did, &t)
	}
}
