package keyset

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/token/strict"
)

// urlSource is a JWKS at an address.
type urlSource struct {
	web
	url        string
	algorithms []string
}

func (u *urlSource) String() string { return u.url }

func (u *urlSource) get(ctx context.Context, etag string) (answer, error) {
	return u.keysAt(ctx, u.url, u.algorithms, etag)
}

// keysAt asks for the key set at an address.
func (w *web) keysAt(ctx context.Context, address string, algorithms []string,
	etag string) (answer, error) {
	p, err := w.get(ctx, address, document{
		name: "key set", elsewhere: "write the final address into jwks_url",
		accept: "application/jwk-set+json, application/json", etag: etag,
	})
	if err != nil {
		return answer{}, err
	}
	a := answer{etag: cleanETag(p.header.Get("ETag")), refresh: refreshAfter(p.header)}
	if p.notModified {
		a.unchanged, a.etag = true, etag
		return a, nil
	}
	a.keys, a.skipped, err = parseSet(p.body, algorithms...)
	if hint := refreshHint(p.body); hint > 0 && (a.refresh == 0 || hint < a.refresh) {
		a.refresh = hint
	}
	return a, err
}

const hintName = "spiffe_refresh_hint"

// refreshHint is how soon a SPIFFE bundle asks to be read again (SPIFFE Trust Domain and Bundle
// section 4.1.2); 0 when it does not say.
func refreshHint(doc []byte) time.Duration {
	if !bytes.Contains(doc, []byte(hintName)) {
		return 0
	}
	bundle, err := strict.Parse(string(doc), strict.Rules{MaxDepth: metadataDepth})
	if err != nil {
		return 0 // what is wrong with it, the reader of keys has said
	}
	hint, _ := bundle.Member(hintName)
	seconds, err := strconv.ParseUint(hint.Text(), 10, 31)
	if err != nil || hint.Kind() != strict.Number {
		return 0
	}
	return time.Duration(seconds) * time.Second
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
