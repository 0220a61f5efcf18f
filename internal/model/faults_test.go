//go:build model

package model

// nodeSteps are what servers do by themselves: replicas fall behind for less than a heartbeat and
// catch up, what was paused goes on, what was deposed or dead comes back as a replica. All that is
// taken to happen as a tick begins: until then it is as if it had happened and nobody had used it.
func (m *model) nodeSteps(s *state, f emit) {
	for x := range m.limits.Nodes {
		nd := &s.nodes[x]
		switch {
		case nd.paused && !m.begins(s):
		case nd.paused:
			t := *s
			t.nodes[x].paused = false
			f(step{kind: stContinue, n: int8(x), order: 0}, &t)
		case x != int(s.primary) && (nd.of < 0 || nd.of != s.primary) && m.begins(s):
			m.joinStep(s, x, f)
		case nd.lag == cutOff && m.begins(s):
			m.catchUpStep(s, x, f)
		}
	}
}

func (m *model) joinStep(s *state, x int, f emit) {
	if s.nodes[s.primary].paused {
		return
	}
	t := *s
	t.nodes[x] = node{data: s.nodes[s.primary].data, of: s.primary}
	m.caughtUp(&t, x)
	f(step{kind: stJoin, n: int8(x), order: 0}, &t)
}

func (m *model) catchUpStep(s *state, x int, f emit) {
	t := *s
	t.nodes[x].lag, t.nodes[x].data = inStep, s.nodes[s.nodes[x].of].data
	m.caughtUp(&t, x)
	f(step{kind: stCatchUp, n: int8(x), order: 0}, &t)
}

// caughtUp notes that x has all that its primary has: also what calls under way there wait for.
func (m *model) caughtUp(s *state, x int) {
	for n := range s.procs {
		p := &s.procs[n]
		for purpose, to := range p.conns {
			if to == s.nodes[x].of && m.isUnderWay(p, purpose) {
				p.have[purpose] |= 1 << x
			}
		}
	}
}

func (m *model) isUnderWay(p *process, purpose int) bool {
	if p.status == down {
		return false
	}
	c := m.procs[p.id]
	return purpose == heartbeats && c.beat != nil || purpose == appends && c.app != nil
}

// faultSteps are all faults that may happen now.
func (m *model) faultSteps(s *state, pending uint8, f emit) {
	fault := func(st step, change func(*state)) {
		t := *s
		t.faults--
		change(&t)
		st.order = 9
		f(st, &t)
	}
	if s.due == none {
		for _, n := range m.processes() {
			if m.turn(s) == n || pending&^(1<<n) == 0 {
				m.processFaults(s, n, fault)
			}
		}
	}
	m.logFaults(s, fault)
	m.serverFaults(s, fault)
}

func (m *model) processFaults(s *state, n int, fault func(step, func(*state))) {
	p := &s.procs[n]
	if p.status == down {
		return
	}
	fault(step{kind: stCrash, n: int8(n)}, func(t *state) {
		t.procs[n] = process{
			status: down, beaten: p.beaten,
			conns: [purposes]int8{t.primary, t.primary, t.primary},
		}
		for q := range m.limits.Requests {
			if r := &t.reqs[q]; int(r.issuer) == n && r.phase != idle && r.phase != acknowledged {
				*r = request{phase: failed, issuer: r.issuer, session: r.session}
			}
		}
		if n == 0 {
			t.denied, t.loaded = 0, false
			for i := range m.limits.Sessions {
				m.settleAck(t, i)
			}
		}
	})
	if p.status == running {
		fault(step{kind: stStop, n: int8(n)}, func(t *state) { t.procs[n].status = stopped })
	}
}

