//go:build model

package model

import "fmt"

// Walk takes one schedule of length steps within limits: choose says which of n things happens
// next, and whether faults are among them. Faults over, all must converge. It returns the first
// violation, nil if there is none, and the number of sessions whose end was acknowledged.
func Walk(l Limits, length int,
	choose func(what string, n int) int) (v *Violation, acknowledged int, err error) {
	if err := l.validate(); err != nil {
		return nil, 0, err
	}
	e := &explorer{model: newModel(l, Unmutated), report: Report{Limits: l}}
	s, err := e.healthy()
	if err != nil {
		return nil, 0, err
	}
	var trace []string
	for range length {
		did, after := e.choose(&s, choose)
		trace = append(trace, did.String())
		e.bad = ""
		e.noteStored(&after)
		e.judgeAck(&s, &after)
		e.fold(&after)
		s = after
		if bad := e.bad + e.checkGate(&s); bad != "" {
			return &Violation{bad, trace}, 0, nil
		}
	}
	if bad := e.checkLive(&s); bad != "" {
		for _, st := range e.way {
			trace = append(trace, "then "+st.String())
		}
		return &Violation{bad, trace}, 0, nil
	}
	for i := range l.Sessions {
		if s.acked[i] > 0 {
			acknowledged++
		}
	}
	return nil, acknowledged, nil
}

// choose lets one of all steps happen. Faults are one choice among many, or nothing else would ever
// happen.
func (e *explorer) choose(s *state, choose func(string, int) int) (did step, after state) {
	type option struct {
		did   step
		after state
	}
	var common, rare []option
	e.steps(s, func(st step, t *state) {
		if *t == *s {
			return
		}
		if st.order < 9 {
			common = append(common, option{st, *t})
		} else {
			rare = append(rare, option{st, *t})
		}
	})
	options := common
	if len(common) == 0 || len(rare) > 0 && choose("rare", 16) == 0 {
		options = rare
	}
	if len(options) == 0 {
		panic(fmt.Sprintf("model: nothing can happen in %+v", *s)) // time can always pass
	}
	o := options[choose("step", len(options))]
	return o.did, o.after
}
