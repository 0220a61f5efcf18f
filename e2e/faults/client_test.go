package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	random "math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/sallyport/sallyport/internal/jose"
)

// session is what clients know of a session. Its tokens are asked about long after its end.
type session struct {
	id    string // of a token without a session: the token's
	facts Facts

	mu      sync.Mutex
	access  []access // all of them
	refresh []string // all of them; the last is the one to spend
}

// access is an access token.
type access struct{ id, compact string }

// client does what users do, one thing after the other.
type client struct {
	*world
	random *random.Rand
	user   user
	own    []*session // that nobody has tried to end yet
	once   []func()   // what can be done once in an installation, and is left to do
}

// run acts until stop is closed.
func (c *client) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(10+c.random.IntN(40)) * time.Millisecond):
			c.act()
		}
	}
}

// act does one thing.
func (c *client) act() {
	if len(c.own) < 2 {
		c.begin()
		return
	}
	s := c.own[c.random.IntN(len(c.own))]
	switch n := c.random.IntN(100); {
	case n < 30:
		c.call(c.anyGate(), s, c.anyToken(s))
	case n < 60: // also of others, ended or not
		if s := c.anySession(); s != nil {
			c.call(c.anyGate(), s, c.anyToken(s))
		}
	case n < 72:
		c.spend(s, -1)
	case n < 74:
		// The same one once more, as when its answer was lost; or an earlier one, as a slow tab does.
		c.spend(s, -2-c.random.IntN(3))
	case n < 75:
		c.spend(s, 0)
	case n < 84:
		c.begin()
	case n < 92:
		c.finish(s)
	case n < 93:
		c.everywhere()
	case n < 94:
		c.endTenant()
	case n < 99:
		c.revoke(s)
	default:
		c.doOnce()
	}
	if len(c.own) > 6 {
		c.finish(c.own[0])
	}
}

// begin begins a session: by a login, or with a token as a login, or another issuer, would have
// given.
func (c *client) begin() {
	if c.random.IntN(3) > 0 {
		if s := c.mint(c.anyIdentity()); s != nil {
			c.adopt(s)
		}
		return
	}
	if s := c.login(c.anyIssuer(), c.user); s != nil {
		c.adopt(s)
	}
}

func (c *client) adopt(s *session) {
	c.mu.Lock()
	c.sessions = append(c.sessions, s)
	c.mu.Unlock()
	c.own = append(c.own, s)
}

// finish ends a session, and asks until it has ended or there is no sense in it; sometimes a
// refresh goes on meanwhile.
func (c *client) finish(s *session) {
	c.leave(s)
	if s.facts.Issuer != issuerName { // which our issuers do not log out
		c.insist(func(i *issuer, wait bool) int { return c.endBy(i, "jti", s.id, s.facts.Issuer, wait) })
		c.call(c.anyGate(), s, c.anyToken(s))
		return
	}
	var race sync.WaitGroup
	if c.random.IntN(4) == 0 {
		at := c.anyIssuer()
		race.Go(func() { c.spendAt(at, s, -1) })
	}
	byRefresh := c.random.IntN(3) == 0
	c.insist(func(i *issuer, wait bool) int { return c.logout(i, s, wait, byRefresh) })
	race.Wait()
	c.call(c.anyGate(), s, c.anyToken(s))
}

// leave drops a session from the client's own.
func (c *client) leave(s *session) {
	c.own = slices.DeleteFunc(c.own, func(own *session) bool { return own == s })
}

// insist asks an issuer to end something, and another one when it does not, until it is
// acknowledged or patience is at its end.
func (c *client) insist(ask func(i *issuer, wait bool) int) {
	wait := c.random.IntN(4) == 0
	for range 3 {
		status := ask(c.anyIssuer(), wait)
		if status == 200 || status == 202 || c.random.IntN(4) == 0 {
			return
		}
	}
}

func (c *client) anyIssuer() *issuer { return c.issuers[c.random.IntN(len(c.issuers))] }
func (c *client) anyGate() *gate     { return c.gates[c.random.IntN(len(c.gates))] }

func (c *client) anyToken(s *session) access {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.access[c.random.IntN(len(s.access))]
}

// anySession prefers the young ones.
func (c *client) anySession() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sessions) == 0 {
		return nil
	}
	young := min(len(c.sessions), 40)
	if c.random.IntN(4) == 0 {
		young = len(c.sessions)
	}
	return c.sessions[len(c.sessions)-1-c.random.IntN(young)]
}

