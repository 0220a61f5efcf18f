//go:build model

package model

import (
	"github.com/sallyport/sallyport/internal/revocation"
)

// mayRead reports whether it can make a difference that a process reads now, and not later: before
// its own next heartbeat or append, before somebody may change the log or ask for its line, and
// before time passes.
func (m *model) mayRead(s *state, n int) bool {
	if s.faults > 0 || s.due != none {
		return true
	}
	if turn := m.turn(s); turn == n || turn == int(none) ||
		turn > 0 && !m.datas[s.nodes[s.procs[turn].conns[heartbeats]].data].whole() {
		return true
	}
	for q := range m.limits.Requests {
		if p := s.reqs[q].phase; p <= confirming || n > 0 && p < acknowledged {
			return true
		}
	}
	for i := 1; i <= m.limits.Issuers; i++ {
		if c := m.procs[s.procs[i].id]; c.app != nil || s.procs[i].poked && c.w.Missing() > 0 {
			return true
		}
	}
	return false
}

// readStep does one read or, unless steps are split, all there is to read.
func (m *model) readStep(s *state, n int, f emit) {
	t, did, changed := *s, step{}, false
	for range 8 {
		st, more := m.readOnce(&t, n)
		if !more {
			break
		}
		did, changed = st, true
		if m.limits.Split {
			break
		}
	}
	if changed {
		f(did, &t)
	}
}

// readOnce does one read; while it waits for what comes, an issuer says how far it is. False:
// nothing happens.
func (m *model) readOnce(t *state, n int) (step, bool) {
	p := &t.procs[n]
	x, there := m.target(t, n, reading)
	if !there {
		return step{}, false
	}
	d := t.nodes[x].data
	c := m.procs[p.id]
	next := c.r.Next()
	at := m.pos(c.r.Position())
	told := &m.datas[d].lines[max(n-1, 0)]
	tells := n > 0 && m.watched(t, n) && next.Mode == revocation.ReadTail &&
		!(told.there && told.at == m.poss[at])
	r := m.read(p.id, d)
	if !r.changed && !tells {
		return step{}, false
	}
	if tells && t.nodes[x].of != none { // READONLY
		p.conns[reading] = t.primary
		return step{kind: stReadOnly, n: int8(n), x: reading, y: int8(x), order: 2}, true
	}
	if tells {
		m.set(t, x, m.told(n, d, at))
	}
	p.id = r.proc
	if r.outcome&resynced != 0 {
		p.conns[reading] = t.primary
	}
	m.follow(t, n, &r)
	return step{kind: stRead, n: int8(n), x: int8(x), y: int8(r.outcome), order: 2}, true
}
