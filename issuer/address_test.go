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

// trusting has an issuer's file name its proxies.
func trusting(t *testing.T, proxies string) func(*Config) {
	t.Helper()
	cfg, err := load(t, goodConfig+"http: {trusted_proxies: ["+proxies+"]}\n")
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.HTTP.TrustedProxies = cfg.HTTP.TrustedProxies }
}

// seenFrom sends a login whose X-Forwarded-For is given, and tells what it was counted against.
func (h *house) seenFrom(forwarded string) netip.Addr {
	h.t.Helper()
	a := h.post("/login", body("username", "alice", "password", "wrong"),
		withHeader("X-Forwarded-For", forwarded))
	wantStatus(h.t, a, http.StatusUnauthorized, "invalid_credentials")
	return h.users.from[len(h.users.from)-1]
}

// unusable returns how many requests were counted whose X-Forwarded-For does not tell the client.
func (h *house) unusable(why string) (counted float64) {
	h.t.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "sallyport_issuer_forwarded_for_unusable_total" &&
				m.GetLabel()[0].GetValue() == why {
				counted += m.GetCounter().GetValue()
			}
		}
	}
	return counted
}

func TestAnAddressIsReadHoweverALoadBalancerWritesIt(t *testing.T) {
	h := onMiniredis(t, trusting(t, "127.0.0.0/8"))
	for forwarded, want := range map[string]string{
		"198.51.100.7":                         "198.51.100.7",
		"198.51.100.7:40001":                   "198.51.100.7",
		"[2001:db8::1]:443":                    "2001:db8::1",
		"[2001:db8::1]":                        "2001:db8::1",
		"2001:db8::1":                          "2001:db8::1",
		`"[2001:db8::1]:443"`:                  "2001:db8::1",
		`"198.51.100.7"`:                       "198.51.100.7",
		"::ffff:198.51.100.7":                  "198.51.100.7",
		"[::ffff:198.51.100.7]:443":            "198.51.100.7",
		"::ffff:c633:6407":                     "198.51.100.7",
		"fe80::1%eth0":                         "fe80::1",
		"[fe80::1%eth0]:443":                   "fe80::1",
		"9.9.9.9, 198.51.100.7:1, 127.0.0.2:5": "198.51.100.7",
	} {
		if got := h.seenFrom(forwarded); got.String() != want {
			t.Errorf("%s: counted against %s, expected %s", forwarded, got, want)
		}
	}
}

// TestWhatIsNoAddressNeverMakesClientsOne: what the proxy writes is no address, but each client has
// another text. They are apart, whatever the text, their connections are not, and the event names
// the proxy.
func TestWhatIsNoAddressNeverMakesClientsOne(t *testing.T) {
	h := onMiniredis(t, trusting(t, "127.0.0.0/8"))
	at := map[netip.Addr]string{}
	for _, text := range []string{
		"unknown", "_hidden", "a", "host.example", "1.2.3.4.5", "198.51.100.7:99999x", "[198.51.100.8]",
		"[2001:db8::1", `"`, strings.Repeat("1", 20000),
	} {
		got := h.seenFrom("203.0.113.9, " + text)
		if first, twice := at[got]; twice {
			t.Errorf("%.20q and %.20q are one client", first, text)
		}
		if !netip.MustParsePrefix("100::/8").Contains(got) {
			t.Errorf("%.20q is counted as %s, which somebody may have", text, got)
		}
		at[got] = text
	}
	if h.seenFrom("host.example:40001") != h.seenFrom("host.example:40002") {
		t.Error("a client is another one with each connection")
	}
	networks := map[netip.Prefix]bool{}
	for a := range at {
		p, _ := a.Prefix(48)
		networks[p] = true
	}
	if len(networks) != 1 {
		t.Errorf("the clients of one proxy are %d networks", len(networks))
	}
	if got := h.unusable("unreadable"); got != float64(len(at)+2) {
		t.Errorf("%v counted as unreadable", got)
	}
	if !strings.Contains(h.audited.String(), `"address":"127.0.0.1"`) ||
		strings.Contains(h.audited.String(), `"address":"1ff`) {
		t.Errorf("an event names something else than the proxy: %.300s", h.audited)
	}
}

