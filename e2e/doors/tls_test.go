package doors_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
)

// certificates are those of a gate and of a proxy, in files.
type certificates struct {
	authority                               *redistest.Authority
	ca, gate, gateKey, proxy, proxyKey, dir string
}

const (
	gateName  = "gate.example.com"
	proxyName = "proxy.example.com"
)

// issue makes certificates, the proxy's with that name.
func issue(t *testing.T, proxy string) certificates {
	t.Helper()
	c := certificates{authority: redistest.NewAuthority(t), dir: t.TempDir()}
	file := func(name string, content []byte) string {
		path := filepath.Join(c.dir, name)
		redistest.Write(t, path, content)
		return path
	}
	c.ca = file("ca.crt", c.authority.PEM())
	certificate, key := c.authority.Pair(gateName)
	c.gate, c.gateKey = file("gate.crt", certificate), file("gate.key", key)
	certificate, key = c.authority.Pair(proxy)
	c.proxy, c.proxyKey = file("proxy.crt", certificate), file("proxy.key", key)
	return c
}

// flags are what a gate is started with, for one of its doors.
func (c certificates) flags(door string) []string {
	return []string{
		"--" + door + "-tls-cert-file", c.gate, "--" + door + "-tls-key-file", c.gateKey,
		"--" + door + "-tls-client-ca-file", c.ca, "--" + door + "-tls-client-names", proxyName,
	}
}

// shownIn takes a block of the overview with the files of a test.
func (c certificates) shownIn(t *testing.T, language string, n int, program string) string {
	t.Helper()
	at := "/etc/" + program
	return placed(
		t,
		block(t, "README.md", language, n),
		at+"/gates.crt",
		c.ca,
		at+"/proxy.crt",
		c.proxy,
		at+"/proxy.key",
		c.proxyKey,
	)
}

// overTLS are the changes of each proxy's page by which it asks over TLS and shows a certificate.
func (c certificates) overTLS(t *testing.T, proxy, gate string) []string {
	t.Helper()
	switch proxy {
	case "nginx":
		return []string{"        proxy_pass http://gate;\n", c.shownIn(t, "nginx", 0, "nginx")}
	case "traefik":
		return []string{
			"http://" + gate, "https://" + gate,
			"        trustForwardHeader: false\n",
			"        trustForwardHeader: false\n" + c.shownIn(t, "yaml", 2, "traefik"),
		}
	case "caddy":
		const line = "\t\t\t\tdial_timeout 1s\n"
		return []string{line, line + c.shownIn(t, "caddyfile", 0, "caddy")}
	case "envoy":
		return []string{
			"      connect_timeout: 0.25s\n", "      connect_timeout: 0.25s\n" + c.shownIn(t, "yaml", 3, "envoy"),
		}
	}
	t.Fatalf("%s shows no certificate", proxy)
	return nil
}

// TestAProxyIsKnownByItsCertificate: with the name that is stated it is answered, with another one,
// which the same authority has signed, nothing passes.
func TestAProxyIsKnownByItsCertificate(t *testing.T) {
	token := bearer(login(t, "bob"))
	for _, proxy := range []string{"caddy", "envoy", "nginx", "traefik"} {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			at, u, c := port(t), newUpstream(t), issue(t, proxyName)
			gate(t, proxy, at, c.flags("http-check")...)
			address := starters[proxy](t, at, u.address, c.overTLS(t, proxy, at)...)
			if a := get(t, address, "/protected", token); a.status != 200 ||
				a.received.Headers["x-auth-subject"] != "bob" {
				t.Errorf("got %d %s", a.status, a.body)
			}
			certificate, key := c.authority.Pair("another.example.com")
			c.proxy, c.proxyKey = filepath.Join(
				c.dir,
				"another.crt",
			), filepath.Join(
				c.dir,
				"another.key",
			)
			redistest.Write(t, c.proxy, certificate)
			redistest.Write(t, c.proxyKey, key)
			address = starters[proxy](t, at, u.address, c.overTLS(t, proxy, at)...)
			u.received()
			for _, path := range []string{"/public", "/protected"} {
				if a := get(t, address, path, token); a.status < 500 {
					t.Errorf("by another's certificate, %s: got %d %s", path, a.status, a.body)
				}
			}
			if seen := u.received(); len(seen) > 0 {
				t.Errorf("the upstream has seen %v", seen)
			}
		})
	}
}

