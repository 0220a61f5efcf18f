package httpcheck

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/revocation"
)

// bench is a server in front of an engine, with the test for a proxy.
type bench struct {
	world    *authztest.World
	engine   *authz.Engine
	server   *Server
	registry *prometheus.Registry
	lines    authztest.Lines
	named    []string // headers that the policy makes of claims, as the proxy's settings have them
}

const (
	peer       = "192.0.2.7:4001" // of the proxy
	peerHeader = "X-Calling-Service"
)

func instant() revocation.Instant { return revocation.Instant{Mono: time.Minute} }

// configFor is that of a proxy at peer.
func configFor(t testing.TB, proxy string) Config {
	t.Helper()
	c := DefaultConfig()
	c.Listen, c.Proxy, c.PeerHeader = "127.0.0.1:0", proxy, peerHeader
	var n config.Network
	if err := n.UnmarshalText([]byte("192.0.2.0/24")); err != nil {
		t.Fatal(err)
	}
	c.TrustedProxies = config.Networks{n}
	return c
}

func start(t testing.TB, w *authztest.World, c Config, change ...func(*check.Options)) *bench {
	t.Helper()
	b := &bench{world: w, registry: prometheus.NewRegistry()}
	o := check.Options{
		Instant: instant, Keys: w.Keys, Audit: &b.lines, Registry: b.registry,
		KeyWait: 150 * time.Millisecond, KeyWaiters: 256,
	}
	for _, f := range change {
		f(&o)
	}
	b.engine = w.Engine(nil)
	checker, err := check.New(b.engine, o)
	if err != nil {
		t.Fatal(err)
	}
	b.server, err = New(c, Options{
		Checker: checker, Engine: b.engine, Streams: check.DefaultStreamConfig(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// send hands the server a request as a connection would.
func (b *bench) send(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	b.server.ServeHTTP(w, r)
	return w.Result()
}

// asked is the request by which a proxy asks about another one, and which headers it has removed
// from that first, as its page in docs/doors has it.
func asked(b *bench, r authz.Request) (request *http.Request, removed []string) {
	p := b.server.proxy
	request = &http.Request{
		Method: "GET", Host: "gate", RequestURI: "/", URL: &url.URL{Path: "/"}, RemoteAddr: peer,
		Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody,
	}
	sources := []string{p.method, p.host, p.path, peerHeader, "X-Sallyport-Stripped"}
	for _, h := range r.Headers {
		name := http.CanonicalHeaderKey(h.Name)
		switch {
		case b.saysAnother(h.Name):
			removed = append(removed, h.Name)
		case !slices.Contains(sources, name):
			request.Header.Add(name, h.Value)
		}
	}
	if p.own {
		request.Method, request.Host, request.RequestURI = r.Method, r.Host, r.Path
		request.Header.Set("X-Sallyport-Stripped", strings.Join(append([]string{"1"}, b.named...), ","))
	} else {
		request.Header[p.method] = []string{r.Method}
		request.Header[p.host] = []string{r.Host}
		request.Header[p.path] = []string{r.Path}
	}
	if r.Peer != "" {
		request.Header.Set(peerHeader, r.Peer)
	}
	return request, removed
}

// saysAnother reports whether a server might take a header for one that says who calls, or which
// method or path is meant.
func (b *bench) saysAnother(name string) bool {
	return authztest.BeginsAsIdentity(name) ||
		authztest.TakenFor(name, slices.Concat(authz.OverrideHeaders(), b.named)...)
}

// ask is what becomes of a request behind a proxy that asks the server.
func (b *bench) ask(t testing.TB) authztest.Ask {
	return func(r authz.Request) authztest.Answer {
		request, removed := asked(b, r)
		return answerOf(t, b, b.send(request), removed)
	}
}

// answerOf is what a proxy makes of an answer, when it has removed these headers before.
func answerOf(t testing.TB, b *bench, got *http.Response, removed []string) authztest.Answer {
	t.Helper()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := authztest.Answer{Status: got.StatusCode, Body: string(body)}
	var ids []authz.Header
	for _, value := range got.Header.Values(authz.HeaderDecision) {
		ids = append(ids, authz.Header{Name: authz.HeaderDecision, Value: value})
	}
	authztest.WithoutID(t, a.Status, ids)
	if got.StatusCode != http.StatusOK {
		for name, values := range got.Header {
			for _, value := range values {
				a.Headers = append(a.Headers, authz.Header{Name: strings.ToLower(name), Value: value})
			}
		}
		line := strings.ReplaceAll(strings.TrimSpace(a.Body), "\n", " ")
		if told := got.Header.Get(headerBody); b.server.proxy.bodyInHeader && told != line {
			t.Errorf("the body %q stands in a header as %q", a.Body, told)
		}
		return a
	}
	for _, name := range slices.Concat(authz.IdentityHeaders(), b.named) {
		if value := got.Header.Get(name); value != "" {
			a.Set = append(a.Set, authz.Header{Name: name, Value: value})
		}
	}
	a.Remove = b.withoutSet(a, removed)
	if b.server.proxy.own {
		told := strings.Split(got.Header.Get(headersToRemove), ",")
		for _, name := range told[1:] {
			if !slices.Contains(a.Remove, name) {
				t.Errorf("Envoy is not told to remove %s: %v %v", name, told, got.Header)
			}
		}
		if told[0] != check.HeaderStripped {
			t.Errorf("Envoy's mark goes on")
		}
	}
	return a
}

// withoutSet are the headers that a proxy has removed and has no value for: those of its client,
// and each header of the gate's that the answer lacks.
func (b *bench) withoutSet(a authztest.Answer, removed []string) []string {
	set := map[string]bool{}
	for _, h := range a.Set {
		set[h.Name] = true
	}
	gone := map[string]bool{}
	for _, name := range slices.Concat(removed, authz.IdentityHeaders(), b.named) {
		gone[name] = !set[strings.ToLower(name)]
	}
	maps.DeleteFunc(gone, func(_ string, is bool) bool { return !is })
	return slices.Collect(maps.Keys(gone))
}
