package authz_test

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// TestCVE has what went wrong in other gates, by the id of the advisory.
func TestCVE(t *testing.T) {
	for id, test := range map[string]func(*testing.T){
		"CVE-2021-32777":      onlyOneOfSeveralHeaders,
		"CVE-2023-27487":      pathFromAClientsHeader,
		"CVE-2021-29492":      escapedSlashes,
		"CVE-2026-73551":      parametersOfDotSegments,
		"CVE-2026-41059":      fragments,
		"CVE-2026-26205":      doubleSlashes,
		"CVE-2021-39155":      hostsInAnyCase,
		"CVE-2026-32811":      queries,
		"GHSA-w9mr-28mw-j8hg": connectionNominatesIdentity,
		"CVE-2025-64484":      underscoredIdentity,
		"CVE-2026-88011":      dottedIdentity,
		"CVE-2026-34457":      probes,
		"CVE-2021-32637":      malformedPaths,
		"CVE-2026-25748":      cookies,
		"CVE-2026-33186":      pathsWithoutSlash,
		"CVE-2026-73547":      requestsWithoutPath,
		"CVE-2021-21378":      unknownIssuerWhereOptional,
		"CVE-2025-46821":      everyCharacterInASegment,
		"CVE-2026-39350":      namesAreLiteral,
		"CVE-2026-18203":      namesAreNoPrefixes,
		"CVE-2021-21411":      everySettingDecides,
		"CVE-2026-26308":      joinedDuplicates,
		"GHSA-qc2q-p7wx-3px3": namesInAnyCase,
		"CVE-2021-32701":      cachedTokenOnAnotherRoute,
		"CVE-2026-33496":      cachedTokenUnderOtherRules,
		"GHSA-gcjh-h69q-9w9g": conditionsSeeWhatIsDocumented,
		"CVE-2026-83530":      policyOverItsLimits,
		"CVE-2022-29165":      unsignedTokenOnAPublicRoute,
		"CVE-2025-22149":      removedKeyAndCache,
		"CVE-2026-49998":      keysByNameAlone,
		"CVE-2024-51744":      expiredAndBadlySigned,
	} {
		t.Run(id, test)
	}
}

// gate is an engine in a world of its own.
type gate struct {
	*testing.T
	world  *authztest.World
	engine *authz.Engine
	alice  string
}

func newGate(t *testing.T) gate {
	w := authztest.New()
	return gate{t, w, w.Engine(nil), w.Token()}
}

// withPolicy gives the gate other routes.
func (g gate) withPolicy(routes ...policy.Route) gate {
	g.Helper()
	p, err := policy.Compile(policy.Config{Routes: routes})
	if err != nil {
		g.Fatal(err)
	}
	g.engine.SetPolicy(p)
	return g
}

// wants asks twice with alice's token, so that the second time it is cached.
func (g gate) wants(want authztest.Want, r authz.Request) {
	g.Helper()
	r.Headers = append([]authz.Header{{Name: "authorization", Value: "Bearer " + g.alice}},
		r.Headers...)
	g.asks(want, r)
}

// asks asks twice with the request as it is.
func (g gate) asks(want authztest.Want, r authz.Request) {
	g.Helper()
	for range 2 {
		if got := g.engine.Decide(&r); !g.Failed() {
			authztest.Compare(g.T, want, answer(got))
			if g.Failed() {
				g.Errorf("the request: %s %.80q at %q, %d headers", r.Method, r.Path, r.Host, len(r.Headers))
			}
		}
	}
}

var (
	badPath = authztest.Malformed(token.ReasonBadPath)
	noRoute = authztest.Forbidden(token.ReasonNoRoute)
	many    = authztest.Invalid(token.ReasonManyTokens)
)

func onlyOneOfSeveralHeaders(t *testing.T) {
	g := newGate(t)
	for _, other := range []string{"Bearer x", "Bearer " + g.world.Token(), "Basic YTpi", ""} {
		g.wants(many, authztest.Get("/protected", "authorization", other))
		g.asks(many,
			authztest.Get("/protected", "authorization", other, "authorization", "Bearer "+g.alice))
	}
}

