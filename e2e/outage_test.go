package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// The times of these tests: an outage is short (L2) up to max_staleness - settle - 4 heartbeats.
const (
	outageStaleness = 6 * time.Second
	shortOutage     = outageStaleness - time.Second - 4*250*time.Millisecond
)

func outageStack(t *testing.T) *meshtest.Stack {
	return meshtest.Start(t, meshtest.Options{Gates: 2, Mesh: func(o *mesh.Options) {
		o.GateArgs = []string{fmt.Sprintf("--revocation-max-staleness=%v", outageStaleness)}
		o.IssuerArgs = o.GateArgs
	}})
}

// asker sends one request with a token, and returns the status and the gate's reason.
type asker func() (status int, reason string, err error)

// watch asks without a pause until it is told to stop, and notes what it was told and when.
type watch struct {
	stop  chan struct{}
	wait  sync.WaitGroup
	begun time.Time

	allowed, denied atomic.Int64
	// nanoseconds since begun: when the newest request that was allowed had been sent
	lastAllowed atomic.Int64
	// nanoseconds since begun; what is sent later and allowed is late; 0: there is no bound
	bound atomic.Int64
	late  atomic.Int64
	// by Envoy, which waits 250 ms for a gate: a machine with too much to do, or a gate that hangs
	unanswered atomic.Int64

	mu      sync.Mutex
	refused map[string]int // how often, by status and reason
}

func watching(t *testing.T, gates []authv3.AuthorizationClient, token string) *watch {
	return watchingBy(t, pastEnvoy(gates, token))
}

// pastEnvoy are askers of each gate itself.
func pastEnvoy(gates []authv3.AuthorizationClient, token string) (askers []asker) {
	for _, gate := range gates {
		askers = append(askers, func() (int, string, error) { return ask(gate, token) })
	}
	return askers
}

// throughEnvoy are n askers of the gateway.
func throughEnvoy(c *caller, token string, n int) (askers []asker) {
	for range n {
		askers = append(askers, func() (int, string, error) {
			a, err := c.try(http.MethodGet, "/protected", nil, bearer(token))
			return a.status, a.header.Get("X-Sallyport-Reason"), err
		})
	}
	return askers
}

func watchingBy(t *testing.T, askers []asker) *watch {
	w := &watch{stop: make(chan struct{}), begun: time.Now(), refused: map[string]int{}}
	for _, ask := range askers {
		w.wait.Go(func() {
			for {
				select {
				case <-w.stop:
					return
				default:
				}
				sent := time.Since(w.begun)
				status, reason, err := ask()
				if err != nil {
					t.Errorf("a request under load: %v", err)
				}
				w.note(sent, status, reason)
			}
		})
	}
	return w
}

func (w *watch) note(sent time.Duration, status int, reason string) {
	if reason == "no_gate" || reason == "gate_late" {
		w.unanswered.Add(1)
		return
	}
	if status != http.StatusOK {
		w.denied.Add(1)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.refused[fmt.Sprintf("%d %s", status, reason)]++
		return
	}
	w.allowed.Add(1)
	if bound := w.bound.Load(); bound > 0 && int64(sent) > bound {
		w.late.Add(1)
	}
	old := w.lastAllowed.Load()
	for old < int64(sent) && !w.lastAllowed.CompareAndSwap(old, int64(sent)) {
		old = w.lastAllowed.Load()
	}
}

// end ends the load. A gate that hung would leave many requests unanswered; who asks gates past
// Envoy gets an error then.
func (w *watch) end(t *testing.T) {
	t.Helper()
	close(w.stop)
	w.wait.Wait()
	if n := w.unanswered.Load(); n > (w.allowed.Load()+w.denied.Load())/20 {
		t.Errorf("too many requests without an answer: %v", w)
	}
}

func (w *watch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%d requests allowed, %d of them too late, %d unanswered, refused: %v",
		w.allowed.Load(), w.late.Load(), w.unanswered.Load(), w.refused)
}

// only wants no refusal but the named one, and at least least of it.
func (w *watch) only(t *testing.T, what, refusal string, least int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for got, n := range w.refused {
		if got != refusal {
			t.Errorf("%s: refused %d times with %q, expected nothing but %q", what, n, got, refusal)
		}
	}
	if n := w.refused[refusal]; n < least {
		t.Errorf("%s: refused %d times with %q, expected at least %d", what, n, refusal, least)
	}
}

