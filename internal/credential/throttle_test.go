package credential

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"
)

// wide are limits that do nothing; tests narrow one of them.
func wide() Limits {
	r := Rate{Burst: 1_000_000, Every: time.Millisecond}
	return Limits{
		AddressAttempts: r, AddressFailures: r, PairFailures: r, NameFailures: r,
		NetworkFailures: r, NameLogins: r,
	}
}

func expect(t *testing.T, s *Store, name, password, from, want string) {
	t.Helper()
	if got := try(s, name, password, from); got != want {
		t.Errorf("%s from %s: %s, want %s", name, from, got, want)
	}
}

func isThrottled(err error) bool {
	var throttled *ThrottledError
	return errors.As(err, &throttled)
}

func TestAnAddressThatGuessesANameIsThrottledAndForgivenInTime(t *testing.T) {
	l := wide()
	l.PairFailures = Rate{Burst: 3, Every: time.Minute}
	s, _, c := newFake(t, l, Hashing{})
	for range 3 {
		expect(t, s, "alice", "wrong", "192.0.2.1", "invalid")
	}
	_, err := s.Verify(context.Background(), "alice", "wonderland", ip("192.0.2.1"))
	var throttled *ThrottledError
	if !errors.As(err, &throttled) || throttled.RetryAfter != time.Minute || throttled.By != "pair" {
		t.Errorf("got %#v", err)
	}
	if err.Error() != "credential: too many attempts: expected the next one in 1m1s" {
		t.Errorf("got %v", err)
	}
	expect(t, s, "bob", "builder-bob", "192.0.2.1", "ok")
	expect(t, s, "alice", "wonderland", "192.0.2.2", "ok")
	c.pass(time.Minute - time.Nanosecond)
	expect(t, s, "alice", "wonderland", "192.0.2.1", "throttled by pair")
	c.pass(time.Nanosecond)
	expect(t, s, "alice", "wonderland", "192.0.2.1", "ok")
}

func TestAttemptsRefusedUnseenCountForNothing(t *testing.T) {
	l := wide()
	l.PairFailures = Rate{Burst: 1, Every: time.Minute}
	s, _, c := newFake(t, l, Hashing{})
	expect(t, s, "alice", "wrong", "192.0.2.1", "invalid")
	for range 1000 {
		expect(t, s, "alice", "wrong", "192.0.2.1", "throttled by pair")
	}
	c.pass(time.Minute)
	expect(t, s, "alice", "wonderland", "192.0.2.1", "ok")
}

func TestASuccessForgivesNoFailure(t *testing.T) {
	l := wide()
	l.AddressFailures = Rate{Burst: 4, Every: time.Hour}
	s, _, _ := newFake(t, l, Hashing{})
	for range 4 { // bob guesses at alice, and logs in as himself in between
		expect(t, s, "alice", "wrong", "192.0.2.1", "invalid")
		expect(t, s, "bob", "builder-bob", "192.0.2.1", "ok")
	}
	expect(t, s, "alice", "wrong", "192.0.2.1", "throttled by address")
}

func TestAnAddressThatSpraysOverNamesIsThrottled(t *testing.T) {
	l := wide()
	l.AddressFailures = Rate{Burst: 10, Every: time.Minute}
	s, _, _ := newFake(t, l, Hashing{})
	for i := range 10 {
		expect(t, s, fmt.Sprint("user", i), "Winter2026!", "192.0.2.1", "invalid")
	}
	expect(t, s, "alice", "wonderland", "192.0.2.1", "throttled by address")
	expect(t, s, "alice", "wonderland", "192.0.2.2", "ok") // the victims are not locked out
	expect(t, s, "user3", "wrong", "192.0.2.2", "invalid")
}

func TestAttemptsOfAnAddressAreLimitedEvenWhenTheyAreRight(t *testing.T) {
	l := wide()
	l.AddressAttempts = Rate{Burst: 5, Every: 100 * time.Millisecond}
	s, _, c := newFake(t, l, Hashing{})
	for range 5 {
		expect(t, s, "alice", "wonderland", "192.0.2.1", "ok")
	}
	expect(t, s, "alice", "wonderland", "192.0.2.1", "throttled by address_attempts")
	c.pass(100 * time.Millisecond)
	expect(t, s, "alice", "wonderland", "192.0.2.1", "ok")
	expect(t, s, "alice", "wonderland", "192.0.2.1", "throttled by address_attempts")
}

