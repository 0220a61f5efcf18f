package httpapi

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
)

func TestTheAddressIsTheLastOneThatIsNoTrustedProxy(t *testing.T) {
	trusted := config.Networks{
		{Prefix: netip.MustParsePrefix("10.0.0.0/8")}, {Prefix: netip.MustParsePrefix("fd00::/8")},
	}
	for name, c := range map[string]struct {
		peer    string
		headers []string
		trusted config.Networks
		want    string
	}{
		"no proxy trusted":           {"10.0.0.1:1", []string{"192.0.2.1"}, nil, "10.0.0.1"},
		"a peer that is not trusted": {"192.0.2.9:1", []string{"192.0.2.1"}, trusted, "192.0.2.9"},
		"one proxy":                  {"10.0.0.1:1", []string{"192.0.2.1"}, trusted, "192.0.2.1"},
		"what the client wrote": {
			"10.0.0.1:1", []string{"203.0.113.7, 192.0.2.1"}, trusted, "192.0.2.1",
		},
		"in a line of its own": {
			"10.0.0.1:1", []string{"203.0.113.7", "192.0.2.1"}, trusted, "192.0.2.1",
		},
		"two proxies": {
			"10.0.0.1:1", []string{"203.0.113.7, 192.0.2.1, 10.2.3.4"}, trusted, "192.0.2.1",
		},
		"proxies only": {"10.0.0.1:1", []string{"10.9.9.9, 10.2.3.4"}, trusted, "10.9.9.9"},
		"garbage behind a proxy": {
			"10.0.0.1:1", []string{"192.0.2.1, x, 10.2.3.4"}, trusted, "10.2.3.4",
		},
		"IPv6": {"[fd00::1]:1", []string{"2001:db8::5"}, trusted, "2001:db8::5"},
		"IPv4 in IPv6": {
			"[::ffff:10.0.0.1]:1", []string{"::ffff:192.0.2.1"}, trusted, "192.0.2.1",
		},
		"no header": {"10.0.0.1:1", nil, trusted, "10.0.0.1"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{}}
		for _, line := range c.headers {
			r.Header.Add("X-Forwarded-For", line)
		}
		if got := clientOf(r, c.trusted).Address; got != netip.MustParseAddr(c.want) {
			t.Errorf("%s: expected %s, got %s", name, c.want, got)
		}
	}
	if got := clientOf(&http.Request{RemoteAddr: "@"}, trusted); got != (Client{}) {
		t.Errorf("a Unix socket: got %v", got)
	}
}

func TestWarningsOfProxiesAreBounded(t *testing.T) {
	var w warnings
	said := 0
	for i := range 1000 {
		if w.first(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)) {
			said++
		}
	}
	if said != maxWarnings || len(w.done) != maxWarnings {
		t.Errorf("%d warnings, %d remembered", said, len(w.done))
	}
}

func TestTheSettingToWriteNamesTheNetwork(t *testing.T) {
	const want = "http: {trusted_proxies: ['fd00:1::/64']}" // the issuer's tests load it
	if got := settingFor(netip.MustParsePrefix("fd00:1::/64")); got != want {
		t.Errorf("expected %s, got %s", want, got)
	}
}
