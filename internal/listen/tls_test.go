package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
)

// files puts a certificate and its key, or an authority, into files.
func files(t *testing.T, contents ...[]byte) (paths []config.Path) {
	t.Helper()
	for i, content := range contents {
		path := filepath.Join(t.TempDir(), string('a'+rune(i)))
		redistest.Write(t, path, content)
		paths = append(paths, config.Path(path))
	}
	return paths
}

// greet connects to a server of that configuration, and returns what went wrong on either side.
func greet(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		far, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		_, err = io.WriteString(tls.Server(far, server), "!") // shakes hands first
		served <- errors.Join(err, far.Close())
	}()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	if err := near.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(tls.Client(near, client))
	if errors.Is(err, io.ErrUnexpectedEOF) { // it was served, and cut
		err = nil
	}
	_ = near.Close()
	return errors.Join(err, <-served)
}

func TestAClientIsServedByTheNameInItsCertificate(t *testing.T) {
	ours, theirs := redistest.NewAuthority(t), redistest.NewAuthority(t)
	certificate, key := ours.Pair("gate.example.com")
	at := files(t, certificate, key, ours.PEM())
	server, err := TLSConfig{
		CertFile: at[0], KeyFile: at[1], ClientCAFile: at[2],
		ClientNames: []string{"proxy.example.com", "spiffe://example.com/envoy"},
	}.Open(nil, "x.tls", "h2")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ours.PEM())
	for name, row := range map[string]struct {
		authority *redistest.Authority
		names     []string
		protocols []string
		ok        bool
	}{
		"a DNS name":                   {ours, []string{"proxy.example.com"}, []string{"h2"}, true},
		"a URI":                        {ours, []string{"spiffe://example.com/envoy"}, []string{"h2"}, true},
		"no protocol named":            {ours, []string{"proxy.example.com"}, nil, true},
		"another protocol":             {ours, []string{"proxy.example.com"}, []string{"imap"}, false},
		"another DNS name":             {ours, []string{"proxy.example.com.evil.example"}, []string{"h2"}, false},
		"another URI":                  {ours, []string{"spiffe://example.com/envoy2"}, []string{"h2"}, false},
		"a name below":                 {ours, []string{"a.proxy.example.com"}, []string{"h2"}, false},
		"a wildcard":                   {ours, []string{"*.example.com"}, []string{"h2"}, false},
		"another authority's":          {theirs, []string{"proxy.example.com"}, []string{"h2"}, false},
		"no certificate of a client's": {nil, nil, []string{"h2"}, false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client := &tls.Config{
				RootCAs: roots, ServerName: "gate.example.com", NextProtos: row.protocols,
				MaxVersion: version,
			}
			if row.authority != nil {
				pair, err := tls.X509KeyPair(row.authority.Pair(row.names...))
				if err != nil {
					t.Fatal(err)
				}
				client.Certificates = []tls.Certificate{pair}
			}
			if err := greet(t, server, client); (err == nil) != row.ok {
				t.Errorf("%s, TLS %x: got %v", name, version, err)
			}
		}
	}
	if err := greet(t, server, &tls.Config{
		RootCAs: roots, ServerName: "gate.example.com", MaxVersion: tls.VersionTLS11,
	}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

// TestFilesThatAreRenewedAreInForce, the authorities too: a client of the old one is served no more.
func TestFilesThatAreRenewedAreInForce(t *testing.T) {
	first, second := redistest.NewAuthority(t), redistest.NewAuthority(t)
	certificate, key := first.Pair()
	at := files(t, certificate, key, first.PEM())
	server, err := TLSConfig{
		CertFile: at[0], KeyFile: at[1], ClientCAFile: at[2], ClientNames: []string{"proxy"},
	}.Open(nil, "x.tls", "h2")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(a *redistest.Authority) error {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(a.PEM())
		pair, err := tls.X509KeyPair(a.Pair("proxy"))
		if err != nil {
			t.Fatal(err)
		}
		return greet(t, server, &tls.Config{
			RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{pair},
		})
	}
	if err := ask(first); err != nil {
		t.Fatal(err)
	}
	certificate, key = second.Pair()
	for i, content := range [][]byte{certificate, key, second.PEM()} {
		redistest.Write(t, string(at[i]), content)
	}
	if err := ask(second); err != nil {
		t.Errorf("the new files are not in force: %v", err)
	}
	if ask(first) == nil {
		t.Error("a client of the old authority is served")
	}
}

func TestTLSThatCannotBeMeantIsRefused(t *testing.T) {
	for want, c := range map[string]TLSConfig{
		"cert_file":      {CertFile: "a"},
		"client_ca_file": {ClientCAFile: "a", ClientNames: []string{"x"}},
		"client_names":   {CertFile: "a", KeyFile: "b", ClientCAFile: "c"},
		"client_names[0]": {
			CertFile: "a", KeyFile: "b", ClientCAFile: "c", ClientNames: []string{""},
		},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v", c, err)
		}
	}
	if err := (TLSConfig{}).Validate(); err != nil {
		t.Error(err)
	}
	if c, err := (TLSConfig{}).Open(nil, "x.tls", "h2"); c != nil || err != nil {
		t.Errorf("got %v, %v", c, err)
	}
	missing := TLSConfig{CertFile: "/nonexistent/a", KeyFile: "/nonexistent/b"}
	if _, err := missing.Open(nil, "x.tls", "h2"); err == nil ||
		!strings.Contains(err.Error(), "x.tls.cert_file") {
		t.Errorf("got %v", err)
	}
}
