package e2e_test

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

var (
	costRounds   = flag.Int("cost-rounds", 1, "rounds of TestWhatAGateInsideEnvoyCosts")
	costRequests = flag.Int("cost-requests", 2000, "requests in each")
)

// costing is one way to stand before an upstream, under load.
type costing struct {
	name      string
	stack     *meshtest.Stack
	processes []string // whose time is counted
	tokens    []string
	next      atomic.Uint64
	costs     []float64 // microseconds a request, a round
}

// TestWhatAGateInsideEnvoyCosts logs the processor time of a request through Envoy without a gate,
// with one beside it and with one inside, in rounds that take turns. It fails when a request does.
// For figures:
//
//	go test ./e2e -run TestWhatAGateInsideEnvoyCosts -v -cost-rounds 5 -cost-requests 50000
func TestWhatAGateInsideEnvoyCosts(t *testing.T) {
	module := meshtest.Module(t)
	without := rewritten(t, meshtest.Change{Old: `                      filter_name: sallyport
                  #`, New: `                      filter_name: sallyport
                    disabled: true
                  #`})
	all := []*costing{
		{name: "no gate", processes: []string{"envoy"}},
		{name: "a gate beside Envoy", processes: []string{"envoy", "gate-1"}},
		{name: "a gate inside Envoy", processes: []string{"envoy"}},
		{name: "the same, each token new", processes: []string{"envoy"}},
	}
	for i, c := range all[:3] {
		c.stack = meshtest.Start(t, meshtest.Options{Embedded: true, Mesh: func(o *mesh.Options) {
			o.Upstream = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "ok")
			})
			if i != 1 {
				o.Module = module
			}
			if i == 0 {
				without(o)
			}
		}})
		caller := newCaller(t, c.stack.Endpoints().Gateway)
		setup := hostile(t, c.stack, caller.login(t, user(t, c.stack, "alice")).Access)
		c.tokens = manyTokens(setup, 1000)
	}
	all[3].stack = all[2].stack
	setup := hostile(t, all[3].stack, newCaller(t, all[3].stack.Endpoints().Gateway).login(t,
		user(t, all[3].stack, "alice")).Access)
	for _, c := range all[:3] {
		c.load(t, 2000) // the caches
	}
	for range *costRounds {
		for _, c := range all {
			requests := *costRequests
			if c == all[3] { // each is signed here first
				requests = min(requests, 5000)
				c.tokens = manyTokens(setup, requests)
				c.next.Store(0)
			}
			before := c.used(t)
			c.load(t, requests)
			c.costs = append(c.costs, (c.used(t)-before)/float64(requests))
		}
	}
	for _, c := range all {
		slices.Sort(c.costs)
		t.Logf(
			"%-25s %6.1f us [%.1f..%.1f], over no gate %6.1f",
			c.name,
			median(c.costs),
			c.costs[0],
			c.costs[len(c.costs)-1],
			median(c.costs)-median(all[0].costs),
		)
	}
}

func median(sorted []float64) float64 { return sorted[len(sorted)/2] }

// manyTokens signs tokens that differ in their id.
func manyTokens(setup josetest.Setup, n int) []string {
	head, batch := setup.Key.Header("at+jwt").JSON(), time.Now().UnixNano()
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = setup.Key.Token(head,
			setup.Claims.With("jti", fmt.Sprintf(`"token-%d-%d"`, batch, i)).JSON())
	}
	return tokens
}

// load sends requests over sixteen connections, each with the next token.
func (c *costing) load(t *testing.T, requests int) {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	var left atomic.Int64
	left.Store(int64(requests))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				token := c.tokens[c.next.Add(1)%uint64(len(c.tokens))]
				r, err := http.NewRequest("GET", c.stack.Endpoints().Gateway+"/protected", nil)
				if err != nil {
					t.Error(err)
					return
				}
				bearer(token)(r)
				header("X-Auth-Subject", "mallory")(r)
				response, err := transport.RoundTrip(r)
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
					return
				}
				_, err = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				if err != nil || response.StatusCode != http.StatusOK {
					t.Errorf("%s: %d %v", c.name, response.StatusCode, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// used is the processor time of the processes so far, in microseconds.
func (c *costing) used(t *testing.T) (sum float64) {
	t.Helper()
	for _, name := range c.processes {
		threads := fmt.Sprintf("/proc/%d/task", c.stack.Child(name).PID())
		entries, err := os.ReadDir(threads)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			content, err := os.ReadFile(threads + "/" + e.Name() + "/schedstat")
			if err != nil {
				continue // the thread has ended
			}
			var nanoseconds float64
			if _, err := fmt.Sscan(strings.TrimSpace(string(content)), &nanoseconds); err != nil {
				t.Fatal(err)
			}
			sum += nanoseconds / 1e3
		}
	}
	return sum
}
