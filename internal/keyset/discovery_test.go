package keyset

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/token"
)

func discovered(issuer string) Config {
	return trust(issuer, func(c *Config) { c.JWKSURL, c.Discovery = "", true })
}

// site answers by address; what it does not have is 404.
type site map[string]http.HandlerFunc

// ServeHTTP implements http.Handler.
func (s site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	scheme := "https://"
	if r.URL.Scheme == "http" || r.URL.Scheme == "" && r.TLS == nil {
		scheme = "http://"
	}
	host := r.Host
	if r.URL.Host != "" {
		host = r.URL.Host
	}
	if answer := s[scheme+host+r.URL.EscapedPath()]; answer != nil {
		answer(w, r)
		return
	}
	http.NotFound(w, r)
}

func metadata(issuer, jwksURI string) http.HandlerFunc {
	doc, err := json.Marshal(map[string]any{
		"issuer": issuer, "jwks_uri": jwksURI, "grant_types_supported": []string{"password"},
	})
	if err != nil {
		return status(500)
	}
	return serve(string(doc))
}

// addresses are what was asked for, in order.
func (o *origin) addresses() (all []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.asked {
		all = append(all, r.URL.String())
	}
	return all
}

// TestMetadataAreWhereTheStandardsPutThem: OpenID's first, and only where there are none OAuth's.
func TestMetadataAreWhereTheStandardsPutThem(t *testing.T) {
	for issuer, want := range map[string][2]string{
		"https://a.example": {
			"https://a.example/.well-known/openid-configuration",
			"https://a.example/.well-known/oauth-authorization-server",
		},
		"https://a.example/": {
			"https://a.example/.well-known/openid-configuration",
			"https://a.example/.well-known/oauth-authorization-server",
		},
		"https://a.example:8443/realms/one": {
			"https://a.example:8443/realms/one/.well-known/openid-configuration",
			"https://a.example:8443/.well-known/oauth-authorization-server/realms/one",
		},
		"https://a.example/one/": {
			"https://a.example/one/.well-known/openid-configuration",
			"https://a.example/.well-known/oauth-authorization-server/one",
		},
		"https://[::1]:1/a%2Fb": {
			"https://[::1]:1/a%2Fb/.well-known/openid-configuration",
			"https://[::1]:1/.well-known/oauth-authorization-server/a%2Fb",
		},
	} {
		if got := metadataAddresses(issuer); !slices.Equal(got, want[:]) {
			t.Errorf("%s: expected %v, got %v", issuer, want, got)
		}
		k := newKey(t, "ES256")
		keys := "https://keys.example/set"
		for n, address := range want {
			s := site{address: metadata(issuer, keys), keys: serve(jwks(t, k))}
			o := &origin{answer: s.ServeHTTP}
			g := newGate(t, Options{Transport: o}, discovered(issuer))
			g.mustFetch()
			g.wants(issuer, k)
			if got := o.addresses(); !slices.Equal(got, append(slices.Clone(want[:n+1]), keys)) {
				t.Errorf("%s, metadata at %s: asked %v", issuer, address, got)
			}
		}
	}
}

// TestMetadataThatAreWrongAreNoMetadata: nothing is fetched from where they point, nobody is asked
// instead, and with an address of before, that goes on.
func TestMetadataThatAreWrongAreNoMetadata(t *testing.T) {
	const keys = "https://a.example/keys"
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"another issuer":     {metadata("https://b.example", keys), "expected the metadata of"},
		"a slash at the end": {metadata(issuerA+"/", keys), "expected the metadata of"},
		"another case":       {metadata("https://A.example", keys), "expected the metadata of"},
		"no issuer":          {serve(`{"jwks_uri":"` + keys + `"}`), "expected the metadata of"},
		"issuer a list": {
			serve(`{"issuer":["` + issuerA + `"],"jwks_uri":"` + keys + `"}`), "expected the metadata of",
		},
		"issuer twice": {
			serve(`{"issuer":"x","issuer":"` + issuerA + `","jwks_uri":"` + keys + `"}`), "metadata",
		},
		"no jwks_uri": {serve(`{"issuer":"` + issuerA + `"}`), "expected jwks_uri"},
		"jwks_uri a number": {
			serve(`{"issuer":"` + issuerA + `","jwks_uri":1}`), "expected jwks_uri",
		},
		"jwks_uri relative": {metadata(issuerA, "/keys"), "expected an https address"},
		"jwks_uri of another kind": {
			metadata(issuerA, "file:///etc/passwd"), "expected an https address",
		},
		"jwks_uri over http": {metadata(issuerA, "http://a.example/keys"), "as the issuer's is"},
		"jwks_uri with a user": {
			metadata(issuerA, "https://u:secret@a.example/keys"), "without user",
		},
		"jwks_uri with fragment": {metadata(issuerA, keys+"#x"), "without user"},
		"jwks_uri unreadable": {
			metadata(issuerA, "https://a.example/%zz"), "expected an https address",
		},
		"no JSON":        {serve("<html>"), "reading the metadata"},
		"two documents":  {serve(`{"issuer":"` + issuerA + `"}{}`), "reading the metadata"},
		"too large":      {serve(`{"x":"` + strings.Repeat("x", setMax) + `"}`), "at most"},
		"a server error": {status(502), "got 502"},
		"a redirect elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/", http.StatusFound)
		}, "got 302"},
		"compressed": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
		}, "compressed"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKey(t, "ES256")
			openID := metadataAddresses(issuerA)[0]
			s := site{openID: c.answer, keys: serve(jwks(t, k))}
			o := &origin{answer: s.ServeHTTP}
			clock := newClock()
			g := newGate(t, Options{Transport: o, Now: clock.now}, discovered(issuerA))
			err := g.fetch()
			if err == nil || !strings.Contains(err.Error(), c.want) ||
				!strings.Contains(err.Error(), openID) || strings.Contains(err.Error(), "secret") {
				t.Fatalf("expected an error with the address and %q, got %v", c.want, err)
			}
			for _, address := range o.addresses() {
				if !slices.Contains(metadataAddresses(issuerA), address) {
					t.Errorf("asked %s", address)
				}
			}
			s[openID] = metadata(issuerA, keys)
			g.mustFetch()
			g.wants(issuerA, k)
			s[openID] = c.answer
			clock.advance(defaultRefreshMax)
			for range 2 {
				g.mustFetch()
			}
			g.wants(issuerA, k)
			if n := len(g.lines("discovery failed")); n != 1 ||
				g.metric("sallyport_keyset_discovery_failures_total", issuerA) != 1 {
				t.Errorf("expected to be told once, got %d: %s", n, g.log)
			}
		})
	}
}

