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

// past makes a history of short requests, in which a session s was begun, with token t, at 0 s.
func past(events []Event, spans ...Span) *History {
	h := &History{
		MaxStaleness: 3 * sec, Outage: 2 * sec, Grace: 2 * sec, ConvergeLimit: 10 * sec, Spans: spans,
		Starts: map[string][]time.Duration{"gate-1": {0, 20 * sec}, "gate-2": {0}, "issuer-1": {0}},
	}
	first := Event{Op: Login, At: "issuer-1", Token: "t", Next: 1, Status: 200, Facts: aliceOf}
	for _, e := range append([]Event{first}, events...) {
		if e.Session == "" && e.Op != Revoke && e.Op != Everywhere && e.Op != Disable {
			e.Session = "s"
		}
		if e.End == 0 {
			e.End = e.Begin + ms
		}
		h.Events = append(h.Events, e)
	}
	return h
}

func allowed(at time.Duration, gate string, run int) Event {
	return Event{Op: Call, Begin: at, At: gate, Run: run, Token: "t", Status: 200}
}

func denied(at time.Duration, gate string, run, status int, reason string) Event {
	return Event{Op: Call, Begin: at, At: gate, Run: run, Token: "t", Status: status, Reason: reason}
}

func logout(at time.Duration, status int) Event {
	return Event{Op: Logout, Begin: at, At: "issuer-1", Run: 1, Status: status}
}

func refresh(at time.Duration, spent, next, status int) Event {
	e := Event{Op: Refresh, Begin: at, At: "issuer-1", Spent: spent, Next: next, Status: status}
	if status == 200 {
		e.Token = "t2"
	}
	return e
}

// spends are refreshes one after the other, each of them good.
func spends(from, to int) (all []Event) {
	for n := from; n <= to; n++ {
		all = append(all, refresh(sec+time.Duration(n)*10*ms, n, n+1, 200))
	}
	return all
}

func with(e Event, change func(*Event)) Event {
	change(&e)
	return e
}

var aliceOf = Facts{Issuer: issuerName, Subject: "alice", Client: "app", Tenant: "acme", KeyID: "k"}

func revoke(at time.Duration, selector, value string) Event {
	return Event{
		Op: Revoke, Begin: at, At: "issuer-1", Selector: selector, Value: value,
		Facts: Facts{Issuer: issuerName}, Status: 200,
	}
}

func allOut(at time.Duration) Event {
	return Event{Op: Everywhere, Begin: at, At: "issuer-1", Value: "alice", Status: 200}
}

func disable(at time.Duration) Event {
	return Event{Op: Disable, Begin: at, Value: "alice", Status: 200}
}

// behind is a login right behind a log out everywhere, in the second of a revocation of its tenant:
// its first token is denied.
var behind = []Event{
	revoke(3*sec, "tenant", "acme"), allOut(3100 * ms), begun(3200*ms, "new"),
	of("new", denied(3300*ms, "gate-1", 1, 401, "revoked")),
}

// begun is the login of another session of the same user.
func begun(at time.Duration, session string) Event {
	return Event{
		Op: Login, Begin: at, At: "issuer-1", Session: session, Token: session + "-t", Next: 1,
		Status: 200, Facts: aliceOf,
	}
}

// minted is a token of another issuer.
func minted(at time.Duration, id string) Event {
	return foreignly(Event{Op: Mint, Begin: at, Session: id, Token: id + "-t", Status: 200})
}

func foreignly(e Event) Event {
	return with(e, func(e *Event) { e.Facts = Facts{Issuer: "http://foreign.test"} })
}

// of is a call with the token of another session.
func of(session string, e Event) Event {
	return with(e, func(e *Event) { e.Session, e.Token = session, session+"-t" })
}

func waited(e Event) Event { return with(e, func(e *Event) { e.Wait = true }) }

func healthy(from, to time.Duration) Span {
	return Span{Kind: Healthy, From: from, To: to, Covers: from}
}

