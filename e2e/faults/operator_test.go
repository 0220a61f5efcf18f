package faults

import (
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// endBy has an issuer's operator revoke what a selector names, and returns the answer's status.
func (w *world) endBy(i *issuer, selector, value, of string, wait bool) int {
	e := Event{Op: Revoke, Selector: selector, Value: value, Facts: Facts{Issuer: of}, Wait: wait}
	return w.operate(i, e, "/admin/revocations",
		map[string]string{"kind": selector, "value": value, "issuer": of})
}

// endUser has an issuer's operator log a user out everywhere, by either of the two ways there are.
func (w *world) endUser(i *issuer, u user, byKind, wait bool) int {
	e := Event{Op: Everywhere, Value: u.name, Wait: wait}
	if byKind {
		return w.operate(i, e, "/admin/revocations", map[string]string{"kind": "sub", "value": u.name})
	}
	return w.operate(i, e, "/admin/users/"+url.PathEscape(u.name)+"/logout", nil)
}

// leaveAll has a user log out everywhere by one of their access tokens.
func (w *world) leaveAll(i *issuer, u user, s *session, wait bool) int {
	target := i.url + "/logout?everywhere=true"
	if wait {
		target += "&wait=1s"
	}
	s.mu.Lock()
	bearer := s.access[0].compact
	s.mu.Unlock()
	return w.timed(Event{Op: Everywhere, Value: u.name, Wait: wait}, i.node, func(e *Event) {
		var answer struct {
			Applied string `json:"applied"`
		}
		e.Status = w.post(target, nil, bearer, &answer)
		e.Reason = answer.Applied
	}).Status
}

func (w *world) operate(i *issuer, e Event, path string, body map[string]string) int {
	target := i.admin + path
	if e.Wait {
		target += "?wait=1s"
	}
	return w.timed(e, i.node, func(e *Event) {
		var answer struct {
			Applied string `json:"applied"`
		}
		if body == nil { // a nil map in an interface is a body
			e.Status = w.post(target, nil, w.adminToken, &answer)
		} else {
			e.Status = w.post(target, body, w.adminToken, &answer)
		}
		e.Reason = answer.Applied
	}).Status
}

// anyIdentity is mostly of ours.
func (c *client) anyIdentity() identity {
	switch c.random.IntN(8) {
	case 0:
		of := c.foreigners[c.random.IntN(len(c.foreigners))]
		return c.stranger(of, c.random.IntN(1<<30))
	default:
		return c.ours(c.user)
	}
}

// everywhere logs the client's user out everywhere, and in again at once: in the same second.
func (c *client) everywhere() {
	mine := c.ownOf(c.user)
	way := c.random.IntN(3)
	c.insist(func(i *issuer, wait bool) int {
		if way == 0 && len(mine) > 0 {
			return c.leaveAll(i, c.user, mine[0], wait)
		}
		return c.endUser(i, c.user, way == 1, wait)
	})
	for _, s := range mine {
		c.leave(s)
	}
	if s := c.login(c.anyIssuer(), c.user); s != nil {
		c.adopt(s)
		c.call(c.anyGate(), s, c.anyToken(s))
	}
	for _, s := range mine[:min(2, len(mine))] {
		c.call(c.anyGate(), s, c.anyToken(s))
		c.spend(s, -1)
	}
}

// endTenant revokes all sessions of the user's tenant, who has it for themselves. Those that began
// well before it end for certain; so it is done when there are any.
func (c *client) endTenant() {
	s := c.mint(identity{Facts: c.factsOf(c.user), ring: c.ring, old: 10 * time.Second})
	if s == nil {
		return
	}
	c.adopt(s)
	mine := c.ownOf(c.user)
	c.insist(
		func(i *issuer, wait bool) int { return c.endBy(i, "tenant", c.user.tenant, issuerName, wait) })
	for _, s := range mine {
		c.leave(s)
		c.call(c.anyGate(), s, c.anyToken(s))
	}
}

// ownOf returns the client's sessions of a user.
func (c *client) ownOf(u user) (mine []*session) {
	for _, s := range c.own {
		if s.facts.Issuer == issuerName && s.facts.Subject == u.name {
			mine = append(mine, s)
		}
	}
	return mine
}

// revoke has an operator revoke by one of the narrow selectors.
func (c *client) revoke(s *session) {
	switch c.random.IntN(6) {
	case 0, 1: // one token; the session goes on
		t := c.anyToken(s)
		c.insist(func(i *issuer, wait bool) int { return c.endBy(i, "jti", t.id, s.facts.Issuer, wait) })
		c.call(c.anyGate(), s, t)
		if len(s.access) == 1 {
			c.leave(s)
		}
	case 2:
		if s.facts.Issuer != issuerName {
			return
		}
		c.leave(s)
		c.insist(func(i *issuer, wait bool) int { return c.endBy(i, "sid", s.id, issuerName, wait) })
		c.spend(s, -1)
		c.call(c.anyGate(), s, c.anyToken(s))
	case 3: // a client of ours that nobody else is
		as := c.ours(c.user)
		as.Client, as.old = fmt.Sprintf("client-%d", c.random.IntN(1<<30)), 10*time.Second
		c.revokeNew(as, "client", as.Client)
	default:
		as := c.stranger(c.foreigners[c.random.IntN(len(c.foreigners))], c.random.IntN(1<<30))
		as.old = 10 * time.Second
		selector := []string{"sub", "client", "tenant"}[c.random.IntN(3)]
		c.revokeNew(as, selector,
			map[string]string{"sub": as.Subject, "client": as.Client, "tenant": as.Tenant}[selector])
	}
}

// revokeNew makes two tokens, and revokes what both of them have in common.
func (c *client) revokeNew(as identity, selector, value string) {
	var both []*session
	for range 2 {
		if s := c.mint(as); s != nil {
			c.adopt(s)
			c.leave(s) // others may ask about it; it is not this client's to end twice
			both = append(both, s)
			c.call(c.anyGate(), s, s.access[0])
		}
	}
	c.insist(func(i *issuer, wait bool) int { return c.endBy(i, selector, value, as.Issuer, wait) })
	for _, s := range both {
		c.call(c.anyGate(), s, s.access[0])
	}
}

// doOnce does one of the things that are left to do.
func (c *client) doOnce() {
	if len(c.once) == 0 {
		return
	}
	c.once[0]()
	c.once = c.once[1:]
}

// endKey revokes the key of an issuer, and with it all its tokens, also those to come.
func (c *client) endKey(of *foreign) {
	as := c.stranger(of, 1)
	s := c.mint(as)
	if s == nil {
		return
	}
	c.revokeNew(as, "kid", s.facts.KeyID)
}

// endIssuer revokes all tokens of an issuer.
func (c *client) endIssuer(of *foreign) {
	as := c.stranger(of, 2)
	as.old = 10 * time.Second
	c.revokeNew(as, "iss", "")
}

// disable disables a user who has sessions, tries what they may no longer do, and ends their
// sessions.
func (c *client) disable() {
	var theirs []*session
	for range 2 {
		if s := c.login(c.anyIssuer(), leaver); s != nil {
			c.adopt(s)
			c.leave(s)
			theirs = append(theirs, s)
		}
	}
	e := Event{Op: Disable, Value: leaver.name, Begin: c.now()}
	if err := c.writeUsers(leaver); err != nil {
		return // the schedule goes on without it
	}
	e.End, e.Status = c.now(), http.StatusOK
	c.record(e)
	c.login(c.anyIssuer(), leaver)
	if len(theirs) > 0 {
		c.spend(theirs[0], -1)
	}
	c.insist(func(i *issuer, wait bool) int { return c.endUser(i, leaver, false, wait) })
	c.login(c.anyIssuer(), leaver)
	for _, s := range theirs {
		c.spend(s, -1)
		c.call(c.anyGate(), s, s.access[0])
	}
}
