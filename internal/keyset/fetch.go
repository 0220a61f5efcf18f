package keyset

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/livefile"
)

// transport makes the round tripper for a set of roots (nil: the system's). Tests put in one of
// their own.
type transport func(roots *x509.CertPool) http.RoundTripper

// newTransport connects anew for each fetch, directly: a fetch happens every few minutes, and no
// setting in the environment may lead it elsewhere.
func newTransport(roots *x509.CertPool) http.RoundTripper {
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    3 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives:      true,
		DisableCompression:     true, // a small answer must stay small
	}
}

// urlSource is a JWKS at an address.
type urlSource struct {
	url       string
	caFile    config.Path
	files     *livefile.Files
	timeout   time.Duration
	transport transport

	roots *livefile.File[*x509.CertPool] // nil until caFile could be read once
	pool  *x509.CertPool                 // what http was made with
	http  *http.Client
}

func newURLSource(c Config, t transport, files *livefile.Files) *urlSource {
	return &urlSource{url: c.JWKSURL, caFile: c.CAFile, files: files, timeout: c.Timeout, transport: t}
}

func (u *urlSource) String() string { return u.url }

// client is remade when ca_file changes. Only one fetch runs at a time.
func (u *urlSource) client() (*http.Client, error) {
	if u.caFile == "" {
		if u.http == nil {
			u.http = u.withRoots(nil)
		}
		return u.http, nil
	}
	if u.roots == nil {
		roots, err := livefile.OpenRoots(u.files, "ca_file", string(u.caFile))
		if err != nil {
			return nil, err
		}
		u.roots = roots
	}
	// A new client, since connections of the old one trust the old authorities.
	if pool := u.roots.Value(); u.http == nil || pool != u.pool {
		u.pool, u.http = pool, u.withRoots(pool)
	}
	return u.http, nil
}

func (u *urlSource) withRoots(pool *x509.CertPool) *http.Client {
	return &http.Client{Transport: u.transport(pool), CheckRedirect: stayHere}
}

const redirectsMax = 3

// stayHere follows a redirect within the configured scheme, host and port only. Any other is an
// answer like any with a wrong status.
func stayHere(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) > redirectsMax || req.URL.Scheme != first.Scheme || req.URL.Host != first.Host ||
		req.URL.User != nil {
		return http.ErrUseLastResponse
	}
	return nil
}

func (u *urlSource) get(ctx context.Context, etag string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	client, err := u.client()
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url, nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, withoutURL(err)
	}
	defer res.Body.Close()
	return read(res, etag)
}

// withoutURL leaves out the address, which every message about an issuer's keys names already.
func withoutURL(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

func read(res *http.Response, etag string) (answer, error) {
	a := answer{etag: cleanETag(res.Header.Get("ETag")), refresh: refreshAfter(res.Header)}
	switch {
	// Only if we asked for it: else nobody knows what is not modified.
	case res.StatusCode == http.StatusNotModified && etag != "":
		a.unchanged, a.etag = true, etag
		return a, nil
	case res.StatusCode >= 300 && res.StatusCode < 400 && res.StatusCode != http.StatusNotModified:
		return answer{}, fmt.Errorf(
			"expected status 200, got %d: redirects to another host or scheme are not followed; write "+
				"the final address into jwks_url",
			res.StatusCode)
	case res.StatusCode != http.StatusOK:
		return answer{}, fmt.Errorf("expected status 200, got %d", res.StatusCode)
	}
	if coding := res.Header.Get("Content-Encoding"); coding != "" &&
		!strings.EqualFold(coding, "identity") {
		return answer{}, errors.New(
			"expected a key set as it is, got a compressed one that was not asked for")
	}
	// One byte more than allowed tells a set that is too large from one that just fits.
	doc, err := io.ReadAll(io.LimitReader(res.Body, setMax+1))
	if err != nil {
		return answer{}, fmt.Errorf("reading the key set: %w", err)
	}
	if len(doc) > setMax {
		return answer{}, fmt.Errorf("expected a key set of at most %d bytes, got more", setMax)
	}
	a.keys, a.skipped, err = parseSet(doc)
	return a, err
}

// cleanETag keeps what can be sent back safely (RFC 9110 section 8.8.3).
func cleanETag(s string) string {
	if len(s) > 256 || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return ""
	}
	return s
}

// refreshAfter is how long the answer may be kept (RFC 9111 section 5.2.2): max-age less Age. 0: it
// does not say; -1: not at all.
func refreshAfter(h http.Header) time.Duration {
	var age, maxAge int64
	said := false
	for _, d := range strings.Split(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(d), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return -1
		case "max-age":
			n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return -1 // RFC 9111 section 4.2.1: what can not be read is stale
			}
			maxAge, said = int64(n), true
		}
	}
	if !said {
		return 0
	}
	if n, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil {
		age = int64(n)
	}
	if age >= maxAge {
		return -1
	}
	return time.Duration(maxAge-age) * time.Second
}