func pathFromAClientsHeader(t *testing.T) {
	g := newGate(t)
	for _, name := range []string{
		"x-envoy-original-path", "X-Envoy-Original-Path", "x-original-url", "x-forwarded-uri", ":path",
	} {
		g.asks(authztest.NoToken, authztest.Get("/protected", name, "/public"))
		g.asks(authztest.Anybody, authztest.Get("/public", name, "/protected"))
	}
}

func escapedSlashes(t *testing.T) {
	g := newGate(t)
	for _, slash := range []string{
		"%2F", "%2f", "%5C", "%5c", "%252F", "%252f", "%255C", "%255c", "%25252F", "\\",
	} {
		for _, path := range []string{
			"/public-files/..|protected", "/public-files|..|protected", "|protected", "/protected|",
			"/public-files/a|b", "/public-files/.|x",
		} {
			g.wants(badPath, authztest.Get(strings.ReplaceAll(path, "|", slash)))
		}
	}
}

func parametersOfDotSegments(t *testing.T) {
	g := newGate(t)
	for _, path := range []string{
		"/public-files/..;x=1/protected", "/public-files/..;/protected", "/public-files/.;a=b/x",
		"/matrix/..;x=1/protected", "/matrix/.;/x", "/public-files/%2e%2e;/protected", "/protected;x=1",
		"/public-files;/x",
	} {
		g.wants(badPath, authztest.Get(path))
	}
	g.wants(authztest.Alice, authztest.Get("/matrix/a;x=1/b;y"))
}

func fragments(t *testing.T) {
	g := newGate(t)
	for _, path := range []string{
		"/public#/admin", "/admin#/public", "/public%23/admin", "/public?#/admin", "#/public",
		"/public-files/#", "/public#",
	} {
		g.wants(badPath, authztest.Get(path))
	}
}

func doubleSlashes(t *testing.T) {
	g := newGate(t)
	for _, path := range []string{
		"//public/admin", "///x", "/public-files//b", "/public-files//", "//things.example.com/public",
		"http://things.example.com/public", "https:/public", "/%2Fpublic", "//",
	} {
		g.wants(badPath, authztest.Get(path))
	}
}

func hostsInAnyCase(t *testing.T) {
	g := newGate(t)
	for _, host := range []string{
		"inner.example.com", "INNER.EXAMPLE.COM", "inner.example.com:443", "Inner.Example.com.",
		"inner.example.com.:80",
	} {
		g.wants(authztest.Alice, authztest.At(host, authztest.Get("/inner/x")))
	}
}

func queries(t *testing.T) {
	g := newGate(t)
	for _, path := range []string{
		"/protected?/public", "/protected?", "/protected?x=/public", "/protected??/public",
		"/protected?%2fpublic",
	} {
		g.asks(authztest.NoToken, authztest.Get(path))
		g.wants(authztest.Alice, authztest.Get(path))
	}
	g.asks(authztest.Anybody, authztest.Get("/public?x=/admin"))
	g.asks(badPath, authztest.Get("?/public"))
}

func connectionNominatesIdentity(t *testing.T) {
	g := newGate(t)
	for _, name := range authz.IdentityHeaders() {
		for _, value := range []string{
			name, strings.ToUpper(name), "close, " + name, name + ",close", "close ,\t" + name + " ",
			strings.ReplaceAll(name, "-", "_"),
		} {
			g.wants(authztest.Malformed(token.ReasonBadRequest),
				authztest.Get("/protected", "connection", value))
			g.wants(authztest.Malformed(token.ReasonBadRequest),
				authztest.Get("/protected", "Connection", value))
		}
	}
}

func underscoredIdentity(t *testing.T) { misspelt(t, "-_") }

func dottedIdentity(t *testing.T) { misspelt(t, "-_.") }

// misspelt has a client send every mix of signs in every identity header, on a route with and on
// one without identity.
func misspelt(t *testing.T, signs string) {
	g := newGate(t)
	for _, name := range append(authz.Misspellings(), authz.IdentityHeaders()...) {
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz"+signs) != "" {
			continue
		}
		for _, spelt := range []string{
			name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:],
		} {
			alice, anybody := authztest.Alice, authztest.Anybody
			if !slices.Contains(authz.IdentityHeaders(), name) {
				alice.Strip, anybody.Strip = spelt, spelt
			}
			g.wants(alice, authztest.Get("/protected", spelt, "root"))
			g.asks(anybody, authztest.Get("/public", spelt, "root"))
		}
	}
}

