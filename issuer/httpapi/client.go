package httpapi

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sallyport/sallyport/internal/config"
)

// Client is who a request is held against. The zero Client stands for all whose address is not
// known.
type Client struct {
	Address netip.Addr // in events: the client's, or that of the proxy that did not say it
	// the address by which limits count; made by standIn where what a proxy wrote is no address
	Counted netip.Addr
	flaw    flaw
}

// flaw is why the client's address is not known, or perhaps not; "" when it is.
type flaw string

const (
	untrusted  flaw = "untrusted"  // the peer is no trusted proxy, yet sends X-Forwarded-For
	missing    flaw = "missing"    // the peer is a trusted proxy, and says nothing of its client
	unreadable flaw = "unreadable" // what the trusted proxy says is no address
)

var flaws = []flaw{untrusted, missing, unreadable}

// PeerOf returns the peer itself as the client, whatever the request says of proxies.
func PeerOf(r *http.Request) Client { return clientOf(r, nil) }

// clientOf finds the client of a request: the peer, unless the peer is a trusted proxy; then it is
// the last one in X-Forwarded-For that is not itself a trusted proxy. So a client can never choose
// its own address.
//
// A hop that a trusted proxy wrote and that is no address ends the search. Clients that are named
// in this way must not all count as one, or a stranger's failures would lock all of them out: each
// text is counted by an address made from it (standIn). The text may be trusted that far, since
// the proxy wrote it where it would have written an address.
func clientOf(r *http.Request, trusted config.Networks) Client {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return Client{} // a Unix socket: all its clients are one
	}
	at := peer.Addr().Unmap().WithZone("")
	hops := forwardedFor(r.Header)
	switch believed := trusted.Contain(at); {
	case !believed && len(hops) > 0:
		return Client{Address: at, Counted: at, flaw: untrusted}
	case believed && len(hops) == 0:
		return Client{Address: at, Counted: at, flaw: missing}
	}
	for i := len(hops) - 1; i >= 0 && trusted.Contain(at); i-- {
		next, ok := parseHop(hops[i])
		if !ok {
			return Client{Address: at, Counted: standIn(at, hops[i]), flaw: unreadable}
		}
		at = next
	}
	return Client{Address: at, Counted: at}
}

// forwardedFor returns the hops of every X-Forwarded-For line in their order; no more than a chain
// of proxies can have. A header that names nobody at all is none.
func forwardedFor(h http.Header) []string {
	const maxHops = 32
	// From the end, where trusted proxies write: what a client put before it may be of any length.
	all := strings.Join(h.Values("X-Forwarded-For"), ",")
	if strings.Trim(all, ", \t") == "" {
		return nil
	}
	hops := strings.Split(all[max(0, len(all)-64*maxHops):], ",")
	hops = hops[max(0, len(hops)-maxHops):]
	for i := range hops {
		hops[i] = strings.Trim(hops[i], " \t")
	}
	return hops
}

// parseHop reads one hop: an address, also in brackets, with a port, with a zone, or in quotation
// marks, as load balancers write it. The port and the zone say nothing about who the client is.
func parseHop(hop string) (netip.Addr, bool) {
	// as in Forwarded, RFC 7239 section 6
	if len(hop) >= 2 && hop[0] == '"' && hop[len(hop)-1] == '"' {
		hop = hop[1 : len(hop)-1]
	}
	if ported, err := netip.ParseAddrPort(hop); err == nil {
		return ported.Addr().Unmap().WithZone(""), true
	}
	bare, bracketed := strings.CutPrefix(hop, "[")
	if bracketed {
		var closed bool
		if bare, closed = strings.CutSuffix(bare, "]"); !closed {
			return netip.Addr{}, false
		}
	}
	a, err := netip.ParseAddr(bare)
	if err != nil || bracketed && a.Is4() {
		return netip.Addr{}, false
	}
	return a.Unmap().WithZone(""), true
}

var standInSeed = maphash.MakeSeed()

// standIn returns the address by which a client is counted whom a proxy names by a text: one /64
// of the proxy's own /48, out of the range 100::/8, which RFC 4291 reserves and nobody has. A port
// at the text's end is left out: the client chooses it, and would be counted anew with each
// connection.
func standIn(proxy netip.Addr, text string) netip.Addr {
	if at := strings.LastIndexByte(text, ':'); at >= 0 &&
		strings.Trim(text[at+1:], "0123456789") == "" {
		text = text[:at]
	}
	from := proxy.As16()
	network := maphash.Bytes(standInSeed, from[:])
	a := [16]byte{0x01, 0xff}
	binary.BigEndian.PutUint32(a[2:], uint32(network))
	binary.BigEndian.PutUint16(a[6:], uint16(maphash.String(standInSeed, text)))
	return netip.AddrFrom16(a)
}

// maxWarnings is for how many networks an untrusted X-Forwarded-For is warned of: strangers choose
// how many there are.
const maxWarnings = 8

// warnings remembers of whom has been warned.
type warnings struct {
	mu   sync.Mutex
	done map[netip.Prefix]bool
}

// first reports whether the network is to be warned of, once.
func (w *warnings) first(network netip.Prefix) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done[network] || len(w.done) >= maxWarnings {
		return false
	}
	if w.done == nil {
		w.done = map[netip.Prefix]bool{}
	}
	w.done[network] = true
	return true
}

// Proxies are those whose X-Forwarded-For is believed.
type Proxies struct {
	trusted  config.Networks
	logger   *slog.Logger
	unusable *prometheus.CounterVec
	warned   warnings
}

// NewProxies makes a Proxies. Its metric's labels are out of a fixed list.
func NewProxies(trusted config.Networks, logger *slog.Logger, registry prometheus.Registerer) *Proxies {
	p := &Proxies{
		trusted: trusted, logger: logger,
		unusable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_issuer_forwarded_for_unusable_total",
			Help: "Requests whose X-Forwarded-For does not tell the client: untrusted " +
				"(http.trusted_proxies does not name the peer), missing, unreadable.",
		}, []string{"why"}),
	}
	// From the start, so that a counter at 0 tells that nothing was wrong.
	for _, why := range flaws {
		p.unusable.WithLabelValues(string(why))
	}
	if registry != nil {
		registry.MustRegister(p.unusable)
	}
	return p
}

// ClientOf returns the client of a request.
func (p *Proxies) ClientOf(r *http.Request) Client { return clientOf(r, p.trusted) }

// Notice counts what is wrong with a client's address, and warns of a proxy that nobody has named.
func (p *Proxies) Notice(c Client) {
	if c.flaw == "" {
		return
	}
	p.unusable.WithLabelValues(string(c.flaw)).Inc()
	if c.flaw != untrusted {
		return
	}
	// By network, not by address: who has a network to himself must not fill the log, and the line
	// is to name what a balancer of several machines needs.
	bits := 64
	if c.Address.Is4() {
		bits = 24
	}
	network, err := c.Address.Prefix(bits)
	if err != nil || !p.warned.first(network) {
		return
	}
	p.logger.Warn("X-Forwarded-For of an address that http.trusted_proxies does not name is not "+
		"believed, and all clients behind that address are limited as one; if it is your proxy, name "+
		"it or its network, and nobody else",
		"peer", c.Address.String(), "network", network.String(), "setting", settingFor(network))
}

// settingFor is the line of issuer.yaml that names a network, in quotation marks that a log in JSON
// leaves as they are.
func settingFor(network netip.Prefix) string {
	return fmt.Sprintf("http: {trusted_proxies: ['%s']}", network)
}