func clockMoved(from, to time.Duration) Span {
	return Span{Kind: Fault, Who: string(RedisClock), From: from, To: to}
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
		want string // the promise broken, "" for none; with "?" when that is not certain
	}{
		"nothing happens":        {past(nil), ""},
		"allowed before its end": {past([]Event{allowed(sec, "gate-1", 1), logout(2*sec, 200)}), ""},
		"allowed within max_staleness": {past([]Event{
			logout(sec, 200), allowed(3900*ms, "gate-1", 1),
		}), ""},
		"begun within, answered after": {past([]Event{
			logout(sec, 200), with(allowed(3900*ms, "gate-1", 1), func(e *Event) { e.End = 9 * sec }),
		}), ""},
		"allowed after max_staleness": {past([]Event{
			logout(sec, 200), allowed(4100*ms, "gate-1", 1),
		}), "S1"},
		"202 is an acknowledgement": {past([]Event{
			logout(sec, 202), allowed(4100*ms, "gate-1", 1),
		}), "S1"},
		"503 is none":       {past([]Event{logout(sec, 503), allowed(4100*ms, "gate-1", 1)}), ""},
		"no answer is none": {past([]Event{logout(sec, 0), allowed(4100*ms, "gate-1", 1)}), ""},
		"in force once all is well": {past([]Event{
			logout(sec, 200), allowed(2500*ms, "gate-1", 1),
		}, healthy(2*sec, 3*sec)), "S1"},
		"well, but found out before": {past([]Event{
			logout(sec, 200), allowed(2500*ms, "gate-1", 1),
		}, Span{Kind: Healthy, From: 2 * sec, To: 3 * sec, Covers: 500 * ms}), ""},
		"the first acknowledgement counts": {past([]Event{
			logout(sec, 200), logout(4*sec, 200), allowed(5*sec, "gate-1", 1),
		}), "S1"},
		"waited for, allowed at once": {past([]Event{
			waited(logout(sec, 200)), allowed(1100*ms, "gate-1", 1),
		}), "S1"},
		"waited for, 202": {past([]Event{waited(logout(sec, 202)), allowed(1100*ms, "gate-1", 1)}), ""},
		"waited for, gate restarted since": {past([]Event{
			waited(logout(19*sec, 200)), allowed(20100*ms, "gate-1", 2),
		}), ""},
		"waited for, other session": {past([]Event{
			waited(logout(sec, 200)),
			with(allowed(1100*ms, "gate-1", 1), func(e *Event) { e.Session = "other" }),
		}), ""},
		"lost by a fault": {past([]Event{
			logout(sec, 200), allowed(9*sec, "gate-1", 1),
		}, fault(2*sec, 3*sec, true)), "S4"},
		"not known after a restart": {past([]Event{
			logout(sec, 200), allowed(21*sec, "gate-1", 2),
		}), "S4"},
		"denied, another token allowed": {past([]Event{
			denied(sec, "gate-1", 1, 401, "revoked"),
			with(allowed(1100*ms, "gate-1", 1), func(e *Event) { e.Token = "t2" }), logout(500*ms, 503),
		}), "S3"},
		"denied, by a moved clock": {past([]Event{
			denied(sec, "gate-1", 1, 401, "revoked"),
			with(allowed(1100*ms, "gate-1", 1), func(e *Event) { e.Token = "t2" }), logout(500*ms, 503),
		}, clockMoved(0, 400*ms)), ""},
		"denied, the same by that too": {past([]Event{
			denied(sec, "gate-1", 1, 401, "revoked"), allowed(1100*ms, "gate-1", 1), logout(500*ms, 503),
		}, clockMoved(0, 400*ms)), "S3"},
		"denied, allowed later": {past([]Event{
			denied(sec, "gate-1", 1, 401, "revoked"), allowed(1100*ms, "gate-1", 1), logout(500*ms, 503),
		}), "S3"},
		"denied, allowed by another": {past([]Event{
			denied(sec, "gate-1", 1, 401, "revoked"), allowed(1100*ms, "gate-2", 1), logout(500*ms, 503),
		}), ""},
		"denied, allowed in another run": {past([]Event{
			denied(sec, "gate-1", 1, 401, "revoked"), allowed(21*sec, "gate-1", 2), logout(500*ms, 503),
		}), ""},
		"denied, allowed at the same time": {past([]Event{
			with(denied(sec, "gate-1", 1, 401, "revoked"), func(e *Event) { e.End = 2 * sec }),
			allowed(1100*ms, "gate-1", 1), logout(500*ms, 503),
		}), ""},
		"503, allowed later": {past([]Event{
			denied(sec, "gate-1", 1, 503, "stale"), allowed(1100*ms, "gate-1", 1),
		}), ""},
		"minted after the end": {past([]Event{
			logout(sec, 200), refresh(2*sec, 1, 2, 200),
			with(allowed(9*sec, "gate-1", 1), func(e *Event) { e.Token = "t2" }),
		}), "S6"},
		"refreshed long after the end": {past([]Event{
			logout(sec, 200), refresh(9*sec, 1, 2, 200),
		}), "S6"},
		"refreshed before the end": {past([]Event{refresh(sec, 1, 2, 200), logout(2*sec, 200)}), ""},
		"refreshed twice in the grace": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(2*sec, 1, 2, 200),
		}), ""},
		"refreshed twice, two successors": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(2*sec, 1, 3, 200),
		}), "S5"},
		"refreshed twice after the grace": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(4*sec, 1, 2, 200),
		}), "S5"},
		"the same, but Redis has lost it": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(4*sec, 1, 2, 200),
		}, fault(2*sec, 3*sec, true)), ""},
		"the same, and Redis has not": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(4*sec, 1, 2, 200),
		}, fault(2*sec, 3*sec, false)), "S5"},
		"an older one after its successor": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(1200*ms, 2, 3, 200), refresh(1400*ms, 1, 2, 200),
		}), ""},
		"an older one gives the newest": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(1200*ms, 2, 3, 200), refresh(1400*ms, 1, 3, 200),
		}), "S5"},
		"an older one, spent unseen": {past([]Event{
			refresh(sec, 1, 2, 0), refresh(1200*ms, 2, 3, 200), refresh(3300*ms, 1, 2, 200),
		}), "S5"},
		"another successor than its own": {past([]Event{refresh(sec, 1, 3, 200)}), "S5"},
		"an older one refused in the grace": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(1200*ms, 2, 3, 200), refresh(1400*ms, 1, 0, 401),
		}), "S5"},
		"refused in the grace, ended": {past([]Event{
			refresh(sec, 1, 2, 200), logout(1200*ms, 503), refresh(1400*ms, 1, 0, 401),
		}), ""},
		"refused in the grace, Redis lost it": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(1400*ms, 1, 0, 401),
		}, fault(1100*ms, 1300*ms, true)), ""},
		"refused in the grace, nine since": {past(append(spends(1, 9), refresh(1900*ms, 1, 0, 401))), ""},
		"refused in the grace, eight since": {
			past(append(spends(1, 8), refresh(1900*ms, 1, 0, 401))), "S5",
		},
		"refused after the grace": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(3100*ms, 1, 0, 401),
		}), ""},
		"reuse ends the session": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(1200*ms, 2, 3, 200), refresh(3400*ms, 1, 0, 401),
			allowed(9*sec, "gate-1", 1),
		}), "S5"},
		"so does that of the last one": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(3100*ms, 1, 0, 401), allowed(9*sec, "gate-1", 1),
		}), "S5"},
		"reuse of what Redis has lost": {past([]Event{
			refresh(sec, 1, 2, 200), refresh(1200*ms, 2, 3, 200), refresh(3400*ms, 1, 0, 401),
			allowed(9*sec, "gate-1", 1),
		}, fault(1100*ms, 1300*ms, true)), ""},
		"a stale gate allows": {past([]Event{
			allowed(5*sec, "gate-1", 1),
		}, cut("gate-1", sec, 6*sec)), "S2"},
		"a stale gate, the other allows": {past([]Event{
			allowed(5*sec, "gate-2", 1),
		}, cut("gate-1", sec, 6*sec)), ""},
		"a gate still fresh": {past([]Event{allowed(3*sec, "gate-1", 1)}, cut("gate-1", sec, 6*sec)), ""},
		"a gate that may have heard again": {past([]Event{
			with(allowed(5*sec, "gate-1", 1), func(e *Event) { e.End = 7 * sec }),
		}, cut("gate-1", sec, 6*sec)), ""},
		"a gate started without Redis": {past([]Event{
			allowed(20500*ms, "gate-1", 2),
		}, cut("gate-1", 19*sec, 23*sec)), "S2"},
		"acknowledged without Redis": {past([]Event{
			logout(2*sec, 200),
		}, cut("issuer-1", sec, 3*sec)), "S7"},
		"refused without Redis": {past([]Event{logout(2*sec, 503)}, cut("issuer-1", sec, 3*sec)), ""},
		"valid, 503 while well": {past([]Event{
			denied(2*sec, "gate-1", 1, 503, "stale"),
		}, healthy(sec, 3*sec)), "S8"},
		"valid, no answer while well": {past([]Event{
			denied(2*sec, "gate-1", 1, 0, "no answer"),
		}, healthy(sec, 3*sec)), "S8"},
		"valid, 503 while not well": {past([]Event{
			denied(5*sec, "gate-1", 1, 503, "stale"),
		}, healthy(sec, 2*sec)), ""},
		"valid, 503 of a gate that starts": {past([]Event{
			denied(2*sec, "gate-1", 1, 503, "no_copy"),
		}, healthy(sec, 3*sec), Span{Kind: Starting, Who: "gate-1", From: 1900 * ms, To: 2100 * ms}), ""},
		"valid, 503 of a machine that hangs": {past([]Event{
			denied(2*sec, "gate-1", 1, 503, "stale"),
		}, healthy(sec, 3*sec), Span{Kind: Stalled, From: 500 * ms, To: 900 * ms}), "S8?"},
		"valid, 401 at any time": {past([]Event{denied(2*sec, "gate-1", 1, 401, "revoked")}), "S8"},
		"a logout that failed may be one": {past([]Event{
			logout(sec, 503), denied(2*sec, "gate-1", 1, 401, "revoked"),
		}), ""},
		"a refused refresh may be an end": {past([]Event{
			refresh(sec, 1, 0, 401), denied(2*sec, "gate-1", 1, 401, "revoked"),
		}), ""},
		"all well in time":  {past(nil, Span{Kind: Converged, From: sec, To: 10 * sec}), ""},
		"all well too late": {past(nil, Span{Kind: Converged, From: sec, To: 12 * sec}), "L1"},
		"never well again": {past(
			nil,
			Span{Kind: Converged, From: sec, To: 21 * sec, Note: "gate-1 is not ready"},
		), "L1"},
		"too late, but the machine hung": {past(
			nil,
			Span{Kind: Converged, From: sec, To: 12 * sec},
			Span{Kind: Stalled, From: 2 * sec, To: 4 * sec},
		), "L1?"},
		"too late, the machine hung a moment": {past(
			nil,
			Span{Kind: Converged, From: sec, To: 14 * sec},
			Span{Kind: Stalled, From: 2 * sec, To: 4 * sec},
		), "L1"},

		"503 within an outage's time": {past([]Event{
			denied(3900*ms, "gate-1", 1, 503, "stale"),
		}, healthy(sec, 2*sec)), "L2"},
		"503 after an outage's time": {past([]Event{
			denied(4100*ms, "gate-1", 1, 503, "stale"),
		}, healthy(sec, 2*sec)), ""},
		"503 of a gate that was stopped": {past([]Event{
			denied(3900*ms, "gate-1", 1, 503, "stale"),
		}, healthy(sec, 2*sec), Span{Kind: Stopped, Who: "gate-1", From: 2500 * ms, To: 3 * sec}), ""},
		"503 of a gate, another was stopped": {past([]Event{
			denied(3900*ms, "gate-1", 1, 503, "stale"),
		}, healthy(sec, 2*sec), Span{Kind: Stopped, Who: "gate-2", From: 2500 * ms, To: 3 * sec}), "L2"},
		"503 of a gate that was killed": {past([]Event{
			denied(20500*ms, "gate-1", 2, 503, "no_copy"),
		}, healthy(18*sec, 19500*ms)), ""},
		"503 soon, but the primary changed": {past([]Event{
			denied(3900*ms, "gate-1", 1, 503, "stale"),
		}, healthy(sec, 2*sec), Span{Kind: Promoted, From: 3 * sec, To: 3100 * ms}), "L2?"},
		"503 soon, the primary had to change": {past([]Event{
			denied(3900*ms, "gate-1", 1, 503, "stale"),
		}, healthy(sec, 2*sec), fault(2500*ms, 2600*ms, true),
			Span{Kind: Promoted, From: 3 * sec, To: 3100 * ms}), "L2"},
		"lost, but the primary changed": {past([]Event{
			logout(sec, 200), allowed(9*sec, "gate-1", 1),
		}, Span{Kind: Promoted, From: 3 * sec, To: 3100 * ms}), "S1?"},

		"revoked by sid": {past([]Event{revoke(sec, "sid", "s"), allowed(5*sec, "gate-1", 1)}), "S1"},
		"revoked by sid, another": {past([]Event{
			revoke(sec, "sid", "x"), allowed(5*sec, "gate-1", 1),
		}), ""},
		"revoked by sid, refused": {past([]Event{
			with(revoke(sec, "sid", "s"), func(e *Event) { e.Status = 503 }), allowed(5*sec, "gate-1", 1),
		}), ""},
		"revoked by sid, another denied": {past([]Event{
			revoke(sec, "sid", "x"), denied(5*sec, "gate-1", 1, 401, "revoked"),
		}), "S8"},
		"revoked by sid of another issuer": {past([]Event{
			with(revoke(sec, "sid", "s"), func(e *Event) { e.Facts.Issuer = "http://x" }),
			denied(5*sec, "gate-1", 1, 401, "revoked"),
		}), "S8"},
		"revoked by sid, refreshed": {past([]Event{
			revoke(sec, "sid", "s"), refresh(9*sec, 1, 2, 200),
		}), "S6"},
		"revoked by sid, waited for": {past([]Event{
			waited(revoke(sec, "sid", "s")), allowed(1100*ms, "gate-1", 1),
		}), "S1"},
		"revoked by jti": {past([]Event{revoke(sec, "jti", "t"), allowed(5*sec, "gate-1", 1)}), "S1"},
		"revoked by jti, the session's next": {past([]Event{
			revoke(sec, "jti", "t"), refresh(2*sec, 1, 2, 200),
			with(allowed(9*sec, "gate-1", 1), func(e *Event) { e.Token = "t2" }),
		}), ""},
		"revoked by jti, its next denied": {past([]Event{
			revoke(sec, "jti", "t"), refresh(2*sec, 1, 2, 200),
			with(denied(9*sec, "gate-1", 1, 401, "revoked"), func(e *Event) { e.Token = "t2" }),
		}), "S8"},
		"denied by jti, its next allowed": {past([]Event{
			revoke(sec, "jti", "t"), refresh(1100*ms, 1, 2, 200), denied(2*sec, "gate-1", 1, 401, "revoked"),
			with(allowed(3*sec, "gate-1", 1), func(e *Event) { e.Token = "t2" }),
		}), ""},
		"revoked by kid": {past([]Event{revoke(sec, "kid", "k"), allowed(5*sec, "gate-1", 1)}), "S1"},
		"revoked by tenant too soon to say": {past([]Event{
			revoke(sec, "tenant", "acme"), allowed(5*sec, "gate-1", 1),
		}), ""},
		"revoked by tenant": {past([]Event{
			revoke(3*sec, "tenant", "acme"), allowed(7*sec, "gate-1", 1),
		}), "S1"},
		"revoked by tenant, lost": {past([]Event{
			revoke(3*sec, "tenant", "acme"), allowed(9*sec, "gate-1", 1),
		}, fault(4*sec, 5*sec, true)), "S4"},
		"revoked by tenant, refreshed": {past([]Event{
			revoke(3*sec, "tenant", "acme"), refresh(9*sec, 1, 2, 200),
		}), "S6"},
		"by tenant, right behind a log out": {past(
			append(behind,
				with(of("new", allowed(4*sec, "gate-1", 1)), func(e *Event) { e.Token = "later" })),
		), ""},
		"the same, and the same token": {
			past(append(behind, of("new", allowed(4*sec, "gate-1", 1)))), "S3",
		},
		"another tenant": {past([]Event{
			revoke(3*sec, "tenant", "other"), denied(7*sec, "gate-1", 1, 401, "revoked"),
		}), "S8"},
		"revoked by client": {past([]Event{
			revoke(3*sec, "client", "app"), allowed(7*sec, "gate-1", 1),
		}), "S1"},
		"begun after the client's end": {past([]Event{
			revoke(3*sec, "client", "app"), begun(6*sec, "later"),
			of("later", denied(7*sec, "gate-1", 1, 401, "revoked")),
		}), "S8"},
		"begun as the client ended": {past([]Event{
			revoke(3*sec, "client", "app"), begun(3500*ms, "later"),
			of("later", denied(7*sec, "gate-1", 1, 401, "revoked")),
		}), ""},
		"begun after, by a clock set back": {past([]Event{
			revoke(3*sec, "client", "app"), begun(6*sec, "later"),
			of("later", denied(7*sec, "gate-1", 1, 401, "revoked")),
		}, clockMoved(5*sec, 8*sec)), ""},
		"revoked by client, clock set back": {past([]Event{
			revoke(3*sec, "client", "app"), allowed(7*sec, "gate-1", 1),
		}, clockMoved(2*sec, 8*sec)), ""},
		"another issuer's, revoked whole": {past([]Event{
			minted(sec, "f"), foreignly(revoke(12*sec, "iss", "")), of("f", allowed(16*sec, "gate-2", 1)),
		}), "S1"},
		"another issuer's, made after": {past([]Event{
			foreignly(revoke(12*sec, "iss", "")), minted(60*sec, "f"),
			of("f", denied(61*sec, "gate-2", 1, 401, "revoked")),
		}), "S8"},

		"logged out everywhere": {past([]Event{allOut(sec), allowed(5*sec, "gate-1", 1)}), "S1"},
		"everywhere, another user": {past([]Event{
			with(allOut(sec), func(e *Event) { e.Value = "bob" }), allowed(5*sec, "gate-1", 1),
		}), ""},
		"everywhere, then a login": {past([]Event{
			allOut(sec), begun(1100*ms, "new"), of("new", denied(1200*ms, "gate-1", 1, 401, "revoked")),
		}), "S8"},
		"everywhere during a login": {past([]Event{
			with(allOut(sec), func(e *Event) { e.End = 2 * sec }), begun(1100*ms, "new"),
			of("new", denied(3*sec, "gate-1", 1, 401, "revoked")),
		}), ""},
		"everywhere, Redis had lost it": {past([]Event{
			allOut(3 * sec), allowed(9*sec, "gate-1", 1),
		}, fault(sec, 2*sec, true)), "S1"},
		"everywhere, minted as if before": {past([]Event{
			allOut(3 * sec), with(begun(4*sec, "old"), func(e *Event) { e.Op, e.Old = Mint, 10*sec }),
			of("old", denied(5*sec, "gate-1", 1, 401, "revoked")),
		}), ""},
		"everywhere, minted after": {past([]Event{
			allOut(3 * sec), with(begun(6*sec, "new"), func(e *Event) { e.Op = Mint }),
			of("new", denied(7*sec, "gate-1", 1, 401, "revoked")),
		}), "S8"},
		"everywhere, minted at its time": {past([]Event{
			allOut(3 * sec), with(begun(3500*ms, "new"), func(e *Event) { e.Op = Mint }),
			of("new", denied(6*sec, "gate-1", 1, 401, "revoked")),
		}), ""},
		"everywhere, a login right behind": {past([]Event{
			allOut(3 * sec), begun(3500*ms, "new"), of("new", denied(6*sec, "gate-1", 1, 401, "revoked")),
		}), "S8"},
		"everywhere, Redis ahead, minted": {past([]Event{
			allOut(3 * sec), with(begun(5*sec, "new"), func(e *Event) { e.Op = Mint }),
			of("new", denied(6*sec, "gate-1", 1, 401, "revoked")),
		}, clockMoved(2*sec, 4*sec)), ""},
		"everywhere, Redis ahead, a login": {past([]Event{
			allOut(3 * sec), begun(5*sec, "new"), of("new", denied(6*sec, "gate-1", 1, 401, "revoked")),
		}, clockMoved(2*sec, 4*sec)), "S8"},
		"everywhere, just lost": {past([]Event{
			allOut(1500 * ms), allowed(9*sec, "gate-1", 1),
		}, fault(sec, 1200*ms, true)), ""},
		"everywhere, lost, clock set back": {past([]Event{
			allOut(3 * sec), allowed(9*sec, "gate-1", 1),
		}, fault(sec, 2*sec, true), clockMoved(1500*ms, 2*sec)), ""},
		"everywhere, Redis lost it later": {past([]Event{
			allOut(3 * sec), allowed(9*sec, "gate-1", 1),
		}, fault(4*sec, 5*sec, true)), "S4"},
		"disabled, refreshed": {past([]Event{disable(sec), refresh(1100*ms, 1, 2, 200)}), "S6"},
		"disabled, logs in":   {past([]Event{disable(sec), begun(1100*ms, "new")}), "S6"},
		"disabled, the refusal is an end": {past([]Event{
			disable(sec), refresh(1100*ms, 1, 0, 401), allowed(5*sec, "gate-1", 1),
		}), "S5"},
		"disabled, served before": {past([]Event{refresh(900*ms, 1, 2, 200), disable(sec)}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, v := range Judge(c.h) {
				if v.Doubt != "" {
					v.Promise += "?"
				}
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

// TestASeedIsASchedule: the same seed gives the same plan, and many seeds give every kind of fault
// within the budget.
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
