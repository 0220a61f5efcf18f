package credential

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
)

// TestFiftyWrongGuessesLockNobodyOutWhoHasLoggedInFromThere: everybody is behind one address, as
// behind a company's NAT or where Kubernetes hides clients' addresses, and a stranger there uses
// up all that an address may try and fail.
func TestFiftyWrongGuessesLockNobodyOutWhoHasLoggedInFromThere(t *testing.T) {
	s, _, _ := newFake(t, DefaultLimits(), Hashing{})
	expect(t, s, "alice", "wonderland", "192.0.2.1", "ok")
	for i := range 300 {
		try(s, fmt.Sprint("user", i), "wrong", "192.0.2.1")
	}
	expect(t, s, "zed", "wrong", "192.0.2.1", "throttled by address")
	for range 3 {
		expect(t, s, "alice", "wonderland", "192.0.2.1", "ok")
	}
	expect(t, s, "bob", "builder-bob", "192.0.2.1", "throttled by address") // he has never been here
	expect(t, s, "bob", "builder-bob", "192.0.2.2", "ok")
}

// TestAttemptsOfOthersAtAnAddressKeepNoRegularOut is the same with attempts instead of failures.
func TestAttemptsOfOthersAtAnAddressKeepNoRegularOut(t *testing.T) {
	l := wide()
	l.AddressAttempts = Rate{Burst: 5, Every: time.Minute}
	s, _, _ := newFake(t, l, Hashing{})
	expect(t, s, "alice", "wonderland", "192.0.2.1", "ok")
	for range 4 {
		expect(t, s, "bob", "wrong", "192.0.2.1", "invalid")
	}
	expect(t, s, "bob", "builder-bob", "192.0.2.1", "throttled by address_attempts")
	for range 4 { // what she has used of her own
		expect(t, s, "alice", "wonderland", "192.0.2.1", "ok")
	}
	expect(t, s, "alice", "wonderland", "192.0.2.1", "throttled by address_attempts")
}