func TestATrustedProxyThatSaysNothingIsCounted(t *testing.T) {
	h := onMiniredis(t, trusting(t, "127.0.0.0/8"))
	for _, forwarded := range []string{"", ",", " , "} {
		if got := h.seenFrom(forwarded); got != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%q: counted against %s", forwarded, got)
		}
	}
	if got := h.unusable("missing"); got != 3 {
		t.Errorf("%v counted", got)
	}
}

// TestAnUntrustedProxyIsWarnedOfOnce: otherwise one stranger's guesses are everybody's, and nothing
// says why.
func TestAnUntrustedProxyIsWarnedOfOnce(t *testing.T) {
	h := onMiniredis(t, nil)
	for i := range 20 {
		if got := h.seenFrom(fmt.Sprintf("198.51.100.%d", i)); got != netip.MustParseAddr("127.0.0.1") {
			t.Fatalf("an untrusted word is believed: %s", got)
		}
	}
	var lines []string
	for line := range strings.Lines(h.logged.String()) {
		if strings.Contains(line, "X-Forwarded-For") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	var said struct{ Level, Peer, Setting string }
	if err := json.Unmarshal([]byte(lines[0]), &said); err != nil {
		t.Fatal(err)
	}
	if said.Level != "WARN" || said.Peer != "127.0.0.1" ||
		!strings.Contains(said.Setting, "127.0.0.0/24") {
		t.Errorf("got %+v", said)
	}
	for _, line := range []string{said.Setting, "http: {trusted_proxies: ['fd00:1::/64']}"} {
		if _, err := load(t, goodConfig+line+"\n"); err != nil {
			t.Errorf("the line to write cannot be written: %q: %v", line, err)
		}
	}
	if got := h.unusable("untrusted"); got != 20 {
		t.Errorf("%v counted", got)
	}
}

func TestABareAddressIsATrustedProxy(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.7": "10.0.0.7/32", `"fd00::7"`: "fd00::7/128", "10.0.0.0/8": "10.0.0.0/8",
		"10.0.0.7/24":       "10.0.0.0/24",
		`"::ffff:10.0.0.7"`: "10.0.0.7/32", `"::ffff:10.0.0.0/104"`: "10.0.0.0/8",
	} {
		cfg, err := load(t, goodConfig+"http: {trusted_proxies: ["+text+"]}\n")
		if err != nil || len(cfg.HTTP.TrustedProxies) != 1 ||
			cfg.HTTP.TrustedProxies[0].String() != want {
			t.Errorf("%s: got %v, %v", text, cfg.HTTP.TrustedProxies, err)
		}
	}
	for text, want := range map[string]string{
		"envoy": `expected an address such as "10.0.0.7" or a network such as "10.0.0.0/24", ` +
			`got "envoy"`,
		"10.0.0.7/33": "expected an address", `"fe80::1%eth0"`: "expected an address",
		`"::ffff:0.0.0.0/96"`: "which is everyone", `"::ffff:0:0/90"`: "expected an address",
		"0.0.0.0/0": "which is everyone",
	} {
		if _, err := load(t, goodConfig+"http: {trusted_proxies: ["+text+"]}\n"); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

// TestStrangersBehindAPortWritingBalancerLockNobodyOut is the attack: sixty bad logins of one
// client.
func TestStrangersBehindAPortWritingBalancerLockNobodyOut(t *testing.T) {
	trust := trusting(t, "127.0.0.0/8")
	h := onMiniredis(t,
		func(c *Config) { trust(c); c.HTTP.Requests = credential.Rate{Burst: 60, Every: time.Hour} })
	for i := range 60 {
		h.seenFrom(fmt.Sprintf("203.0.113.9:%d", 40000+i))
	}
	a := h.post("/login", body("username", "alice", "password", password),
		withHeader("X-Forwarded-For", "198.51.100.7:40001"))
	wantStatus(t, a, http.StatusOK, "")
	a = h.post("/login", body("username", "alice", "password", password),
		withHeader("X-Forwarded-For", "203.0.113.9:50001"))
	wantStatus(t, a, http.StatusTooManyRequests, "too_many_requests")
}
