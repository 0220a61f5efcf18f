package httpcheck

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/listen"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

// TestVectorsThroughEveryProxy: the table that the gRPC server and the filter inside Envoy go
// through too, asked as each proxy asks.
func TestVectorsThroughEveryProxy(t *testing.T) {
	for _, proxy := range proxyNames() {
		t.Run(proxy, func(t *testing.T) {
			authztest.Run(t, func(t *testing.T, w *authztest.World) authztest.Ask {
				return start(t, w, configFor(t, proxy)).ask(t)
			})
		})
	}
}

func TestHostileTokensAreRefusedOverHTTP(t *testing.T) {
	authztest.RunAttacks(t, func(t *testing.T, w *authztest.World) authztest.Ask {
		return start(t, w, configFor(t, "nginx")).ask(t)
	})
}

func TestHostileTokensOfOthersAreRefusedOverHTTP(t *testing.T) {
	authztest.RunForeignAttacks(t, func(t *testing.T, w *authztest.World) authztest.Ask {
		return start(t, w, configFor(t, "traefik")).ask(t)
	})
}

// stated are the headers in which a proxy says what it asks about.
func stated(p proxy) []string { return []string{p.method, p.host, p.path} }

// TestASourceThatIsMissingOrTwiceIsRefused, on a public route too, and the audit line says which
// headers are meant.
func TestASourceThatIsMissingOrTwiceIsRefused(t *testing.T) {
	for _, proxy := range []string{"nginx", "traefik", "caddy", "haproxy"} {
		b := start(t, authztest.New(), configFor(t, proxy))
		refused := func(what string, r *http.Request) {
			t.Helper()
			got := b.send(r)
			if got.StatusCode != 400 {
				t.Errorf("%s, %s: got %d", proxy, what, got.StatusCode)
			}
			lines := b.lines.All()
			if last := lines[len(lines)-1]; !strings.Contains(last.Detail, "http_check.proxy: "+proxy) {
				t.Errorf("%s, %s: the audit line says %q", proxy, what, last.Detail)
			}
		}
		good := func() *http.Request { r, _ := asked(b, authztest.Get("/public")); return r }
		if got := b.send(good()); got.StatusCode != 200 {
			t.Fatalf("%s: got %d", proxy, got.StatusCode)
		}
		for _, name := range stated(b.server.proxy) {
			r := good()
			delete(r.Header, name)
			refused("without "+name, r)
			r = good()
			r.Header[name] = append(r.Header[name], r.Header[name][0])
			refused("twice "+name, r)
		}
	}
}

// TestOnlyTheStatedSourceCounts: what another kind of proxy would say is a header like others.
func TestOnlyTheStatedSourceCounts(t *testing.T) {
	for _, proxy := range proxyNames() {
		b := start(t, authztest.New(), configFor(t, proxy))
		r, _ := asked(b, authztest.Get("/protected"))
		for _, other := range proxies {
			for _, name := range stated(other) {
				if name != "" && !slices.Contains(stated(b.server.proxy), name) {
					r.Header[name] = []string{"/public"}
				}
			}
		}
		if !b.server.proxy.own {
			r.RequestURI, r.URL.Path, r.Host, r.Method = "/public", "/public", "other", "POST"
		}
		if got := b.send(r); got.StatusCode != 401 {
			t.Errorf("%s: got %d", proxy, got.StatusCode)
		}
	}
}

