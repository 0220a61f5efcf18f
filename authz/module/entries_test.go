//go:build envoystub

package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/filter"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// crowded is a gate, a worker of which remembers answers by a victim's token in all entries, and has
// then let pass the requests of one whose token has expired, within the leeway: those are not kept.
type crowded struct {
	*tested
	late string       // the token that has expired
	open []stubStream // the victim's, let pass by what is remembered
}

func newCrowded(t *testing.T) *crowded {
	c := &crowded{tested: onOneWorker(t)}
	victim := c.world.Token(func(c *token.Claims) {
		c.SessionID, c.ID, c.Subject = "victim", "victim", "victim"
	})
	c.late = c.world.Token(func(claims *token.Claims) {
		claims.SessionID, claims.ID, claims.Subject = "late", "late", "late"
		claims.Expiry = c.world.Now.Add(-time.Second).Unix()
		claims.IssuedAt = claims.Expiry - 60
	})
	const paths = 3 * filter.Entries
	for i := range paths {
		c.envoy.open(request(fmt.Sprint("/api/v", i), victim), "", "").close()
	}
	for i := range paths {
		s := c.envoy.open(request(fmt.Sprint("/api/l", i), c.late), "", "")
		if !s.passed() {
			t.Fatalf("%q", s.told())
		}
		s.close()
	}
	// The newest first: those are still there.
	for i := paths - 1; i > paths-2*filter.Entries; i-- {
		before := given()
		s := c.envoy.open(request(fmt.Sprint("/api/v", i), victim), "", "")
		if given() == before {
			s.close()
			continue
		}
		s.respond()
		c.open = append(c.open, s)
	}
	if len(c.open) < filter.Entries/2 {
		t.Fatalf("only %d streams were let pass by what is remembered", len(c.open))
	}
	t.Cleanup(func() {
		for _, s := range c.open {
			s.close()
		}
	})
	return c
}

// TestAnAnswerThatIsNotKeptLeavesTheEntryOfAnotherAlone: who is watched by an entry is whose answer
// stands there (S9).
func TestAnAnswerThatIsNotKeptLeavesTheEntryOfAnotherAlone(t *testing.T) {
	c := newCrowded(t)
	c.revs.revoke(revocation.KindSID, "victim")
	for _, s := range c.open {
		if !ended(s) {
			t.Fatal("a stream goes on whose token is revoked")
		}
	}
}

// TestNobodyEndsTheStreamsOfAnother: the same the other way round.
func TestNobodyEndsTheStreamsOfAnother(t *testing.T) {
	c := newCrowded(t)
	own := c.envoy.open(request("/api/own", c.late), "", "")
	defer own.close()
	own.respond()
	c.revs.revoke(revocation.KindSID, "late")
	if !ended(own) {
		t.Fatal("a stream goes on whose token is revoked")
	}
	for _, s := range c.open {
		s.scheduled()
		if told := s.told(); strings.HasPrefix(told[len(told)-1], "end") {
			t.Fatal("a stream was ended by the revocation of another's token")
		}
	}
}

// same asks twice, the second time with more headers, and says whether the second one got what a
// request gets that Go is asked about.
func (g *tested) same(t *testing.T, what string, first, second []authz.Header) {
	t.Helper()
	g.envoy.open(first, "", "").close()
	before := given()
	again := g.envoy.open(second, "", "")
	remembered := given() > before
	anew := g.envoy.open(append(slices.Clone(second), authz.Header{Name: "x-unlike", Value: what}), "", "")
	got, _, _ := outcome(again)
	want, _, _ := outcome(anew)
	if !slices.Equal(got, want) || again.passed() != anew.passed() {
		t.Errorf("%s (remembered: %v): passed %v\n%q, expected %v\n%q", what, remembered, again.passed(), got,
			anew.passed(), want)
	}
	again.close()
	anew.close()
}