// TestARenewedCertificateNeedsNoRestart, of the gate.
func TestARenewedCertificateNeedsNoRestart(t *testing.T) {
	at, u, c := port(t), newUpstream(t), issue(t, proxyName)
	gate(t, "nginx", at, c.flags("http-check")...)
	address := nginx(t, at, u.address, c.overTLS(t, "nginx", at)...)
	if a := get(t, address, "/public"); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	next := issue(t, proxyName)
	for from, to := range map[string]string{
		next.ca: c.ca, next.gate: c.gate, next.gateKey: c.gateKey,
	} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		redistest.Write(t, to, content)
	}
	address = nginx(t, at, u.address, next.overTLS(t, "nginx", at)...)
	eventually.True(t, "the new certificates are in force", func() bool {
		return get(t, address, "/public").status == 200
	})
}

// TestAProxyIsKnownByItsUnixSocket.
func TestAProxyIsKnownByItsUnixSocket(t *testing.T) {
	for proxy, change := range map[string][2]string{
		"nginx": {"server %;", "server unix:%;"}, "caddy": {"forward_auth %", "forward_auth unix/%"},
		"envoy": {
			"{socket_address: {address: 127.0.0.1, port_value: %}}", "{pipe: {path: %}}",
		},
	} {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			socket, u, none := filepath.Join(t.TempDir(), "http.sock"), newUpstream(t), port(t)
			gate(t, proxy, "unix:"+socket)
			old := none
			if proxy == "envoy" {
				old = portOf(t, none)
			}
			address := starters[proxy](t, none, u.address, strings.ReplaceAll(change[0], "%", old),
				strings.ReplaceAll(change[1], "%", socket))
			a := get(t, address, "/protected", bearer(login(t, "bob")))
			if a.status != 200 || a.received.Headers["x-auth-subject"] != "bob" {
				t.Errorf("got %d %s", a.status, a.body)
			}
			if a := get(t, address, "/protected"); a.status != 401 {
				t.Errorf("without a token: got %d", a.status)
			}
		})
	}
}

// TestEnvoyIsKnownByItsCertificateOverGRPC: the same for the gate's first door.
func TestEnvoyIsKnownByItsCertificateOverGRPC(t *testing.T) {
	c := issue(t, proxyName)
	s := meshtest.Start(t, meshtest.Options{Embedded: true, Mesh: func(o *mesh.Options) {
		o.GateArgs = c.flags("ext-authz")
		o.Rewrite = func(file, content string) string {
			if file != "envoy.yaml" {
				return content
			}
			const cluster = "    - name: authz\n      type: STATIC\n"
			return placed(t, content, cluster,
				cluster+placed(t, c.shownIn(t, "yaml", 3, "envoy"), "[http/1.1]", "[h2]"))
		}
	}})
	if a := s.Call("/protected", s.Login("alice").AccessToken); a.Status != 200 {
		t.Errorf("got %d %s", a.Status, a.Body)
	}
}

// TestTheCallingServiceIsKnownByItsCertificate, which Caddy has checked and names; nobody can name
// themselves.
func TestTheCallingServiceIsKnownByItsCertificate(t *testing.T) {
	at, u, c := port(t), newUpstream(t), issue(t, "spiffe://example.com/checkout")
	gate(t, "caddy", at, trusted, "--http-check-peer-header", "X-Client-Spiffe-Id")
	address := caddy(t, at, u.address,
		"http://", "https://",
		"\tbind 127.0.0.1\n", "\tbind 127.0.0.1\n"+placed(
			t,
			block(t, "caddy.md", "caddyfile", 1),
			"/etc/caddy/site.crt",
			c.gate,
			"/etc/caddy/site.key",
			c.gateKey,
			"/etc/caddy/clients.crt",
			c.ca,
		),
		"\t\t\turi /\n", "\t\t\turi /\n"+block(t, "caddy.md", "caddyfile", 2))
	token := login(t, "bob")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.authority.PEM())
	call := func(names ...string) int {
		config := &tls.Config{RootCAs: roots, ServerName: gateName}
		if len(names) > 0 {
			pair, err := tls.X509KeyPair(c.authority.Pair(names...))
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
		defer client.CloseIdleConnections()
		r, err := http.NewRequestWithContext(
			t.Context(),
			"GET",
			"https://"+address+"/checkout",
			nil,
		)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = gateName
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("X-Client-Spiffe-Id", "spiffe://example.com/checkout")
		a, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		return a.StatusCode
	}
	for name, row := range map[string]struct {
		names  []string
		status int
	}{
		"the service":    {[]string{"spiffe://example.com/checkout"}, 200},
		"another one":    {[]string{"spiffe://example.com/other"}, 403},
		"one without":    {[]string{"checkout"}, 403},
		"no certificate": {nil, 403},
	} {
		if got := call(row.names...); got != row.status {
			t.Errorf("%s: got %d", name, got)
		}
	}
}
