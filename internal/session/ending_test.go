package session

import "testing"

// TestNothingButTheLogEarnsAnAnswer drives the end of a session through every sequence of events up
// to a depth, expected or not, and holds what led to each answer against the rule.
func TestNothingButTheLogEarnsAnAnswer(t *testing.T) {
	type event struct {
		name string
		send func(*End) Step
	}
	var events []event
	for state := Missing; state <= Ended; state++ {
		for _, live := range []bool{false, true} {
			events = append(events,
				event{"marked " + state.String(), func(e *End) Step { return e.Marked(state, live) }})
			if live {
				events[len(events)-1].name += " live"
			}
		}
	}
	events = append(events, event{"appended", (*End).Appended},
		event{"finished", (*End).Finished}, event{"failed", (*End).Failed})
	answers := 0
	var explore func(done []string, e End, depth int)
	explore = func(done []string, e End, depth int) {
		if depth == 0 {
			return
		}
		for _, ev := range events {
			next := e
			path := append(append([]string(nil), done...), ev.name)
			if ev.send(&next) == Answer && e.due != Answer {
				answers++
				if !earned(path) {
					t.Errorf("answered after %q", path)
				}
			}
			explore(path, next, depth-1)
		}
	}
	var e End
	if first := e.Begin(); first != Mark {
		t.Fatalf("the first step is %s, not mark", first)
	}
	explore(nil, e, 4)
	if answers == 0 {
		t.Error("no path leads to an answer")
	}
}

// earned says whether the events are one of the ways to an answer that the rule allows.
func earned(path []string) bool {
	allowed, ok := map[string][]string{
		"marked missing":      {"appended", "finished"},
		"marked active":       {"appended", "finished"},
		"marked active live":  {"appended", "finished"},
		"marked ending":       {"appended", "finished"},
		"marked ended":        {"appended", "finished"},
		"marked ending live":  {"finished"},
		"marked ended live":   {},
		"marked missing live": {},
	}[path[0]]
	if !ok || len(allowed) != len(path)-1 {
		return false
	}
	for i, want := range allowed {
		if path[i+1] != want {
			return false
		}
	}
	return true
}

func TestAnEndThatFailedStaysFailed(t *testing.T) {
	for name, fail := range map[string]func(*End) Step{
		"at once":        func(e *End) Step { return e.Failed() },
		"after the mark": func(e *End) Step { e.Marked(Active, false); return e.Failed() },
		"after the append": func(e *End) Step {
			e.Marked(Active, false)
			e.Appended()
			return e.Failed()
		},
		"out of order": func(e *End) Step { return e.Finished() },
	} {
		var e End
		e.Begin()
		if step := fail(&e); step != Fail {
			t.Errorf("%s: next step %s", name, step)
		}
		if step := e.Finished(); step != Fail {
			t.Errorf("%s, then finished: next step %s", name, step)
		}
	}
}