func probes(t *testing.T) {
	g := newGate(t)
	for _, agent := range []string{
		"kube-probe/1.33", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "Envoy/HC", "Prometheus/3.0",
	} {
		g.asks(authztest.NoToken, authztest.Get("/protected", "user-agent", agent))
		for _, path := range []string{"/healthz", "/livez", "/readyz", "/ping", "/metrics"} {
			g.asks(authztest.NoToken, authztest.Get(path, "user-agent", agent))
		}
	}
}

func malformedPaths(t *testing.T) {
	g := newGate(t)
	for c := range 256 {
		path := "/public" + string([]byte{byte(c)})
		if d := g.engine.Decide(
			&authz.Request{Method: "GET", Host: authztest.Host, Path: path}); d.Allow && c != '?' &&
			c != '/' {
			t.Errorf("%q is allowed", path)
		}
	}
	for _, path := range []string{
		"/public%", "/public%1", "/public%zz", "/public?%zz#", "http://[::1", "/pub\x7flic",
		"/public\x80",
	} {
		g.asks(badPath, authztest.Get(path))
	}
}

func cookies(t *testing.T) {
	g := newGate(t)
	for _, cookie := range []string{
		"", "=", "=x", ";;;", "access_token", "access_token=" + g.alice, "a=1; a=2; =3",
		strings.Repeat("a=b; ", 2000), "\"", "a=\x00\xff",
	} {
		g.asks(authztest.NoToken, authztest.Get("/protected", "cookie", cookie))
		g.asks(authztest.NoToken, authztest.Get("/protected", "cookie", cookie, "cookie", cookie))
	}
}

func pathsWithoutSlash(t *testing.T) {
	g := newGate(t)
	for _, path := range []string{
		"pkg.Service/Method", "public", "", "*", "?", "public/../protected",
	} {
		g.wants(badPath, authztest.Get(path))
	}
}

func requestsWithoutPath(t *testing.T) {
	g := newGate(t)
	g.wants(badPath, authztest.Do("CONNECT", ""))
	g.wants(badPath, authztest.Do("CONNECT", "example.com:443"))
	if d := g.engine.Decide(&authz.Request{}); d.Allow {
		t.Error("an empty request is allowed")
	}
}

func unknownIssuerWhereOptional(t *testing.T) {
	g := newGate(t)
	g.asks(authztest.Anybody, authztest.Get("/maybe"))
	unknown := g.world.Token(func(c *token.Claims) { c.Issuer = "https://evil.example" })
	g.asks(authztest.Invalid(token.ReasonUnknownIssuer),
		authztest.Get("/maybe", "authorization", "Bearer "+unknown))
	for _, a := range g.world.Setup().Attacks() {
		r := authztest.Get("/maybe", "authorization", "Bearer "+a.Token)
		if d := g.engine.Decide(&r); d.Allow || d.Refused().Status != 401 {
			t.Errorf("%s: got %d", a.Name, d.Refused().Status)
		}
	}
	g.world.Revocations.Revoke(func(*revocation.Facts) bool { return true })
	g.asks(authztest.Invalid(token.ReasonRevoked),
		authztest.Get("/maybe", "authorization", "Bearer "+g.alice))
}

func everyCharacterInASegment(t *testing.T) {
	g := newGate(t).withPolicy(
		policy.Route{Match: policy.Match{Path: "/items/*/secret"}, Allow: "nobody"},
		policy.Route{Match: policy.Match{Path: "/items/**"}, Allow: "public"})
	for _, segment := range strings.Split("a -._~ ! $ & ' ( ) * + , = : @ %2A ** %20 a*b {x} [x] | ^ ` \" < > %e2%82%ac %7B", " ") {
		g.wants(authztest.Forbidden(token.ReasonDenied), authztest.Get("/items/"+segment+"/secret"))
		g.asks(authztest.Anybody, authztest.Get("/items/"+segment+"/open"))
		g.wants(noRoute, authztest.Get("/"+segment))
	}
}

