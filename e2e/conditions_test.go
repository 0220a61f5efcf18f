package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/mesh/freeport"
	"github.com/sallyport/sallyport/internal/meshtest"
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
)

// mutual is a copy of the gateway, on another port, that asks its clients for certificates.
func mutual(t *testing.T, content, dir, port string) string {
	t.Helper()
	before, rest, ok := strings.Cut(content, "    - name: gateway\n")
	listener, after, more := strings.Cut(rest, "\n  clusters:\n")
	if !ok || !more {
		t.Fatal("the mesh's envoy.yaml has no gateway before its clusters")
	}
	_, tail, _ := strings.Cut(listener, "\n") // the address
	if strings.HasPrefix(strings.TrimSpace(tail), "additional_addresses:") {
		_, tail, _ = strings.Cut(tail, "\n")
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	tail = replace(t, tail, "        - filters:\n", fmt.Sprintf(`        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              require_client_certificate: true
              common_tls_context:
                tls_certificates:
                  - {certificate_chain: {filename: %q}, private_key: {filename: %q}}
                validation_context: {trusted_ca: {filename: %q}}
          filters:
`, file("server.pem"), file("server.key"), file("ca.pem")))
	copied := fmt.Sprintf("    - name: mutual\n      address: {socket_address: {address: 127.0.0.1,"+
		" port_value: %s}}\n%s", port, tail)
	return before + "    - name: gateway\n" + listener + "\n" + copied + "\n  clusters:\n" + after
}

// TestConditionsKnowTheCallingServiceByItsCertificate as the real Envoy has checked it: of the right
// user, one service may call and another may not, nor one without a certificate; and what a client
// writes into headers makes no service of it.
func TestConditionsKnowTheCallingServiceByItsCertificate(t *testing.T) {
	const checkout = "spiffe://example.com/checkout"
	dir, authority := t.TempDir(), redistest.NewAuthority(t)
	certificate, key := authority.Pair()
	redistest.Write(t, filepath.Join(dir, "server.pem"), certificate)
	redistest.Write(t, filepath.Join(dir, "server.key"), key)
	redistest.Write(t, filepath.Join(dir, "ca.pem"), authority.PEM())
	address := freeport.Address(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.Rewrite = func(name, content string) string {
			switch name {
			case "envoy.yaml":
				return mutual(t, content, dir, port)
			case "authz.yaml":
				return replace(t, content, "  routes:\n", "  routes:\n"+
					"  - match: {path: \"/payouts/{user}\"}\n    require:\n      when: |\n"+
					"        peer.principal == \""+checkout+"\" &&\n        claims.sub == path.user\n")
			}
			return content
		}
	}))
	plain := newCaller(t, s.Endpoints().Gateway)
	token := bearer(plain.login(t, user(t, s, "bob")).Access)
	forged := header("x-forwarded-client-cert", "URI="+checkout)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority.PEM()) {
		t.Fatal("the authority's certificate cannot be read")
	}
	as := func(authority *redistest.Authority, names ...string) *caller {
		pair, err := tls.X509KeyPair(authority.Pair(names...))
		if err != nil {
			t.Fatal(err)
		}
		c := newCaller(t, "https://"+address)
		c.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: roots, Certificates: []tls.Certificate{pair},
		}}
		t.Cleanup(c.http.CloseIdleConnections)
		return c
	}
	for name, row := range map[string]struct {
		by   *caller
		path string
		want string // reason, "" for none
	}{
		"the service":                     {as(authority, checkout), "/payouts/bob", ""},
		"the service for another user":    {as(authority, checkout), "/payouts/alice", "condition"},
		"another service":                 {as(authority, "spiffe://example.com/mail"), "/payouts/bob", "condition"},
		"a service by a name of DNS":      {as(authority, "checkout"), "/payouts/bob", "condition"},
		"a client without a certificate":  {plain, "/payouts/bob", "condition"},
		"the service where nothing asks":  {as(authority, checkout), "/protected", ""},
		"another service where none asks": {as(authority, "spiffe://example.com/mail"), "/protected", ""},
	} {
		a := row.by.get(t, row.path, token, forged)
		if got := a.header.Get("x-sallyport-reason"); got != row.want || (a.status == 200) != (row.want == "") {
			t.Errorf("%s: got %d %s, want %q", name, a.status, got, row.want)
		}
	}
	if a, err := as(redistest.NewAuthority(t), checkout).try("GET", "/payouts/bob", nil, token); err == nil {
		t.Errorf("a certificate that another authority has signed: got %d", a.status)
	}
}
