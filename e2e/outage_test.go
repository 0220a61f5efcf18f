package e2e_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

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

// watch asks every gate without a pause until it is told to stop, and notes what it was told and when.
type watch struct {
	stop chan struct{}
	wait sync.WaitGroup

	allowed, denied atomic.Int64
	lastAllowed     atomic.Int64 // nanoseconds since begun: when the newest request that was allowed had been sent
	begun           time.Time
}

func watching(t *testing.T, gates []authv3.AuthorizationClient, token string) *watch {
	w := &watch{stop: make(chan struct{}), begun: time.Now()}
	for _, gate := range gates {
		w.wait.Go(func() {
			for {
				select {
				case <-w.stop:
					return
				default:
				}
				sent := time.Since(w.begun)
				if check(t, gate, token) != http.StatusOK {
					w.denied.Add(1)
					continue
				}
				w.allowed.Add(1)
				for old := w.lastAllowed.Load(); old < int64(sent) && !w.lastAllowed.CompareAndSwap(old, int64(sent)); {
					old = w.lastAllowed.Load()
				}
			}
		})
	}
	return w
}

func (w *watch) end() {
	close(w.stop)
	w.wait.Wait()
}

// TestAShortOutageOfRedisDeniesNobody (L2): under load, and revocation works again afterwards.
func TestAShortOutageOfRedisDeniesNobody(t *testing.T) {
	s := outageStack(t)
	gates := dialGates(t, s)
	c := newCaller(t, s.Endpoints().Gateway)
	good, other := c.login(t, user(t, s, "alice")).Access, c.login(t, user(t, s, "bob")).Access

	load := watching(t, gates, good)
	outage(t, s, shortOutage)
	eventually(t, "a revocation after the outage to be stored", func() bool {
		return c.send(t, "POST", "/logout", nil, bearer(other)).status == 200
	})
	if took := untilRefusedEverywhere(t, gates, other, time.Now()); took > outageStaleness {
		t.Errorf("a logout after the outage was in force after %v (S1)", took)
	}
	load.end()
	if load.denied.Load() != 0 || load.allowed.Load() == 0 {
		t.Errorf("%d requests allowed and %d denied, expected 0 denied", load.allowed.Load(), load.denied.Load())
	}
	t.Logf("an outage of %v: %d requests allowed, %d denied", shortOutage, load.allowed.Load(), load.denied.Load())
}

// TestALongOutageOfRedisAllowsNothingStale (S2, S3, L1): nothing is allowed that was sent later than max_staleness and 100 ms
// after Redis stopped; who is known to be revoked stays so; and all is well afterwards without a restart.
func TestALongOutageOfRedisAllowsNothingStale(t *testing.T) {
	s := outageStack(t)
	gates := dialGates(t, s)
	c := newCaller(t, s.Endpoints().Gateway)
	good, ended := c.login(t, user(t, s, "alice")).Access, c.login(t, user(t, s, "bob")).Access
	if a := c.send(t, "POST", "/logout", nil, bearer(ended)); a.status != 200 {
		t.Fatalf("logout: %d %s", a.status, a.body)
	}
	untilRefusedEverywhere(t, gates, ended, time.Now())

	load := watching(t, gates, good)
	redis := s.Child("redis")
	if err := redis.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Since(load.begun)
	for i, gate := range gates {
		eventually(t, "a gate to stop allowing", func() bool { return check(t, gate, good) == http.StatusServiceUnavailable })
		if status := check(t, gate, ended); status != http.StatusUnauthorized {
			t.Errorf("gate %d answers %d for a token that it knows to be revoked (S3)", i+1, status)
		}
	}
	load.end()
	if late := time.Duration(load.lastAllowed.Load()) - stopped; late > outageStaleness+100*time.Millisecond {
		t.Errorf("a request sent %v after Redis stopped was allowed (S2)", late)
	} else {
		t.Logf("the last request that was allowed had been sent %v after Redis stopped; max_staleness %v", late, outageStaleness)
	}

	if err := redis.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for i, gate := range gates {
		eventually(t, "a gate to allow again", func() bool { return check(t, gate, good) == http.StatusOK })
		if status := check(t, gate, ended); status != http.StatusUnauthorized {
			t.Errorf("gate %d answers %d for a revoked token after the outage (S3)", i+1, status)
		}
	}
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
