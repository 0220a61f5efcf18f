package doors_test

import (
	"strings"
	"testing"
)

// TestNGINXMakesA500OfARefusal, unless it has the error_page of its page: that is what the page says.
func TestNGINXMakesA500OfARefusal(t *testing.T) {
	d := open(t, "nginx", "        error_page 401 403 500 = @refused;\n", "")
	bob := bearer(login(t, "bob"))
	for path, want := range map[string]int{"/admin": 403, "/api/a;b": 500} {
		a := get(t, d.address, path, bob)
		if a.status != want || a.reason() != "" || !strings.Contains(a.body, "nginx") {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
		}
	}
	if a := get(t, d.address, "/protected"); a.status != 401 || a.reason() != "" ||
		!strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("got %d %v", a.status, a.header)
	}
}

// TestTraefikHandsOnNoLongRefusal: a body over maxResponseBodySize is dropped.
func TestTraefikHandsOnNoLongRefusal(t *testing.T) {
	d := open(t, "traefik", "maxResponseBodySize: 65536", "maxResponseBodySize: 20")
	a := get(t, d.address, "/protected")
	if a.status == 200 || strings.Contains(a.body, "unauthorized") {
		t.Errorf("got %d %q", a.status, a.body)
	}
	t.Logf("got %d %q", a.status, a.body)
}

// TestAProxyThatLeavesHeadersToItsClientIsFound: without the lines that remove them, a request that
// has one is refused, and honest ones pass.
func TestAProxyThatLeavesHeadersToItsClientIsFound(t *testing.T) {
	token := bearer(login(t, "bob"))
	for name, row := range map[string]struct {
		proxy   string
		changes []string
		header  string
	}{
		"NGINX with underscores": {
			"nginx", []string{"underscores_in_headers off;", "underscores_in_headers on;"}, "x_auth_roles",
		},
		"NGINX with every sign": {
			"nginx", []string{"ignore_invalid_headers on;", "ignore_invalid_headers off;"}, "x!auth!roles",
		},
		"Traefik without its middleware": {
			"traefik", []string{"middlewares: [no-identity, sallyport]", "middlewares: [sallyport]"},
			"x-auth-roles",
		},
		"Caddy without its lines": {"caddy", []string{"request_header -X-Auth-*", ""}, "x-auth-roles"},
		"HAProxy without its lines": {
			"haproxy", []string{"http-request del-header (?i)^x[^a-z0-9]auth[^a-z0-9] -m reg", ""},
			"x.auth.roles",
		},
		"Envoy without its patterns": {
			"envoy", []string{"key_matcher: {safe_regex: {regex: \"", "key_matcher: {safe_regex: {regex: \"no"},
			"x.auth.roles",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, row.proxy, row.changes...)
			for path, lines := range map[string][]string{"/public": nil, "/protected": {token}} {
				if a := get(t, d.address, path, lines...); a.status != 200 {
					t.Errorf("%s: an honest request: got %d %s", path, a.status, a.body)
				}
				d.upstream.received()
				a := get(t, d.address, path, append(lines, row.header+": mallory")...)
				if a.status != 400 && a.status != 503 {
					t.Errorf("%s: got %d %s", path, a.status, a.body)
				}
				if seen := d.upstream.received(); len(seen) > 0 {
					t.Errorf("%s: the upstream has seen %v", path, seen)
				}
			}
		})
	}
}