func namesAreLiteral(t *testing.T) {
	g := newGate(t).withPolicy(
		policy.Route{
			Match: policy.Match{Path: "/a.b+(c|d)/%2A/[x]", Hosts: []string{"a.example.com"}},
			Allow: "public",
		},
		policy.Route{
			Match:   policy.Match{Path: "/role"},
			Require: policy.Require{Roles: []string{".*", "a.b", "x+", "*", "(admin)"}},
		},
		policy.Route{
			Match:   policy.Match{Path: "/scope"},
			Require: policy.Require{Scopes: []string{"read.*"}},
		},
	)
	g.asks(authztest.Anybody, authztest.At("a.example.com", authztest.Get("/a.b+(c|d)/*/[x]")))
	for _, path := range []string{
		"/aXb+(c|d)/*/[x]", "/a.bbc/*/[x]", "/a.b+(c|d)/y/[x]", "/a.b+(c|d)/*/x", "/a.b+c/*/[x]",
	} {
		g.wants(noRoute, authztest.At("a.example.com", authztest.Get(path)))
	}
	for _, host := range []string{"aXexample.com", "a.exampleXcom", "b.example.com"} {
		g.wants(noRoute, authztest.At(host, authztest.Get("/a.b+(c|d)/*/[x]")))
	}
	g.wants(authztest.Forbidden(token.ReasonInsufficientRole),
		authztest.At("a.example.com", authztest.Get("/role")))
	scope := authztest.Forbidden(token.ReasonInsufficientScope)
	scope.Challenge += `, scope="read.*"`
	g.wants(scope, authztest.At("a.example.com", authztest.Get("/scope")))
}

func namesAreNoPrefixes(t *testing.T) {
	g := newGate(t).withPolicy(
		policy.Route{
			Match:   policy.Match{Path: "/admin/**", Hosts: []string{"*.example.com"}},
			Require: policy.Require{Roles: []string{"team/a"}},
		},
		policy.Route{Match: policy.Match{Path: "/files/a"}, Allow: "public"},
	)
	for _, path := range []string{
		"/administrator", "/adminx/y", "/Admin", "/files/ab", "/files/a/b", "/files",
	} {
		g.wants(noRoute, authztest.At("a.example.com", authztest.Get(path)))
	}
	for _, host := range []string{"evilexample.com", "example.com", "example.com.evil"} {
		g.wants(noRoute, authztest.At(host, authztest.Get("/admin")))
	}
	for _, role := range []string{"team/ab", "team", "team/a/b", "team/A", "/team/a"} {
		g.alice = g.world.Token(func(c *token.Claims) { c.Roles = []string{role} })
		g.wants(authztest.Forbidden(token.ReasonInsufficientRole),
			authztest.At("a.example.com", authztest.Get("/admin")))
	}
}