// TestHeadersThatArePassedOverMatterToSomePolicies, whose answers are not kept; and each counts as a
// header.
func TestHeadersThatArePassedOverMatterToSomePolicies(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, name := range []string{"traceparent", "tracestate", "x-b3-traceid", "x-b3-spanid"} {
		t.Run("a token in "+name, func(t *testing.T) {
			g := newTested(t)
			defer g.stop()
			c := authztest.Routes()
			c.Tokens = []policy.TokenSource{{Header: name}, {Authorization: "Bearer"}}
			p, err := policy.Compile(c)
			if err != nil {
				t.Fatal(err)
			}
			g.engine.SetPolicies(p, nil)
			versions.MoveAll()
			bare := request("/protected", "")
			g.same(t, name, append(slices.Clone(bare), authz.Header{Name: name, Value: g.world.Token()}), bare)
		})
	}
	t.Run("a claim's header", func(t *testing.T) {
		g := newTested(t)
		defer g.stop()
		c := authztest.Routes()
		c.Routes[3].Headers = map[string]string{"x-b3-traceid": "tenant"}
		p, err := policy.Compile(c)
		if err != nil {
			t.Fatal(err)
		}
		g.engine.SetPolicies(p, nil)
		versions.MoveAll()
		r := request("/protected", g.world.Token())
		g.same(t, "claim", r, append(slices.Clone(r), authz.Header{Name: "x-b3-traceid", Value: "spoofed"}))
	})
	t.Run("more headers than there may be", func(t *testing.T) {
		g := newTested(t)
		defer g.stop()
		r := request("/protected", g.world.Token())
		for i := len(r); i < check.MaxHeaders; i++ {
			r = append(r, authz.Header{Name: fmt.Sprint("x-", i), Value: "a"})
		}
		r = slices.DeleteFunc(r, func(h authz.Header) bool { return h.Name == "x-request-id" })
		g.same(t, "many", r, append(slices.Clone(r), authz.Header{Name: "tracestate", Value: "a"},
			authz.Header{Name: "tracestate", Value: "b"}, authz.Header{Name: "tracestate", Value: "c"}))
	})
}

// TestARequestMayLastAsLongAsMaxWhenItIsGivenAgain: ext_authz.streams.max is what each request has.
func TestARequestMayLastAsLongAsMaxWhenItIsGivenAgain(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, most := range []time.Duration{10 * time.Second, 29 * time.Second, 100 * time.Second} {
		g := newTested(t)
		f, err := filter.New(g.engine, filter.Options{
			Host: host{}, Revocations: g.revs, MaxStaleness: maxStaleness,
			Streams: check.StreamConfig{EndAtExpiry: true, Least: 5 * time.Second, Max: most},
			Check:   check.Options{Instant: g.revs.Instant},
		})
		if err != nil {
			t.Fatal(err)
		}
		g.envoy.close()
		g.envoy = newStubEnvoy(f)
		r := request("/protected", g.world.Token())
		g.envoy.open(r, "", "").close()
		g.revs.pass(9500 * time.Millisecond)
		g.revs.confirm()
		before := given()
		s := g.envoy.open(r, "", "")
		_, _, left := outcome(s)
		if left != int(most.Milliseconds()) {
			t.Errorf("max %v: it may last %d ms (remembered: %v)", most, left, given() > before)
		}
		s.close()
		before = given()
		for range 5 {
			g.envoy.open(r, "", "").close()
			g.revs.pass(2 * time.Millisecond)
		}
		if n := given() - before; n < 4 {
			t.Errorf("max %v: %d of 5 requests are given again", most, n)
		}
		g.stop()
	}
}

// TestWhatIsPublicCountsNoTokens: nobody has verified one.
func TestWhatIsPublicCountsNoTokens(t *testing.T) {
	g := onOneWorker(t)
	counted := func(all uint64) {
		t.Helper()
		eventually.True(t, "they are counted", func() bool {
			again := authztest.Value(t, g.registry, "sallyport_gate_answered_again_total", "")
			return again >= float64(all)
		})
	}
	hits := func() float64 {
		return authztest.Value(t, g.registry, "sallyport_gate_tokens_total", "hit")
	}
	counted(given()) // those of tests before this one
	before, was := hits(), given()
	for range 10 {
		g.envoy.open(request("/public", ""), "", "").close()
	}
	if given() == was {
		t.Fatal("none is given again")
	}
	counted(given())
	if now := hits(); now != before {
		t.Errorf("%v tokens are counted, of requests that carried none", now-before)
	}
}

// TestOneUsersStreamsLeaveRoomForOthers: a few hundred open streams with long requests, of one user.
func TestOneUsersStreamsLeaveRoomForOthers(t *testing.T) {
	g := onOneWorker(t)
	greedy := g.world.Token(func(c *token.Claims) { c.SessionID, c.ID = "greedy", "greedy" })
	long := strings.Repeat("x", 30_000)
	var open []stubStream
	defer func() {
		for _, s := range open {
			s.close()
		}
	}()
	for _, size := range []int{30_000, 10_000, 3_000, 1_000, 300, 0} {
		for i := range 300 {
			r := request(fmt.Sprint("/api/", size, "/", i, "?", long[:size]), greedy)
			g.envoy.open(r, "", "").close()
			before := given()
			open = append(open, g.envoy.open(r, "", ""))
			if given() == before {
				break // no more of this size
			}
		}
	}
	t.Logf("%d streams", len(open))
	before := given()
	var asked uint64
	began := time.Now()
	others := g.world.Token()
	for range 20 {
		for i := range 20 {
			other := request(fmt.Sprint("/api/of-others/", i), others)
			g.envoy.open(other, "", "").close()
			asked++
		}
	}
	if n := given() - before; n < asked/2 {
		t.Errorf("%d of %d requests of others, 20 different ones, are given again (%v)", n, asked, time.Since(began))
	}
}