func TestAnAddressIsWhatOneSubscriberHas(t *testing.T) {
	for name, c := range map[string]struct {
		first, second string
		same          bool
	}{
		"IPv4":                 {"192.0.2.1", "192.0.2.1", true},
		"another IPv4":         {"192.0.2.1", "192.0.2.2", false},
		"IPv4 in IPv6":         {"192.0.2.1", "::ffff:192.0.2.1", true},
		"another IPv4 in IPv6": {"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		"one /64":              {"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
		"another /64":          {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		"a zone":               {"fe80::1%eth0", "fe80::1%eth1", true},
	} {
		t.Run(name, func(t *testing.T) {
			l := wide()
			l.AddressFailures = Rate{Burst: 1, Every: time.Minute}
			s, _, _ := newFake(t, l, Hashing{})
			expect(t, s, "alice", "wrong", c.first, "invalid")
			expect(t, s, "bob", "wrong", c.second,
				map[bool]string{true: "throttled by address", false: "invalid"}[c.same])
		})
	}
	l := wide()
	l.AddressFailures = Rate{Burst: 1, Every: time.Minute}
	s, _, _ := newFake(t, l, Hashing{})
	for _, throttled := range []bool{false, true} { // all that are not known are one
		_, err := s.Verify(t.Context(), "alice", "wrong", netip.Addr{})
		if isThrottled(err) != throttled || errors.Is(err, ErrInvalid) == throttled {
			t.Errorf("got %v, throttled: expected %v", err, throttled)
		}
	}
}

// TestManyAtOnceAreNoMoreThanManyInARow sends more guesses at the same moment than may be made.
func TestManyAtOnceAreNoMoreThanManyInARow(t *testing.T) {
	l := wide()
	l.PairFailures = Rate{Burst: 5, Every: time.Hour}
	s, n, _ := newFake(t, l,
		Hashing{Concurrency: 100, MemoryMiB: 1024, Queue: 100, Wait: time.Minute})
	n.hold = make(chan struct{})
	results := make(chan string, 100)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { results <- try(s, "alice", "wrong", "192.0.2.1") })
	}
	for range 95 {
		if got := <-results; got != "throttled by pair" {
			t.Fatalf("got %s", got)
		}
	}
	close(n.hold)
	wg.Wait()
	if hashes, _ := n.take(); hashes != 5 {
		t.Errorf("%d hashes", hashes)
	}
	expect(t, s, "alice", "wonderland", "192.0.2.1", "throttled by pair")
}

func TestAttemptsThatWereNotCheckedDoNotCountAsFailures(t *testing.T) {
	l := wide()
	l.PairFailures = Rate{Burst: 2, Every: time.Hour}
	s, _, _ := newFake(t, l, Hashing{Concurrency: 1, MemoryMiB: 1, Queue: 0, Wait: time.Second})
	if err := s.pool.acquire(context.Background(), 1<<20, place{}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		expect(t, s, "alice", "wonderland", "192.0.2.1", "busy")
	}
	s.pool.release(1 << 20)
	expect(t, s, "alice", "wonderland", "192.0.2.1", "ok")
	th := s.throttle
	for name, l := range map[string]*limit{
		"pair": th.pair, "name": th.name, "address": th.address, "network": th.network,
	} {
		if len(l.under) != 0 {
			t.Errorf("%s: %d under way for ever", name, len(l.under))
		}
	}
}

// attack fails on a name from n addresses of as many networks.
func attack(t *testing.T, s *Store, name string, n int) (looked int) {
	t.Helper()
	for i := range n {
		switch from := fmt.Sprintf("%d.%d.3.4", 11+i/200, i%200); try(s, name, "wrong", from) {
		case "invalid":
			looked++
		case "throttled by name":
		default:
			t.Fatalf("from %s: something else", from)
		}
	}
	return looked
}

func TestManyAddressesTogetherGuessANameNoOftenerThanItsLimit(t *testing.T) {
	l := wide()
	l.NameFailures = Rate{Burst: 20, Every: time.Minute}
	l.NetworkFailures = Rate{Burst: 2, Every: time.Hour}
	s, _, c := newFake(t, l, Hashing{})
	first := attack(t, s, "alice", 10_000)
	if most := 20 + 2*networkGroups; first > most || first < 20 {
		t.Errorf("%d guesses were looked at, at most %d may", first, most)
	}
	c.pass(time.Hour)
	if again := attack(t, s, "alice", 10_000); again > 60+networkGroups {
		t.Errorf("%d guesses in an hour", again)
	}
}

