package authztest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// Page is an origin that drawn policies trust.
const Page = "https://app.example.com"

func pick[V any](t *rapid.T, label string, values ...V) V {
	return rapid.SampledFrom(values).Draw(t, label)
}

// oneIn draws true once in so many times, or rarer: what is drawn is small more often than not.
func oneIn(t *rapid.T, n int, label string) bool { return rapid.IntRange(1, n).Draw(t, label) == n }

// mostly draws true three times of four.
func mostly(t *rapid.T, label string) bool {
	once := rapid.Bool().Draw(t, label)
	return once || rapid.Bool().Draw(t, label+", again")
}

// DrawPolicy draws a policy that a gate loads, of all that a policy may say, with up to six routes
// that overlap.
func DrawPolicy(t *rapid.T) policy.Config {
	c := policy.Config{
		PathCase: pick(t, "path_case", "", "", "sensitive"),
		Roles:    pick(t, "roles", nil, map[string][]string{"admin": {"clerk"}, "clerk": {"viewer"}}),
		Metadata: pick(t, "metadata", nil, nil, map[string]string{"tenant": "/tenant"}),
		Refusals: drawRefusals(t),
		Tokens: pick(t, "tokens", nil, nil, nil, nil, nil,
			[]policy.TokenSource{{Authorization: "Token"}},
			[]policy.TokenSource{{Authorization: "Bearer"}, {Header: "x-token"}},
			[]policy.TokenSource{{Header: "x-access-token", Remove: true}, {Cookie: "session"}},
			[]policy.TokenSource{
				{Authorization: "Bearer", Remove: true}, {Cookie: "session", Remove: true},
				{WebSocket: "bearer."},
			}),
	}
	overHTTP := rapid.Bool().Draw(t, "over HTTP")
	if overHTTP {
		c.Metadata = nil
		for i := range c.Tokens {
			c.Tokens[i].Remove = false
		}
		c.Tokens = slices.DeleteFunc(
			c.Tokens,
			func(s policy.TokenSource) bool { return s.WebSocket != "" },
		)
	}
	for range rapid.IntRange(1, 6).Draw(t, "routes") {
		next, route := c, DrawRoute(t)
		if overHTTP {
			route.QueryToken, route.ResponseHeaders, route.CORS = "", nil, policy.CORS{}
		}
		next.Routes = append(c.Routes[:len(c.Routes):len(c.Routes)], route)
		// A route that an earlier one hides, or that takes a header for two things, is left out.
		if _, err := policy.Compile(next); err == nil {
			c = next
		}
	}
	last := c
	last.Routes = append(c.Routes, policy.Route{Match: policy.Match{Path: "/**"}})
	if _, err := policy.Compile(last); err == nil && (len(c.Routes) == 0 || mostly(t, "last")) {
		return last
	}
	return c
}

func drawRefusals(t *rapid.T) policy.Refusals {
	return pick(t, "refusals", policy.Refusals{}, policy.Refusals{}, policy.Refusals{},
		policy.Refusals{As: policy.RefuseJSON}, policy.Refusals{As: policy.RefuseProblem},
		policy.Refusals{As: policy.RefuseHTML, LoginPage: "https://login.example.com/?to={path}"},
		policy.Refusals{As: policy.RefuseText}, policy.Refusals{As: policy.RefuseNegotiate},
		policy.Refusals{As: policy.RefuseNegotiate, LoginPage: "/login"},
		policy.Refusals{As: policy.RefuseFlask}, policy.Refusals{As: policy.RefuseFlaskJWT})
}

// DrawRoute draws a route that others may overlap with.
func DrawRoute(t *rapid.T) policy.Route {
	r := policy.Route{
		Match: policy.Match{
			Hosts: pick(t, "hosts", nil, nil, nil, nil, nil, []string{"h"}, []string{"*.h"}),
			Headers: pick(
				t,
				"match headers",
				nil,
				nil,
				nil,
				nil,
				nil,
				nil,
				[]policy.HeaderMatch{{Name: "x-env", Exact: "test"}},
				[]policy.HeaderMatch{{Name: "x-env", Present: true}},
			),
		},
		Allow:            pick(t, "allow", "", "", "", "", "public", "optional", "nobody"),
		PathParameters:   oneIn(t, 6, "parameters"),
		PathEncodedSlash: pick(t, "slash", "", "", "", "", "allow"),
		PathCase:         pick(t, "path_case", "", "", "", "sensitive", "insensitive"),
		Refusals:         drawRefusals(t),
	}
	r.Match.Path = pick(
		t,
		"path",
		"/a",
		"/A",
		"/a/*",
		"/**",
		"/a/**",
		"/a/{x}",
		"/{x}/{y}",
		"/a/**",
		"/*/b",
		"/**",
		"/B",
		"",
	)
	if r.Match.Path == "" {
		r.Match.GRPC = pick(t, "grpc", "shop.v1.Orders/*", "shop.v1.Orders/Get")
	} else {
		r.Match.Methods = pick(t, "methods", nil, nil, []string{"GET"}, []string{"POST", "OPTIONS"})
	}
	if r.Allow != "nobody" && oneIn(t, 3, "cors") {
		r.CORS = policy.CORS{Origins: []string{Page}, Credentials: rapid.Bool().Draw(t, "credentials")}
	}
	if r.Allow == "" || r.Allow == "optional" {
		drawOutgoing(t, &r)
	}
	if r.Allow == "" {
		r.Require = drawRequire(t, strings.Contains(r.Match.Path, "{x}"))
		for range rapid.IntRange(0, 2).Draw(t, "alternatives") {
			one := drawRequire(t, false)
			if one.Roles = append(one.Roles, "manager"); rapid.Bool().Draw(t, "role") {
				one.Roles = []string{"admin"}
			}
			r.Require.AnyOf = append(r.Require.AnyOf, one)
		}
	}
	return r
}