// record puts an event into the history.
func (w *world) record(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// timed fills in what an event has in common with all others.
func (w *world) timed(e Event, at *node, do func(*Event)) Event {
	before := at.current()
	e.At, e.Begin = at.name, w.now()
	do(&e)
	e.End = w.now()
	if at.current() == before {
		e.Run = before
	}
	w.record(e)
	return e
}

// call asks a gate, as Envoy would.
func (w *world) call(g *gate, s *session, t access) Event {
	return w.timed(Event{Op: Call, Session: s.id, Token: t.id}, g.node, func(e *Event) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		response, err := g.check.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
				Method: "GET", Path: "/protected", Host: "localhost", Headers: map[string]string{
					":method":    "GET",
					":path":      "/protected",
					":authority": "localhost",
					// what Envoy says of the headers that it has removed
					"x-sallyport-stripped": "1",
					"authorization":        "Bearer " + t.compact,
				},
			}},
		}})
		if err != nil {
			e.Reason = "no answer"
			return
		}
		if response.GetStatus().GetCode() == 0 {
			e.Status = http.StatusOK
			return
		}
		e.Status = int(response.GetDeniedResponse().GetStatus().GetCode())
		for _, h := range response.GetDeniedResponse().GetHeaders() {
			if strings.EqualFold(h.GetHeader().GetKey(), "x-sallyport-reason") {
				e.Reason = h.GetHeader().GetValue() + string(h.GetHeader().GetRawValue())
			}
		}
	})
}

// pairAnswer is what an issuer answers to a login or a refresh.
type pairAnswer struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// login begins a session of a user at an issuer.
func (w *world) login(i *issuer, u user) *session {
	var s *session
	e := w.timedLater(Event{Op: Login, Facts: w.factsOf(u)}, i.node, func(e *Event) {
		var pair pairAnswer
		e.Status = w.post(i.url+"/login",
			map[string]string{"username": u.name, "password": password}, "", &pair)
		if e.Status == http.StatusOK {
			s = &session{facts: e.Facts}
			s.add(pair, e)
			s.id = e.Session
		}
	})
	if s != nil {
		w.record(e)
	}
	return s
}

// timedLater is timed for events that are recorded by the caller, if at all.
func (w *world) timedLater(e Event, at *node, do func(*Event)) Event {
	before := at.current()
	e.At, e.Begin = at.name, w.now()
	do(&e)
	e.End = w.now()
	if at.current() == before {
		e.Run = before
	}
	return e
}

// add takes what an issuer has handed out.
func (s *session) add(pair pairAnswer, e *Event) {
	sid, jti := identify(pair.Access)
	e.Session, e.Token, e.Next = sid, jti, counter(pair.Refresh)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access = append(s.access, access{jti, pair.Access})
	// A repeated refresh returns one that is known already, and perhaps spent.
	if !slices.Contains(s.refresh, pair.Refresh) {
		s.refresh = append(s.refresh, pair.Refresh)
	}
}

// identify reads session and id of an access token.
func identify(compact string) (sid, jti string) {
	parsed, err := jose.Parse(compact)
	if err != nil {
		return "", ""
	}
	var claims struct {
		SID string `json:"sid"`
		JTI string `json:"jti"`
	}
	if json.Unmarshal([]byte(parsed.Payload), &claims) != nil {
		return "", ""
	}
	return claims.SID, claims.JTI
}

// counter reads n of a refresh token, sid.n.mac.
func counter(refresh string) int {
	parts := strings.Split(refresh, ".")
	if len(parts) != 3 {
		return -1
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		return -1
	}
	return n
}

// spend spends a refresh token: the last one, for -1, one before it, or the first, for 0.
func (c *client) spend(s *session, which int) { c.spendAt(c.anyIssuer(), s, which) }

func (w *world) spendAt(i *issuer, s *session, which int) {
	s.mu.Lock()
	n := len(s.refresh)
	if which < 0 {
		which += n
	}
	if which < 0 || which >= n {
		s.mu.Unlock()
		return
	}
	refresh := s.refresh[which]
	s.mu.Unlock()
	w.timed(Event{Op: Refresh, Session: s.id, Spent: counter(refresh)}, i.node, func(e *Event) {
		var pair pairAnswer
		e.Status = w.post(i.url+"/refresh", map[string]string{"refresh_token": refresh}, "", &pair)
		if e.Status == http.StatusOK {
			s.add(pair, e)
		}
	})
}

// logout asks an issuer to end a session, and returns its answer.
func (w *world) logout(i *issuer, s *session, wait, byRefresh bool) int {
	s.mu.Lock()
	bearer, body := s.access[len(s.access)-1].compact, any(nil)
	if n := len(s.refresh); byRefresh && n > 0 {
		bearer, body = "", map[string]string{"refresh_token": s.refresh[n-1]}
	}
	s.mu.Unlock()
	url := i.url + "/logout"
	if wait {
		url += "?wait=1s"
	}
	return w.timed(Event{Op: Logout, Session: s.id, Wait: wait}, i.node, func(e *Event) {
		var answer struct {
			Applied string `json:"applied"`
		}
		e.Status = w.post(url, body, bearer, &answer)
		e.Reason = answer.Applied
	}).Status
}

// post sends JSON, or with a nil body nothing, and returns the status: 0 when there is no answer,
// or not the whole of it.
func (w *world) post(url string, body any, bearer string, into any) int {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return 0
		}
	}
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(content))
	if err != nil {
		return 0
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	status, answer, err := w.send(request)
	if err != nil || status < 300 && json.Unmarshal(answer, into) != nil {
		return 0
	}
	return status
}

// send sends a request and reads the answer whole.
func (w *world) send(request *http.Request) (int, []byte, error) {
	response, err := w.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, body, err
}