// TestAnAddressThatMovesIsFollowed: soon when the old one fails, else within refresh_max; unknown
// kids have nobody ask for metadata.
func TestAnAddressThatMovesIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const first, second = "https://a.example/first", "https://a.example/second"
		openID := metadataAddresses(issuerA)[0]
		keys := newKeys(t, 3)
		tagged := func(doc string) http.HandlerFunc { // both sets have the same etag
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("ETag", `"1"`)
				if r.Header.Get("If-None-Match") == `"1"` {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				fmt.Fprint(w, doc)
			}
		}
		s := site{openID: metadata(issuerA, first), first: tagged(jwks(t, keys[0]))}
		o := &origin{answer: s.ServeHTTP}
		g := newGate(t, Options{Transport: o, Now: time.Now}, discovered(issuerA))
		defer start(t, g)()
		g.wants(issuerA, keys[0])
		for n := range 40 {
			g.ask(issuerA, fmt.Sprintf("made-up-%d", n))
			time.Sleep(time.Second)
		}
		asked := func() (n int) {
			for _, address := range o.addresses() {
				if address == openID {
					n++
				}
			}
			return n
		}
		if asked() != 1 {
			t.Errorf("unknown kids have the metadata read %d times", asked())
		}
		o.mu.Lock()
		s[openID], s[second] = metadata(issuerA, second), tagged(jwks(t, keys[1]))
		o.mu.Unlock()
		time.Sleep(defaultRefreshMax + defaultRefresh)
		synctest.Wait()
		g.wants(issuerA, keys[1])
		o.mu.Lock()
		delete(s, second)
		s[openID], s[first] = metadata(issuerA, first), serve(jwks(t, keys[2]))
		o.mu.Unlock()
		before := asked()
		time.Sleep(defaultRefresh + time.Minute)
		synctest.Wait()
		g.wants(issuerA, keys[2])
		if n := asked() - before; n > 3 {
			t.Errorf("the metadata were read %d times", n)
		}
	})
}

// TestMetadataAreAskedForWithinBoundsWhileTheSetFails: no more than once in refresh_min.
func TestMetadataAreAskedForWithinBoundsWhileTheSetFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = "https://a.example/keys"
		openID := metadataAddresses(issuerA)[0]
		s := site{openID: metadata(issuerA, keys), keys: serve(jwks(t, newKey(t, "ES256")))}
		o := &origin{answer: s.ServeHTTP}
		g := newGate(t, Options{Transport: o, Now: time.Now}, discovered(issuerA))
		defer start(t, g)()
		o.mu.Lock()
		s[keys] = status(500)
		o.mu.Unlock()
		before := len(o.addresses())
		for range 600 {
			if _, why := g.ask(issuerA, "kid"); why != token.ReasonKeyPending {
				t.Fatalf("got %s", why)
			}
			time.Sleep(time.Second)
		}
		metadata := 0
		for _, address := range o.addresses()[before:] {
			if address == openID {
				metadata++
			}
		}
		if metadata == 0 || metadata > int(10*time.Minute/defaultRefreshMin)+1 {
			t.Errorf("the metadata were read %d times in ten minutes", metadata)
		}
	})
}

// TestDiscoveryOverTheNetwork, from a real server, for an issuer with a path.
func TestDiscoveryOverTheNetwork(t *testing.T) {
	k := newKey(t, "ES256")
	s := site{}
	server := httptest.NewServer(s)
	defer server.Close()
	issuer := server.URL + "/realms/one"
	s[metadataAddresses(issuer)[1]] = metadata(issuer, server.URL+"/keys")
	s[server.URL+"/keys"] = serve(jwks(t, k))
	dir := t.TempDir()
	g := newGate(t, Options{CacheDir: dir}, discovered(issuer))
	g.mustFetch()
	g.wants(issuer, k)
	g.issuer(issuer).save()
	newGate(t, Options{CacheDir: dir}, discovered(issuer)).wants(issuer, k)
	// Kept of discovery, not of an address that somebody configures later.
	newGate(t, Options{CacheDir: dir}, trust(issuer, at(server.URL+"/keys"))).wants(issuer)
	if source := g.Status()[0].Source; !strings.Contains(source, issuer) {
		t.Errorf("the status names the source %q", source)
	}
}
