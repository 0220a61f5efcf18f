package keyset

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
)

// proxy is a real HTTP proxy: it forwards bytes for CONNECT, and requests to http addresses. What it
// is asked for, it looks up in hosts.
type proxy struct {
	*httptest.Server
	hosts map[string]string // host:port -> where that is

	mu    sync.Mutex
	asked []*http.Request
}

func newProxy(t *testing.T, hosts map[string]string) *proxy {
	p := &proxy{hosts: hosts}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r)
	p.mu.Unlock()
	where := p.hosts[r.Host]
	switch {
	case where == "":
		http.Error(w, "nowhere", http.StatusBadGateway)
	case r.Method == http.MethodConnect:
		p.connect(w, where)
	default:
		out := r.Clone(r.Context())
		out.RequestURI, out.URL.Host = "", where
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}
}

func (p *proxy) connect(w http.ResponseWriter, where string) {
	there, err := net.Dial("tcp", where)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		there.Close()
		return
	}
	fmt.Fprint(here, "HTTP/1.1 200 OK\r\n\r\n")
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{here, there}, {there, here}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			way[0].Close()
		})
	}
	both.Wait()
}

// requests are the methods and hosts that the proxy was asked for.
func (p *proxy) requests() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.asked {
		all = append(all, r.Method+" "+r.Host)
	}
	return all
}

// environment sets what HTTP clients take proxies from, and nothing else.
func environment(t *testing.T, pairs ...string) {
	t.Helper()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		t.Setenv(name, "")
		t.Setenv(strings.ToLower(name), "")
	}
	for n := 0; n < len(pairs); n += 2 {
		t.Setenv(pairs[n], pairs[n+1])
	}
}

// keysHost is a name that no name server knows: whoever connects to it does so by a proxy.
const keysHost = "keys.issuer.invalid"

// secureServer serves an origin over TLS under keysHost, and gives the file of its authority.
func secureServer(t *testing.T, o http.Handler) (*httptest.Server, string) {
	t.Helper()
	authority := redistest.NewAuthority(t)
	pair, err := tls.X509KeyPair(authority.Pair(keysHost))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(o)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, string(authority.PEM()))
	return s, ca
}

// TestProxiesInTheEnvironmentAreUsed: to an https address only as a tunnel, in which certificates are
// checked as ever.
func TestProxiesInTheEnvironmentAreUsed(t *testing.T) {
	o := &origin{}
	k := newKey(t, "ES256")
	o.publish(t, k)
	secure, ca := secureServer(t, o)
	plain := serverOf(t, o)
	hosts := map[string]string{
		keysHost + ":443": secure.Listener.Addr().String(),
		keysHost:          plain.Listener.Addr().String(),
	}
	roots := func(c *Config) { c.CAFile = config.Path(ca) }
	for name, c := range map[string]struct {
		environment []string
		entry       Config
		want        string // of the proxy; "": it is not asked
		fails       bool
	}{
		"https": {
			[]string{"HTTPS_PROXY", "PROXY"},
			trust(issuerA, at("https://"+keysHost+"/jwks"), roots), "CONNECT " + keysHost + ":443", false,
		},
		"https, in small letters": {
			[]string{"https_proxy", "PROXY"},
			trust(issuerA, at("https://"+keysHost+"/jwks"), roots), "CONNECT " + keysHost + ":443", false,
		},
		"https with a certificate that nobody trusts": {
			[]string{"HTTPS_PROXY", "PROXY"},
			trust(issuerA, at("https://"+keysHost+"/jwks")), "CONNECT " + keysHost + ":443", true,
		},
		"http": {
			[]string{"HTTP_PROXY", "PROXY"},
			trust(issuerA, at("http://"+keysHost+"/jwks")), "GET " + keysHost, false,
		},
		"a host that is exempt": {
			[]string{"HTTPS_PROXY", "PROXY", "NO_PROXY", "elsewhere.example,.issuer.invalid"},
			trust(issuerA, at("https://"+keysHost+"/jwks"), roots), "", true,
		},
		"https, with a proxy for http alone": {
			[]string{"HTTP_PROXY", "PROXY"},
			trust(issuerA, at("https://"+keysHost+"/jwks"), roots), "", true,
		},
		"this machine": {
			[]string{"HTTP_PROXY", "PROXY", "HTTPS_PROXY", "PROXY"}, trust(issuerA, at(plain.URL)), "", false,
		},
		"a host that the proxy does not reach": {
			[]string{"HTTPS_PROXY", "PROXY"},
			trust(issuerA, at("https://other.invalid/jwks"), roots), "CONNECT other.invalid:443", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, hosts)
			for n, value := range c.environment {
				c.environment[n] = strings.Replace(value, "PROXY", p.URL, 1)
				if strings.HasSuffix(strings.ToUpper(value), "_PROXY") {
					c.environment[n] = value
				}
			}
			environment(t, c.environment...)
			g := newGate(t, Options{}, c.entry)
			if err := g.fetch(); (err != nil) != c.fails {
				t.Errorf("expected to fail %v, got %v", c.fails, err)
			}
			if !c.fails {
				g.wants(issuerA, k)
			}
			if got := strings.Join(p.requests(), ", "); got != c.want {
				t.Errorf("expected the proxy to be asked for %q, got %q", c.want, got)
			}
		})
	}
}

