//go:build model

package model

import (
	"slices"

	"github.com/sallyport/sallyport/internal/revocation"
)

// processes are the numbers of the processes there are: the gate is 0, if there is one.
func (m *model) processes() []int {
	all := []int{0, 1, 2}[:1+m.limits.Issuers]
	if m.limits.Gates == 0 {
		return all[1:]
	}
	return all
}

// order is the order of heartbeats in every tick.
func (m *model) order() []int {
	all := m.processes()
	if m.limits.Backwards {
		all = slices.Clone(all)
		slices.Reverse(all)
	}
	return all
}

// turn is whose heartbeat comes next in this tick; none: nobody's.
func (m *model) turn(s *state) int {
	for _, n := range m.order() {
		p := &s.procs[n]
		if p.status != running || p.beaten || m.procs[p.id].beat != nil {
			continue
		}
		if m.reaches(s, n, heartbeats) {
			return n
		}
	}
	return int(none)
}

// begins reports whether no process has had its heartbeat in this tick yet.
func (m *model) begins(s *state) bool {
	for _, n := range m.processes() {
		if s.procs[n].beaten {
			return false
		}
	}
	return true
}

// pending says, a bit for each, which processes have something left to do before time passes: a
// heartbeat, what they do without waiting, and what their requests do.
func (m *model) pending(s *state) (mask uint8) {
	if turn := m.turn(s); turn >= 0 {
		mask |= 1 << turn
	}
	for _, n := range m.processes() {
		if s.procs[n].status == running && mask>>n&1 == 0 && m.owes(s, n) {
			mask |= 1 << n
		}
	}
	for q := range m.limits.Requests {
		if r := &s.reqs[q]; r.phase != idle && mask>>r.issuer&1 == 0 {
			m.requestSteps(s, q, func(_ step, t *state) {
				if *t != *s {
					mask |= 1 << r.issuer
				}
			})
		}
	}
	return mask
}

// owes reports whether a process has an answer to take, something to read, or something to append
// again.
func (m *model) owes(s *state, n int) (due bool) {
	p := &s.procs[n]
	if x, there := m.target(s, n, heartbeats); there && m.procs[p.id].beat != nil {
		if _, done := m.waited(s, x, p.have[heartbeats]); done {
			return true
		}
	}
	t := *s
	if _, due = m.readOnce(&t, n); !due && n > 0 {
		m.mendSteps(s, n, func(step, *state) { due = true })
	}
	return due
}

func (m *model) tick(s *state, f emit) {
	t := *s
	m.pass(&t)
	f(step{kind: stTick, order: 6}, &t)
}

// mayAge reports whether a token's life may pass: once, while nobody waits for an answer.
func (m *model) mayAge(s *state) bool {
	if !m.limits.Ages || s.late {
		return false
	}
	for q := range m.limits.Requests {
		if p := s.reqs[q].phase; p != idle && p < acknowledged {
			return false
		}
	}
	for _, n := range m.processes() {
		if s.procs[n].status != down && m.procs[s.procs[n].id].app != nil {
			return false
		}
	}
	return true
}

// ages lets a token's life pass, and no more of a heartbeat's time than at a tick: everybody has
// had theirs all the while. What was revoked with the tokens that there were is over with them; a
// session elsewhere goes on. Meanwhile somebody has logged out, which is over as well.
func (m *model) ages(s *state, f emit) {
	t := *s
	m.pass(&t)
	t.late = true
	for _, n := range m.processes() {
		if t.procs[n].status != down {
			t.procs[n].id = m.later(t.procs[n].id)
		}
	}
	log := t.nodes[t.primary].data
	for x := range m.limits.Nodes {
		n := &t.nodes[x]
		n.data = m.aged(n.data, n.data == log && !t.nodes[t.primary].paused)
	}
	t.disk = m.aged(t.disk, false)
	for i := 1; i < m.limits.Sessions; i++ {
		t.acked[i], t.denied, t.stored = 0, t.denied&^(1<<i), t.stored&^(1<<i)
	}
	f(step{kind: stAges, order: 9}, &t)
}

func (m *model) later(p procID) procID {
	return m.once(event{kind: evLater, proc: p}, func() result {
		c := m.procs[p].clone()
		c.later()
		return result{proc: m.proc(c)}
	}).proc
}

// aged is what a server holds a token's life later, with a log out that it has taken or without.
func (m *model) aged(d dataID, logout bool) dataID {
	e := event{kind: evLater, proc: procID(none), data: d, number: int32(bit(logout))}
	return m.once(e, func() result {
		c := m.datas[d].clone()
		if logout && c.whole() {
			c.write(revocation.Entry{
				Kind: revocation.KindSID, Issuer: own, Value: "somebody", At: redisNow,
				Expires: redisNow + (lifetime + 2*skew).Milliseconds(),
			})
		}
		c.late, c.old = true, c.seq
		return result{data: m.data(c)}
	}).data
}

// pass lets a heartbeat's time pass.
func (m *model) pass(t *state) {
	for _, n := range m.processes() {
		p := &t.procs[n]
		p.id, p.beaten = m.passed(p.id), false
		if n > 0 {
			p.peerAge, p.recent = min(p.peerAge+1, m.old()), min(p.recent+1, noLines)
		}
	}
	for x := range m.limits.Nodes {
		t.nodes[x].data = m.older(t.nodes[x].data)
	}
	t.disk = m.older(t.disk)
	for i := range t.acked {
		if t.acked[i] > 0 {
			t.acked[i] = min(t.acked[i]+1, m.oldest())
		}
	}
	for q := range t.reqs {
		t.reqs[q].rests = false
	}
}

// older is what a server holds a tick later.
func (m *model) older(d dataID) dataID {
	return m.once(event{kind: evOlder, data: d}, func() result {
		c := m.datas[d].clone()
		c.mending = max(c.mending, 1) - 1
		for i := range c.lines {
			if c.lines[i].there {
				c.lines[i].age = min(c.lines[i].age+1, m.old())
			}
		}
		return result{data: m.data(c)}
	}).data
}
