package keyset

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/outbound"
	"github.com/sallyport/sallyport/internal/ownfile"
)

// transport makes the round tripper for a set of roots (nil: the system's). Tests put in one of
// their own.
type transport func(roots *x509.CertPool) http.RoundTripper

// newTransport connects anew for each request, which happens every few minutes.
func newTransport(roots *x509.CertPool) http.RoundTripper {
	t := outbound.Transport(roots)
	t.DisableKeepAlives = true
	return t
}

// web is how one issuer's documents are asked for. Only one request runs at a time.
type web struct {
	home          *url.URL // whose scheme, host and port alone may be sent the token
	caFile        config.Path
	tokenFile     config.Path
	groupReadable bool
	files         *livefile.Files
	timeout       time.Duration
	transport     transport

	roots *livefile.File[*x509.CertPool] // nil until caFile could be read once
	token *livefile.File[config.Secret]  // nil until tokenFile could be read once
	pool  *x509.CertPool                 // what http was made with
	http  *http.Client
}

func newWeb(c Config, t transport, files *livefile.Files) web {
	home, err := url.Parse(c.address())
	if err != nil { // an address that was checked before
		home = &url.URL{}
	}
	return web{
		home: home, caFile: c.CAFile, tokenFile: c.JWKSTokenFile, groupReadable: c.GroupReadable,
		files: files, timeout: c.Timeout, transport: t,
	}
}

// client is remade when ca_file changes.
func (w *web) client() (*http.Client, error) {
	if w.caFile == "" {
		if w.http == nil {
			w.http = w.withRoots(nil)
		}
		return w.http, nil
	}
	if w.roots == nil {
		roots, err := livefile.OpenRoots(w.files, "ca_file", string(w.caFile))
		if err != nil {
			return nil, err
		}
		w.roots = roots
	}
	// A new client, since connections of the old one trust the old authorities.
	if pool := w.roots.Value(); w.http == nil || pool != w.pool {
		w.pool, w.http = pool, w.withRoots(pool)
	}
	return w.http, nil
}

func (w *web) withRoots(pool *x509.CertPool) *http.Client {
	return &http.Client{Transport: w.transport(pool), CheckRedirect: stayHere}
}

const (
	tokenMax         = 16 << 10 // bytes; those of Kubernetes have 1 to 2 KB
	bearerCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
)

// bearer is what jwks_token_file holds now.
func (w *web) bearer() (config.Secret, error) {
	if w.tokenFile == "" {
		return config.Secret{}, nil
	}
	if w.token == nil {
		token, err := livefile.Open(w.files, livefile.Spec[config.Secret]{
			Setting: "jwks_token_file", Paths: []string{string(w.tokenFile)},
			Check: ownfile.Private(w.groupReadable), Parse: parseBearer,
		})
		if err != nil {
			return config.Secret{}, err
		}
		w.token = token
	}
	return w.token.Value(), nil
}

// parseBearer reads one token of RFC 6750 section 2.1, with or without a line break after it. Its
// errors hold nothing of it.
func parseBearer(contents [][]byte) (config.Secret, error) {
	text := string(ownfile.Secret(contents[0]))
	switch {
	case text == "":
		return config.Secret{}, errors.New("expected a bearer token, got an empty file")
	case len(text) > tokenMax:
		return config.Secret{}, fmt.Errorf("expected a bearer token of at most %d bytes, got %d",
			tokenMax, len(text))
	case strings.Trim(text, bearerCharacters) != "":
		return config.Secret{}, errors.New("expected one bearer token and nothing beside it")
	}
	return config.NewSecret(text), nil
}

// check reads what is on this machine.
func (w *web) check() error {
	_, noRoots := w.client()
	_, noToken := w.bearer()
	return errors.Join(noRoots, noToken)
}

const redirectsMax = 3

// stayHere follows a redirect within the scheme, host and port of the first request only. Any other
// is an answer like any with a wrong status.
func stayHere(req *http.Request, via []*http.Request) error {
	if len(via) > redirectsMax || !sameOrigin(req.URL, via[0].URL) || req.URL.User != nil {
		return http.ErrUseLastResponse
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if u.Port() == "" && u.Scheme == "https" {
		return "443"
	}
	return cmp.Or(u.Port(), "80")
}

// document is a request for one document: what errors call it, and what they advise when it is
// somewhere else.
type document struct {
	name, elsewhere string
	accept          string
	etag            string // "": whatever it is
}

// page is a document as it came.
type page struct {
	notModified bool // it is the one with the etag that was asked with
	header      http.Header
	body        []byte
}

// statusError is an answer that is none, by its status.
type statusError struct {
	status int
	more   string
}

// Error implements error.
func (e statusError) Error() string {
	return fmt.Sprintf("expected status 200, got %d%s", e.status, e.more)
}

// get asks for a document once. The token goes along to the issuer's own host and nowhere else.
func (w *web) get(ctx context.Context, address string, d document) (page, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	client, err := w.client()
	if err != nil {
		return page{}, err
	}
	token, err := w.bearer()
	if err != nil {
		return page{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return page{}, err
	}
	req.Header.Set("Accept", d.accept)
	if d.etag != "" {
		req.Header.Set("If-None-Match", d.etag)
	}
	if !token.IsZero() {
		if !sameOrigin(req.URL, w.home) {
			return page{}, fmt.Errorf("expected the %s at %s://%s, to which jwks_token_file may be "+
				"sent, got it at %s://%s; write jwks_url", d.name, w.home.Scheme, w.home.Host,
				req.URL.Scheme, req.URL.Host)
		}
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	res, err := client.Do(req)
	if err != nil {
		return page{}, outbound.WithoutURL(err)
	}
	defer res.Body.Close()
	return d.read(res)
}

func (d document) read(res *http.Response) (page, error) {
	p := page{header: res.Header}
	switch {
	// Only if we asked for it: else nobody knows what is not modified.
	case res.StatusCode == http.StatusNotModified && d.etag != "":
		p.notModified = true
		return p, nil
	case res.StatusCode >= 300 && res.StatusCode < 400 && res.StatusCode != http.StatusNotModified:
		return page{}, statusError{
			res.StatusCode,
			": redirects to another host or scheme are not followed; " + d.elsewhere,
		}
	case res.StatusCode != http.StatusOK:
		return page{}, statusError{status: res.StatusCode}
	}
	if coding := res.Header.Get("Content-Encoding"); coding != "" &&
		!strings.EqualFold(coding, "identity") {
		return page{}, fmt.Errorf(
			"expected a %s as it is, got a compressed one that was not asked for", d.name)
	}
	// One byte more than allowed tells a document that is too large from one that just fits.
	var err error
	if p.body, err = io.ReadAll(io.LimitReader(res.Body, setMax+1)); err != nil {
		return page{}, fmt.Errorf("reading the %s: %w", d.name, err)
	}
	if len(p.body) > setMax {
		return page{}, fmt.Errorf("expected a %s of at most %d bytes, got more", d.name, setMax)
	}
	return p, nil
}
