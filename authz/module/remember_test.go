//go:build envoystub

package main

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/filter"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
	"github.com/sallyport/sallyport/internal/token"
)

const maxStaleness = 10 * time.Second

// revocations are a real set, which is confirmed when a test says so.
type revocations struct {
	set *liveset.Set

	mu        sync.Mutex
	changed   chan struct{}
	now       revocation.Instant
	confirmed time.Duration
}

func newRevocations() *revocations {
	return &revocations{
		set: liveset.New(liveset.Config{
			Key: liveset.Key{K0: 1, K1: 2}, Shards: 1, Versions: versions,
		}),
		changed: make(chan struct{}),
		now:     revocation.Instant{Mono: time.Hour, Wall: authztest.New().Now},
		// as if it had just been
		confirmed: time.Hour,
	}
}

func (r *revocations) Check(f *revocation.Facts) revocation.Verdict { return r.set.Check(f) }

func (r *revocations) Classes(f *revocation.Facts, to []revocation.Class) []revocation.Class {
	return r.set.Classes(f, to)
}

func (r *revocations) Now(at revocation.Instant) time.Time { return at.Wall }

func (r *revocations) Instant() revocation.Instant {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *revocations) Freshness(at revocation.Instant) revocation.Freshness {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := revocation.Freshness{Staleness: max(at.Mono-r.confirmed, 0)}
	if f.Fresh = f.Staleness <= maxStaleness; !f.Fresh {
		f.Why = revocation.WhyStale
	}
	return f
}

func (r *revocations) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *revocations) confirm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirmed = r.now.Mono
}

// pass has time pass, for the gate and for the module's C.
func (r *revocations) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Mono, r.now.Wall = r.now.Mono+d, r.now.Wall.Add(d)
	pass(d, d)
}

func (r *revocations) revoke(kind revocation.Kind, value string) {
	now := r.Instant().Wall
	e := &revocation.Entry{
		Kind: kind, Issuer: authztest.Issuer, Value: value, Reason: "test", Actor: "test",
		At: now.UnixMilli(), Expires: now.Add(24 * time.Hour).UnixMilli(),
	}
	if kind.Cutoff() {
		e.IssuedBefore = now.UnixMilli()
	}
	r.set.Add(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

// tested is the module with a gate whose state a test changes.
type tested struct {
	world    *authztest.World
	revs     *revocations
	engine   *authz.Engine
	filter   *filter.Filter
	envoy    stubEnvoy
	registry *prometheus.Registry
	sent     int
	ids      map[string]bool
	stop     func()
}

func newTested(t interface {
	Helper()
	Fatal(args ...any)
}) *tested {
	t.Helper()
	g := &tested{world: authztest.New(), revs: newRevocations(), ids: map[string]bool{}, registry: prometheus.NewRegistry()}
	o := g.world.Options(filter.Wire)
	o.Revocations, o.Named = g.revs, map[string]*policy.Policy{"other": g.world.Policy}
	var err error
	if g.engine, err = authz.New(g.world.Policy, o); err != nil {
		t.Fatal(err)
	}
	g.filter, err = filter.New(g.engine, filter.Options{
		Host: host{}, Revocations: g.revs, MaxStaleness: maxStaleness,
		Streams: check.DefaultStreamConfig(), Check: check.Options{Instant: g.revs.Instant, Registry: g.registry},
	})
	if err != nil {
		t.Fatal(err)
	}
	g.envoy = newStubEnvoy(g.filter)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.filter.Run(ctx) }()
	g.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		g.envoy.close()
	}
	return g
}

// onOneWorker is newTested for a test whose requests all come to one worker.
func onOneWorker(t *testing.T) *tested {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	g := newTested(t)
	t.Cleanup(g.stop)
	return g
}

// given is how many requests have been let pass by remembered answers, in this process.
func given() (n uint64) {
	host{}.Given(func(_ int, now filter.Given) { n += now.Requests })
	return n
}

var (
	decision = regexp.MustCompile(`(x-sallyport-decision) ([0-9a-f]{32})$`)
	lifetime = regexp.MustCompile(`^(set x-envoy-upstream-stream-duration-ms) ([0-9]+)$`)
)

