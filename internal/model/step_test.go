//go:build model

package model

import (
	"math/bits"
	"time"
)

// step is one thing that happens, chosen among all that can.
type step struct {
	kind  stepKind
	n     int8 // process or node
	x, y  int8
	order uint8 // the fair schedule takes the lowest first
}

type stepKind uint8

// emit takes a step and the state it leads to.
type emit func(step, *state)

// steps calls f with every step that can happen in s.
func (m *model) steps(s *state, f emit) {
	m.nodeSteps(s, f)
	if s.due != none {
		m.takeOver(s, f)
	}
	for n := range m.processes() {
		m.processSteps(s, n, f)
	}
	for q := range m.limits.Requests {
		m.requestSteps(s, q, f)
	}
	pending := m.pending(s)
	if s.due == none && pending == 0 {
		m.tick(s, f)
		if m.mayAge(s) {
			m.ages(s, f)
		}
	}
	if s.faults > 0 {
		m.faultSteps(s, pending, f)
	}
}

// set changes what a node holds, and what those hold that follow it in step.
func (m *model) set(s *state, x int, d dataID) {
	s.nodes[x].data = d
	for y := range m.limits.Nodes {
		if int(s.nodes[y].of) == x && s.nodes[y].lag == inStep {
			s.nodes[y].data = d
		}
	}
}

// followers are the nodes that have all that x has.
func (m *model) followers(s *state, x int) (mask uint8) {
	for y := range m.limits.Nodes {
		if int(s.nodes[y].of) == x && s.nodes[y].lag == inStep {
			mask |= 1 << y
		}
	}
	return mask
}

// waited is what WAIT answers for a call on x that is on the nodes of have; false when it waits
// still.
func (m *model) waited(s *state, x int, have uint8) (int, bool) {
	met := bits.OnesCount8(have)
	if met >= m.limits.MinReplicas {
		return met, true
	}
	for y := range m.limits.Nodes {
		if int(s.nodes[y].of) == x && s.nodes[y].lag == doomed && have>>y&1 == 0 {
			return met, false
		}
	}
	return met, true
}

func (m *model) processSteps(s *state, n int, f emit) {
	p := &s.procs[n]
	switch p.status {
	case stopped:
		if !m.begins(s) {
			return // until then it is as if it had gone on and done nothing
		}
		t := *s
		t.procs[n].status = running
		f(step{kind: stResume, n: int8(n), order: 0}, &t)
		return
	case down:
		if m.begins(s) {
			m.start(s, n, f)
		}
		return
	}
	m.beatSteps(s, n, f)
	if m.mayRead(s, n) {
		m.readStep(s, n, f)
		if m.astray(s, n, reading) {
			t := *s
			m.drop(&t, n, reading)
			m.readStep(&t, n, f)
		}
	}
	if n > 0 {
		m.mendSteps(s, n, f)
	}
	m.dropSteps(s, n, f)
}

func (m *model) start(s *state, n int, f emit) {
	t := *s
	t.procs[n] = m.started(s, n)
	t.procs[n].beaten = s.procs[n].beaten
	if n == 0 {
		t.denied, t.loaded = 0, false
	}
	f(step{kind: stStart, n: int8(n), order: 0}, &t)
}

func (m *model) started(s *state, n int) process {
	c := newProc(&m.limits, n > 0)
	c.late = s.late
	if c.w != nil && m.mutation == LifeOfATokenAlone {
		c.w.SessionsLive(func(string) time.Duration { return 0 })
	}
	p := m.proc(c)
	return process{
		id: m.connectedTo(p), conns: [purposes]int8{s.primary, s.primary, s.primary},
		recent: noLines, peerAge: m.old(),
	}
}
