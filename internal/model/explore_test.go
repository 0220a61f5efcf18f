//go:build model

package model

import (
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// Report is what an exploration found.
type Report struct {
	Limits       Limits
	States       int
	Depth        int
	Acknowledged int // states in which an end has been acknowledged
	Tried        int // states tried for L1
	Took         time.Duration
	Violation    *Violation // nil: none
	Complete     bool       // everything within the limits was explored
}

// Violation is a promise broken, and the shortest way there.
type Violation struct {
	Promise string
	Trace   []string
}

func (v *Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", v.Promise)
	for i, line := range v.Trace {
		fmt.Fprintf(&b, "%4d  %s\n", i+1, line)
	}
	return b.String()
}

func (r *Report) String() string {
	return fmt.Sprintf("%s: %d states, depth %d, %d with an end acknowledged, %d tried for L1, %s",
		r.Limits, r.States, r.Depth, r.Acknowledged, r.Tried, r.Took.Round(10*time.Millisecond))
}

// Explore visits every state within limits, breadth first, and stops at the first that breaks a
// promise.
func Explore(l Limits, mutation Mutation) (Report, error) {
	began := time.Now()
	if err := l.validate(); err != nil {
		return Report{}, err
	}
	e := &explorer{model: newModel(l, mutation), report: Report{Limits: l}}
	start, err := e.healthy()
	if err != nil {
		e.report.Violation = &Violation{Promise: "L1: " + err.Error()}
		return e.report, nil
	}
	err = e.run(start)
	e.report.Took = time.Since(began)
	return e.report, err
}

type explorer struct {
	*model
	visited digests
	fine    digests      // states from which the fair schedule leads to a healthy one
	parents list[parent] // of each state, in the order found
	first   int          // number of the first state of the level that is explored
	next    list[state]  // the next level
	bad     string
	way     []step // the fair schedule's last
	report  Report
}

// parent is the state a state was found from, and by which of its steps.
type parent struct {
	from   int32
	choice uint16
}

// healthy is where an exploration begins: all processes up, the log empty but for its first entry.
func (e *explorer) healthy() (state, error) {
	s := state{due: none}
	l := &e.limits
	d := data{}
	for i := range l.Sessions {
		d.sessions[i] = 1 // active
	}
	e.pos(revocation.Position{})
	e.proc(newProc(l, false))
	s.disk = e.data(&d)
	for x := range l.Nodes {
		s.nodes[x] = node{data: s.disk, of: 0}
	}
	s.nodes[0].of = none
	for _, n := range e.processes() {
		s.procs[n] = e.started(&s, n)
	}
	for range 40 * (l.MaxStaleness + l.Settle) {
		t, _, ok := e.fair(&s)
		if !ok {
			return s, fmt.Errorf("model: nothing can happen in the beginning")
		}
		s = t
	}
	for !e.mayTickOnly(&s) {
		s, _, _ = e.fair(&s)
	}
	if why := e.unhealthy(&s); why != "" {
		return s, fmt.Errorf("model: not healthy in the beginning: %s", why)
	}
	s.faults, s.disk = int8(l.Faults), s.nodes[0].data
	return s, nil
}

func (e *explorer) run(start state) error {
	e.visited.add(digestOf(start))
	e.parents.add(parent{-1, 0})
	e.next.add(start)
	for e.next.n > 0 {
		level := e.next
		e.next = list[state]{}
		for i, s := range level.drain() {
			from := e.first + i
			e.way = nil
			if bad := e.check(s, from); bad != "" {
				e.violated(bad, from)
				for _, st := range e.way[:min(len(e.way), 60)] {
					e.report.Violation.Trace = append(e.report.Violation.Trace, "then "+st.String())
				}
				return nil
			}
			e.expand(s, from)
			if e.bad != "" {
				e.violated(e.bad, e.parents.n-1)
				return nil
			}
		}
		if e.limits.MaxStates > 0 && e.parents.n > e.limits.MaxStates {
			return fmt.Errorf("model: more than %d states at depth %d", e.limits.MaxStates, e.report.Depth)
		}
		if e.limits.Progress != nil {
			e.limits.Progress(e.report.Depth, e.parents.n, e.next.n)
		}
		e.first += level.n
		if e.next.n > 0 {
			e.report.Depth++
		}
	}
	e.report.Complete = true
	return nil
}

func (e *explorer) expand(s *state, from int) {
	choice := uint16(0)
	e.steps(s, func(st step, t *state) {
		if e.bad != "" {
			return
		}
		choice++
		e.noteStored(t)
		e.judgeAck(s, t)
		e.fold(t)
		if !e.visited.add(digestOf(*t)) && e.bad == "" {
			return
		}
		e.parents.add(parent{int32(from), choice - 1})
		e.next.add(*t)
		e.report.States = e.parents.n
	})
}

// noteStored notes which sessions' entries are where an acknowledgement wants them.
func (e *explorer) noteStored(s *state) {
	on := e.datas[s.nodes[s.primary].data].has &^ s.stored
	for i := range e.limits.Sessions {
		if on>>i&1 == 1 && bits.OnesCount8(e.holders(s, i)) > e.limits.MinReplicas {
			s.stored |= 1 << i
		}
	}
}

func (e *explorer) holders(s *state, i int) (mask uint8) {
	for x := range e.limits.Nodes {
		if e.datas[s.nodes[x].data].has>>i&1 == 1 {
			mask |= 1 << x
		}
	}
	return mask
}

// judgeAck holds an acknowledgement to S7.
func (e *explorer) judgeAck(from, to *state) {
	for i := range e.limits.Sessions {
		if from.acked[i] == 0 && to.acked[i] != 0 && to.stored>>i&1 == 0 {
			e.bad = fmt.Sprintf("S7: the end of session %d is acknowledged, and was never stored", i)
		}
	}
}

// check holds a state to the promises.
func (e *explorer) check(s *state, number int) string {
	acked := false
	for i := range e.limits.Sessions {
		acked = acked || s.acked[i] > 0
	}
	if acked {
		e.report.Acknowledged++
	}
	if e.limits.Gates > 0 && s.procs[0].status == running {
		if bad := e.checkGate(s); bad != "" {
			return bad
		}
	}
	if number%e.limits.LiveEvery != 0 {
		return ""
	}
	e.report.Tried++
	return e.checkLive(s)
}

func (e *explorer) checkGate(s *state) string {
	g := e.procs[s.procs[0].id]
	fresh, last := g.view()
	switch {
	case fresh && !s.loaded:
		return "S2: the gate allows, and has never had a complete copy"
	case s.broken:
		return "S2: a heartbeat counts for the gate that Redis did not answer as it must"
	}
	for i := range e.limits.Sessions {
		denies := g.denies(i)
		switch {
		case s.denied>>i&1 == 1 && !denies:
			return fmt.Sprintf("S3: the gate allows session %d, which it has denied", i)
		case denies || !fresh || s.acked[i] == 0 || !e.mustSurvive():
		case int(s.acked[i]-1) > e.limits.MaxStaleness:
			return fmt.Sprintf(
				"S1, S6: the gate allows session %d, whose end was acknowledged %d heartbeats ago",
				i, s.acked[i]-1)
		case s.acked[i]-1 > last:
			return fmt.Sprintf(
				"S4: the gate allows session %d, and was confirmed %d heartbeats ago, "+
					"after its end was acknowledged (%d)",
				i, last, s.acked[i]-1)
		}
	}
	return ""
}

// violated finds the way to a state by its choices, from the last back to the first, and writes it
// down.
func (e *explorer) violated(promise string, number int) {
	var choices []uint16
	for at := e.parents.at(number); at.from >= 0; at = e.parents.at(int(at.from)) {
		choices = append(choices, at.choice)
	}
	v := &Violation{Promise: promise}
	s, err := e.healthy()
	for i := len(choices) - 1; i >= 0 && err == nil; i-- {
		choice := uint16(0)
		var after state
		e.steps(&s, func(st step, t *state) {
			if choice == choices[i] {
				after = *t
				e.noteStored(&after)
				e.fold(&after)
				v.Trace = append(v.Trace, st.String())
			}
			choice++
		})
		s = after
	}
	e.report.Violation = v
}