// logFaults damage what the primary holds.
func (m *model) logFaults(s *state, fault func(step, func(*state))) {
	x := int(s.primary)
	if s.nodes[x].paused {
		return
	}
	d := m.datas[s.nodes[x].data]
	damage := func(st step, change func(*data)) {
		fault(st, func(t *state) {
			c := d.clone()
			change(c)
			m.set(t, x, m.data(c))
		})
	}
	damage(step{kind: stFlush}, func(c *data) { *c = data{late: s.late} })
	for k := 1; k <= len(d.entries); k++ {
		damage(step{kind: stTrim, x: int8(k)}, func(c *data) { c.entries = d.entries[k:] })
	}
	if d.head {
		damage(step{kind: stHeadDeleted}, func(c *data) { c.head, c.mending = false, 0 })
	}
}

// serverFaults stop, restart and replace servers.
func (m *model) serverFaults(s *state, fault func(step, func(*state))) {
	x := int(s.primary)
	if !s.nodes[x].paused {
		fault(step{kind: stPause, n: int8(x)}, func(t *state) { t.nodes[x].paused = true })
	}
	restart := func(kind stepKind, d dataID) {
		fault(step{kind: kind, n: int8(x)}, func(t *state) {
			t.nodes[x].paused = false
			m.dropAll(t, x)
			m.set(t, x, d)
		})
	}
	restart(stRestartEmpty, m.data(&data{late: s.late}))
	restart(stRestartOld, s.disk)
	if s.disk != s.nodes[x].data {
		restart(stRestart, s.nodes[x].data)
	}
	for r := range m.limits.Nodes {
		if int(s.nodes[r].of) != x || m.alike(s, r) {
			continue
		}
		if s.due == none {
			fault(step{kind: stDoomed, n: int8(r)},
				func(t *state) { t.nodes[r].lag, t.due = max(t.nodes[r].lag, doomed), int8(r) })
		}
		if s.nodes[r].lag == inStep {
			fault(step{kind: stCutOff, n: int8(r)}, func(t *state) { t.nodes[r].lag = cutOff })
		}
	}
}

// alike reports whether another replica is in all like r, and has been dealt with.
func (m *model) alike(s *state, r int) bool {
	for y := range r {
		if s.nodes[y] == s.nodes[r] && m.unused(s, y) && m.unused(s, r) {
			return true
		}
	}
	return false
}

// unused reports whether no connection leads to a node and no call under way is told apart by it.
func (m *model) unused(s *state, x int) bool {
	for n := range s.procs {
		for purpose, to := range s.procs[n].conns {
			if int(to) == x || m.isUnderWay(&s.procs[n], purpose) {
				return false
			}
		}
	}
	return true
}

// takeOver makes the replica that is due the primary in the place of x. x dies or answers on; a
// third node goes along with the new one or, if x answers on, stays with x.
func (m *model) takeOver(s *state, f emit) {
	x, r := int(s.primary), int(s.due)
	promote := func(t *state) {
		t.nodes[r].of, t.nodes[r].lag, t.primary, t.due = none, inStep, int8(r), none
	}
	along := func(t *state) {
		for y := range m.limits.Nodes {
			if y != r && int(t.nodes[y].of) == x {
				t.nodes[y] = node{data: t.nodes[r].data, of: int8(r)}
			}
		}
	}
	emit := func(kind stepKind, order uint8, change func(*state)) {
		t := *s
		change(&t)
		f(step{kind: kind, n: int8(r), order: order}, &t)
	}
	emit(stFailover, 0, func(t *state) {
		promote(t)
		along(t)
		m.dropAll(t, x)
		t.nodes[x] = node{data: m.data(&data{late: s.late}), of: gone}
	})
	emit(stDeposed, 8, func(t *state) { promote(t); along(t) })
	if m.limits.Nodes > 2 && !m.limits.Together {
		emit(stSplit, 8, promote)
	}
}

func (m *model) dropAll(s *state, x int) {
	for n := range s.procs {
		for purpose, to := range s.procs[n].conns {
			if int(to) == x && s.procs[n].id != 0 && s.procs[n].status != down {
				m.drop(s, n, purpose)
			}
		}
	}
}