// TestAProxysPasswordIsInNoError, nor in the log.
func TestAProxysPasswordIsInNoError(t *testing.T) {
	p := newProxy(t, nil)
	secret := strings.Replace(p.URL, "http://", "http://gate:hidden-password@", 1)
	environment(t, "HTTPS_PROXY", secret)
	g := newGate(t, Options{}, trust(issuerA, at("https://"+keysHost+"/jwks")))
	err := g.fetch()
	if err == nil || strings.Contains(err.Error()+g.log.String(), "hidden-password") {
		t.Errorf("got %v, %s", err, g.log)
	}
	p.mu.Lock()
	if len(p.asked) != 1 || p.asked[0].Header.Get("Proxy-Authorization") == "" {
		t.Errorf("expected the proxy to be shown its password, got %v", p.asked)
	}
	p.mu.Unlock()
	p.Close()
	if err := g.fetch(); err == nil ||
		strings.Contains(err.Error()+g.log.String(), "hidden-password") {
		t.Errorf("the proxy is away: got %v, %s", err, g.log)
	}
}

func TestTransportTrustsNoOneElse(t *testing.T) {
	tr, ok := newTransport(nil).(*http.Transport)
	if !ok || !tr.DisableCompression || tr.TLSClientConfig.InsecureSkipVerify ||
		tr.TLSClientConfig.MinVersion < tls.VersionTLS12 {
		t.Fatalf("got %T", tr)
	}
}

// guarded is an origin that wants a bearer token.
type guarded struct {
	origin
	token string
}

// ServeHTTP implements http.Handler.
func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	want := "Bearer " + g.token
	g.mu.Unlock()
	if r.Header.Get("Authorization") != want {
		g.origin.mu.Lock()
		g.asked = append(g.asked, r)
		g.origin.mu.Unlock()
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	g.origin.ServeHTTP(w, r)
}

func (g *guarded) want(token string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.token = token
}

func withToken(path string) func(*Config) {
	return func(c *Config) { c.JWKSTokenFile = config.Path(path) }
}

