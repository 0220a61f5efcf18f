package issuer

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientAddress gives the address that a request is held against. It is the peer's, unless the peer is a trusted proxy: then it
// is the last one in X-Forwarded-For that is not itself a trusted proxy. What can not be read ends the walk at the nearest
// address known: a client can never choose its own.
func clientAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // a Unix socket: all its clients are one
	}
	at := peer.Addr().Unmap().WithZone("")
	hops := forwardedFor(r.Header)
	for i := len(hops) - 1; i >= 0 && isTrusted(at, trusted); i-- {
		next, err := netip.ParseAddr(hops[i])
		if err != nil || next.Zone() != "" {
			break
		}
		at = next.Unmap()
	}
	return at
}

// forwardedFor gives the hops of every X-Forwarded-For line in their order; no more than a chain of proxies can have.
func forwardedFor(h http.Header) []string {
	const maxHops = 32
	all := strings.Join(h.Values("X-Forwarded-For"), ",")
	if all == "" {
		return nil
	}
	hops := strings.Split(all[max(0, len(all)-64*maxHops):], ",")
	hops = hops[max(0, len(hops)-maxHops):]
	for i := range hops {
		hops[i] = strings.Trim(hops[i], " \t")
	}
	return hops
}

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