// everySettingDecides has, for each key of a route, two routes that differ in it alone and a
// request that they decide otherwise. A key without such a case fails.
func everySettingDecides(t *testing.T) {
	stale := func(w *authztest.World) {
		w.Revocations.Fresh = revocation.Freshness{Why: revocation.WhyStale}
	}
	base, who := policy.Route{Match: policy.Match{Path: "/x"}}, map[string]string{"x-who": "sub"}
	cors := policy.CORS{Origins: []string{page}}
	with := func(change func(*policy.Route)) policy.Route {
		r := base
		change(&r)
		return r
	}
	cases := map[string]struct {
		first []policy.Route
		route policy.Route
		given func(*authztest.World)
		path  string
		// of the request: without a token, and what it takes
		anonymous              bool
		accept, origin, method string
		base                   policy.Route // what route is compared with; base where it says nothing
	}{
		"match.path":    {route: with(func(r *policy.Route) { r.Match.Path = "/y" })},
		"match.methods": {route: with(func(r *policy.Route) { r.Match.Methods = []string{"PUT"} })},
		"match.hosts": {
			route: with(func(r *policy.Route) { r.Match.Hosts = []string{"other.example.com"} }),
		},
		"match.headers": {route: with(func(r *policy.Route) {
			r.Match.Headers = []policy.HeaderMatch{{Name: "x-beta", Present: true}}
		})},
		"headers":          {route: with(func(r *policy.Route) { r.Headers = who })},
		"json_headers":     {route: with(func(r *policy.Route) { r.JSONHeaders = who })},
		"response_headers": {route: with(func(r *policy.Route) { r.ResponseHeaders = who })},
		"refusals.as": {
			route: with(func(r *policy.Route) { r.Refusals.As = policy.RefuseProblem }), anonymous: true,
		},
		"refusals.login_page": {
			first: []policy.Route{{
				Match: policy.Match{Path: "/z"}, Refusals: policy.Refusals{As: policy.RefuseHTML},
			}},
			route: with(func(r *policy.Route) {
				r.Refusals = policy.Refusals{As: policy.RefuseHTML, LoginPage: "/login"}
			}),
			anonymous: true, accept: "text/html",
		},
		"cors.origins": {
			route: with(func(r *policy.Route) { r.CORS = cors }), origin: page,
		},
		"cors.headers": {
			base: with(func(r *policy.Route) { r.CORS = cors }), origin: page, method: "OPTIONS",
			route: with(func(r *policy.Route) {
				r.CORS = cors
				r.CORS.Headers = []string{"x-a"}
			}),
		},
		"cors.expose": {
			base: with(func(r *policy.Route) { r.CORS = cors }), origin: page, method: "OPTIONS",
			route: with(func(r *policy.Route) {
				r.CORS = cors
				r.CORS.Expose = []string{"x-a"}
			}),
		},
		"cors.credentials": {
			base: with(func(r *policy.Route) { r.CORS = cors }), origin: page, method: "OPTIONS",
			route: with(func(r *policy.Route) {
				r.CORS = cors
				r.CORS.Credentials = true
			}),
		},
		"cors.max_age": {
			base: with(func(r *policy.Route) { r.CORS = cors }), origin: page, method: "OPTIONS",
			route: with(func(r *policy.Route) {
				r.CORS = cors
				r.CORS.MaxAge = time.Minute
			}),
		},
		"query_token": {
			route: with(func(r *policy.Route) { r.QueryToken = "t" }), path: "/x?t=another",
		},
		"match.grpc": {route: policy.Route{Match: policy.Match{GRPC: "a.B/C"}}},
		"require.roles": {
			route: with(func(r *policy.Route) { r.Require.Roles = []string{"nobody-has-it"} }),
		},
		"require.scopes": {
			route: with(func(r *policy.Route) { r.Require.Scopes = []string{"nobody-has-it"} }),
		},
		"require.issuers": {
			route: with(func(r *policy.Route) { r.Require.Issuers = []string{authztest.Foreign} }),
		},
		"require.audiences": {
			route: with(func(r *policy.Route) { r.Require.Audiences = []string{"another"} }),
		},
		"require.acr": {route: with(func(r *policy.Route) { r.Require.ACR = []string{"gold"} })},
		"require.fresh": {
			route: with(func(r *policy.Route) { r.Require.Fresh = time.Minute }),
		},
		"require.when": {route: with(func(r *policy.Route) { r.Require.When = "claims.sub == 'bob'" })},
		"require.anyOf": {route: with(func(r *policy.Route) {
			r.Require.AnyOf = []policy.Require{{Roles: []string{"nobody-has-it"}}}
		})},
		"allow":       {route: with(func(r *policy.Route) { r.Allow = "nobody" })},
		"allow_stale": {route: with(func(r *policy.Route) { r.AllowStale = true }), given: stale},
		"path_encoded_slash": {
			base:  policy.Route{Match: policy.Match{Path: "/x/*"}},
			route: policy.Route{Match: policy.Match{Path: "/x/*"}, PathEncodedSlash: "allow"},
			path:  "/x/a%2Fb",
		},
		"path_parameters": {
			route: with(func(r *policy.Route) { r.PathParameters = true }), path: "/x;a=b",
		},
		"outlives_token": {route: with(func(r *policy.Route) { r.OutlivesToken = true })},
		"path_case": {
			first: []policy.Route{{Match: policy.Match{Path: "/X"}, Allow: "nobody"}},
			route: with(func(r *policy.Route) { r.PathCase = "sensitive" }),
		},
	}
	for _, key := range keysOf(reflect.TypeFor[policy.Route](), "") {
		c, ok := cases[key]
		if !ok {
			t.Errorf("the setting %s has no case in which it decides", key)
			continue
		}
		delete(cases, key)
		if c.path == "" {
			c.path = "/x"
		}
		type said struct {
			allow, ends  bool
			told, client int // headers for the upstream, and for the client
			status       int
			form         string
		}
		var allowed []said
		if c.base.Match.Path == "" {
			c.base = base
		}
		for _, route := range []policy.Route{c.base, c.route} {
			g := newGate(t).withPolicy(append(c.first, route)...)
			if c.given != nil {
				c.given(g.world)
			}
			headers := []string{
				"accept", c.accept, "origin", c.origin, "access-control-request-method", "GET",
			}
			if !c.anonymous {
				headers = append(headers, "authorization", "Bearer "+g.alice)
			}
			r := authztest.Do(cmp.Or(c.method, "GET"), c.path, headers...)
			d := g.engine.Decide(&r)
			s := said{allow: d.Allow, ends: d.EndsWithToken}
			if d.Allow {
				s.told, s.client = len(d.Identity.Set), len(d.Identity.Client)
				if d.Changes != nil {
					s.client += len(d.Changes.Client)
				}
			} else {
				s.status, s.form = d.Refused().Status, fmt.Sprint(values(d.Refused().Headers))
			}
			allowed = append(allowed, s)
		}
		if allowed[0] == allowed[1] {
			t.Errorf("the setting %s decides nothing", key)
		}
	}
	for key := range cases {
		t.Errorf("there is no setting %s", key)
	}
}

