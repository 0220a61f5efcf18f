package credential

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeHash matches one password, at once, and counts.
type fakeHash struct {
	right string
	work  cost
	count *counts
}

// counts sees every hash that is computed.
type counts struct {
	mu      sync.Mutex
	hashes  int
	tried   []string // the passwords, in the order of their turns
	work    []cost
	running int
	most    int
	hold    chan struct{} // if not nil, a hash takes until it can receive
}

func (c *counts) take() (int, []cost) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, w := c.hashes, c.work
	c.hashes, c.work = 0, nil
	return n, w
}

func (f fakeHash) cost() cost { return f.work }

func (f fakeHash) matches(password []byte) bool {
	c := f.count
	c.mu.Lock()
	c.hashes++
	c.tried = append(c.tried, string(password))
	c.work = append(c.work, f.work)
	c.running++
	c.most = max(c.most, c.running)
	c.mu.Unlock()
	if c.hold != nil {
		<-c.hold
	}
	c.mu.Lock()
	c.running--
	c.mu.Unlock()
	return f.right != "" && string(password) == f.right
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

var fakeWork = cost{algorithm: "fake", settings: "1", memory: 1 << 20}

// newFake returns a store whose hashes cost nothing. It has alice, bob and dora, who is disabled.
func newFake(t *testing.T, l Limits, h Hashing) (*Store, *counts, *clock) {
	t.Helper()
	n := &counts{}
	one := func(right string) hash { return fakeHash{right: right, work: fakeWork, count: n} }
	f := &file{metrics: newMetrics()}
	f.lookedAt.Store(&version{}) // there is no file to look at
	f.current.Store(&users{
		accounts: map[string]account{
			"alice": {User: User{Name: "alice", Roles: []string{"admin"}}, hash: one("wonderland")},
			"bob":   {User: User{Name: "bob"}, hash: one("builder-bob")},
			"dora":  {User: User{Name: "dora", Disabled: true}, hash: one("explorer")},
		},
		costs: newCosts([]string{"a"}, []hash{one("")}, DefaultParams()),
	})
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	h = cmp.Or(h, Hashing{Concurrency: 4, MemoryMiB: 64, Queue: 64, Wait: time.Second})
	s := &Store{
		users:    f,
		pool:     newPool(h),
		throttle: newThrottle(cmp.Or(l, DefaultLimits()), c.Now),
		metrics:  f.metrics,
		max:      1024,
	}
	return s, n, c
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// try logs in and returns how that ended.
func try(s *Store, name, password, from string) string {
	_, err := s.Verify(context.Background(), name, password, ip(from))
	var throttled *ThrottledError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &throttled):
		return "throttled by " + throttled.By
	case errors.Is(err, ErrTooLong):
		return "too long"
	case errors.Is(err, ErrInvalid):
		return "invalid"
	case errors.Is(err, ErrBusy):
		return "busy"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	}
	return err.Error()
}

func counted(s *Store, outcome string) int {
	return int(testutil.ToFloat64(s.metrics.logins.WithLabelValues(outcome)))
}
