package doors_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/authz/check"
)

// TestNGINXMakesA500OfARefusal, unless it has the error_page of its page: that is what the page
// says.
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

// TestNGINXHandsOnEveryStatusOfAGate, with the gate's headers and its body.
func TestNGINXHandsOnEveryStatusOfAGate(t *testing.T) {
	var status atomic.Int32
	const body = `{"error":"x","error_description":"Why: it's so, \"really\" 100%; $host \\ {}."}`
	stub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Sallyport-Reason", "because")
		w.Header().Set("X-Sallyport-Body", body)
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("WWW-Authenticate", `Bearer realm="x"`)
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Location", "https://login.example.com/?a=b")
		w.WriteHeader(int(status.Load()))
	}))
	t.Cleanup(stub.Close)
	u := newUpstream(t)
	address := nginx(t, stub.Listener.Addr().String(), u.address)
	for _, want := range []int{302, 400, 401, 403, 422, 429, 503, 204, 301, 404, 500, 502} {
		status.Store(int32(want))
		u.received()
		a := get(t, address, "/protected")
		switch want {
		case 204: // as any 2xx of a gate's, which has only 200
			if a.status != 200 {
				t.Errorf("204: got %d", a.status)
			}
			continue
		case 302:
			if a.status != 302 || a.header.Get("Location") != "https://login.example.com/?a=b" {
				t.Errorf("302: got %d %v", a.status, a.header)
			}
		case 301, 404, 500, 502: // none of a gate's
			if a.status != 503 || !strings.Contains(a.body, "No gate could be asked") ||
				a.header.Get("Content-Type") != "application/json" {
				t.Errorf("%d: got %d %s", want, a.status, a.body)
			}
		default:
			if a.status != want || a.body != body || a.reason() != "because" ||
				a.header.Get("Retry-After") != "7" ||
				strings.Join(a.header.Values("Content-Type"), "|") != "application/problem+json" {
				t.Errorf("%d: got %d %v %s", want, a.status, a.header, a.body)
			}
		}
		if challenges := a.header.Values("WWW-Authenticate"); (want == 401 || want == 403) &&
			(len(challenges) != 1 || challenges[0] != `Bearer realm="x"`) {
			t.Errorf("%d: got the challenges %q", want, challenges)
		}
		if seen := u.received(); len(seen) > 0 {
			t.Errorf("%d: the upstream has seen %v", want, seen)
		}
	}
}

// TestTraefikHandsOnNoLongRefusal: with a body over maxResponseBodySize, the status alone.
func TestTraefikHandsOnNoLongRefusal(t *testing.T) {
	d := open(t, "traefik", "maxResponseBodySize: 65536", "maxResponseBodySize: 20")
	a := get(t, d.address, "/protected")
	if a.status != 401 || a.reason() != "" || a.header.Get("WWW-Authenticate") != "" ||
		a.body != "" {
		t.Errorf("got %d %v %q", a.status, a.header, a.body)
	}
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
		"Traefik with every sign": {
			"traefik", []string{"aliasHeadersStrategy: delete", "aliasHeadersStrategy: keep"}, "x~auth~roles",
		},
		"Traefik as it is by itself": {
			"traefik", []string{"aliasHeadersStrategy: delete", "sanitizePath: true"}, "x_auth_roles",
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
			t.Parallel()
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

// TestCaddyAsksWithTheClientsQuery, whatever uri its forward_auth has.
func TestCaddyAsksWithTheClientsQuery(t *testing.T) {
	asked := make(chan string, 1)
	stub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.RequestURI
	}))
	t.Cleanup(stub.Close)
	address := caddy(t, stub.Listener.Addr().String(), newUpstream(t).address)
	if a := get(t, address, "/protected?a=b"); a.status != 200 ||
		a.received.Path != "/protected?a=b" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if got := <-asked; got != "/?a=b" {
		t.Errorf("it asked for %s", got)
	}
}

// TestCaddyLosesWhoCalls where its page is not followed: by its own order of directives, and by a
// client's Connection.
func TestCaddyLosesWhoCalls(t *testing.T) {
	token := bearer(login(t, "alice"))
	for name, row := range map[string]struct{ changes, lines []string }{
		"in its own order": {changes: []string{"\troute {\n", "\thandle {\n"}},
		"with any Connection": {
			changes: []string{"\t\trespond @drops 400\n", ""},
			lines:   []string{"Connection: x-auth-subject"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, "caddy", row.changes...)
			a := get(t, d.address, "/protected", append(row.lines, token)...)
			if _, told := a.received.Headers["x-auth-subject"]; a.status != 200 || told {
				t.Errorf("got %d, the upstream got %v", a.status, a.received.Headers)
			}
		})
	}
}

// TestEnvoyEndsAStreamWhenAGateSaysSoOverHTTP: it takes the rest of a token's life from the answer,
// and the upstream never sees it.
func TestEnvoyEndsAStreamWhenAGateSaysSoOverHTTP(t *testing.T) {
	stub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(check.HeaderStreamDuration, "300")
	}))
	t.Cleanup(stub.Close)
	told := make(chan http.Header, 1)
	endless := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		told <- r.Header
		<-r.Context().Done()
	}))
	t.Cleanup(endless.Close)
	address := envoy(t, stub.Listener.Addr().String(), endless.Listener.Addr().String())
	a := get(t, address, "/protected")
	if a.status != 504 || !strings.Contains(a.body, "max stream duration") {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if h := <-told; h.Get(check.HeaderStreamDuration) != "" {
		t.Errorf("the upstream got %v", h)
	}
}
