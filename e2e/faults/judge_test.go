package faults

import (
	"slices"
	"testing"
	"time"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

// story makes a history of short requests, in which a session s was begun, with token t, at 0 s.
func story(events []Event, spans ...Span) *History {
	h := &History{
		MaxStaleness: 3 * sec, Grace: 2 * sec, ConvergeLimit: 10 * sec, Spans: spans,
		Births: map[string][]time.Duration{"gate-1": {0, 20 * sec}, "gate-2": {0}, "issuer-1": {0}},
	}
	for _, e := range append([]Event{{Op: Login, At: "issuer-1", Token: "t", Next: 1, Status: 200}}, events...) {
		if e.Session == "" {
			e.Session = "s"
		}
		if e.End == 0 {
			e.End = e.Begin + ms
		}
		h.Events = append(h.Events, e)
	}
	return h
}

func allowed(at time.Duration, gate string, life int) Event {
	return Event{Op: Call, Begin: at, At: gate, Life: life, Token: "t", Status: 200}
}

func denied(at time.Duration, gate string, life, status int, reason string) Event {
	return Event{Op: Call, Begin: at, At: gate, Life: life, Token: "t", Status: status, Reason: reason}
}

func logout(at time.Duration, status int) Event {
	return Event{Op: Logout, Begin: at, At: "issuer-1", Life: 1, Status: status}
}

func refresh(at time.Duration, spent, next, status int) Event {
	e := Event{Op: Refresh, Begin: at, At: "issuer-1", Spent: spent, Next: next, Status: status}
	if status == 200 {
		e.Token = "t2"
	}
	return e
}

func with(e Event, change func(*Event)) Event {
	change(&e)
	return e
}

func waited(e Event) Event { return with(e, func(e *Event) { e.Wait = true }) }

func healthy(from, to time.Duration) Span {
	return Span{Kind: Healthy, From: from, To: to, Covers: from}
}

func TestJudge(t *testing.T) {
	fault := func(from, to time.Duration, loses bool) Span {
		return Span{Kind: Fault, From: from, To: to, Who: "x", Loses: loses}
	}
	cut := func(who string, from, to time.Duration) Span {
		return Span{Kind: Isolated, Who: who, From: from, To: to}
	}
	for name, c := range map[string]struct {
		h    *History
		want string // the promise broken, "" for none
	}{
		"nothing happens":                    {story(nil), ""},
		"allowed before its end":             {story([]Event{allowed(sec, "gate-1", 1), logout(2*sec, 200)}), ""},
		"allowed within max_staleness":       {story([]Event{logout(sec, 200), allowed(3900*ms, "gate-1", 1)}), ""},
		"begun within, answered after":       {story([]Event{logout(sec, 200), with(allowed(3900*ms, "gate-1", 1), func(e *Event) { e.End = 9 * sec })}), ""},
		"allowed after max_staleness":        {story([]Event{logout(sec, 200), allowed(4100*ms, "gate-1", 1)}), "S1"},
		"202 is an acknowledgement":          {story([]Event{logout(sec, 202), allowed(4100*ms, "gate-1", 1)}), "S1"},
		"503 is none":                        {story([]Event{logout(sec, 503), allowed(4100*ms, "gate-1", 1)}), ""},
		"no answer is none":                  {story([]Event{logout(sec, 0), allowed(4100*ms, "gate-1", 1)}), ""},
		"in force once all is well":          {story([]Event{logout(sec, 200), allowed(2500*ms, "gate-1", 1)}, healthy(2*sec, 3*sec)), "S1"},
		"well, but found out before":         {story([]Event{logout(sec, 200), allowed(2500*ms, "gate-1", 1)}, Span{Kind: Healthy, From: 2 * sec, To: 3 * sec, Covers: 500 * ms}), ""},
		"the first acknowledgement counts":   {story([]Event{logout(sec, 200), logout(4*sec, 200), allowed(5*sec, "gate-1", 1)}), "S1"},
		"waited for, allowed at once":        {story([]Event{waited(logout(sec, 200)), allowed(1100*ms, "gate-1", 1)}), "S1"},
		"waited for, 202":                    {story([]Event{waited(logout(sec, 202)), allowed(1100*ms, "gate-1", 1)}), ""},
		"waited for, gate restarted since":   {story([]Event{waited(logout(19*sec, 200)), allowed(20100*ms, "gate-1", 2)}), ""},
		"waited for, other session":          {story([]Event{waited(logout(sec, 200)), with(allowed(1100*ms, "gate-1", 1), func(e *Event) { e.Session = "other" })}), ""},
		"lost by a fault":                    {story([]Event{logout(sec, 200), allowed(9*sec, "gate-1", 1)}, fault(2*sec, 3*sec, true)), "S4"},
		"not known after a restart":          {story([]Event{logout(sec, 200), allowed(21*sec, "gate-1", 2)}), "S4"},
		"denied, allowed later":              {story([]Event{denied(sec, "gate-1", 1, 401, "revoked"), allowed(1100*ms, "gate-1", 1), logout(500*ms, 503)}), "S3"},
		"denied, allowed by another":         {story([]Event{denied(sec, "gate-1", 1, 401, "revoked"), allowed(1100*ms, "gate-2", 1), logout(500*ms, 503)}), ""},
		"denied, allowed in another life":    {story([]Event{denied(sec, "gate-1", 1, 401, "revoked"), allowed(21*sec, "gate-1", 2), logout(500*ms, 503)}), ""},
		"denied, allowed at the same time":   {story([]Event{with(denied(sec, "gate-1", 1, 401, "revoked"), func(e *Event) { e.End = 2 * sec }), allowed(1100*ms, "gate-1", 1), logout(500*ms, 503)}), ""},
		"503, allowed later":                 {story([]Event{denied(sec, "gate-1", 1, 503, "stale"), allowed(1100*ms, "gate-1", 1)}), ""},
		"minted after the end":               {story([]Event{logout(sec, 200), refresh(2*sec, 1, 2, 200), with(allowed(9*sec, "gate-1", 1), func(e *Event) { e.Token = "t2" })}), "S6"},
		"refreshed long after the end":       {story([]Event{logout(sec, 200), refresh(9*sec, 1, 2, 200)}), "S6"},
		"refreshed before the end":           {story([]Event{refresh(sec, 1, 2, 200), logout(2*sec, 200)}), ""},
		"refreshed twice in the grace":       {story([]Event{refresh(sec, 1, 2, 200), refresh(2*sec, 1, 2, 200)}), ""},
		"refreshed twice, two successors":    {story([]Event{refresh(sec, 1, 2, 200), refresh(2*sec, 1, 3, 200)}), "S5"},
		"refreshed twice after the grace":    {story([]Event{refresh(sec, 1, 2, 200), refresh(4*sec, 1, 2, 200)}), "S5"},
		"the same, but Redis has lost it":    {story([]Event{refresh(sec, 1, 2, 200), refresh(4*sec, 1, 2, 200)}, fault(2*sec, 3*sec, true)), ""},
		"the same, and Redis has not":        {story([]Event{refresh(sec, 1, 2, 200), refresh(4*sec, 1, 2, 200)}, fault(2*sec, 3*sec, false)), "S5"},
		"an older one after its successor":   {story([]Event{refresh(sec, 1, 2, 200), refresh(1200*ms, 2, 3, 200), refresh(1400*ms, 1, 2, 200)}), "S5"},
		"reuse ends the session":             {story([]Event{refresh(sec, 1, 2, 200), refresh(1200*ms, 2, 3, 200), refresh(1400*ms, 1, 0, 401), allowed(9*sec, "gate-1", 1)}), "S5"},
		"reuse of what Redis has lost":       {story([]Event{refresh(sec, 1, 2, 200), refresh(1200*ms, 2, 3, 200), refresh(1400*ms, 1, 0, 401), allowed(9*sec, "gate-1", 1)}, fault(1100*ms, 1300*ms, true)), ""},
		"a stale gate allows":                {story([]Event{allowed(5*sec, "gate-1", 1)}, cut("gate-1", sec, 6*sec)), "S2"},
		"a stale gate, the other allows":     {story([]Event{allowed(5*sec, "gate-2", 1)}, cut("gate-1", sec, 6*sec)), ""},
		"a gate still fresh":                 {story([]Event{allowed(3*sec, "gate-1", 1)}, cut("gate-1", sec, 6*sec)), ""},
		"a gate that may have heard again":   {story([]Event{with(allowed(5*sec, "gate-1", 1), func(e *Event) { e.End = 7 * sec })}, cut("gate-1", sec, 6*sec)), ""},
		"a gate started without Redis":       {story([]Event{allowed(20500*ms, "gate-1", 2)}, cut("gate-1", 19*sec, 23*sec)), "S2"},
		"acknowledged without Redis":         {story([]Event{logout(2*sec, 200)}, cut("issuer-1", sec, 3*sec)), "S7"},
		"refused without Redis":              {story([]Event{logout(2*sec, 503)}, cut("issuer-1", sec, 3*sec)), ""},
		"valid, 503 while well":              {story([]Event{denied(2*sec, "gate-1", 1, 503, "stale")}, healthy(sec, 3*sec)), "S8"},
		"valid, no answer while well":        {story([]Event{denied(2*sec, "gate-1", 1, 0, "no answer")}, healthy(sec, 3*sec)), "S8"},
		"valid, 503 while not well":          {story([]Event{denied(2*sec, "gate-1", 1, 503, "stale")}, healthy(sec, 2*sec)), ""},
		"valid, 503 of a gate that starts":   {story([]Event{denied(2*sec, "gate-1", 1, 503, "no_copy")}, healthy(sec, 3*sec), Span{Kind: Starting, Who: "gate-1", From: 1900 * ms, To: 2100 * ms}), ""},
		"valid, 503 of a machine that hangs": {story([]Event{denied(2*sec, "gate-1", 1, 503, "stale")}, healthy(sec, 3*sec), Span{Kind: Stalled, From: 500 * ms, To: 900 * ms}), ""},
		"valid, 401 at any time":             {story([]Event{denied(2*sec, "gate-1", 1, 401, "revoked")}), "S8"},
		"a logout that failed may be one":    {story([]Event{logout(sec, 503), denied(2*sec, "gate-1", 1, 401, "revoked")}), ""},
		"a refused refresh may be an end":    {story([]Event{refresh(sec, 1, 0, 401), denied(2*sec, "gate-1", 1, 401, "revoked")}), ""},
		"all well in time":                   {story(nil, Span{Kind: Converged, From: sec, To: 10 * sec}), ""},
		"all well too late":                  {story(nil, Span{Kind: Converged, From: sec, To: 12 * sec}), "L1"},
		"never well again":                   {story(nil, Span{Kind: Converged, From: sec, To: 21 * sec, Note: "gate-1 is not ready"}), "L1"},
		"too late, but the machine hung":     {story(nil, Span{Kind: Converged, From: sec, To: 12 * sec}, Span{Kind: Stalled, From: 2 * sec, To: 4 * sec}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, v := range Judge(c.h) {
				got = append(got, v.Promise)
				if v.What == "" || len(v.Slice) == 0 {
					t.Errorf("%s is not explained: %+v", v.Promise, v)
				}
			}
			var want []string
			if c.want != "" {
				want = []string{c.want}
			}
			if !slices.Equal(got, want) {
				t.Errorf("expected %v, got %v", want, got)
			}
		})
	}
}

// TestASeedIsASchedule: the same seed gives the same plan, and many seeds give every kind of fault within the budget.
func TestASeedIsASchedule(t *testing.T) {
	for topology, kinds := range map[Topology][]Kind{
		Single:   slices.Concat(everywhere, ofSingle),
		Sentinel: slices.Concat(everywhere, ofSentinel),
		Cluster:  slices.Concat(everywhere, ofCluster),
	} {
		seen := map[Kind]bool{}
		for seed := range uint64(500) {
			p := NewPlan(seed, topology)
			if again := NewPlan(seed, topology); again.String() != p.String() {
				t.Fatalf("%s, then %s", p, again)
			}
			for _, round := range p.Rounds {
				if len(round) == 0 || len(round) > p.Issuers {
					t.Errorf("%s: %d faults at once with %d issuers", p, len(round), p.Issuers)
				}
				for _, f := range round {
					seen[f.Kind] = true
				}
			}
		}
		for _, k := range kinds {
			if !seen[k] {
				t.Errorf("%s: never %q", topology, k)
			}
		}
	}
}
