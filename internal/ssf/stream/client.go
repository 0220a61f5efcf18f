package stream

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/outbound"
)

const (
	callTimeout = 10 * time.Second
	maxAnswer   = 256 << 10
)

// client speaks with one transmitter as its receiver. Its methods may be called by many goroutines.
type client struct {
	cfg    Config
	issuer string
	roots  *livefile.File[*x509.CertPool] // nil: the system's
	secret *livefile.File[string]         // the client's, or the token; nil: neither is needed
	now    func() time.Time

	mu    sync.Mutex // of what follows
	pool  *x509.CertPool
	http  *http.Client
	token string
	until time.Time // the token is used no longer
}

// status is an answer that is not a good one.
type status int

func (s status) Error() string {
	return fmt.Sprintf("expected a status of 200 to 299, got %d", int(s))
}

func isStatus(err error, codes ...int) bool {
	var s status
	return errors.As(err, &s) && slices.Contains(codes, int(s))
}

// isRefusal reports whether a server has answered that there is nothing for us at an address: some
// proxies say 403 for what is not there.
func isRefusal(err error) bool {
	var s status
	return errors.As(err, &s) && s >= 400 && s < 500
}

// conn returns the HTTP client, remade when ca_file has changed.
func (c *client) conn() *http.Client {
	var pool *x509.CertPool
	if c.roots != nil {
		pool = c.roots.Value()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http == nil || c.pool != pool {
		if c.http != nil {
			c.http.CloseIdleConnections()
		}
		c.pool, c.http = pool, newHTTP(pool)
	}
	return c.http
}

func newHTTP(roots *x509.CertPool) *http.Client {
	t := outbound.Transport(roots)
	t.MaxIdleConns, t.IdleConnTimeout = 4, time.Minute
	return &http.Client{
		Transport: t,
		// A redirect would carry a secret to where nobody has said that it may go.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
}

// send sends one request and reads its answer, of at most most bytes, into out, unless out is nil
// or the answer empty.
func (c *client) send(ctx context.Context, r *http.Request, most int64, out any) error {
	r.Header.Set("Accept", "application/json")
	res, err := c.conn().Do(r.WithContext(ctx))
	if err != nil {
		return outbound.WithoutURL(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	switch {
	case res.StatusCode < 200 || res.StatusCode > 299:
		return status(res.StatusCode)
	case err != nil:
		return fmt.Errorf("reading an answer: %w", outbound.WithoutURL(err))
	case int64(len(body)) > most:
		return fmt.Errorf("expected an answer of at most %d bytes, got more", most)
	case out == nil || len(body) == 0:
		return nil
	}
	if json.Unmarshal(body, out) != nil { // whose error may quote what must not be told
		return errors.New("expected an answer in JSON, got something else")
	}
	return nil
}

// get reads a document that anybody may read.
func (c *client) get(ctx context.Context, at string, out any) error {
	u, err := safeURL(at)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}
	return c.send(ctx, r, maxAnswer, out)
}

// call asks the transmitter's API, once more when the token has become invalid.
func (c *client) call(ctx context.Context, method string, at *url.URL, in, out any,
	most int64) error {
	err := c.callOnce(ctx, method, at, in, out, most)
	if isStatus(err, http.StatusUnauthorized) && c.forget() {
		err = c.callOnce(ctx, method, at, in, out, most)
	}
	return err
}

func (c *client) callOnce(ctx context.Context, method string, at *url.URL, in, out any,
	most int64) error {
	token, err := c.bearer(ctx)
	if err != nil {
		return err
	}
	r := &http.Request{Method: method, URL: at, Header: http.Header{}}
	r.Header.Set("Authorization", "Bearer "+token)
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		setBody(r, body)
	}
	return c.send(ctx, r, most, out)
}

func setBody(r *http.Request, body []byte) {
	r.ContentLength = int64(len(body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
}

// forget drops the token, and reports whether another one can be had.
func (c *client) forget() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := c.token != ""
	c.token = ""
	return had
}

// bearer returns a token for the management API: the one that a file holds, or one that the client
// gets with its secret (RFC 6749 section 4.4).
func (c *client) bearer(ctx context.Context) (string, error) {
	if c.cfg.TokenFile != "" {
		return c.secret.Value(), nil
	}
	c.mu.Lock()
	token, fresh := c.token, c.now().Before(c.until)
	c.mu.Unlock()
	if token != "" && fresh {
		return token, nil
	}
	answer, err := c.askToken(ctx)
	if err != nil {
		return "", fmt.Errorf("getting a token: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = answer.Token
	// A little before its end, so that it does not end on its way.
	life := time.Duration(min(max(answer.Expires, 1), 24*3600)) * time.Second
	c.until = c.now().Add(life * 9 / 10)
	return c.token, nil
}

type tokenAnswer struct {
	Token   string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires int64  `json:"expires_in"`
}

func (c *client) askToken(ctx context.Context) (tokenAnswer, error) {
	at, err := c.tokenURL(ctx)
	if err != nil {
		return tokenAnswer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(c.cfg.Scopes) > 0 {
		form.Set("scope", strings.Join(c.cfg.Scopes, " "))
	}
	r := &http.Request{Method: http.MethodPost, URL: at, Header: http.Header{}}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// RFC 6749 section 2.3.1: both are form-encoded first.
	r.SetBasicAuth(url.QueryEscape(c.cfg.ClientID), url.QueryEscape(c.secret.Value()))
	setBody(r, []byte(form.Encode()))
	var answer tokenAnswer
	if err := c.send(ctx, r, maxAnswer, &answer); err != nil {
		return tokenAnswer{}, err
	}
	if answer.Token == "" || !strings.EqualFold(answer.Type, "Bearer") ||
		strings.ContainsFunc(answer.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return tokenAnswer{}, errors.New("expected a bearer token, got something else")
	}
	return answer, nil
}

// tokenURL returns the token endpoint, as the configuration or the issuer's metadata has it.
func (c *client) tokenURL(ctx context.Context) (*url.URL, error) {
	if c.cfg.TokenURL != "" {
		return safeURL(c.cfg.TokenURL)
	}
	var doc struct {
		Issuer   string `json:"issuer"`
		Endpoint string `json:"token_endpoint"`
	}
	err := c.first(ctx, &doc, below(c.issuer, "openid-configuration"),
		wellKnown(c.issuer, "oauth-authorization-server"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("finding the token endpoint: %w", err)
	case doc.Issuer != c.issuer:
		return nil, errors.New("finding the token endpoint: the metadata names another issuer")
	}
	return safeURL(doc.Endpoint)
}

// first reads the first of some documents that there is.
func (c *client) first(ctx context.Context, out any, at ...string) (err error) {
	for _, a := range at {
		if err = c.get(ctx, a, out); err == nil || !isRefusal(err) {
			return err
		}
	}
	return err
}

// below returns where an issuer's document is by OpenID Connect Discovery 1.0 section 4: behind its
// path, of which a slash at the end is no part.
func below(issuer, name string) string {
	return strings.TrimSuffix(issuer, "/") + "/.well-known/" + name
}

// wellKnown returns where an issuer's document is (RFC 8414 section 3; SSF section 7.2): between
// its host and its path.
func wellKnown(issuer, name string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	u.Path = path.Join("/.well-known", name, u.Path)
	return u.String()
}