// TestNoAnswerTellsWhoHasLoggedInFromAnAddress: with the limits used up, a wrong password of a
// regular is answered as one of anybody else, whether he exists or not.
func TestNoAnswerTellsWhoHasLoggedInFromAnAddress(t *testing.T) {
	for name, prepare := range map[string]func(s *Store){
		"the address's": func(s *Store) {
			for i := range 100 {
				try(s, fmt.Sprint("user", i), "wrong", "192.0.2.1")
			}
		},
		"the name's": func(s *Store) {
			for _, victim := range []string{"alice", "nobody", "bob"} {
				for i := range 60 {
					for range 5 {
						try(s, victim, "wrong", fmt.Sprintf("100.%d.1.2", 64+i))
					}
				}
			}
			for _, victim := range []string{"nobody", "bob", "alice"} { // and from her own network's group
				for i := range 255 {
					try(s, victim, "wrong", fmt.Sprintf("192.0.3.%d", i))
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, c := newFake(t, DefaultLimits(), Hashing{})
			expect(t, s, "alice", "wonderland", "192.0.2.1", "ok")
			prepare(s)
			c.pass(time.Millisecond)
			var first *ThrottledError
			for i, name := range []string{"nobody", "bob", "alice"} {
				_, err := s.Verify(context.Background(), name, "wrong", ip("192.0.2.1"))
				var got *ThrottledError
				if !errors.As(err, &got) || errors.Is(err, ErrInvalid) {
					t.Fatalf("%s: %v", name, err)
				}
				if i == 0 {
					first = got
				}
				// A name's own count is its own; an address's is one for all.
				if got.By != first.By || got.By == "address" && got.RetryAfter != first.RetryAfter {
					t.Errorf("%s: %v by %s, a stranger's %v by %s", name, got, got.By, first, first.By)
				}
			}
			expect(t, s, "alice", "wonderland", "192.0.2.1", "ok")
		})
	}
}

// TestARegularsGuessesCountLikeAnyones: a stranger behind the regular's address has five guesses,
// and then one a minute.
func TestARegularsGuessesCountLikeAnyones(t *testing.T) {
	s, n, _ := newFake(t, DefaultLimits(), Hashing{})
	expect(t, s, "alice", "wonderland", "192.0.2.1", "ok")
	for i := range 100 {
		try(s, fmt.Sprint("user", i), "wrong", "192.0.2.1")
	}
	n.take()
	for range 50 {
		try(s, "alice", "wrong", "192.0.2.1")
	}
	if hashes, _ := n.take(); hashes != DefaultLimits().PairFailures.Burst {
		t.Errorf("%d guesses were looked at", hashes)
	}
}

// TestANameLogsInNoOftenerThanItsRate: each session is stored, and a right password must not fill
// Redis. Only who knows it learns of it, and failures have no part in it.
func TestANameLogsInNoOftenerThanItsRate(t *testing.T) {
	l := wide()
	l.NameLogins = Rate{Burst: 3, Every: time.Minute}
	s, n, c := newFake(t, l, Hashing{})
	for i := range 3 {
		expect(t, s, "alice", "wonderland", fmt.Sprintf("192.0.2.%d", i), "ok")
	}
	n.take()
	_, err := s.Verify(context.Background(), "ALICE", "wonderland", ip("192.0.2.9"))
	var throttled *ThrottledError
	if !errors.As(err, &throttled) || throttled.By != ByNameLogins ||
		throttled.RetryAfter != time.Minute {
		t.Errorf("got %v", err)
	}
	expect(t, s, "alice", "wrong", "192.0.2.9", "invalid")
	expect(t, s, "nobody", "wonderland", "192.0.2.9", "invalid")
	if hashes, _ := n.take(); hashes != 3 {
		t.Errorf("%d hashes: a name's use shows in the time", hashes)
	}
	expect(t, s, "bob", "builder-bob", "192.0.2.9", "ok")
	c.pass(time.Minute)
	expect(t, s, "alice", "wonderland", "192.0.2.9", "ok")
	expect(t, s, "alice", "wonderland", "192.0.2.9", "throttled by name_logins")
	if got := counted(s, "throttled_name_logins"); got != 2 {
		t.Errorf("%d counted", got)
	}
}

// TestARegularFindsAPlaceWhereStrangersHaveTakenAll has strangers of every network fill the queue.
func TestARegularFindsAPlaceWhereStrangersHaveTakenAll(t *testing.T) {
	s, n, _ := newFake(t, wide(),
		Hashing{Concurrency: 1, MemoryMiB: 64, Queue: 20, Wait: time.Minute})
	expect(t, s, "alice", "wonderland", "198.51.100.7", "ok")
	n.tried, n.hold = nil, make(chan struct{})
	results := make(chan string, 100)
	for i := range 21 {
		go func() {
			results <- try(s, fmt.Sprint("user", i), "wrong", fmt.Sprintf("100.%d.1.2", 64+i))
		}()
	}
	waits := func(want int) {
		eventually.True(t, fmt.Sprint(want, " to wait"), func() bool {
			_, waiting := s.pool.load()
			return waiting == want
		})
	}
	waits(20)
	expect(t, s, "bob", "builder-bob", "203.0.113.1", "busy")
	done := make(chan string, 1)
	go func() { done <- try(s, "alice", "wonderland", "198.51.100.7") }()
	waits(21)
	for got := ""; got == ""; {
		select {
		case n.hold <- struct{}{}:
		case got = <-done:
			if got != "ok" {
				t.Errorf("got %s", got)
			}
		}
	}
	close(n.hold)
	for range 21 {
		if got := <-results; got != "invalid" {
			t.Error(got)
		}
	}
	// The one whose turn it was, and perhaps one whose turn had come meanwhile.
	if before := slices.Index(n.tried, "wonderland"); before < 1 || before > 3 {
		t.Errorf("%d strangers had their turn before", before)
	}
}