// TestAKeySetBehindATokenIsFetchedWithIt, as the file has it at that moment; what a broken file held
// before goes on. It is in no log and no error.
func TestAKeySetBehindATokenIsFetchedWithIt(t *testing.T) {
	const first, second = "first.token-1_~+/=", "second-token"
	o := &guarded{token: first}
	k := newKey(t, "ES256")
	o.publish(t, k)
	s := httptest.NewServer(o)
	defer s.Close()
	path := filepath.Join(t.TempDir(), "token")
	g := newGate(t, Options{}, trust(issuerA, at(s.URL+"/jwks"), withToken(path)))
	failure := func(want string) {
		t.Helper()
		err := g.fetch()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expected an error with %q, got %v", want, err)
		}
		if text := fmt.Sprint(err) + g.log.String(); strings.Contains(text, "token-1") ||
			strings.Contains(text, "second-token") {
			t.Errorf("the token is told: %s", text)
		}
	}
	failure("jwks_token_file")
	for text, want := range map[string]string{
		"": "empty", "\n": "empty", "two tokens": "one bearer token", "a\nb": "one bearer token",
		"token\r\nX: y": "one bearer token", "tök": "one bearer token",
		strings.Repeat("x", tokenMax+1): "at most",
	} {
		write(t, path, text)
		failure(want)
	}
	write(t, path, first)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	failure("chmod 0600")
	if err := g.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "chmod 0600") {
		t.Errorf("a check does not tell: %v", err)
	}
	if o.requests() != 0 {
		t.Error("the issuer was asked without the token")
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	g.mustFetch()
	g.wants(issuerA, k)
	o.want(second)
	failure("got 401")
	write(t, path, second+"\n")
	g.mustFetch()
	write(t, path, "")
	g.mustFetch()
	// As Kubernetes mounts it for a pod with an fsGroup.
	group := filepath.Join(t.TempDir(), "token")
	write(t, group, second)
	if err := os.Chmod(group, 0o640); err != nil {
		t.Fatal(err)
	}
	newGate(t, Options{}, trust(issuerA, at(s.URL), withToken(group),
		func(c *Config) { c.GroupReadable = true })).mustFetch()
}

// TestATokenIsSentToItsHostAlone: neither along a redirect, nor to where metadata point, nor to
// a proxy.
func TestATokenIsSentToItsHostAlone(t *testing.T) {
	k := newKey(t, "ES256")
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "the-token")
	trap := &origin{}
	trap.publish(t, k)
	elsewhere := serverOf(t, trap)
	s := site{}
	home := httptest.NewServer(s)
	defer home.Close()
	s[home.URL+"/moved"] = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusFound)
	}
	s[home.URL+"/aside"] = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/keys", http.StatusFound)
	}
	s[home.URL+"/keys"] = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer the-token" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, jwks(t, k))
	}
	newGate(t, Options{}, trust(issuerA, at(home.URL+"/aside"), withToken(path))).mustFetch()
	if err := newGate(t, Options{}, trust(issuerA, at(home.URL+"/moved"), withToken(path))).
		fetch(); err == nil {
		t.Error("a redirect to another host was followed")
	}
	entry := func() Config {
		c := discovered(home.URL)
		c.JWKSTokenFile = config.Path(path)
		return c
	}
	openID := metadataAddresses(home.URL)[0]
	s[openID] = metadata(home.URL, elsewhere.URL+"/keys")
	if err := newGate(t, Options{}, entry()).fetch(); err == nil ||
		!strings.Contains(err.Error(), "jwks_token_file may be sent") {
		t.Errorf("metadata that point to another host: got %v", err)
	}
	if trap.requests() != 0 {
		t.Error("another host was asked")
	}
	s[openID] = metadata(home.URL, home.URL+"/keys")
	newGate(t, Options{}, entry()).mustFetch()

	o := &guarded{token: "the-token"}
	o.publish(t, k)
	secure, ca := secureServer(t, o)
	p := newProxy(t, map[string]string{keysHost + ":443": secure.Listener.Addr().String()})
	environment(t, "HTTPS_PROXY", p.URL, "HTTP_PROXY", p.URL)
	newGate(t, Options{}, trust(issuerA, at("https://"+keysHost+"/jwks"), withToken(path),
		func(c *Config) { c.CAFile = config.Path(ca) })).mustFetch()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.asked {
		if strings.Contains(fmt.Sprint(r.Header), "the-token") {
			t.Error("the proxy has seen the token")
		}
	}
	if len(p.asked) == 0 {
		t.Error("the proxy was not asked")
	}
}
