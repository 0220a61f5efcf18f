package httpcheck

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
)

// What may be wrong with a request. It is all that a refusal tells of it.
const (
	badPeer = "it is of no proxy that http_check.trusted_proxies names"
	badBody = "it has a body, and the proxy is to send none"
	badMany = "it has more than 1000 header lines"
)

// read takes out of a proxy's request what it asks about. What is wrong with it is noted in
// Malformed, and the request is then to be refused.
func (s *Server) read(r *http.Request) *check.Request {
	out := &check.Request{Tally: int(s.asked.Add(1))}
	out.Source = check.Address(lastHop(r.Header))
	if !s.trusts(r.RemoteAddr) {
		// Nothing that it says is believed, and its address is the peer's own.
		out.Source, out.Malformed = check.Address(hostOf(r.RemoteAddr)), badPeer
		return out
	}
	if s.proxy.own {
		out.Method, out.Host, out.Path = r.Method, r.Host, r.RequestURI
	} else {
		s.readStated(out, r.Header)
	}
	if s.config.PeerHeader != "" {
		var stated bool
		if out.Peer, stated = once(r.Header, s.peerHeader); !stated && len(r.Header[s.peerHeader]) > 0 {
			out.Malformed = s.badPeerHeader
		}
	}
	if r.ContentLength != 0 {
		out.Malformed = badBody
	}
	if mark, marked := once(r.Header, s.mark); marked {
		out.Mark = mark
	}
	s.readHeaders(out, r.Header)
	return out
}

// readStated takes method, host and path from the headers that the proxy is said to write.
func (s *Server) readStated(out *check.Request, h http.Header) {
	method, m := once(h, s.proxy.method)
	host, o := once(h, s.proxy.host)
	path, p := once(h, s.proxy.path)
	if !m || !o || !p {
		out.Malformed = s.badSource
	}
	out.Method, out.Host, out.Path = method, host, path
}

// readHeaders takes the headers of the request that the proxy asks about: all but those that the
// proxy has written to say which it is.
func (s *Server) readHeaders(out *check.Request, h http.Header) {
	for name, values := range h {
		switch name {
		case s.proxy.method, s.proxy.host, s.proxy.path, s.peerHeader, s.mark:
			continue
		}
		name = strings.ToLower(name)
		for _, value := range values {
			if len(out.Headers) == check.MaxHeaders {
				out.Malformed = badMany
				return
			}
			out.Headers = append(out.Headers, authz.Header{Name: name, Value: value})
		}
	}
}

// trusts reports whether the peer of a connection is one of the proxies. Who has come by a Unix
// socket, or has shown the certificate without which a connection is not served, is one.
func (s *Server) trusts(peer string) bool {
	if len(s.config.TrustedProxies) == 0 {
		return true
	}
	at, err := netip.ParseAddrPort(peer)
	return err == nil && s.config.TrustedProxies.Contain(at.Addr().Unmap().WithZone(""))
}

func hostOf(peer string) string {
	at, err := netip.ParseAddrPort(peer)
	if err != nil {
		return ""
	}
	return at.Addr().Unmap().String()
}

// lastHop returns the address that the proxy has put into X-Forwarded-For: the last one. It is for
// the audit line alone.
func lastHop(h http.Header) string {
	all := strings.Join(h["X-Forwarded-For"], ",")
	last := strings.Trim(all[strings.LastIndexByte(all, ',')+1:], " \t")
	at, err := netip.ParseAddr(last)
	if err != nil {
		return ""
	}
	return at.Unmap().String()
}
