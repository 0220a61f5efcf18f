package issuer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
)

var testRate = credential.Rate{Burst: 3, Every: time.Second}

func TestABurstPassesAndThenTheRate(t *testing.T) {
	start := time.Unix(1000, 0)
	th := newThrottle(testRate, start)
	a := netip.MustParseAddr("192.0.2.1")
	for i := range 3 {
		if wait := th.take(a, start); wait != 0 {
			t.Fatalf("request %d of the burst waits %v", i, wait)
		}
	}
	if wait := th.take(a, start); wait != time.Second {
		t.Errorf("expected to wait 1s, got %v", wait)
	}
	if wait := th.take(a, start.Add(time.Second)); wait != 0 {
		t.Errorf("after the wait it still waits %v", wait)
	}
	if wait := th.take(a, start.Add(time.Second)); wait != time.Second {
		t.Errorf("expected to wait 1s again, got %v", wait)
	}
}

func TestOneAddressIsNotHeldAgainstAnother(t *testing.T) {
	start := time.Unix(1000, 0)
	th := newThrottle(testRate, start)
	for range 1000 {
		th.take(netip.MustParseAddr("192.0.2.1"), start)
	}
	refused := 0
	for i := range 250 {
		if th.take(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), start) != 0 {
			refused++
		}
	}
	if refused > 0 {
		t.Errorf("%d of 250 other addresses were refused", refused)
	}
}

// TestACrowdIsHeldAgainstFew: thousands of addresses at their limit share cells with others, and
// all cells of one only rarely.
func TestACrowdIsHeldAgainstFew(t *testing.T) {
	start := time.Unix(1000, 0)
	th := newThrottle(testRate, start)
	for i := range 3000 {
		for range 3 {
			th.take(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), start)
		}
	}
	refused := 0
	for i := range 2000 {
		if th.take(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), start) != 0 {
			refused++
		}
	}
	if refused > 60 {
		t.Errorf("%d of 2000 other addresses were refused", refused)
	}
}

// TestAFloodOfAddressesMakesItForgetNone: what is counted against the first address stays, in the
// same memory.
func TestAFloodOfAddressesMakesItForgetNone(t *testing.T) {
	start := time.Unix(1000, 0)
	th := newThrottle(testRate, start)
	a := netip.MustParseAddr("192.0.2.1")
	for range 3 {
		th.take(a, start)
	}
	for i := range 1_000_000 {
		th.take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), start)
	}
	if th.take(a, start) == 0 {
		t.Error("the flood washed the address's count away")
	}
}

func TestAnIPv6ClientIsItsNetwork(t *testing.T) {
	start := time.Unix(1000, 0)
	th := newThrottle(testRate, start)
	for i := range 3 {
		th.take(netip.MustParseAddr(fmt.Sprintf("2001:db8:1:2::%x", i+1)), start)
	}
	if th.take(netip.MustParseAddr("2001:db8:1:2:ffff::1"), start) == 0 {
		t.Error("another address of the same /64 passes")
	}
	if th.take(netip.MustParseAddr("2001:db8:1:3::1"), start) != 0 {
		t.Error("another /64 is refused")
	}
}

func TestEachEndpointThatTakesASecretIsThrottled(t *testing.T) {
	h := onMiniredis(t,
		func(c *Config) { c.HTTP.Requests = credential.Rate{Burst: 2, Every: time.Hour} })
	secret := map[string]bool{"/login": true, "/refresh": true, "/logout": true}
	for _, e := range endpoints(h.cfg) {
		if (e.method == http.MethodPost) != e.secret || e.secret != secret[e.path] {
			t.Errorf("%s %s: does it take a secret or not?", e.method, e.path)
		}
	}
	for _, e := range endpoints(h.cfg) {
		h.server.throttle = newThrottle(h.cfg.HTTP.Requests, time.Now())
		last := answer{}
		for range 3 {
			last = h.do(e.method, h.url+e.path, "")
		}
		if throttled := last.status == http.StatusTooManyRequests; throttled != e.secret {
			t.Errorf("%s: got %d", e.path, last.status)
		}
		if e.secret &&
			(last.header.Get("Retry-After") == "" || last.str("error") != "too_many_requests") {
			t.Errorf("%s: got %s, Retry-After %q", e.path, last.text, last.header.Get("Retry-After"))
		}
	}
	for _, e := range adminEndpoints() {
		h.server.adminThrottle = newThrottle(h.cfg.HTTP.Requests, time.Now())
		last := answer{}
		for range 3 {
			last = h.do(e.method, h.admin+e.path, "", bearer("guess"))
		}
		if last.status != http.StatusTooManyRequests {
			t.Errorf("%s %s: got %d", e.method, e.path, last.status)
		}
	}
}