// drawOutgoing draws what goes on with a request that passes by a token.
func drawOutgoing(t *rapid.T, r *policy.Route) {
	r.AllowStale, r.OutlivesToken = oneIn(t, 4, "stale"), oneIn(t, 4, "outlives")
	r.Headers = pick(t, "headers", nil, nil, map[string]string{"x-tenant": "/tenant"})
	r.JSONHeaders = pick(
		t,
		"json headers",
		nil,
		nil,
		nil,
		map[string]string{"x-roles-json": "/roles"},
	)
	r.ResponseHeaders = pick(t, "response headers", nil, nil, nil, map[string]string{"x-user": "sub"})
	r.QueryToken = pick(t, "query token", "", "", "", "access_token")
}

func drawRequire(t *rapid.T, named bool) policy.Require {
	conditions := []string{
		"", "", "", "", "", "", "", "", `claims.sub == "alice"`,
		`has(claims.tenant) && claims.tenant == "acme"`,
		`request.method == "GET" || "clerk" in roles`, `claims.tenant == request.headers["x-env"]`,
		`peer.principal == "spiffe://example.com/checkout"`, `now > timestamp("2029-01-01T00:00:00Z")`,
		`request.host != "y" && "read" in scopes`,
	}
	if named {
		conditions = append(conditions, `claims.sub == path.x`, `path.x == "b"`)
	}
	return policy.Require{
		Roles: pick(
			t,
			"roles",
			nil,
			nil,
			nil,
			nil,
			[]string{"admin"},
			[]string{"clerk"},
			[]string{"viewer", "x"},
		),
		Scopes: pick(
			t,
			"scopes",
			nil,
			nil,
			nil,
			nil,
			nil,
			nil,
			[]string{"read"},
			[]string{"read", "pay"},
		),
		Audiences: pick(
			t,
			"audiences",
			nil,
			nil,
			nil,
			nil,
			nil,
			nil,
			[]string{Audience},
			[]string{"other"},
		),
		Issuers: pick(
			t,
			"issuers",
			nil,
			nil,
			nil,
			nil,
			nil,
			nil,
			[]string{Issuer},
			[]string{Foreign, Tenants},
		),
		ACR:   pick(t, "acr", nil, nil, nil, nil, nil, nil, nil, []string{"gold"}),
		Fresh: pick(t, "fresh", 0, 0, 0, 0, 0, 0, 5*time.Minute, time.Hour),
		When:  rapid.SampledFrom(conditions).Draw(t, "when"),
	}
}

// DrawRequest draws a request that drawn routes may be for, with no token, one or two, of any kind.
func DrawRequest(t *rapid.T, w *World) authz.Request {
	r := authz.Request{
		Method: pick(t, "method", "GET", "GET", "POST", "OPTIONS", "POST", "GET", "HEAD", "get"),
		Host:   "h",
		Path:   pick(t, "path", "/a", "/a/b", "/b", "/shop.v1.Orders/Get"),
		Peer:   pick(t, "peer", "", "", "spiffe://example.com/checkout", "spiffe://example.com/other"),
	}
	if !mostly(t, "usual host") {
		r.Host = pick(t, "host", "x.h", "h:80", "y", "")
	}
	if !mostly(t, "usual path") {
		r.Path = pick(t, "odd path", "/A", "/a/B", "/A/b", "/x/b", "/B", "/", "/a/", "/a/b/c", "/%61",
			"/a%2Fb", "/a/b%2Fc", "/a;v=1", "/a/b;v=1/c", "/a//b", "/a/../b", "/a?b=c", "*", "/a\xff",
			"/shop.v1.Orders/Put", "/alice")
	}
	add := func(n int, name string, values ...string) {
		if oneIn(t, n, "has "+name) {
			r.Headers = append(r.Headers, authz.Header{
				Name: name, Value: rapid.SampledFrom(values).Draw(t, name),
			})
		}
	}
	add(3, "x-env", "test", "acme")
	add(
		3,
		"accept",
		"text/html",
		"application/problem+json",
		"application/json, text/html;q=0.5",
		"*/*",
	)
	add(6, "content-type", "application/grpc", "application/json")
	if oneIn(t, 8, "preflight") { // which as good as never comes about by itself
		r.Method = "OPTIONS"
		r.Headers = append(r.Headers, authz.Header{Name: "origin", Value: Page},
			authz.Header{Name: "access-control-request-method", Value: pick(t, "to be asked", "GET", "POST")})
	} else {
		add(3, "origin", Page, "https://evil.example.com")
		add(4, "access-control-request-method", "GET", "POST")
	}
	add(5, "x-auth-subject", "mallory")
	add(6, "x_auth_subject", "mallory")
	add(8, "x.tenant", "mallory")
	add(8, "x-tenant", "mallory")
	add(8, "x-http-method-override", "DELETE")
	add(8, "connection", "x-auth-subject", "keep-alive")
	add(6, "cookie", "theme=dark", "a=b; c=d")
	tokens := 1
	if !mostly(t, "one token") {
		tokens = pick(t, "tokens", 0, 2)
	}
	for range tokens {
		place(t, &r, drawToken(t, w))
	}
	for range pick(t, "credentials of another kind", 0, 0, 0, 0, 1, 2) {
		r.Headers = slices.Insert(r.Headers, rapid.IntRange(0, len(r.Headers)).Draw(t, "before"),
			authz.Header{Name: "authorization", Value: pick(t, "other", "Basic eA==", "",
				`Digest username="a", realm="b"`, "Bearer", "Token x", "Basic eA==, Bearer")})
	}
	return r
}