func TestFailuresFromElsewhereDoNotLockTheOwnerOut(t *testing.T) {
	l := DefaultLimits()
	s, _, _ := newFake(t, l, Hashing{})
	expect(t, s, "alice", "wonderland", "198.51.100.7", "ok") // her usual address
	for i := range 40 {                                       // a botnet in 40 networks
		for range 8 {
			try(s, "alice", "wrong", fmt.Sprintf("100.%d.1.2", 64+i))
		}
	}
	if refused := s.throttle.name.refuse(s.throttle.clock(),
		s.throttle.identify("alice", ip("198.51.100.7")).name); refused == nil {
		t.Fatal("the attack has not used up what a name has")
	}
	for range 3 {
		expect(t, s, "alice", "wonderland", "198.51.100.7", "ok")
	}
	// From where she has never been, she gets in unless someone has been guessing from the same
	// group of networks.
	in := 0
	for i := range 100 {
		if try(s, "alice", "wonderland", fmt.Sprintf("203.%d.1.2", i)) == "ok" {
			in++
		}
	}
	if in < 20 {
		t.Errorf("she got in from %d of 100 new networks", in)
	}
	expect(t, s, "bob", "builder-bob", "100.64.1.3", "ok") // others are not concerned
}

func TestAFamiliarAddressIsStillThrottledByItsOwnFailures(t *testing.T) {
	s, _, _ := newFake(t, DefaultLimits(), Hashing{})
	expect(t, s, "alice", "wonderland", "198.51.100.7", "ok")
	for range DefaultLimits().PairFailures.Burst {
		expect(t, s, "alice", "wrong", "198.51.100.7", "invalid")
	}
	expect(t, s, "alice", "wrong", "198.51.100.7", "throttled by pair")
}

func TestAnAddressIsFamiliarForItsOwnNameOnly(t *testing.T) {
	l := wide()
	l.NameFailures = Rate{Burst: 3, Every: time.Hour}
	l.NetworkFailures = Rate{Burst: 1, Every: 24 * time.Hour}
	s, _, _ := newFake(t, l, Hashing{})
	expect(t, s, "bob", "builder-bob", "192.0.2.1", "ok")
	for range 3 {
		expect(t, s, "alice", "wrong", "192.0.2.1", "invalid")
	}
	expect(t, s, "alice", "wonderland", "192.0.2.1", "throttled by name")
	expect(t, s, "bob", "builder-bob", "192.0.2.1", "ok")
}

// TestEachNamesFamiliarAddressesAreTheLatest holds the table's order, and that one name does not
// push another's out.
func TestEachNamesFamiliarAddressesAreTheLatest(t *testing.T) {
	s, _, _ := newFake(t, Limits{}, Hashing{})
	f, th := newFamiliar(), s.throttle
	at := func(name string, i int) *attempt {
		return th.identify(name, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	for i := range 20 {
		f.add(at("alice", i).name, at("alice", i).pair)
		f.add(at("alice", 0).name, at("alice", 0).pair) // the one she keeps using
	}
	for i := range 20 {
		want := i == 0 || i > 20-familiarWays
		if got := f.has(at("alice", i).name, at("alice", i).pair); got != want {
			t.Errorf("address %d: %v", i, got)
		}
	}
	sets := map[*[familiarWays]uint64]bool{}
	for i := range 1000 {
		sets[f.set(at(fmt.Sprint(i), 0).name)] = true
	}
	if len(sets) < 900 {
		t.Errorf("1000 names are in %d sets", len(sets))
	}
}

// The memory of throttling is fixed: five limits, and the table of familiar addresses.
func TestTheMemoryOfThrottlingIsFixed(t *testing.T) {
	s, _, _ := newFake(t, Limits{}, Hashing{})
	size := func() int {
		n := len(s.throttle.familiar.sets) * familiarWays * 8
		th := s.throttle
		for _, k := range []*limit{th.attempts, th.address, th.pair, th.name, th.network} {
			n += len(k.under) * 40
			rows := reflect.ValueOf(k.counts).Elem().FieldByName("cells")
			for i := range rows.Len() {
				n += rows.Index(i).Len() * 8
			}
		}
		return n
	}
	before := size()
	for i := range 20_000 {
		try(s, fmt.Sprint("user", i), "wrong", fmt.Sprintf("10.%d.%d.1", i>>8, i&255))
	}
	if after := size(); after != before || after > 12<<20 {
		t.Errorf("%d bytes, before %d", after, before)
	}
}

func TestRatesOutOfBoundsAreRefused(t *testing.T) {
	l := DefaultLimits()
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	l.PairFailures = Rate{}
	l.NameFailures.Every = 25 * time.Hour
	want := "pair_failures.burst: expected 1 to 1000000, got 0\n" +
		"pair_failures.every: expected 1ms to 24h, got 0s\n" +
		"name_failures.every: expected 1ms to 24h, got 25h0m0s"
	if err := l.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