func TestAClientCanNotChooseItsAddress(t *testing.T) {
	h := onMiniredis(t,
		func(c *Config) { c.HTTP.Requests = credential.Rate{Burst: 5, Every: time.Hour} })
	statuses := map[int]int{}
	for i := range 10 {
		ip := fmt.Sprintf("198.51.100.%d", i)
		a := h.post("/refresh", body("refresh_token", "x"), withHeader("X-Forwarded-For", ip),
			withHeader("X-Real-Ip", ip), withHeader("Forwarded", "for="+ip),
			withHeader("True-Client-Ip", ip), withHeader("Cf-Connecting-Ip", ip),
			withHeader("X-Client-Ip", ip))
		statuses[a.status]++
	}
	if statuses[401] != 5 || statuses[429] != 5 {
		t.Errorf("expected 5 and then no more, got %v", statuses)
	}
}

func TestBrokenForwardingHeadersChangeNoAnswer(t *testing.T) {
	h := onMiniredis(t, trusting(t, "127.0.0.0/8"))
	for _, value := range []string{"a", "", ",", " ", "1.2.3.4.5", "fe80::1%eth0", "[::1]:80", "192.0.2.1:99", fmt.Sprintf("%0100000d", 1)} {
		if len(value) > 30000 {
			value = value[:30000]
		}
		a := h.post("/login", body("username", "alice", "password", "wrong"),
			withHeader("X-Forwarded-For", value))
		wantStatus(t, a, http.StatusUnauthorized, "invalid_credentials")
	}
	written := map[string]bool{"127.0.0.1": true, "::1": true, "192.0.2.1": true, "fe80::1": true}
	for line := range strings.Lines(h.audited.String()) {
		var event struct{ Address string }
		if err := json.Unmarshal([]byte(line), &event); err != nil || !written[event.Address] {
			t.Errorf("an event has the address %q, %v", event.Address, err)
		}
	}
}

func TestTheAddressIsTheLastOneThatIsNoTrustedProxy(t *testing.T) {
	trusted := []Network{{netip.MustParsePrefix("10.0.0.0/8")}, {netip.MustParsePrefix("fd00::/8")}}
	for name, c := range map[string]struct {
		peer    string
		headers []string
		trusted []Network
		want    string
	}{
		"no proxy trusted":           {"10.0.0.1:1", []string{"192.0.2.1"}, nil, "10.0.0.1"},
		"a peer that is not trusted": {"192.0.2.9:1", []string{"192.0.2.1"}, trusted, "192.0.2.9"},
		"one proxy":                  {"10.0.0.1:1", []string{"192.0.2.1"}, trusted, "192.0.2.1"},
		"what the client wrote":      {"10.0.0.1:1", []string{"203.0.113.7, 192.0.2.1"}, trusted, "192.0.2.1"},
		"in a line of its own":       {"10.0.0.1:1", []string{"203.0.113.7", "192.0.2.1"}, trusted, "192.0.2.1"},
		"two proxies":                {"10.0.0.1:1", []string{"203.0.113.7, 192.0.2.1, 10.2.3.4"}, trusted, "192.0.2.1"},
		"proxies only":               {"10.0.0.1:1", []string{"10.9.9.9, 10.2.3.4"}, trusted, "10.9.9.9"},
		"garbage behind a proxy":     {"10.0.0.1:1", []string{"192.0.2.1, x, 10.2.3.4"}, trusted, "10.2.3.4"},
		"IPv6":                       {"[fd00::1]:1", []string{"2001:db8::5"}, trusted, "2001:db8::5"},
		"IPv4 in IPv6":               {"[::ffff:10.0.0.1]:1", []string{"::ffff:192.0.2.1"}, trusted, "192.0.2.1"},
		"no header":                  {"10.0.0.1:1", nil, trusted, "10.0.0.1"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{}}
		for _, line := range c.headers {
			r.Header.Add("X-Forwarded-For", line)
		}
		if got := clientOf(r, c.trusted).address; got != netip.MustParseAddr(c.want) {
			t.Errorf("%s: expected %s, got %s", name, c.want, got)
		}
	}
	if got := clientOf(&http.Request{RemoteAddr: "@"}, trusted); got != (client{}) {
		t.Errorf("a Unix socket: got %v", got)
	}
}
