// Package outbound has what the programs' own HTTP requests to other issuers have in common. It
// promises that a connection is made within seconds, by TLS 1.2 or newer and the proxy of the
// environment; that a small answer stays small; and that no error tells an address.
package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// Transport returns a transport that trusts roots (nil: the system's). It goes by the proxy that
// HTTPS_PROXY, HTTP_PROXY and NO_PROXY name (in capitals or not), never by one to this machine
// itself. To https addresses a proxy only forwards bytes (CONNECT).
func Transport(roots *x509.CertPool) *http.Transport {
	proxy := httpproxy.FromEnvironment().ProxyFunc()
	return &http.Transport{
		Proxy:                  func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		DialContext:            (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    3 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
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