// outcome is what was done to a stream, but for the ID and the lifetime, which are returned apart.
func outcome(s stubStream) (lines []string, id string, left int) {
	for _, line := range s.told() {
		if m := decision.FindStringSubmatch(line); m != nil {
			line, id = strings.Replace(line, m[2], "", 1), m[2]
		}
		if m := lifetime.FindStringSubmatch(line); m != nil {
			line = m[1]
			left, _ = strconv.Atoi(m[2])
		}
		lines = append(lines, line)
	}
	return lines, id, left
}

// ask sends a request, and the same with a header more that no other request has had: so Go is asked
// about that one. The first must be told what the second is. It returns the first, open.
func (g *tested) ask(t *rapid.T, headers []authz.Header, policy, peer string) stubStream {
	g.sent++
	alone := append(slices.Clone(headers), authz.Header{Name: "x-unlike", Value: fmt.Sprint(g.sent)})
	again, anew := g.envoy.open(headers, policy, peer), g.envoy.open(alone, policy, peer)
	defer anew.close()
	for _, s := range []stubStream{again, anew} {
		if s.passed() {
			s.respond()
		}
	}
	got, id, left := outcome(again)
	want, otherID, most := outcome(anew)
	if !slices.Equal(got, want) || again.passed() != anew.passed() {
		t.Fatalf("%v %q %q:\n%q, expected\n%q", headers, policy, peer, got, want)
	}
	// A lifetime is whole seconds when it is made, and less by what has passed since.
	if left > most+1000 || left < most-1001 {
		t.Fatalf("the request may last %d ms, expected about %d", left, most)
	}
	for _, id := range []string{id, otherID} {
		if id == "" || g.ids[id] {
			t.Fatalf("the decision's ID %q was another's", id)
		}
		g.ids[id] = true
	}
	return again
}

func request(path, token string, more ...authz.Header) []authz.Header {
	all := []authz.Header{
		{Name: ":method", Value: "GET"}, {Name: ":path", Value: path},
		{Name: ":authority", Value: authztest.Host}, {Name: "x-request-id", Value: "r"},
	}
	if token != "" {
		all = append(all, authz.Header{Name: "authorization", Value: "Bearer " + token})
	}
	return append(all, more...)
}

// TestAnAnswerIsGivenAgainOnlyWhileItHolds: whatever happens to the gate between two requests, the
// second one is told what it would be told if nothing were remembered, and who was let pass with a
// token that is revoked is ended.
func TestAnAnswerIsGivenAgainOnlyWhileItHolds(t *testing.T) {
	again, asked := given(), 0
	rapid.Check(t, func(t *rapid.T) {
		runtime.LockOSThread() // one worker
		defer runtime.UnlockOSThread()
		m := newMachine(t)
		defer m.close()
		t.Repeat(map[string]func(*rapid.T){
			"ask": m.ask, "revoke": m.revoke, "time": m.time, "confirm": func(*rapid.T) { m.revs.confirm() },
			"policy": m.policy, "shadow": m.shadow, "key": m.key, "hang up": m.hangUp,
		})
		asked += m.sent
	})
	// Else all this has shown nothing.
	if n := given() - again; n < uint64(asked)/20 || asked == 0 {
		t.Errorf("%d of %d requests were given an answer of before", n, asked)
	}
}

// machine is a gate, those who call, and what has been done to them.
type machine struct {
	*tested
	tokens  []string
	users   []string
	open    []opened
	asked   []asked
	closedP *policy.Policy
	closed  bool
}

func newMachine(t *rapid.T) *machine {
	m := &machine{
		tested: newTested(t), users: []string{"alice", "bob", "carol"},
	}
	for i, life := range []time.Duration{
		time.Minute, 5 * time.Minute, 14 * time.Minute, 14 * time.Minute, 14 * time.Minute,
	} {
		m.tokens = append(m.tokens, m.world.Token(func(c *token.Claims) {
			c.Subject, c.SessionID = m.users[i%len(m.users)], fmt.Sprint("session-", i/2)
			c.ID, c.Expiry = fmt.Sprint("token-", i), m.world.Now.Add(life).Unix()
		}))
	}
	var err error
	all := authztest.Routes()
	all.Routes[3].Allow = "nobody" // /protected
	if m.closedP, err = policy.Compile(all); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) close() {
	for _, s := range m.open {
		s.close()
	}
	m.stop()
}

