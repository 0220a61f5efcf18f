package credential

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestALoginCostsOneHashOrNone(t *testing.T) {
	for name, c := range map[string]struct {
		user, password string
		want           string
		hashes         int
	}{
		"right":                   {"alice", "wonderland", "ok", 1},
		"wrong":                   {"alice", "wrong", "invalid", 1},
		"unknown":                 {"nobody", "wrong", "invalid", 1},
		"disabled, right":         {"dora", "explorer", "invalid", 1},
		"disabled, wrong":         {"dora", "wrong", "invalid", 1},
		"no password":             {"alice", "", "invalid", 1},
		"no name":                 {"", "wrong", "invalid", 1},
		"a name that cannot be":   {"al ice", "wrong", "invalid", 1},
		"a name that is too long": {strings.Repeat("a", 5000), "wrong", "invalid", 1},
		"too long":                {"alice", strings.Repeat("a", 1025), "too long", 0},
		"unknown, too long":       {"nobody", strings.Repeat("a", 1025), "too long", 0},
		"longest":                 {"alice", strings.Repeat("a", 1024), "invalid", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s, n, _ := newFake(t, Limits{}, Hashing{})
			if got := try(s, c.user, c.password, "192.0.2.1"); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			hashes, work := n.take()
			if hashes != c.hashes || c.hashes == 1 && work[0] != fakeWork {
				t.Errorf("%d hashes %v, want %d", hashes, work, c.hashes)
			}
			if got := int(testutil.ToFloat64(s.metrics.hashes)); got != c.hashes {
				t.Errorf("%d hashes counted", got)
			}
			if got := counted(s, strings.ReplaceAll(c.want, " ", "_")); got != 1 {
				t.Errorf("outcome %s counted %d times", c.want, got)
			}
		})
	}
}

func TestAThrottledLoginCostsNoHashWhetherTheNameIsKnownOrNot(t *testing.T) {
	s, n, _ := newFake(t, Limits{}, Hashing{})
	for _, name := range []string{"alice", "nobody", "dora"} {
		for range DefaultLimits().PairFailures.Burst {
			if got := try(s, name, "wrong", "192.0.2.1"); got != "invalid" {
				t.Fatalf("%s: %s", name, got)
			}
		}
		n.take()
		for _, password := range []string{"wrong", "wonderland", "explorer"} {
			if got := try(s, name, password, "192.0.2.1"); got != "throttled by pair" {
				t.Errorf("%s: %s", name, got)
			}
		}
		if hashes, _ := n.take(); hashes != 0 {
			t.Errorf("%s: %d hashes while throttled", name, hashes)
		}
	}
}

func TestVerifyAnswersInTheUsersOneName(t *testing.T) {
	s, _, _ := newFake(t, Limits{}, Hashing{})
	for _, spelled := range []string{"alice", "Alice", " ALICE\n", "ａｌｉｃｅ"} {
		u, err := s.Verify(context.Background(), spelled, "wonderland", ip("::1"))
		if err != nil || u.Name != "alice" || !reflect.DeepEqual(u.Roles, []string{"admin"}) {
			t.Errorf("%q: %+v, %v", spelled, u, err)
		}
	}
}

func TestUsersThatCannotBeReadRefuseEveryone(t *testing.T) {
	s, n, _ := newFake(t, Limits{}, Hashing{})
	read := s.users.current.Swap(nil)
	if got := try(s, "alice", "wonderland", "192.0.2.1"); got != "unavailable" {
		t.Errorf("got %s", got)
	}
	if _, err := s.Lookup(context.Background(), "alice"); !errors.Is(err, ErrUnavailable) ||
		errors.Is(err, ErrNoUser) {
		t.Errorf("got %v", err)
	}
	if hashes, _ := n.take(); hashes != 0 {
		t.Errorf("%d hashes", hashes)
	}
	s.users.current.Store(read)
	for range 2 * DefaultLimits().PairFailures.Burst { // nothing was counted against anyone
		if got := try(s, "alice", "wonderland", "192.0.2.1"); got != "ok" {
			t.Fatalf("got %s", got)
		}
	}
}

func TestLookupFindsWhoMayGoOn(t *testing.T) {
	s, n, _ := newFake(t, Limits{}, Hashing{})
	if u, err := s.Lookup(context.Background(), "Alice"); err != nil || u.Name != "alice" {
		t.Errorf("%+v, %v", u, err)
	}
	for _, name := range []string{"nobody", "dora", "", "al ice", strings.Repeat("a", 300)} {
		if u, err := s.Lookup(context.Background(), name); !errors.Is(err, ErrNoUser) ||
			!reflect.DeepEqual(u, User{}) {
			t.Errorf("%q: %+v, %v", name, u, err)
		}
	}
	if hashes, _ := n.take(); hashes != 0 {
		t.Errorf("%d hashes", hashes)
	}
}

func TestACallerWhoHasGoneCostsNoHash(t *testing.T) {
	s, n, _ := newFake(t, Limits{}, Hashing{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Verify(ctx, "alice", "wonderland", ip("192.0.2.1"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if hashes, _ := n.take(); hashes != 0 {
		t.Errorf("%d hashes", hashes)
	}
}

// TestAFloodOfLoginsStaysWithinItsProcessorsAndItsMemory sends many at once: some are checked, the
// others are told that it is busy, and never more run at once than may.
func TestAFloodOfLoginsStaysWithinItsProcessorsAndItsMemory(t *testing.T) {
	many := Rate{Burst: 1_000_000, Every: time.Millisecond}
	for name, h := range map[string]Hashing{
		"processors": {Concurrency: 3, MemoryMiB: 64, Queue: 5, Wait: time.Minute},
		// a fake hash takes 1 MiB
		"memory": {Concurrency: 64, MemoryMiB: 3, Queue: 5, Wait: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s, n, _ := newFake(t, Limits{many, many, many, many, many, many}, h)
			n.hold = make(chan struct{})
			results := make(chan string, 100)
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() { results <- try(s, fmt.Sprint("user", i), "wrong", "192.0.2.1") })
			}
			for range 92 { // all but those that run and those that wait
				if got := <-results; got != "busy" {
					t.Fatalf("got %s", got)
				}
			}
			close(n.hold)
			wg.Wait()
			for range 8 {
				if got := <-results; got != "invalid" {
					t.Errorf("got %s", got)
				}
			}
			if n.most != 3 {
				t.Errorf("%d hashes at once, want 3", n.most)
			}
			if running, waiting := s.pool.load(); running != 0 || waiting != 0 || s.pool.used != 0 {
				t.Errorf("%d running, %d waiting, %d bytes are left", running, waiting, s.pool.used)
			}
		})
	}
}

func TestNoErrorNamesThePassword(t *testing.T) {
	s, _, _ := newFake(t, Limits{}, Hashing{})
	const canary = "canary-password"
	for _, password := range []string{canary, strings.Repeat(canary, 100)} {
		for range 10 {
			_, err := s.Verify(t.Context(), "alice", password, ip("192.0.2.1"))
			if err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, err), canary) {
				t.Errorf("got %v", err)
			}
		}
	}
}