// TestAShortOutageOfRedisDeniesNobody (L2): under load, through Envoy and past it: no refusal at
// all, a revoked token stays so, and revocation works again afterwards.
func TestAShortOutageOfRedisDeniesNobody(t *testing.T) {
	s := outageStack(t)
	gates := dialGates(t, s)
	c := newCaller(t, s.Endpoints().Gateway)
	good, other, ended := c.login(t, user(t, s, "alice")).Access, c.login(t,
		user(t, s, "bob")).Access, c.login(
		t,
		user(t, s, "bob"),
	).Access
	if a := c.send(t, "POST", "/logout?wait=5s", nil, bearer(ended)); a.status != 200 {
		t.Fatalf("logout: %d %s", a.status, a.body)
	}

	load := watchingBy(t, append(pastEnvoy(gates, good), throughEnvoy(c, good, 4)...))
	revoked := watchingBy(t, append(pastEnvoy(gates, ended), throughEnvoy(c, ended, 1)...))
	outage(t, s, shortOutage)
	eventually.True(t, "a revocation after the outage to be stored", func() bool {
		return c.send(t, "POST", "/logout", nil, bearer(other)).status == 200
	})
	if took := untilRefusedEverywhere(t, gates, other, time.Now()); took > outageStaleness {
		t.Errorf("a logout after the outage was in force after %v (S1)", took)
	}
	load.end(t)
	revoked.end(t)
	if load.denied.Load() != 0 || load.allowed.Load() < 100 {
		t.Errorf("a good token: %v; expected no refusal and a load", load)
	}
	if revoked.allowed.Load() != 0 {
		t.Errorf("a revoked token: %v (S3)", revoked)
	}
	revoked.only(t, "a revoked token", "401 revoked", 100)
	t.Logf("an outage of %v: a good token: %v; a revoked one: %v", shortOutage, load, revoked)
}

// TestALongOutageOfRedisAllowsNothingStale (S2, S3, L1), under load, through Envoy and past it:
// nothing is allowed that was sent later than max_staleness and 100 ms after Redis stopped, for as
// long as it stays away; the answer is 503 and says why; who is known to be revoked stays so, then
// and while Redis comes back; and all is well afterwards without a restart.
func TestALongOutageOfRedisAllowsNothingStale(t *testing.T) {
	s := outageStack(t)
	gates := dialGates(t, s)
	c := newCaller(t, s.Endpoints().Gateway)
	good, ended := c.login(t, user(t, s, "alice")).Access, c.login(t, user(t, s, "bob")).Access
	if a := c.send(t, "POST", "/logout?wait=5s", nil, bearer(ended)); a.status != 200 {
		t.Fatalf("logout: %d %s", a.status, a.body)
	}
	processes := pids(s)

	load := watchingBy(t, append(pastEnvoy(gates, good), throughEnvoy(c, good, 4)...))
	revoked := watchingBy(t, append(pastEnvoy(gates, ended), throughEnvoy(c, ended, 1)...))
	redis := s.Child("redis")
	if err := redis.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Since(load.begun)
	load.bound.Store(int64(stopped + outageStaleness + 100*time.Millisecond))
	<-time.After(2 * outageStaleness) // the fault itself: as long again as a gate may go on
	load.end(t)
	last := time.Duration(load.lastAllowed.Load()) - stopped
	if late := load.late.Load(); late > 0 || last > outageStaleness+100*time.Millisecond {
		t.Errorf(
			"%d requests were allowed too late, the last one sent %v after Redis stopped (S2)",
			late, last)
	}
	if load.allowed.Load() < 100 {
		t.Errorf("a good token: %v; expected a load before max_staleness", load)
	}
	load.only(t, "a good token", "503 stale", 100)
	t.Logf(
		"Redis away for %v, max_staleness %v: a good token: %v, the last allowed request sent after %v",
		2*outageStaleness, outageStaleness, load, last)

	if err := redis.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, gate := range gates {
		eventually.True(t, "a gate to allow again",
			func() bool { return check(t, gate, good) == http.StatusOK })
	}
	c.get(t, "/protected", bearer(good)).reached(t)
	revoked.end(t)
	if revoked.allowed.Load() != 0 {
		t.Errorf("a revoked token: %v (S3)", revoked)
	}
	revoked.only(t, "a revoked token, during the outage and after", "401 revoked", 100)
	t.Logf("a revoked token, until all was well again: %v", revoked)
	if now := pids(s); !maps.Equal(processes, now) {
		t.Errorf("processes %v became %v: expected recovery without a restart", processes, now)
	}
}

// pids are the process ids of all children.
func pids(s *meshtest.Stack) map[string]int {
	found := map[string]int{}
	for _, child := range s.Children() {
		found[child.Name()] = child.PID()
	}
	return found
}

// outage stops Redis for a time. The time is the fault itself, no synchronisation.
func outage(t *testing.T, s *meshtest.Stack, length time.Duration) {
	t.Helper()
	redis := s.Child("redis")
	if err := redis.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(length)
	if err := redis.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}