// opened is a stream that goes on, and by which token it was let pass.
type opened struct {
	stubStream
	token int
}

// asked is a request that was sent.
type asked struct {
	headers      []authz.Header
	policy, peer string
	token        int
	opens        bool // and stays open if it may pass
}

// ask sends a few requests, most of which have been sent before.
func (m *machine) ask(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "the key comes back") > 0 {
		m.world.Keys.Trust(authztest.Profile(), m.world.Key.Public())
	}
	for range rapid.IntRange(1, 20).Draw(t, "requests") {
		n := len(m.asked)
		if n == 0 || rapid.IntRange(0, 3).Draw(t, "new") == 0 {
			m.asked = append(m.asked, m.draw(t))
		} else {
			n = max(0, n-1-rapid.IntRange(0, 5).Draw(t, "which"))
		}
		r := m.asked[n]
		if s := m.tested.ask(t, r.headers, r.policy, r.peer); s.passed() && r.opens {
			m.open = append(m.open, opened{s, r.token})
		} else {
			s.close()
		}
	}
}

// draw makes a request.
func (m *machine) draw(t *rapid.T) asked {
	i := rapid.IntRange(0, len(m.tokens)-1).Draw(t, "token")
	path := rapid.SampledFrom([]string{
		"/protected", "/protected", "/api/things", "/admin/x", "/tolerant", "/download", "/fresh",
		"/of/alice", "/public", "/maybe", "/checkout",
	}).Draw(t, "path")
	headers := request(path, m.tokens[i])
	if rapid.IntRange(0, 9).Draw(t, "with headers") == 0 {
		headers = append(headers, rapid.SampledFrom([]authz.Header{
			{Name: "x-team", Value: "blue"}, {Name: "x-auth-subject", Value: "mallory"},
			{Name: "connection", Value: "x-auth-subject"}, {Name: "x-access-token", Value: m.tokens[0]},
			{Name: "authorization", Value: "Bearer " + m.tokens[0]}, {Name: "content-type", Value: "application/grpc"},
		}).Draw(t, "header"))
	}
	p := rapid.SampledFrom([]string{"", "", "", "other", "nobody's"}).Draw(t, "policy")
	by := rapid.SampledFrom([]string{"", "", "spiffe://example.com/checkout"}).Draw(t, "peer")
	return asked{headers, p, by, i, path == "/protected"}
}

func (m *machine) revoke(t *rapid.T) {
	i := rapid.IntRange(0, len(m.tokens)-1).Draw(t, "token")
	of := func(token int) bool { return token == i }
	switch rapid.IntRange(0, 2).Draw(t, "by") {
	case 0:
		m.revs.revoke(revocation.KindJTI, fmt.Sprint("token-", i))
	case 1:
		m.revs.revoke(revocation.KindSID, fmt.Sprint("session-", i/2))
		of = func(token int) bool { return token/2 == i/2 }
	case 2:
		m.revs.revoke(revocation.KindSub, m.users[i%len(m.users)])
		of = func(token int) bool { return token%len(m.users) == i%len(m.users) }
	}
	m.open = slices.DeleteFunc(m.open, func(s opened) bool {
		if !of(s.token) {
			return false
		}
		if !ended(s.stubStream) {
			t.Fatalf("a stream was not ended: %q", s.told())
		}
		s.close()
		return true
	})
}

// ended waits until a stream has been ended.
func ended(s stubStream) bool {
	return eventually.Holds(20*time.Second, func() bool {
		s.scheduled()
		told := s.told()
		return len(told) > 0 && strings.HasPrefix(told[len(told)-1], "end")
	})
}

