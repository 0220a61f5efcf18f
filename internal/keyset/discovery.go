package keyset

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/token/strict"
)

// discovery is a JWKS whose address the issuer's metadata name.
type discovery struct {
	web
	issuer     string
	algorithms []string
	now        func() time.Time
	unfound    func(error) // told when the metadata could not be had and what they said before goes on
	every      time.Duration
	atLeast    time.Duration

	url   string    // what the metadata said last; "" when they were never had
	from  string    // where the last good set came from
	asked time.Time // when the metadata were last asked for
}

func newDiscovery(c Config, w web, now func() time.Time, unfound func(error)) *discovery {
	return &discovery{
		web: w, issuer: c.Issuer, algorithms: c.Algorithms, now: now, unfound: unfound,
		every: c.RefreshMax, atLeast: c.RefreshMin,
	}
}

func (d *discovery) String() string { return "the metadata of " + d.issuer }

// get asks for the metadata only when their time has come: whoever makes up kids makes the gate ask
// for the set, and that is enough.
func (d *discovery) get(ctx context.Context, etag string) (answer, error) {
	if d.url == "" {
		if err := d.find(ctx); err != nil {
			return answer{}, err
		}
		return d.keys(ctx, etag)
	}
	a, err := d.keys(ctx, etag)
	// A set that cannot be had any more may have moved.
	wait := d.every
	if err != nil {
		wait = d.atLeast
	}
	if since := d.now().Sub(d.asked); since >= 0 && since < wait || ctx.Err() != nil {
		return a, err
	}
	before := d.url
	if lost := d.find(ctx); lost != nil {
		if ctx.Err() == nil { // at the gate's end nothing has failed
			d.unfound(lost)
		}
		return a, err
	}
	if d.url == before {
		return a, err
	}
	return d.keys(ctx, etag)
}

func (d *discovery) keys(ctx context.Context, etag string) (answer, error) {
	if d.from != d.url {
		etag = "" // it names a set at another address
	}
	a, err := d.keysAt(ctx, d.url, d.algorithms, etag)
	if err != nil {
		return a, fmt.Errorf("%s: %w", d.url, err)
	}
	d.from = d.url
	return a, nil
}

// find reads the metadata: those of OpenID first, then, where there are none, those of OAuth.
func (d *discovery) find(ctx context.Context) error {
	d.asked = d.now()
	var failed error
	for _, address := range metadataAddresses(d.issuer) {
		found, err := d.metadata(ctx, address)
		if err == nil {
			d.url = found
			return nil
		}
		err = fmt.Errorf("%s: %w", address, err)
		if failed != nil {
			err = fmt.Errorf("%w; %w", failed, err)
		}
		failed = err
		// Only an answer that there are none sends us on: metadata that are wrong, and a server that
		// is away, are no reason to look elsewhere.
		var status statusError
		if !errors.As(err, &status) || status.status >= http.StatusInternalServerError ||
			status.status < http.StatusBadRequest {
			break
		}
	}
	return failed
}

// metadataAddresses are where an issuer's metadata may be: of a path, OpenID Connect Discovery 1.0
// section 4 puts the well-known name behind it, RFC 8414 section 3 before it. One slash at the end
// is not part of it for either.
func metadataAddresses(issuer string) []string {
	base := strings.TrimSuffix(issuer, "/")
	origin, path := base, ""
	if _, rest, ok := strings.Cut(base, "://"); ok {
		if at := strings.IndexByte(rest, '/'); at >= 0 {
			origin, path = base[:len(base)-len(rest)+at], rest[at:]
		}
	}
	return []string{
		base + "/.well-known/openid-configuration",
		origin + "/.well-known/oauth-authorization-server" + path,
	}
}

const metadataDepth = 16

// metadata reads one document, and gives the jwks_uri in it.
func (d *discovery) metadata(ctx context.Context, address string) (string, error) {
	p, err := d.web.get(ctx, address, document{
		name: "metadata document", accept: "application/json",
		elsewhere: "write jwks_url in place of discovery",
	})
	if err != nil {
		return "", err
	}
	root, err := strict.Parse(string(p.body), strict.Rules{MaxDepth: metadataDepth})
	if err != nil {
		return "", fmt.Errorf("reading the metadata: %w", err)
	}
	// Letter by letter (RFC 8414 section 3.3): else whoever serves one issuer of a host could put in
	// keys for another.
	issuer, _ := root.Member("issuer")
	if issuer.Kind() != strict.String || issuer.Text() != d.issuer {
		return "", fmt.Errorf("expected the metadata of %q, got those of %.200q", d.issuer, issuer.Text())
	}
	uri, _ := root.Member("jwks_uri")
	if uri.Kind() != strict.String || uri.Text() == "" {
		return "", errors.New("expected jwks_uri in the metadata, got none")
	}
	found, err := url.Parse(uri.Text())
	switch {
	case err != nil || !isWeb(found):
		return "", fmt.Errorf("expected an https address in jwks_uri, got %.200q", uri.Text())
	case found.User != nil || found.Fragment != "":
		return "", errors.New("expected jwks_uri without user, password and fragment")
	case found.Scheme != "https" && strings.HasPrefix(d.issuer, "https:"):
		return "", fmt.Errorf("expected an https address in jwks_uri, as the issuer's is, got %.200q",
			uri.Text())
	}
	return strings.Clone(uri.Text()), nil
}

func isWeb(u *url.URL) bool {
	return (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != ""
}