// TestAStrangerIsToldNothing: whatever it sends, and whatever token it has. The log says how to
// make it a trusted proxy.
func TestAStrangerIsToldNothing(t *testing.T) {
	log := &eventually.Buffer{}
	w := authztest.New()
	b := start(t, w, configFor(t, "nginx"), func(o *check.Options) {
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	for _, from := range []string{"198.51.100.1:80", "[::1]:80", "@", "", "192.0.3.1:1"} {
		r, _ := asked(b, authztest.Get("/protected", "authorization", "Bearer "+w.Token(),
			"x-forwarded-for", "192.0.2.7"))
		r.RemoteAddr = from
		got := b.send(r)
		if got.StatusCode != 400 || got.Header.Get(authz.HeaderSubject) != "" {
			t.Errorf("%s: got %d %v", from, got.StatusCode, got.Header)
		}
	}
	if line := b.lines.All()[0]; line.Address != "198.51.100.1" || line.Path != "" {
		t.Errorf("the audit line is %+v", line)
	}
	if n := strings.Count(log.String(), "http_check: {trusted_proxies: ['198.51.100.1']}"); n != 1 ||
		strings.Count(log.String(), "no trusted proxy") != 1 {
		t.Errorf("got the log %s", log)
	}
	r, _ := asked(b, authztest.Get("/protected", "authorization", "Bearer "+w.Token()))
	r.RemoteAddr = "[::ffff:192.0.2.9]:80" // a trusted one, as a socket of both kinds has it
	if got := b.send(r); got.StatusCode != 200 {
		t.Errorf("got %d", got.StatusCode)
	}
}

// TestAHeaderThatAProxyHasLeftToItsClientIsRefused: of a proxy that cannot be told what to remove,
// each spelling of an identity header; it never becomes one.
func TestAHeaderThatAProxyHasLeftToItsClientIsRefused(t *testing.T) {
	for _, proxy := range proxyNames() {
		w := authztest.New()
		b := start(t, w, configFor(t, proxy))
		for _, request := range []authz.Request{
			authztest.Get("/public"), authztest.Get("/protected", "authorization", "Bearer "+w.Token()),
		} {
			names := append(authz.Misspellings(), authz.OverrideHeaders()...)
			names = append(names, "x-auth-email", "X_Auth.Email")
			for _, sign := range authztest.Signs {
				names = append(names, strings.ReplaceAll(authz.HeaderRoles, "-", string(sign)))
			}
			want := 400
			if b.server.proxy.own {
				want = 503 // not_stripped, as over gRPC
			} else {
				names = append(names, authz.IdentityHeaders()...)
			}
			for _, name := range names {
				r, _ := asked(b, request)
				r.Header[http.CanonicalHeaderKey(name)] = []string{"mallory"}
				if got := b.send(r); got.StatusCode != want {
					t.Errorf("%s: %s %s: got %d", proxy, request.Path, name, got.StatusCode)
				}
			}
		}
	}
}

// TestAHeaderOfClaimsThatAProxyHasLeftToItsClientIsRefused: one that a route of the policy makes of a
// claim, on each route and in each spelling; and what the gate makes of it goes on.
func TestAHeaderOfClaimsThatAProxyHasLeftToItsClientIsRefused(t *testing.T) {
	w := authztest.New()
	var err error
	w.Policy, err = policy.Compile(policy.Config{Routes: []policy.Route{
		{Match: policy.Match{Path: "/public"}, Allow: "public"},
		{Match: policy.Match{Path: "/protected"}, Headers: map[string]string{"x-who": "sub"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, w, configFor(t, "nginx"))
	bearer := "Bearer " + w.Token()
	for _, r := range []authz.Request{
		authztest.Get("/public"), authztest.Get("/protected", "authorization", bearer),
	} {
		for _, name := range []string{"x-who", "X-Who", "x_who", "x.who", "x!who"} {
			request, _ := asked(b, r)
			request.Header[http.CanonicalHeaderKey(name)] = []string{"mallory"}
			if got := b.send(request); got.StatusCode != 400 || got.Header.Get("X-Who") != "" {
				t.Errorf("%s %s: got %d %v", r.Path, name, got.StatusCode, got.Header)
			}
		}
	}
	request, _ := asked(b, authztest.Get("/protected", "authorization", bearer))
	if got := b.send(request); got.StatusCode != 200 || got.Header.Get("X-Who") != "alice" {
		t.Errorf("got %d %v", got.StatusCode, got.Header)
	}
}

// TestEnvoyMustSayThatItStrips, once.
func TestEnvoyMustSayThatItStrips(t *testing.T) {
	b := start(t, authztest.New(), configFor(t, "envoy"))
	for name, marks := range map[string][]string{
		"none": nil, "another": {"2"}, "two": {"1", "1"}, "joined": {"1,1"},
	} {
		r, _ := asked(b, authztest.Get("/public"))
		r.Header["X-Sallyport-Stripped"] = marks
		got := b.send(r)
		if got.StatusCode != 503 || got.Header.Get(authz.HeaderReason) != "not_stripped" {
			t.Errorf("%s: got %d %s", name, got.StatusCode, got.Header.Get(authz.HeaderReason))
		}
	}
}

// TestEnvoyEndsAStreamWithItsToken, as over gRPC; other proxies have no such header.
func TestEnvoyEndsAStreamWithItsToken(t *testing.T) {
	for _, proxy := range proxyNames() {
		w := authztest.New()
		b := start(t, w, configFor(t, proxy))
		r, _ := asked(b, authztest.Get("/protected", "authorization", "Bearer "+w.Token()))
		got := b.send(r).Header.Get(check.HeaderStreamDuration)
		if want := map[bool]string{true: "3000000"}[proxy == "envoy"]; got != want {
			t.Errorf("%s: got %q", proxy, got)
		}
	}
}

// TestACallingServiceIsNamedInOnePlace, and nowhere unless the settings say where.
func TestACallingServiceIsNamedInOnePlace(t *testing.T) {
	w := authztest.New()
	request := authztest.Get("/checkout", "authorization", "Bearer "+w.Token())
	request.Peer = "spiffe://example.com/checkout"
	b := start(t, w, configFor(t, "caddy"))
	r, _ := asked(b, request)
	r.Header.Add(peerHeader, request.Peer)
	if got := b.send(r); got.StatusCode != 400 {
		t.Errorf("twice: got %d", got.StatusCode)
	}
	c := configFor(t, "caddy")
	c.PeerHeader = ""
	if got := start(t, w, c).ask(t)(request); got.Status != 403 {
		t.Errorf("no such header is set: got %d", got.Status)
	}
}

func TestARequestWithABodyIsRefused(t *testing.T) {
	b := start(t, authztest.New(), configFor(t, "nginx"))
	for _, length := range []int64{1, -1} {
		r, _ := asked(b, authztest.Get("/public"))
		r.ContentLength = length
		if got := b.send(r); got.StatusCode != 400 || got.Header.Get("Connection") != "close" {
			t.Errorf("length %d: got %d %v", length, got.StatusCode, got.Header)
		}
	}
}

func TestTooManyHeadersAreRefused(t *testing.T) {
	b := start(t, authztest.New(), configFor(t, "nginx"))
	r, _ := asked(b, authztest.Get("/public"))
	r.Header["A"] = slices.Repeat([]string{"b"}, check.MaxHeaders+1)
	if got := b.send(r); got.StatusCode != 400 {
		t.Errorf("got %d", got.StatusCode)
	}
}

// thrower panics wherever a transport can be made to.
type thrower struct{ check.Keys }

func (thrower) Offer(audit.Event, func(*audit.Event)) bool { panic("thrown") }

// TestAPanicIsARefusal, in the checker and around it.
func TestAPanicIsARefusal(t *testing.T) {
	b := start(t, authztest.New(), configFor(t, "nginx"),
		func(o *check.Options) { o.Audit = thrower{} })
	if got := b.ask(t)(authztest.Get("/closed")); got.Status != 503 {
		t.Errorf("got %d", got.Status)
	}
}

// TestWhatNobodyHasFilledInIsRefused: decisions, and answers that cannot be said in HTTP.
func TestWhatNobodyHasFilledInIsRefused(t *testing.T) {
	b := start(t, authztest.New(), configFor(t, "nginx"))
	breaks := authz.Header{Name: "x-auth-subject", Value: "alice\r\nx-auth-roles: admin"}
	for name, d := range map[string]authz.Decision{
		"the zero decision":      {},
		"no identity":            {Allow: true},
		"a line break":           {Allow: true, Identity: &authz.Identity{Set: []authz.Header{breaks}}},
		"no name":                {Allow: true, Identity: &authz.Identity{Set: []authz.Header{{}}}},
		"a refusal with 200":     {Refusal: &authz.Refusal{Status: 200}},
		"a refusal with nothing": {Refusal: &authz.Refusal{}},
		"a credential to be taken out": {
			Allow: true, Identity: &authz.Identity{}, Changes: &authz.Changes{Remove: []string{"cookie"}},
		},
		"a header for the client": {
			Allow: true, Identity: &authz.Identity{Client: []authz.Header{{Name: "x-plan", Value: "1"}}},
		},
		"a preflight's answer": {Refusal: &authz.Refusal{Status: 204}},
		"a line break in a refusal": {
			Refusal: &authz.Refusal{Status: 401, Headers: []authz.Header{breaks}},
		},
	} {
		a := b.server.answerTo(&d)
		if a.status < 400 || len(a.header["X-Auth-Subject"]) > 0 {
			t.Errorf("%s: got %+v", name, a)
		}
	}
}

// TestAKeyThatIsMissingIsWaitedFor, and no longer than it may be.
func TestAKeyThatIsMissingIsWaitedFor(t *testing.T) {
	w := authztest.New()
	bearer := "Bearer " + w.Token()
	w.Keys.Remove(authztest.Issuer, authztest.KeyID)
	w.Keys.Publish(authztest.Issuer, w.Key.Public())
	b := start(t, w, configFor(t, "nginx"))
	authztest.Compare(t, authztest.Alice,
		b.ask(t)(authztest.Get("/protected", "authorization", bearer)))
}

// TestTheAuditLineHasTheClientsAddress: what the proxy has put last, and only an address.
func TestTheAuditLineHasTheClientsAddress(t *testing.T) {
	b := start(t, authztest.New(), configFor(t, "nginx"))
	for said, want := range map[string]string{
		"198.51.100.9": "198.51.100.9", "203.0.113.1, 198.51.100.9": "198.51.100.9",
		"2001:db8::1": "2001:db8::1", "unknown": "", "": "", "198.51.100.9, nonsense": "",
	} {
		r, _ := asked(b, authztest.Get("/protected?secret=1", "user-agent", "curl"))
		r.Header.Set("X-Forwarded-For", said)
		b.send(r)
		lines := b.lines.All()
		last := lines[len(lines)-1]
		if last.Address != want || last.Path != "/protected" || last.UserAgent != "curl" {
			t.Errorf("%q: got %+v", said, last)
		}
	}
}

// run has a server answer on a listener until the test ends.
func run(t *testing.T, s *Server, l net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// onLoopback is a server that is asked from this machine.
func onLoopback(t *testing.T, change func(*Config)) (b *bench, address string) {
	t.Helper()
	c := configFor(t, "nginx")
	var n config.Network
	if err := n.UnmarshalText([]byte("127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	c.TrustedProxies = config.Networks{n}
	if change != nil {
		change(&c)
	}
	b = start(t, authztest.New(), c)
	l, err := listen.Open(c.Listen, c.Config)
	if err != nil {
		t.Fatal(err)
	}
	run(t, b.server, l)
	return b, l.Addr().String()
}

const public = "GET /?query=of-the-client HTTP/1.1\r\nHost: gate\r\n" +
	"X-Original-Method: GET\r\nX-Original-Host: things.example.com\r\nX-Original-Uri: /public\r\n"

// talk sends bytes, and returns the answer; nil when the connection is closed without one, or
// before all was sent.
func talk(t *testing.T, conn net.Conn, bytes string) *http.Response {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, bytes); err != nil && !errors.Is(err, syscall.ECONNRESET) &&
		!errors.Is(err, syscall.EPIPE) {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil && response.StatusCode < 400 {
		t.Fatal(err)
	}
	return response
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestAConnectionIsBounded: what is too large is refused, what is too slow is closed, and a body is
// not waited for.
func TestAConnectionIsBounded(t *testing.T) {
	_, address := onLoopback(t, func(c *Config) {
		c.ReadTimeout, c.MaxHeaders = 300*time.Millisecond, 16<<10
	})
	conn := dial(t, address)
	for range 2 { // on one connection
		if got := talk(t, conn, public+"\r\n"); got == nil || got.StatusCode != 200 ||
			got.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("got %+v", got)
		}
	}
	large := public + "A: " + strings.Repeat("b", 32<<10) + "\r\n\r\n"
	if got := talk(t, dial(t, address), large); got != nil && got.StatusCode != 431 {
		t.Errorf("large: got %+v", got)
	}
	if got := talk(t, dial(t, address), public); got != nil && got.StatusCode < 400 {
		t.Errorf("slow: got %+v", got)
	}
	body := public + "Content-Length: 1000000\r\n\r\n"
	if got := talk(t, dial(t, address), body); got == nil || got.StatusCode != 400 {
		t.Errorf("a body that never comes: got %+v", got)
	}
	chunked := public + "Transfer-Encoding: chunked\r\n\r\n"
	if got := talk(t, dial(t, address), chunked); got == nil || got.StatusCode != 400 {
		t.Errorf("a chunked body: got %+v", got)
	}
	twice := public + "x-original-uri: /protected\r\n\r\n"
	if got := talk(t, dial(t, address), twice); got == nil || got.StatusCode != 400 {
		t.Errorf("a source twice: got %+v", got)
	}
	h2 := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	if got := talk(t, dial(t, address), h2); got != nil && got.StatusCode < 400 {
		t.Errorf("HTTP/2: got %+v", got)
	}
}

// TestConnectionsAreBounded: one more waits until another one is closed.
func TestConnectionsAreBounded(t *testing.T) {
	_, address := onLoopback(t, func(c *Config) { c.MaxConnections = 1 })
	first := dial(t, address)
	if got := talk(t, first, public+"\r\n"); got == nil || got.StatusCode != 200 {
		t.Fatalf("got %+v", got)
	}
	second := dial(t, address)
	answered := make(chan *http.Response, 1)
	go func() { answered <- talk(t, second, public+"\r\n") }()
	if got := talk(t, first, public+"\r\n"); got == nil || got.StatusCode != 200 {
		t.Fatalf("got %+v", got)
	}
	select {
	case got := <-answered:
		t.Fatalf("two connections are served: %+v", got)
	default:
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got == nil || got.StatusCode != 200 {
		t.Errorf("got %+v", got)
	}
}

// TestChecksOverAUnixSocket: whoever may open it may ask.
func TestChecksOverAUnixSocket(t *testing.T) {
	path := t.TempDir() + "/http.sock"
	onLoopback(t, func(c *Config) { c.Listen, c.TrustedProxies = "unix:"+path, nil })
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := talk(t, conn, public+"\r\n"); got == nil || got.StatusCode != 200 {
		t.Errorf("got %+v", got)
	}
}

// TestDrainFinishesWhatIsUnderWay has a check wait for a key while the server drains.
func TestDrainFinishesWhatIsUnderWay(t *testing.T) {
	b, address := onLoopback(t, nil)
	never := josetest.NewKey("ES256", "key-3")
	tok := never.Token(never.Header("at+jwt").JSON(), b.world.Setup().Claims.JSON())
	answers := make(chan *http.Response, 1)
	conn := dial(t, address)
	go func() {
		answers <- talk(t, conn, strings.Replace(public, "/public", "/protected", 1)+
			"Authorization: Bearer "+tok+"\r\n\r\n")
	}()
	eventually.True(t, "the check is under way", func() bool { return b.world.Keys.Awaited() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b.server.Drain(ctx)
	if got := <-answers; got == nil || got.StatusCode != 401 ||
		got.Header.Get(authz.HeaderReason) != string(token.ReasonUnknownKey) {
		t.Errorf("got %+v", got)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("a drained server takes connections")
	}
}

// TestAServerThatIsDrainedBeforeItServesEndsWell: a process may be told to stop at once.
func TestAServerThatIsDrainedBeforeItServesEndsWell(t *testing.T) {
	b := start(t, authztest.New(), configFor(t, "nginx"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.server.Drain(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.server.Run(ctx, l); err != nil {
		t.Error(err)
	}
}

// panicking is a listener whose Accept panics.
type panicking struct{ net.Listener }

func (panicking) Accept() (net.Conn, error) { panic("a secret") }

// TestAPanicOfTheListenerIsAnErrorOfRun: it ends the door, and the process in good order.
func TestAPanicOfTheListenerIsAnErrorOfRun(t *testing.T) {
	b := start(t, authztest.New(), configFor(t, "nginx"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.server.Run(t.Context(), panicking{l}); !errors.Is(err, daemon.ErrPanic) {
		t.Errorf("got %v, want a panic", err)
	}
}