// place puts a token somewhere, where a policy may look for it or not.
func place(t *rapid.T, r *authz.Request, bearer string) {
	h := authz.Header{Name: "authorization", Value: pick(t, "scheme", "Bearer ", "bearer ") + bearer}
	if mostly(t, "usual") {
		r.Headers = append(r.Headers, h)
		return
	}
	switch pick(t, "where", "x-access-token", "token", "x-token", "cookie", "websocket", "query") {
	case "token":
		h.Value = "Token " + bearer
	case "x-token":
		h = authz.Header{Name: "x-token", Value: bearer}
	case "x-access-token":
		h = authz.Header{Name: "x-access-token", Value: bearer}
	case "cookie":
		h = authz.Header{Name: "cookie", Value: "theme=dark; session=" + bearer}
	case "websocket":
		h = authz.Header{Name: "sec-websocket-protocol", Value: "chat, bearer." + bearer}
	case "query":
		separator := "?"
		if strings.Contains(r.Path, "?") {
			separator = "&"
		}
		r.Path += separator + "access_token=" + bearer
		return
	}
	r.Headers = append(r.Headers, h)
}

// RevokedID is what the id of a drawn token is that is revoked; see DrawWorld.
const RevokedID = "revoked"

// DrawWorld is a world for drawn requests: tokens of one id are revoked, and an unknown key is
// known to be none.
func DrawWorld() *World {
	w := New()
	w.Revocations.Revoke(func(f *revocation.Facts) bool { return f.TokenID == RevokedID })
	w.Keys.Settle(Issuer)
	return w
}

// stranger signs what is not trusted.
var stranger = josetest.NewKey("ES256", KeyID)

func drawToken(t *rapid.T, w *World) string {
	kind := "good"
	if !mostly(t, "good") {
		kind = pick(t, "kind", "revoked", "expired", "foreign", "tenant's", "early", "for nobody",
			"for two", "of nobody", "changed", "garbage", "of another key", "of no key")
	}
	change := func(c *token.Claims) {
		c.Roles = pick(t, "has", []string{"admin"}, nil, []string{"clerk"}, []string{"viewer"})
		c.Scope = pick(t, "may", []string{"read", "pay"}, []string{"read"}, nil)
		c.ACR = pick(t, "acr", "", "gold")
		c.Tenant = pick(t, "tenant", "", "acme", "à")
		c.AuthTime = w.Now.Add(-pick(t, "login", time.Minute, 30*time.Minute)).Unix()
		switch kind {
		case "expired":
			c.Expiry = w.Now.Add(-time.Hour).Unix()
			c.IssuedAt = w.Now.Add(-90 * time.Minute).Unix()
		case "revoked":
			c.ID = RevokedID
		case "for nobody":
			c.Audience = []string{"nobody"}
		case "of nobody":
			c.Issuer = "https://nobody.example.com"
		case "early":
			c.IssuedAt, c.Expiry = w.Now.Add(time.Hour).Unix(), w.Now.Add(2*time.Hour).Unix()
		case "for two":
			c.Audience = append(c.Audience, "other")
		}
	}
	switch kind {
	case "foreign":
		return w.ForeignToken()
	case "tenant's":
		return w.TenantToken(IssuerOf(TenantA), josetest.Text(TenantA))
	case "changed":
		signed := w.Token(change)
		return signed[:len(signed)-8] + "AAAAAAAA"
	case "garbage":
		return pick(t, "garbage", "a.b.c", "x", "e30.e30.", "a.b.c.d", "a,b")
	case "of another key", "of no key":
		c := w.Claims()
		change(&c)
		text, err := c.Marshal()
		if err != nil {
			panic(fmt.Sprintf("authztest: %v", err))
		}
		header := stranger.Header("at+jwt")
		if kind == "of no key" {
			header = header.With("kid", `"nobody's"`)
		}
		return stranger.Token(header.JSON(), string(text))
	}
	return w.Token(change)
}
