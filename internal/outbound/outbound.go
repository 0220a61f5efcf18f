// Package outbound has what the programs' own HTTP requests to other issuers have in common. It
// promises that a connection is made within seconds, by TLS 1.2 or newer and the proxy of the
// environment; that a small answer stays small; and that no error tells an address.
package outbound

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// Transport returns a transport that trusts roots (nil: the system's). It goes by the proxy that
// HTTPS_PROXY, HTTP_PROXY and NO_PROXY name (in capitals or not), never by one to this machine
// itself. To https addresses a proxy only forwards bytes (CONNECT). Where a proxy's address can't be
// read every request fails, rather than go past the proxy.
func Transport(roots *x509.CertPool) *http.Transport {
	env := httpproxy.FromEnvironment()
	proxy := env.ProxyFunc()
	broken := cmp.Or(unreadable("HTTPS_PROXY", env.HTTPSProxy), unreadable("HTTP_PROXY", env.HTTPProxy))
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if broken != nil {
				return nil, broken
			}
			return proxy(r.URL)
		},
		DialContext:            (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    3 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
}

// unreadable returns what is wrong with a proxy's address, which httpproxy would leave out of
// account. It tells nothing of the address, which may hold a password.
func unreadable(variable, address string) error {
	if address == "" {
		return nil
	}
	whole := address
	if !strings.Contains(address, "://") {
		whole = "http://" + address
	}
	if u, err := url.Parse(whole); err == nil && u.Hostname() != "" {
		return nil
	}
	return fmt.Errorf("outbound: expected %s to be an address as http://proxy.example.com:3128",
		variable)
}

// WithoutURL leaves the address out of an error of an http.Client: it may hold what is not to be
// logged.
func WithoutURL(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