func (m *machine) time(t *rapid.T) {
	d := time.Duration(rapid.SampledFrom([]int{
		1, 400, 999, 1000, 2000, 3000, 4000, 6000, 9999,
	}).Draw(t, "ms")) * time.Millisecond
	if rapid.IntRange(0, 4).Draw(t, "until something is over") == 0 {
		// until shortly before a token expires, a login is too old, or nobody knows of revocations
		const skew = 30 * time.Second
		at := rapid.SampledFrom([]time.Duration{
			time.Minute, time.Minute + skew, 5 * time.Minute, 5*time.Minute + skew,
			m.revs.confirmed - time.Hour + maxStaleness,
		}).Draw(t, "which")
		passed := m.revs.Instant().Mono - time.Hour
		d = max(d, at-passed-time.Duration(rapid.IntRange(1, 9500).Draw(t, "ms before"))*time.Millisecond)
	}
	m.revs.pass(d)
	// Streams may be ended because nothing has been confirmed for too long.
	m.open = slices.DeleteFunc(m.open, func(s opened) bool {
		s.scheduled()
		told := s.told()
		if !strings.HasPrefix(told[len(told)-1], "end") {
			return false
		}
		s.close()
		return true
	})
}

func (m *machine) policy(*rapid.T) {
	m.closed = !m.closed
	p := m.world.Policy
	if m.closed {
		p = m.closedP
	}
	m.engine.SetPolicies(p, map[string]*policy.Policy{"other": m.world.Policy})
	versions.MoveAll() // as the gate does
}

func (m *machine) shadow(t *rapid.T) {
	m.engine.SetShadow(rapid.SampledFrom([]*policy.Policy{nil, nil, nil, m.closedP}).Draw(t, "shadow"))
	versions.MoveAll()
}

// key removes the key of all tokens, until some later ask.
func (m *machine) key(*rapid.T) {
	m.world.Keys.Remove(authztest.Issuer, authztest.KeyID)
	versions.MoveAll() // as key sets do
}

func (m *machine) hangUp(*rapid.T) {
	if len(m.open) > 0 {
		m.open[0].close()
		m.open = m.open[1:]
	}
}

// TestRequestsAreTheSameWhateverIsPassedOver, and in nothing else.
func TestRequestsAreTheSameWhateverIsPassedOver(t *testing.T) {
	g := onOneWorker(t)
	names := append(authz.PassedOver(), "accept", "cookie", "user-agent", "x-forwarded-for", "x-request-ids")
	token := g.world.Token()
	for _, name := range names {
		ask := func(value string) (again bool) {
			before := given()
			g.envoy.open(request("/protected", token, authz.Header{Name: name, Value: value}), "", "").close()
			return given() != before
		}
		ask("1")
		if !ask("1") {
			t.Errorf("%s: the same is asked about again", name)
		}
		if got, want := ask("2"), slices.Contains(authz.PassedOver(), name); got != want {
			t.Errorf("%s: with another value it is given again: %v", name, got)
		}
	}
}

// TestEitherClockEndsAnAnswer: one stops while the machine is suspended, the other may be set back.
func TestEitherClockEndsAnAnswer(t *testing.T) {
	g := onOneWorker(t)
	r := request("/protected", g.world.Token())
	for name, passed := range map[string]struct{ monotonic, wall time.Duration }{
		"the monotonic clock": {11 * time.Second, 0}, "the wall clock": {0, 11 * time.Second},
		"one, the other back": {11 * time.Second, -time.Hour},
	} {
		g.envoy.open(r, "", "").close()
		g.envoy.open(r, "", "").close()
		before := given()
		g.envoy.open(r, "", "").close()
		if given() == before {
			t.Fatal("it is not given again")
		}
		pass(passed.monotonic, passed.wall)
		before = given()
		g.envoy.open(r, "", "").close()
		if given() != before {
			t.Errorf("by %s it is over, and given again", name)
		}
		pass(0, passed.monotonic-passed.wall) // both have passed as much
	}
}