func keysOf(t reflect.Type, prefix string) (keys []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		key := prefix + f.Tag.Get("yaml")
		if f.Type.Kind() == reflect.Struct {
			keys = append(keys, keysOf(f.Type, key+".")...)
		} else {
			keys = append(keys, key)
		}
	}
	return keys
}

func joinedDuplicates(t *testing.T) {
	g := newGate(t)
	for _, value := range []string{
		"Bearer " + g.alice + ",Bearer " + g.alice, "Bearer " + g.alice + ",", ",Bearer " + g.alice,
		"Bearer x,Bearer " + g.alice,
	} {
		g.asks(many, authztest.Get("/protected", "authorization", value))
	}
	g.asks(many, authztest.Get("/protected", "x-access-token", g.alice+","+g.alice))
}

func namesInAnyCase(t *testing.T) {
	g := newGate(t)
	for _, name := range []string{"authorization", "Authorization", "AUTHORIZATION", "aUTHORIZATION"} {
		g.asks(authztest.Alice, authztest.Get("/protected", name, "Bearer "+g.alice))
		g.wants(many, authztest.Get("/protected", name, "Bearer "+g.alice))
	}
	g.asks(authztest.Alice, authztest.Get("/protected", "X-ACCESS-TOKEN", g.alice))
}

func cachedTokenOnAnotherRoute(t *testing.T) {
	g := newGate(t)
	g.alice = g.world.Token(
		func(c *token.Claims) { c.Roles, c.Scope = []string{"staff"}, []string{"read"} })
	who := authztest.Want{
		Status: 200,
		Set: "subject=alice issuer=" + authztest.Issuer +
			" roles=staff scope=read session=session-1 token-id=token-1",
	}
	scoped := authztest.Forbidden(token.ReasonInsufficientScope)
	scoped.Challenge += `, scope="read write"`
	for range 3 {
		g.wants(who, authztest.Get("/protected"))
		g.wants(scoped, authztest.Get("/scoped"))
		g.wants(authztest.Forbidden(token.ReasonInsufficientRole), authztest.Get("/admin"))
		g.wants(who, authztest.Get("/api/x"))
	}
}

func cachedTokenUnderOtherRules(t *testing.T) {
	g := newGate(t)
	g.wants(authztest.Alice, authztest.Get("/protected"))
	other := authztest.Profile()
	other.Audiences = []string{"another-service"}
	g.world.Keys.Trust(other, g.world.Key.Public())
	g.wants(authztest.Invalid(token.ReasonAudience), authztest.Get("/protected"))
	roleless := authztest.Profile()
	roleless.Claims.Roles = []string{"none"}
	g.world.Keys.Trust(roleless, g.world.Key.Public())
	g.wants(authztest.Forbidden(token.ReasonInsufficientRole), authztest.Get("/admin"))
}

