package model

import (
	"math/bits"
	"slices"

	"github.com/sallyport/sallyport/internal/revocation"
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
	}
	if s.faults > 0 {
		m.faultSteps(s, pending, f)
	}
}

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

// target is the node a connection leads to; false when nothing answers there.
func (m *model) target(s *state, n, purpose int) (int, bool) {
	to := int(s.procs[n].conns[purpose])
	return to, !s.nodes[to].paused && s.nodes[to].of != gone
}

// using calls f as a connection is used that nothing is under way on; if it leads to a server that is not the primary any
// more, also as it is found broken, and a new one leads to the primary: until it is used, that makes no difference.
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

// reaches says whether a use of a connection, or of the one that takes its place, gets an answer.
func (m *model) reaches(s *state, n, purpose int) bool {
	_, there := m.target(s, n, purpose)
	return there || m.astray(s, n, purpose) && !s.nodes[s.primary].paused
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

// waited is what WAIT answers for a call on x that is on the nodes of have; false when it waits still.
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

// mayRead says whether it can make a difference that a process reads now, and not later: before its own next heartbeat or
// append, before somebody may change the log or ask for its line, and before time passes.
func (m *model) mayRead(s *state, n int) bool {
	if s.faults > 0 || s.due != none {
		return true
	}
	if turn := m.turn(s); turn == n || turn == int(none) || turn > 0 && !m.datas[s.nodes[s.procs[turn].conns[heartbeats]].data].whole() {
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
	p := m.proc(newProc(&m.limits, n > 0))
	return process{id: m.connectedTo(p), conns: [purposes]int8{s.primary, s.primary, s.primary}, recent: noLines, sight: m.old()}
}

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
	if s.faults > 0 { // what its cut connection would have brought, only the process itself knows: it is cut just before it is used
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

// observe takes the issuers' lines that came with a heartbeat; true means that what the issuer has applied is held
// twice.
func (m *model) observe(s *state, n int, met bool) bool {
	p := &s.procs[n]
	b := m.procs[p.id].beat
	head, mine := b.reply.Head.Position(), b.hb.Position
	onLog := b.reply.AtMineFound && b.reply.AtMine == mine.Chain && head.Epoch == mine.Epoch
	h := m.holder(b.other, p.sight, b.other.at == head || onLog && b.other.at == mine, mine)
	p.recent = 0
	if b.other.there {
		p.sight = b.other.age
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
			if g.denies(i) {
				s.denied |= 1 << i
				m.settleAck(s, i)
			}
		}
	}
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

// readOnce does one read; while it waits for what comes, an issuer says how far it is. False: nothing happens.
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
	tells := n > 0 && m.watched(t, n) && next.Mode == revocation.ReadTail && !(told.there && told.at == m.poss[at])
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

// saving lets a change of the log happen twice: as it is, and with the server's old disk keeping what was before.
func (m *model) saving(s *state, x int, after dataID, f emit, change func(*state) step) {
	t := *s
	did := change(&t)
	f(did, &t)
	if before := s.nodes[x].data; s.faults > 0 && x == int(s.primary) && before != s.disk && before != after {
		t := *s
		did := change(&t)
		t.disk, did.order = before, 9
		f(did, &t)
	}
}

// dropSteps breaks connections that lead to a server which was deposed or does not answer: in time each breaks.
func (m *model) dropSteps(s *state, n int, f emit) {
	for purpose, x := range s.procs[n].conns {
		if m.isUnderWay(&s.procs[n], purpose) && (x != s.primary && s.nodes[x].of == none || x == s.primary && s.nodes[x].paused && m.begins(s)) {
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

// begins says that no process has had its heartbeat in this tick yet.
func (m *model) begins(s *state) bool {
	for _, n := range m.processes() {
		if s.procs[n].beaten {
			return false
		}
	}
	return true
}

// pending says, a bit for each, which processes have something left to do before time passes: a heartbeat, what they do
// without waiting, and what their requests do.
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

// owes says whether a process has an answer to take, something to read, or something to append again.
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
	for _, n := range m.processes() {
		p := &t.procs[n]
		p.id, p.beaten = m.passed(p.id), false
		if n > 0 {
			p.sight, p.recent = min(p.sight+1, m.old()), min(p.recent+1, noLines)
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
	f(step{kind: stTick, order: 6}, &t)
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
