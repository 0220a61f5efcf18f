package daemon

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
)

// hosts are the names by which the admin port may be asked.
type hosts struct {
	// in lower case, without a dot at the end; with one at the front: all names under it
	names []string
	said  atomic.Bool
	log   *slog.Logger
}

// newHosts takes loopback's name, the one that the port listens on, and those configured.
func newHosts(c Config, log *slog.Logger) *hosts {
	h := &hosts{names: []string{"localhost"}, log: log}
	listen, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		listen = "" // Validate refuses it; a test's own listener has none
	}
	for _, name := range append([]string{listen}, c.Hosts...) {
		if name = plainName(name); name != "" {
			h.names = append(h.names, name)
		}
	}
	return h
}

func plainName(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

// knows reports whether a Host header names this port. A web page can have its own name resolve to
// this machine (DNS rebinding), but the browser still sends that name.
func (h *hosts) knows(host string) bool {
	if host == "" { // HTTP/1.0: no browser
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil { // no name server decides where that leads
		return true
	}
	host = plainName(host)
	return slices.ContainsFunc(h.names, func(name string) bool {
		return host == name || name[0] == '.' && strings.HasSuffix(host, name) && len(host) > len(name)
	})
}

// guard refuses requests that name another host.
func (h *hosts) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.knows(r.Host) {
			next.ServeHTTP(w, r)
			return
		}
		// Once: whoever asks could fill the log.
		if !h.said.Swap(true) {
			h.log.Warn("a request to the admin port names another host and is refused; "+
				"if the name is this port's, add it to admin.hosts", "host", r.Host, "peer", r.RemoteAddr)
		}
		http.Error(w,
			"expected localhost, an address or a name out of admin.hosts as the host, got another",
			http.StatusMisdirectedRequest)
	})
}

// isHostName reports whether s is a host's name, or with a dot at the front the end of some.
func isHostName(s string) bool {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "."), ".")
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.ToLower(s), ".") {
		if label == "" || len(label) > 63 ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}