// conditionsSeeWhatIsDocumented: no value of ours, no key, and of the token what it says, not itself.
func conditionsSeeWhatIsDocumented(t *testing.T) {
	for _, name := range []string{
		"token", "keys", "engine", "caller", "input", "request", "peer", "path", "Claims", "claims()",
		"request.Headers", "request.token", "request.authorization", "type(claims).name", "env",
		"google.protobuf.Any{}", "google.protobuf.Struct{}.fields", "authz.Request{}",
	} {
		_, err := policy.Compile(policy.Config{Routes: []policy.Route{{
			Match: policy.Match{Path: "/a"}, Require: policy.Require{When: "dyn(" + name + ") != 1"},
		}}})
		if err == nil && !strings.HasPrefix(name, "google.") {
			t.Errorf("a condition may speak of %s", name)
		}
	}
	w, engine := conditional(t, "/**", `request.headers.exists(name, request.headers[name].contains("ey"))`)
	r := authztest.Get("/x", "authorization", "Bearer "+zoe(w), "x-auth-subject", "eyes")
	if d := engine.Decide(&r); d.Reason() != "condition" {
		t.Errorf("a condition over all headers: got %s", d.Reason())
	}
}

func policyOverItsLimits(t *testing.T) {
	many := make([]policy.Route, 20_000)
	for i := range many {
		many[i].Match.Path = "/a"
	}
	names := make([]string, 5000)
	for i := range names {
		names[i] = strings.Repeat("a", i+1)
	}
	when := func(text string) policy.Config {
		return policy.Config{Routes: []policy.Route{{
			Match: policy.Match{Path: "/a"}, Require: policy.Require{When: text},
		}}}
	}
	for name, c := range map[string]policy.Config{
		"routes":   {Routes: many},
		"segments": {Routes: []policy.Route{{Match: policy.Match{Path: strings.Repeat("/a", 100)}}}},
		"path": {
			Routes: []policy.Route{{Match: policy.Match{Path: "/" + strings.Repeat("a", 10_000)}}},
		},
		"methods": {Routes: []policy.Route{{Match: policy.Match{Path: "/a", Methods: names}}}},
		"hosts":   {Routes: []policy.Route{{Match: policy.Match{Path: "/a", Hosts: names}}}},
		"roles": {
			Routes: []policy.Route{{Match: policy.Match{Path: "/a"}, Require: policy.Require{Roles: names}}},
		},
		"scopes": {
			Routes: []policy.Route{
				{Match: policy.Match{Path: "/a"}, Require: policy.Require{Scopes: names}},
			},
		},
		"conditions": when(`"` + strings.Repeat("a", 5000) + `" == ""`),
		"brackets":   when(strings.Repeat("(", 2000) + "true" + strings.Repeat(")", 2000)),
		"loops":      when("claims.a.all(x, claims.a.all(y, claims.a.all(z, x == y || y == z)))"),
	} {
		if _, err := policy.Compile(c); err == nil {
			t.Errorf("too many or too long %s: accepted", name)
		}
	}
}

func unsignedTokenOnAPublicRoute(t *testing.T) {
	g := newGate(t)
	unsigned := g.world.Setup().AlgorithmAttacks()[0].Token
	r := authztest.Get("/public", "authorization", "Bearer "+unsigned)
	g.asks(authztest.Anybody, r)
	if d := g.engine.Decide(&r); d.Identity.Claims != nil {
		t.Errorf("the identity is %+v", d.Identity.Claims)
	}
	g.asks(authztest.Invalid(token.ReasonAlgNone),
		authztest.Get("/maybe", "authorization", "Bearer "+unsigned))
}

func removedKeyAndCache(t *testing.T) {
	g := newGate(t)
	g.wants(authztest.Alice, authztest.Get("/protected"))
	g.world.Keys.Remove(authztest.Issuer, authztest.KeyID)
	g.wants(authztest.Invalid(token.ReasonUnknownKey), authztest.Get("/protected"))
}

func keysByNameAlone(t *testing.T) { TestAnIssuersKeyVerifiesItsOwnTokensOnly(t) }

func expiredAndBadlySigned(t *testing.T) {
	g := newGate(t)
	thief := josetest.NewKey("ES256", authztest.KeyID)
	past := g.world.Setup().
		Claims.With("iat", josetest.Seconds(g.world.Now.Add(-2*time.Hour))).
		With("exp", josetest.Seconds(g.world.Now.Add(-time.Hour)))
	forged := thief.Token(thief.Header("at+jwt").JSON(), past.JSON())
	g.asks(authztest.Invalid(token.ReasonSignature),
		authztest.Get("/protected", "authorization", "Bearer "+forged))
	if d := g.engine.Decide(protected(forged)); d.Identity != nil || d.Cached || d.Remaining != 0 {
		t.Errorf("kept %+v, cached %v, remaining %v", d.Identity, d.Cached, d.Remaining)
	}
}