// TestAFloodOfRequestsTakesNoStreamsPlace: what a worker remembers is bounded, and what an open stream
// was let pass by stays.
func TestAFloodOfRequestsTakesNoStreamsPlace(t *testing.T) {
	g := onOneWorker(t)
	const streams = 20
	var open []stubStream
	for i := range streams {
		token := g.world.Token(func(c *token.Claims) { c.SessionID = fmt.Sprint("session-", i) })
		g.envoy.open(request("/api/first", token), "", "").close() // now it is remembered
		open = append(open, g.envoy.open(request("/api/first", token), "", ""))
	}
	token := g.world.Token(func(c *token.Claims) { c.SessionID = "of the flood" })
	long := strings.Repeat("x", 4000)
	for i := range 5 * filter.Entries {
		s := g.envoy.open(request(fmt.Sprint("/api/", i, "?", long), token), "", "")
		if !s.passed() {
			t.Fatalf("request %d is refused: %q", i, s.told())
		}
		s.close()
	}
	kept, workers := uint64(0), uint64(0)
	host{}.Given(func(_ int, now filter.Given) { kept, workers = kept+now.Bytes, workers+1 })
	if most := workers * 8 << 20; kept > most || kept < 4<<20 {
		t.Errorf("%d bytes are kept by %d workers", kept, workers)
	}
	// There is room for others afterwards.
	before := given()
	for range 2 {
		g.envoy.open(request("/protected", token), "", "").close()
	}
	if given() == before {
		t.Error("what comes after the flood is not remembered")
	}
	for i, s := range open {
		if !s.passed() {
			t.Fatalf("stream %d: %q", i, s.told())
		}
		s.respond()
		g.revs.revoke(revocation.KindSID, fmt.Sprint("session-", i))
		if !ended(s) {
			t.Fatalf("stream %d goes on", i)
		}
	}
	if n := authztest.Value(t, g.registry, "sallyport_gate_streams_ended_total", ""); n != streams {
		t.Errorf("%v streams are counted as ended, of %d", n, streams)
	}
	for _, s := range open {
		s.close()
	}
}

// TestARequestWhoseTokenIsRevokedMeanwhileIsRefused: before its stream is watched, so that nobody who
// looks for streams of that token then would find it.
func TestARequestWhoseTokenIsRevokedMeanwhileIsRefused(t *testing.T) {
	g := onOneWorker(t)
	again := request("/protected", g.world.Token(func(c *token.Claims) { c.SessionID = "session" }))
	g.envoy.open(again, "", "").close()
	meanwhile = func() {
		meanwhile = nil
		g.revs.revoke(revocation.KindSID, "session")
	}
	s := g.envoy.open(again, "", "")
	defer s.close()
	if meanwhile != nil {
		t.Fatal("nothing happened meanwhile")
	}
	if s.passed() {
		t.Error("it has passed")
	}
}

// TestNoRaceLetsARevokedTokenPassOrItsStreamsGoOn: workers that let requests pass by what they
// remember, while tokens are revoked. A request that begins after its token was revoked is refused,
// and a stream that has begun before is ended.
func TestNoRaceLetsARevokedTokenPassOrItsStreamsGoOn(t *testing.T) {
	const workers, tokens = 4, 300
	g := newTested(t)
	defer g.stop()
	var requests [tokens][]authz.Header
	var revoked [tokens]atomic.Bool
	for i := range requests {
		requests[i] = request("/protected", g.world.Token(func(c *token.Claims) {
			c.SessionID, c.ID = fmt.Sprint("session-", i), fmt.Sprint("token-", i)
		}))
	}
	before := given()
	var begun, over sync.WaitGroup
	for range workers {
		begun.Add(1)
		over.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var open []stubStream
			for round, left := 0, tokens; left > 0; round++ {
				left = 0
				for i := range requests {
					late := revoked[i].Load()
					s := g.envoy.open(requests[i], "", "")
					if late && s.passed() {
						t.Errorf("token %d has passed after it was revoked", i)
					}
					if s.passed() && len(open) < 20*tokens {
						s.respond()
						open = append(open, s)
					} else {
						s.close()
					}
					if !late {
						left++
					}
				}
				if round == 2 {
					begun.Done()
				}
			}
			for _, s := range open {
				if !ended(s) {
					t.Error("a stream goes on whose token is revoked")
					return
				}
				s.close()
			}
		})
	}
	begun.Wait()
	for i := range requests {
		g.revs.revoke(revocation.KindSID, fmt.Sprint("session-", i))
		revoked[i].Store(true)
	}
	over.Wait()
	if n := given() - before; n < workers*tokens {
		t.Errorf("only %d requests were given an answer of before", n)
	}
}
