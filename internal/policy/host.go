package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/config"
)

// hostSet is a list of host names and of suffixes that begin with a dot; an empty one stands for
// all.
type hostSet struct {
	names    []string
	suffixes []string
}

func compileHosts(hosts []string) (hostSet, error) {
	if len(hosts) > maxNames {
		return hostSet{}, config.At("hosts", "expected at most %d hosts, got %d", maxNames, len(hosts))
	}
	var s hostSet
	for i, written := range hosts {
		at := fmt.Sprintf("hosts[%d]", i)
		plain, below := strings.CutPrefix(written, "*.")
		name, port, ok := splitHost(plain)
		switch {
		case !ok || (below && strings.ContainsAny(name, "[:")):
			return hostSet{}, config.At(at,
				"expected a host as api.example.com or *.example.com, got %q", written)
		case port:
			return hostSet{}, config.At(at, "ports are not compared: write %q without it", written)
		}
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		list := &s.names
		// With its dot, so that notexample.com is not below example.com.
		if below {
			list, name = &s.suffixes, "."+name
		}
		if slices.Contains(*list, name) {
			return hostSet{}, config.At(at, "%s is there twice", written)
		}
		*list = append(*list, name)
	}
	return s, nil
}

func (s hostSet) any() bool { return len(s.names) == 0 && len(s.suffixes) == 0 }

func (s hostSet) contains(host string) bool {
	return s.any() || slices.Contains(s.names, host) || s.containsBelow(host)
}

func (s hostSet) containsBelow(host string) bool {
	return slices.ContainsFunc(s.suffixes,
		func(suffix string) bool { return len(host) > len(suffix) && strings.HasSuffix(host, suffix) })
}

func (s hostSet) covers(other hostSet) bool {
	if s.any() {
		return true
	}
	return !other.any() &&
		!slices.ContainsFunc(other.names, func(h string) bool { return !s.contains(h) }) &&
		!slices.ContainsFunc(other.suffixes,
			func(h string) bool { return !slices.Contains(s.suffixes, h) && !s.containsBelow(h) })
}

// canonicalHost returns a request's host in lower case, without port and trailing dot; false for
// what is not a host.
func canonicalHost(host string) (string, bool) {
	name, _, ok := splitHost(host)
	if !ok {
		return "", false
	}
	return strings.ToLower(strings.TrimSuffix(name, ".")), true
}

const maxHost = 255 // octets of a host name (RFC 1035 section 2.3.4)

// splitHost takes `host` or `host:port` (RFC 3986 section 3.2, without user information) apart.
func splitHost(authority string) (name string, port, ok bool) {
	name = authority
	// An IPv6 address has colons of its own: it stands in brackets, and its port behind them.
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']')
		if end < 0 || !isIPv6(authority[1:end]) {
			return "", false, false
		}
		name = authority[:end+1]
	} else if colon := strings.IndexByte(authority, ':'); colon >= 0 {
		name = authority[:colon]
	}
	if rest := authority[len(name):]; rest != "" {
		if !isPort(rest[1:]) || rest[0] != ':' {
			return "", false, false
		}
		port = true
	}
	return name, port, strings.HasPrefix(name, "[") || isName(name)
}

func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && a.Zone() == ""
}

func isPort(s string) bool {
	return s != "" && len(s) <= 5 && strings.Trim(s, "0123456789") == ""
}

// isName reports whether s is made of labels of letters, digits, hyphens and underscores, with or
// without a dot at the end.
func isName(s string) bool {
	if len(s) > maxHost {
		return false
	}
	start := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if i == start {
				return false
			}
			start = i + 1
		case !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '-' || c == '_'):
			return false
		}
	}
	return s != "" && s != "."
}
