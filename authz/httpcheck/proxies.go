package httpcheck

import (
	"maps"
	"net/http"
	"slices"
)

// proxy is how a kind of proxy asks: one place each for method, host and path of the request that
// it asks about. All that a client can send under the name of one of these headers is overwritten
// by a proxy that is set up as docs/doors has it; what it does not write at all refuses everybody.
type proxy struct {
	method, host, path string // headers, in canonical form; "" is the request line's own
	// The request itself is shown as it is, with the headers that a list names, and an answer can have
	// headers removed.
	own bool
	// The body of a refusal is told in a header, too: NGINX hands on no body of another's.
	bodyInHeader bool
}

// forwarded are the headers of those who ask as Traefik does.
var forwarded = proxy{
	method: "X-Forwarded-Method", host: "X-Forwarded-Host", path: "X-Forwarded-Uri",
}

// original are those that are set where a proxy has none of its own.
var original = proxy{
	method: "X-Original-Method", host: "X-Original-Host", path: "X-Original-Uri",
}

var proxies = map[string]proxy{
	"caddy":   forwarded,
	"envoy":   {own: true},
	"haproxy": original,
	"nginx": {
		method: original.method, host: original.host, path: original.path, bodyInHeader: true,
	},
	"traefik": forwarded,
}

func proxyNames() []string { return slices.Sorted(maps.Keys(proxies)) }

// once returns the value of a header that stands there once.
func once(h http.Header, name string) (string, bool) {
	values := h[name]
	if len(values) != 1 {
		return "", false
	}
	return values[0], true
}
