//go:build model

package model

import (
	"fmt"
)

// fair takes the step that comes first in a schedule without further faults: everyone runs,
// everything heals, what can be done is done, then time passes.
func (m *model) fair(s *state) (after state, did step, found bool) {
	did.order = 9
	m.steps(s, func(st step, t *state) {
		if st.order < did.order && *t != *s {
			did, after, found = st, *t, true
		}
	})
	return after, did, found
}

// mayTickOnly reports whether all there is to do is to let time pass.
func (m *model) mayTickOnly(s *state) bool {
	only := true
	m.steps(s, func(st step, t *state) {
		if st.order < 6 && *t != *s {
			only = false
		}
	})
	return only
}

// checkLive holds a state to L1: once faults have ended, everything converges.
func (e *explorer) checkLive(s *state) string {
	t := *s
	t.faults = 0
	for i := range t.reqs {
		if t.reqs[i].phase == idle {
			t.reqs[i].phase = failed
		}
	}
	var path []digest
	ticks := 0
	e.way = nil
	for ticks < 4*(e.limits.MaxStaleness+e.limits.Settle) {
		if len(path) > 5000 {
			return "L1: much happens and nothing comes of it: " + e.unhealthy(&t)
		}
		k := digestOf(t)
		if e.fine.has(k) {
			break
		}
		path = append(path, k)
		if e.mayTickOnly(&t) {
			ticks++
			if e.unhealthy(&t) == "" {
				break
			}
		}
		after, did, found := e.fair(&t)
		e.way = append(e.way, did)
		if !found {
			return "L1: nothing can happen any more: " + e.unhealthy(&t)
		}
		t = after
		e.fold(&t)
		if bad := e.checkGate(&t); bad != "" && e.limits.Gates > 0 {
			return "when faults have ended: " + bad
		}
	}
	if why := e.unhealthy(&t); why != "" && ticks >= 4*(e.limits.MaxStaleness+e.limits.Settle) {
		return fmt.Sprintf("L1: %d heartbeats after the last fault: %s", ticks, why)
	}
	for _, k := range path {
		e.fine.add(k)
	}
	return ""
}

// unhealthy returns what is not as it is while all is well.
func (m *model) unhealthy(s *state) string {
	d := m.datas[s.nodes[s.primary].data]
	if !d.whole() {
		return "the log is not whole"
	}
	for _, n := range m.processes() {
		p := m.procs[s.procs[n].id]
		fresh, last := p.view()
		switch {
		case !p.r.Complete() || p.r.Position() != d.position():
			return fmt.Sprintf("%s is not where the log is", name(int8(n)))
		case !fresh || last > 1:
			return fmt.Sprintf("%s is not fresh", name(int8(n)))
		}
		for i := range m.limits.Sessions {
			if s.acked[i] > 0 && d.has>>i&1 == 0 && m.limits.Faults <= min(m.limits.Issuers, 2) {
				return fmt.Sprintf("session %d, whose end was acknowledged, is not in the log", i)
			}
			if n == 0 && d.has>>i&1 == 1 && !p.denies(i) {
				return fmt.Sprintf("the gate allows session %d, which is in the log", i)
			}
		}
		if n > 0 && p.w.Missing() > 0 {
			return fmt.Sprintf("%s holds what the log does not have", name(int8(n)))
		}
	}
	return ""
}
