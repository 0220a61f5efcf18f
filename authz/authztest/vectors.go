package authztest

import (
	"strings"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// Vector is a request and what every transport must make of it.
type Vector struct {
	Name    string
	Given   func(*World) // what is so before the request; nil: all is well
	Request authz.Request
	Want    Want
}

// Want is an answer.
type Want struct {
	Status    int          // 200: the request may pass
	Reason    token.Reason // of a refusal
	Challenge string       // WWW-Authenticate, "" for none
	Error     string       // of the refusal's body
	// identity headers without "x-auth-", as "subject=alice roles=admin", of a request that may pass
	Set string
	// headers of the request that must be removed besides the identity headers that are not set
	Strip string
}

const (
	challenge        = `Bearer realm="sallyport"`
	challengeInvalid = challenge + `, error="invalid_token"`
	challengeScope   = challenge + `, error="insufficient_scope"`
)

// alices are the identity headers that a token of alice's sets beside the subject.
const alices = " issuer=" + Issuer +
	" roles=admin,staff scope=read+write session=session-1 token-id=token-1"

// Anybody, Alice and Zoe are answers to requests that may pass.
var (
	Anybody = Want{Status: 200}
	Alice   = Want{
		Status: 200,
		Set:    "subject=alice" + alices,
	}
	Zoe = Want{Status: 200, Set: "subject=zoe issuer=" + Foreign}
)

// NoToken is the answer to a request without a token where one is needed.
var NoToken = Want{
	Status: 401, Reason: token.ReasonNoToken, Challenge: challenge, Error: "unauthorized",
}

// OtherScheme is the answer to credentials that are not a bearer token.
var OtherScheme = Want{
	Status: 401, Reason: token.ReasonScheme, Challenge: challenge, Error: "unauthorized",
}

// Invalid is the answer to a token that is not accepted.
func Invalid(reason token.Reason) Want {
	return Want{Status: 401, Reason: reason, Challenge: challengeInvalid, Error: "invalid_token"}
}

// Forbidden is the answer to a valid token that does not suffice.
func Forbidden(reason token.Reason) Want {
	return Want{Status: 403, Reason: reason, Challenge: challengeScope, Error: "insufficient_scope"}
}

// Malformed is the answer to a request that can be read in more than one way.
func Malformed(reason token.Reason) Want {
	return Want{Status: 400, Reason: reason, Error: "invalid_request"}
}

// Unavailable is the answer of a gate that cannot know.
func Unavailable(reason token.Reason) Want {
	return Want{Status: 503, Reason: reason, Error: "temporarily_unavailable"}
}

// Get is a request with headers as name, value, name, value.
func Get(path string, headers ...string) authz.Request { return Do("GET", path, headers...) }

// Do is a request with another method.
func Do(method, path string, headers ...string) authz.Request {
	r := authz.Request{Method: method, Host: Host, Path: path}
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, authz.Header{Name: headers[i], Value: headers[i+1]})
	}
	return r
}

// At changes a request's host.
func At(host string, r authz.Request) authz.Request {
	r.Host = host
	return r
}

// Vectors is the table, with tokens of w.
func Vectors(w *World) []Vector {
	var all []Vector
	for _, some := range [][]Vector{
		access(w), demands(w), places(w), tokens(w), foreign(w), issuers(w), identity(w), states(w), paths(w),
	} {
		all = append(all, some...)
	}
	return all
}

func bearer(t string) []string { return []string{"authorization", "Bearer " + t} }

// demands are requests for routes that ask for more than roles and scopes.
func demands(w *World) []Vector {
	old := bearer(w.Token())
	lately := bearer(w.Token(func(c *token.Claims) { c.AuthTime = w.Now.Unix() - 300 }))
	reader := bearer(w.Token(func(c *token.Claims) { c.Scope = []string{"read"} }))
	login := func(reason token.Reason, parameters string) Want {
		const code = "insufficient_user_authentication"
		return Want{
			Status: 401, Reason: reason, Challenge: challenge + `, error="` + code + `"` + parameters,
			Error: code,
		}
	}
	scope := Forbidden(token.ReasonInsufficientScope)
	scope.Challenge += `, scope="write"`
	by := func(peer string) authz.Request {
		r := Get("/checkout", old...)
		r.Peer = peer
		return r
	}
	return []Vector{
		{Name: "a login that is not long ago", Request: Get("/fresh", lately...), Want: Alice},
		{
			Name: "a login of ten minutes ago", Request: Get("/fresh", old...),
			Want: login(token.ReasonLoginTooOld, `, max_age="300"`),
		},
		{
			Name: "a login of another kind", Request: Get("/strong", old...),
			Want: login(token.ReasonACR, `, acr_values="gold"`),
		},
		{
			Name: "a condition that holds", Request: Get("/of/alice", append(old, "X-Team", "blue")...),
			Want: Alice,
		},
		{
			Name: "a condition on another's path", Request: Get("/of/bob", append(old, "X-Team", "blue")...),
			Want: Forbidden(token.ReasonCondition),
		},
		{
			Name: "a condition on a header that is not there", Request: Get("/of/alice", old...),
			Want: Forbidden(token.ReasonConditionError),
		},
		{Name: "the calling service", Request: by("spiffe://example.com/checkout"), Want: Alice},
		{
			Name: "another calling service", Request: by("spiffe://example.com/checkout2"),
			Want: Forbidden(token.ReasonCondition),
		},
		{Name: "no calling service", Request: by(""), Want: Forbidden(token.ReasonCondition)},
		{
			Name: "a gRPC method, by an alternative", Request: Do("POST", "/shop.v1.Orders/Get", old...),
			Want: Alice,
		},
		{
			Name: "a gRPC method, by no alternative", Request: Do("POST", "/shop.v1.Orders/Get", reader...),
			Want: scope,
		},
	}
}

func access(w *World) []Vector {
	alice := bearer(w.Token())
	guest := bearer(w.Token(func(c *token.Claims) { c.Roles, c.Scope = nil, []string{"read"} }))
	scopes := Forbidden(token.ReasonInsufficientScope)
	scopes.Challenge += `, scope="read write"`
	scope := Forbidden(token.ReasonInsufficientScope)
	scope.Challenge += `, scope="read"`
	return []Vector{
		{Name: "public without a token", Request: Get("/public"), Want: Anybody},
		{Name: "public with a token is anybody", Request: Get("/public", alice...), Want: Anybody},
		{
			Name:    "public with a bad token is anybody",
			Request: Get("/public", "authorization", "Bearer x"), Want: Anybody,
		},
		{Name: "protected without a token", Request: Get("/protected"), Want: NoToken},
		{Name: "protected with a token", Request: Get("/protected", alice...), Want: Alice},
		{Name: "below a pattern", Request: Get("/api/a/b?c=d", alice...), Want: Alice},
		{Name: "the pattern's own root", Request: Get("/api", alice...), Want: Alice},
		{Name: "role there", Request: Get("/admin", alice...), Want: Alice},
		{
			Name: "role missing", Request: Get("/admin", guest...),
			Want: Forbidden(token.ReasonInsufficientRole),
		},
		{
			Name: "role that is longer",
			Request: Get("/admin", bearer(w.Token(func(c *token.Claims) {
				c.Roles = []string{"administrator", "admin ", "ADMIN"}
			}))...),
			Want: Forbidden(token.ReasonInsufficientRole),
		},
		{Name: "scopes there", Request: Get("/scoped", alice...), Want: Alice},
		{Name: "scope missing", Request: Get("/scoped", guest...), Want: scopes},
		{Name: "role and scope there", Request: Get("/both", alice...), Want: Alice},
		{
			Name: "scope there and role missing", Request: Get("/both", guest...),
			Want: Forbidden(token.ReasonInsufficientRole),
		},
		{
			Name:    "role there and scope missing",
			Request: Get("/both", bearer(w.Token(func(c *token.Claims) { c.Scope = nil }))...),
			Want:    scope,
		},
		{
			Name: "closed with a token", Request: Get("/closed", alice...),
			Want: Forbidden(token.ReasonDenied),
		},
		{Name: "closed without a token", Request: Get("/closed"), Want: NoToken},
		{
			Name: "no route with a token", Request: Get("/nowhere", alice...),
			Want: Forbidden(token.ReasonNoRoute),
		},
		{Name: "no route without a token", Request: Get("/nowhere"), Want: NoToken},
		{
			Name:    "no route with a bad token",
			Request: Get("/nowhere", "authorization", "Bearer x"),
			Want:    Invalid(token.ReasonSegments),
		},
		{Name: "method there", Request: Do("PUT", "/put", alice...), Want: Alice},
		{
			Name: "method missing", Request: Do("GET", "/put", alice...),
			Want: Forbidden(token.ReasonNoRoute),
		},
		{
			Name: "method in another case", Request: Do("put", "/put", alice...),
			Want: Forbidden(token.ReasonNoRoute),
		},
		{Name: "a preflight is a request like others", Request: Do("OPTIONS", "/put"), Want: NoToken},
		{Name: "no method", Request: Do("", "/put", alice...), Want: Forbidden(token.ReasonNoRoute)},
		{
			Name: "host there", Request: At("INNER.example.com.:8443", Get("/inner/x", alice...)),
			Want: Alice,
		},
		{Name: "host below", Request: At("a.inner.example.com", Get("/inner/x", alice...)), Want: Alice},
		{
			Name: "host beside", Request: At("evilinner.example.com", Get("/inner/x", alice...)),
			Want: Forbidden(token.ReasonNoRoute),
		},
		{
			Name:    "host that is none",
			Request: At("inner.example.com@evil", Get("/inner/x", alice...)),
			Want:    Malformed(token.ReasonBadRequest),
		},
		{
			Name: "no host", Request: At("", Get("/protected", alice...)),
			Want: Malformed(token.ReasonBadRequest),
		},
		{Name: "optional without a token", Request: Get("/maybe"), Want: Anybody},
		{Name: "optional with a token", Request: Get("/maybe", alice...), Want: Alice},
		{
			Name:    "optional with a bad token",
			Request: Get("/maybe", "authorization", "Bearer x"),
			Want:    Invalid(token.ReasonSegments),
		},
		{
			Name: "optional with an expired token", Request: Get("/maybe", bearer(expired(w))...),
			Want: Invalid(token.ReasonExpired),
		},
		{
			Name:    "optional with an unknown issuer's token",
			Request: Get("/maybe", bearer(unknownIssuer(w))...),
			Want:    Invalid(token.ReasonUnknownIssuer),
		},
		{
			Name: "optional with a revoked token", Given: revokeAlice,
			Request: Get("/maybe", alice...), Want: Invalid(token.ReasonRevoked),
		},
		{
			Name:    "optional with other credentials",
			Request: Get("/maybe", "authorization", "Basic YTpi"), Want: OtherScheme,
		},
		{
			Name: "optional with an empty header", Request: Get("/maybe", "authorization", ""),
			Want: OtherScheme,
		},
		{
			Name: "optional with an empty token", Request: Get("/maybe", "x-access-token", ""),
			Want: Invalid(token.ReasonSegments),
		},
	}
}

func places(w *World) []Vector {
	t, other := w.Token(), w.Token(func(c *token.Claims) { c.Subject = "bob" })
	many, scheme := Invalid(token.ReasonManyTokens), Invalid(token.ReasonScheme)
	at := func(name string, want Want, headers ...string) Vector {
		return Vector{Name: name, Request: Get("/protected", headers...), Want: want}
	}
	return []Vector{
		at("x-access-token", Alice, "x-access-token", t),
		at("names in another case", Alice, "Authorization", "bEaReR "+t),
		at("x-access-token in another case", Alice, "X-Access-Token", t),
		at("two authorization headers", many, "authorization", "Bearer "+t, "authorization",
			"Bearer "+other),
		at("the same authorization header twice", many, "authorization", "Bearer "+t,
			"Authorization", "Bearer "+t),
		at("a bad authorization header first", many, "authorization", "Bearer x", "authorization",
			"Bearer "+t),
		at("a bad authorization header last", many, "authorization", "Bearer "+t, "authorization",
			"Bearer x"),
		at("joined duplicates", many, "authorization", "Bearer "+t+",Bearer "+other),
		at("joined duplicates with a space", many, "authorization", "Bearer "+t+", Bearer "+t),
		at("joined with other credentials first", many, "authorization", "Basic YTpi,Bearer "+t),
		at("joined with other credentials last", many, "authorization", "Bearer "+t+",Basic YTpi"),
		at("joined with nothing", many, "authorization", "Bearer "+t+","),
		at("two x-access-token headers", many, "x-access-token", t, "x-access-token", t),
		at("joined x-access-token", many, "x-access-token", t+","+t),
		at("both places", many, "authorization", "Bearer "+t, "x-access-token", t),
		at("both places, one empty", many, "authorization", "Bearer "+t, "x-access-token", ""),
		at("both places, one of another scheme", many, "authorization", "Basic YTpi",
			"x-access-token", t),
		at("other credentials", OtherScheme, "authorization", "Basic YTpi"),
		at("digest credentials", OtherScheme, "authorization", `Digest username="a", realm="b"`),
		at("no scheme", OtherScheme, "authorization", t),
		at("scheme alone", OtherScheme, "authorization", "Bearer"),
		at("scheme and a space", OtherScheme, "authorization", "Bearer "),
		at("scheme without a space", OtherScheme, "authorization", "Bearer"+t),
		at("scheme with a colon", OtherScheme, "authorization", "Bearer: "+t),
		at("a tab for the space", scheme, "authorization", "Bearer\t"+t),
		at("two spaces", scheme, "authorization", "Bearer  "+t),
		at("a space before", OtherScheme, "authorization", " Bearer "+t),
		at("a space behind", scheme, "authorization", "Bearer "+t+" "),
		at("a word behind", scheme, "authorization", "Bearer "+t+" x"),
		at("a scheme in x-access-token", Invalid(token.ReasonBase64), "x-access-token", "Bearer "+t),
		at("a token in a cookie", NoToken, "cookie", "access_token="+t+"; x-access-token="+t),
		at("a token in another spelling", NoToken, "x_access_token", t),
		at("a token in other headers", NoToken, "proxy-authorization", "Bearer "+t,
			"x-forwarded-authorization", "Bearer "+t, "x-authorization", "Bearer "+t),
		{Name: "a token in the query", Request: Get("/protected?access_token=" + t), Want: NoToken},
		at("a cookie that disagrees", Alice, "authorization", "Bearer "+t, "cookie",
			"access_token="+other),
		at("broken cookies", NoToken, "cookie",
			"=x; ;;=, access_token=\x80\xff, "+strings.Repeat("a", 5000)),
		at("a probe's user agent", NoToken, "user-agent", "kube-probe/1.30", "user-agent",
			"GoogleHC/1.0"),
		at("a path in other headers", NoToken, "x-envoy-original-path", "/public",
			"x-forwarded-uri", "/public", "x-original-url", "/public", "x-original-uri",
			"/public", "x-rewrite-url", "/public"),
		{
			Name: "a method in other headers",
			Request: Do(
				"GET",
				"/put",
				append(bearer(t), "x-http-method-override", "PUT", "x-forwarded-method", "PUT")...),
			Want: Forbidden(token.ReasonNoRoute),
		},
		{
			Name: "a host in other headers",
			Request: Get(
				"/inner/x",
				append(bearer(t), "host", "inner.example.com", "x-forwarded-host", "inner.example.com")...),
			Want: Forbidden(token.ReasonNoRoute),
		},
	}
}

func expired(w *World) string {
	return w.Token(func(c *token.Claims) {
		c.IssuedAt, c.Expiry = w.Now.Add(-time.Hour).Unix(), w.Now.Add(-30*time.Second).Unix()
	})
}

func unknownIssuer(w *World) string {
	return w.Token(func(c *token.Claims) { c.Issuer = Issuer + "/" })
}

func revokeAlice(w *World) {
	w.Revocations.Revoke(
		func(f *revocation.Facts) bool { return f.SessionID == "session-1" && f.Issuer == Issuer })
}

func tokens(w *World) []Vector {
	at := func(name string, want Want, t string) Vector {
		return Vector{Name: name, Request: Get("/protected", bearer(t)...), Want: want}
	}
	good := w.Token()
	altered := good[:len(good)-9] + map[bool]string{true: "B", false: "A"}[good[len(good)-9] == 'A'] + good[len(good)-8:]
	return []Vector{
		at("another issuer's token", Zoe, w.ForeignToken()),
		at("expired", Invalid(token.ReasonExpired), expired(w)),
		at("expired within the leeway", Alice, w.Token(func(c *token.Claims) {
			c.IssuedAt, c.Expiry = w.Now.Add(-time.Hour).Unix(), w.Now.Add(-29*time.Second).Unix()
		})),
		at("not yet valid", Invalid(token.ReasonNotYetValid),
			w.Token(func(c *token.Claims) { c.NotBefore = w.Now.Add(31 * time.Second).Unix() })),
		at("issued in the future", Invalid(token.ReasonIssuedInFuture),
			w.Token(func(c *token.Claims) { c.IssuedAt = w.Now.Add(31 * time.Second).Unix() })),
		at("lives too long", Invalid(token.ReasonLifetime),
			w.Token(func(c *token.Claims) { c.Expiry = c.IssuedAt + 3601 })),
		at("for another audience", Invalid(token.ReasonAudience),
			w.Token(func(c *token.Claims) { c.Audience = []string{"staging"} })),
		at("of an unknown issuer", Invalid(token.ReasonUnknownIssuer), unknownIssuer(w)),
		at("signed by another's key of the same kid", Invalid(token.ReasonAlg),
			w.ForeignKey.Token(w.ForeignKey.Header("at+jwt").JSON(), w.Setup().Claims.JSON())),
		at("one letter changed", Invalid(token.ReasonSignature), altered),
		at("a word", Invalid(token.ReasonSegments), "word"),
	}
}

// foreign are tokens of an issuer that writes as the RFCs allow.
func foreign(w *World) []Vector {
	header, claims := w.ForeignKey.Header("JWT"), w.ForeignClaims()
	at := func(name string, want Want, header string, claims josetest.Object) Vector {
		return Vector{
			Name: name, Want: want,
			Request: Get("/protected", bearer(w.ForeignKey.Token(header, claims.JSON()))...),
		}
	}
	given := func(state func(*World), v Vector) Vector {
		v.Given = state
		return v
	}
	lives := func(d time.Duration) josetest.Object {
		return claims.With("exp", josetest.Seconds(w.Now.Add(d)))
	}
	kept := func(d time.Duration) func(*World) { return func(w *World) { w.MaxLifetime = d } }
	second := func(w *World) {
		w.Keys.Trust(ForeignProfile(), w.ForeignKey.Public(), josetest.NewKey("EdDSA", "key-2").Public())
	}
	bound := claims.And("cnf", `{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`)
	anonymous := header.Without("kid").JSON()
	return []Vector{
		at("a header with blanks", Zoe, strings.ReplaceAll(header.JSON(), ":", " : "), claims),
		at("a header with a name of its own", Zoe, header.And("cat", `"cl_B7d4PD111AAA"`).JSON(), claims),
		at("a fractional date", Zoe, header.JSON(), claims.With("nbf", claims.Get("iat")+".000")),
		at("no kid, and one key", Zoe, anonymous, claims),
		given(second, at("no kid, and two keys", Invalid(token.ReasonKeyIDMissing), anonymous, claims)),
		given(func(w *World) { w.Keys.Trust(ForeignProfile()) },
			at("no kid, and no keys yet", Unavailable(token.ReasonNoKeys), anonymous, claims)),
		given(func(w *World) { w.Keys.Remove(Foreign, KeyID) },
			at("no kid, and the key removed", Invalid(token.ReasonKeyIDMissing), anonymous, claims)),
		given(func(w *World) {
			w.Revocations.Revoke(
				func(f *revocation.Facts) bool { return f.Issuer == Foreign && f.KeyID == KeyID })
		}, at("no kid, and the key revoked", Invalid(token.ReasonRevoked), anonymous, claims)),
		{
			Name: "no kid, of ours", Want: Invalid(token.ReasonKeyIDMissing),
			Request: Get("/protected", bearer(w.Key.Token(
				w.Key.Header("at+jwt").Without("kid").JSON(), w.Setup().Claims.JSON()))...),
		},
		at("bound to a key", Invalid(token.ReasonTokenBound), header.JSON(), bound),
		given(func(w *World) {
			p := ForeignProfile()
			p.BoundTokens = "allow"
			w.Keys.Trust(p, w.ForeignKey.Public())
		}, at("bound to a key, which the entry allows", Zoe, header.JSON(), bound)),
		given(kept(time.Hour+token.Forgiven), at("lives the second longer that is forgiven", Zoe,
			header.JSON(), lives(time.Hour+time.Second))),
		given(kept(time.Hour+token.Forgiven), at("lives longer than that",
			Invalid(token.ReasonLifetime), header.JSON(), lives(time.Hour+2*time.Second))),
		given(kept(time.Hour), at("lives longer than revocations are kept",
			Unavailable(token.ReasonIssuerLifetime), header.JSON(), lives(time.Hour+time.Second))),
		given(kept(time.Hour), at("lives a millisecond longer than revocations are kept",
			Unavailable(token.ReasonIssuerLifetime), header.JSON(),
			claims.With("exp", josetest.Seconds(w.Now.Add(time.Hour))+".001"))),
	}
}

func identity(w *World) []Vector {
	alice := bearer(w.Token())
	told := func(name, set string, change func(*token.Claims)) Vector {
		return Vector{
			Name: name, Request: Get("/protected", bearer(w.Token(change))...),
			Want: Want{Status: 200, Set: set},
		}
	}
	strip := func(names string) Want {
		want := Alice
		want.Strip = names
		return want
	}
	const signed = "issuer=" + Issuer + " "
	return []Vector{
		told("nothing to say but the subject", "subject=alice "+signed+"token-id=token-1",
			func(c *token.Claims) { c.Roles, c.Scope, c.SessionID = nil, nil, "" }),
		told("a comma in a role",
			"subject=alice "+signed+"roles=a%2Cb,c scope=read+write session=session-1 token-id=token-1",
			func(c *token.Claims) { c.Roles = []string{"a,b", "c"} }),
		told("a space in a role",
			"subject=alice "+signed+"roles=a%20b scope=read+write session=session-1 token-id=token-1",
			func(c *token.Claims) { c.Roles = []string{"a b"} }),
		told("a percent sign",
			"subject=50%25"+alices,
			func(c *token.Claims) { c.Subject = "50%" }),
		told("a subject beyond ASCII", "subject=zo%C3%AB%40example"+alices,
			func(c *token.Claims) { c.Subject = "zoë@example" }),
		told("a subject with signs", "subject=a@b/c=d;e\"f"+alices,
			func(c *token.Claims) { c.Subject = `a@b/c=d;e"f` }),
		{
			Name: "a client's own identity is overwritten",
			Request: Get("/protected", append(alice, "x-auth-subject", "root", "X-Auth-Roles", "root",
				"X-Auth-Issuer", "root")...),
			Want: Alice,
		},
		{
			Name:    "a client's own identity is removed where nobody is known",
			Request: Get("/public", "x-auth-subject", "root", "x-auth-roles", "root", "x-auth-issuer", "x"),
			Want:    Anybody,
		},
		{
			Name: "misspelt identity headers are removed",
			Request: Get(
				"/protected",
				append(alice, "x_auth_subject", "root", "x-auth_roles", "root", "X.Auth.Scope",
					"root", "x-auth-token_id", "x", "X_AUTH.SESSION", "x", "x_auth-Issuer", "x")...),
			Want: strip("x_auth_subject x-auth_roles X.Auth.Scope x-auth-token_id X_AUTH.SESSION " +
				"x_auth-Issuer"),
		},
		{
			Name:    "misspelt identity headers are removed where nobody is known",
			Request: Get("/public", "x_auth_subject", "root"),
			Want:    Want{Status: 200, Strip: "x_auth_subject"},
		},
		{
			Name:    "signs that CGI folds",
			Request: Get("/protected", append(alice, "x!auth~subject", "root")...),
			Want:    strip("x!auth~subject"),
		},
		{
			Name: "every sign, where nobody is known", Request: Get("/public", spoofed()...),
			Want: Want{Status: 200, Strip: strings.Join(names(spoofed()), " ")},
		},
		{
			Name: "every sign, where there is nothing to say",
			Request: Get(
				"/protected",
				append(
					bearer(w.Token(func(c *token.Claims) { c.Roles, c.Scope, c.SessionID = nil, nil, "" })),
					spoofed()...)...),
			Want: Want{
				Status: 200, Set: "subject=alice issuer=" + Issuer + " token-id=token-1",
				Strip: strings.Join(names(spoofed()), " "),
			},
		},
		{
			Name: "another method or path than the one judged",
			Request: Get(
				"/protected",
				append(alice, "X-HTTP-Method-Override", "DELETE", "x-http-method", "DELETE",
					"x-method-override", "DELETE", "x-original-url", "/admin", "X_Rewrite.URL",
					"/admin")...),
			Want: strip(
				"X-HTTP-Method-Override x-http-method x-method-override x-original-url X_Rewrite.URL"),
		},
		{
			Name:    "another method, where nobody is known",
			Request: Get("/public", "x-http-method-override", "DELETE"),
			Want:    Want{Status: 200, Strip: "x-http-method-override"},
		},
		{
			Name: "headers that only look alike stay",
			Request: Get(
				"/protected",
				append(alice, "xx-auth-roles", "x", "xaauthasubject", "x", "x-author", "x", "x-auth",
					"x", "x-auth-", "x")...),
			Want: Alice,
		},
		{
			Name: "what else begins as an identity header does goes",
			Request: Get(
				"/protected",
				append(alice, "x-auth-subjects", "x", "x-auth-subjecT2", "x", "X_Auth.Email", "x")...),
			Want: Want{
				Status: 200, Set: Alice.Set, Strip: "x-auth-subjects x-auth-subjecT2 X_Auth.Email",
			},
		},
		{
			Name:    "connection names an identity header",
			Request: Get("/protected", append(alice, "connection", "close, X-Auth-Subject")...),
			Want:    Malformed(token.ReasonBadRequest),
		},
		{
			Name:    "connection names a misspelt identity header",
			Request: Get("/protected", append(alice, "Connection", "x_auth_roles")...),
			Want:    Malformed(token.ReasonBadRequest),
		},
		{
			Name:    "connection names other headers",
			Request: Get("/protected", append(alice, "connection", "keep-alive, Upgrade,x-auth")...),
			Want:    Alice,
		},
	}
}

// Signs are those that a header's name may have (RFC 9110 section 5.6.2) beside "-".
const Signs = "!#$%&'*+.^_`|~"

// spoofed are the identity headers with each sign in the place of their hyphens.
func spoofed() (headers []string) {
	for _, sign := range Signs {
		for _, name := range authz.IdentityHeaders() {
			headers = append(headers, strings.ReplaceAll(name, "-", string(sign)), "root")
		}
	}
	return headers
}

// names are those of headers in the form of Get's.
func names(headers []string) (all []string) {
	for i := 0; i < len(headers); i += 2 {
		all = append(all, headers[i])
	}
	return all
}

func states(w *World) []Vector {
	alice := bearer(w.Token())
	stale := func(w *World) {
		w.Revocations.Fresh = revocation.Freshness{Why: revocation.WhyStale, Staleness: time.Minute}
	}
	noCopy := func(w *World) { w.Revocations.Fresh = revocation.Freshness{Why: revocation.WhyNoCopy} }
	unknown := func(w *World) {
		w.Revocations.Fresh = revocation.Freshness{Why: revocation.WhyUnknown}
	}
	noKeys := func(w *World) { w.Keys.Trust(Profile()) }
	return []Vector{
		{
			Name: "revoked", Given: revokeAlice, Request: Get("/protected", alice...),
			Want: Invalid(token.ReasonRevoked),
		},
		{
			Name: "revoked and expired", Given: revokeAlice,
			Request: Get("/protected", bearer(expired(w))...), Want: Invalid(token.ReasonRevoked),
		},
		{
			Name: "revoked, where anybody may pass", Given: revokeAlice,
			Request: Get("/public", alice...), Want: Anybody,
		},
		{
			Name:  "another's session revoked",
			Given: revokeAlice,
			Request: Get(
				"/protected",
				bearer(w.Token(func(c *token.Claims) { c.SessionID = "session-2" }))...),
			Want: Want{
				Status: 200,
				Set:    strings.Replace(Alice.Set, "session-1", "session-2", 1),
			},
		},
		{
			Name: "stale", Given: stale, Request: Get("/protected", alice...),
			Want: Unavailable(token.ReasonStale),
		},
		{
			Name: "stale and revoked", Given: func(w *World) { stale(w); revokeAlice(w) },
			Request: Get("/protected", alice...), Want: Invalid(token.ReasonRevoked),
		},
		{
			Name: "stale and expired", Given: stale,
			Request: Get("/protected", bearer(expired(w))...), Want: Invalid(token.ReasonExpired),
		},
		{Name: "stale without a token", Given: stale, Request: Get("/protected"), Want: NoToken},
		{Name: "stale, where anybody may pass", Given: stale, Request: Get("/public"), Want: Anybody},
		{
			Name: "stale, where a token is optional", Given: stale,
			Request: Get("/maybe", alice...), Want: Unavailable(token.ReasonStale),
		},
		{
			Name: "stale, where the route says so", Given: stale,
			Request: Get("/tolerant", alice...), Want: Alice,
		},
		{
			Name:    "stale and revoked, where the route allows stale",
			Given:   func(w *World) { stale(w); revokeAlice(w) },
			Request: Get("/tolerant", alice...), Want: Invalid(token.ReasonRevoked),
		},
		{
			Name: "no copy", Given: noCopy, Request: Get("/protected", alice...),
			Want: Unavailable(token.ReasonNoCopy),
		},
		{
			Name: "no copy, where the route allows stale", Given: noCopy,
			Request: Get("/tolerant", alice...), Want: Unavailable(token.ReasonNoCopy),
		},
		{
			Name: "a log that cannot be read whole", Given: unknown,
			Request: Get("/tolerant", alice...), Want: Unavailable(token.ReasonNoCopy),
		},
		{
			Name:    "a copy that says nothing of itself",
			Given:   func(w *World) { w.Revocations.Fresh = revocation.Freshness{} },
			Request: Get("/tolerant", alice...), Want: Unavailable(token.ReasonNoCopy),
		},
		{
			Name: "no keys yet", Given: noKeys, Request: Get("/protected", alice...),
			Want: Unavailable(token.ReasonNoKeys),
		},
		{
			Name: "no keys yet, and no signature", Given: noKeys,
			Request: Get("/protected", bearer(unsigned(w))...),
			Want:    Invalid(token.ReasonAlgNone),
		},
		{
			Name: "no keys yet, and another algorithm", Given: noKeys,
			Request: Get("/protected", bearer(otherAlgorithm(w))...),
			Want:    Invalid(token.ReasonAlg),
		},
		{
			Name: "no keys yet of one issuer, another's token", Given: noKeys,
			Request: Get("/protected", bearer(w.ForeignToken())...), Want: Zoe,
		},
		{Name: "key revoked and removed", Given: func(w *World) {
			w.Keys.Remove(Issuer, KeyID)
			w.Revocations.Revoke(
				func(f *revocation.Facts) bool { return f.KeyID == KeyID && f.Issuer == Issuer })
		}, Request: Get("/protected", alice...), Want: Invalid(token.ReasonRevoked)},
		{
			Name: "a key that may be new",
			Given: func(w *World) {
				w.Keys.Remove(Issuer, KeyID)
				w.Keys.Doubt(Issuer)
			},
			Request: Get("/protected", alice...), Want: Unavailable(token.ReasonKeyPending),
		},
		{
			Name: "key removed", Given: func(w *World) { w.Keys.Remove(Issuer, KeyID) },
			Request: Get("/protected", alice...), Want: Invalid(token.ReasonUnknownKey),
		},
		{
			Name:    "revocations kept for less than a token lives",
			Given:   func(w *World) { w.MaxLifetime = 30 * time.Minute },
			Request: Get("/protected", alice...), Want: Unavailable(token.ReasonIssuerLifetime),
		},
	}
}

func unsigned(w *World) string {
	return w.Setup().AlgorithmAttacks()[0].Token
}

func otherAlgorithm(w *World) string {
	return w.ForeignKey.Token(w.ForeignKey.Header("at+jwt").JSON(), w.Setup().Claims.JSON())
}

func paths(w *World) []Vector {
	alice := bearer(w.Token())
	var all []Vector
	for _, path := range []string{
		"", "*", "protected", "pkg.Service/Method", "http://things.example.com/protected", "//protected",
		"///protected", "/protected//", "/api//x",
		"/public/../protected", "/api/..", "/api/.", "/./protected", "/public-files/%2e%2e/protected",
		"/public-files/%2E./protected",
		"/public-files/..%2fprotected", "/public-files/..%2Fprotected", "/public-files/..%5cprotected",
		"/public-files/..\\protected", "/api%2Fx",
		"/public-files/%252e%252e/protected", "/public-files/..%252fprotected",
		"/public-files/..%255cprotected",
		"/public#/protected", "/protected#/public", "/public%23/protected", "/protected?#/public",
		"/protected%3f/public",
		"/public-files/..;/protected", "/public-files/..;x=1/protected", "/public-files/.;a=b/x",
		"/protected;x=1", "/api;x/y", "/matrix/..;/protected", "/matrix/%3Bx",
		"/protected%00", "/protected\x00", "/protected%0d%0a", "/protected\r\n", "/protected%7f",
		"/protected\x80", "/protected%80", "/api/%c0%af", "/protected%", "/protected%4", "/api/%u0061",
		"/public;/../protected", "/public-files/" + strings.Repeat("a/", 300),
		"/" + strings.Repeat("a", 9000),
	} {
		all = append(
			all,
			Vector{
				Name: "path " + path[:min(len(path), 60)], Request: Get(path, alice...),
				Want: Malformed(token.ReasonBadPath),
			},
		)
	}
	for path, want := range map[string]Want{
		"/protected?/public": Alice, "/protected?": Alice, "/protected?x=/../public": Alice,
		"/public?/protected": Anybody, "/public?x=/protected": Anybody,
		"/protected/": Alice, "/%70rotected": Alice, "/api/a%20b": Alice, "/api/é": Alice,
		"/api/100%25": Alice, "/matrix/a;x=1/b": Alice, "/matrix;x=1": Alice,
		"/admin/~!$&'()*+,=:@-._": Alice, "/api/...": Alice,
		"/administrator": Forbidden(token.ReasonNoRoute), "/Protected": Forbidden(token.ReasonNoRoute),
		"/protected/x": Forbidden(token.ReasonNoRoute), "/": Forbidden(token.ReasonNoRoute),
	} {
		all = append(all, Vector{Name: "path " + path, Request: Get(path, alice...), Want: want})
	}
	return append(
		all,
		Vector{
			Name:    "a bad path without a token",
			Request: Get("//protected"),
			Want:    Malformed(token.ReasonBadPath),
		},
		Vector{
			Name: "a stricter path in another case", Request: Get("/api/Closed/x", alice...),
			Want: Malformed(token.ReasonPathCase),
		},
		Vector{
			Name:    "a stricter path in another case, encoded",
			Request: Get("/api/%43losed/x", alice...), Want: Malformed(token.ReasonPathCase),
		},
		Vector{
			Name:    "a stricter path in another case, without a token",
			Request: Get("/api/CLOSED/x"), Want: Malformed(token.ReasonPathCase),
		},
		Vector{Name: "a weaker path in another case", Request: Get("/api/Open/x", alice...), Want: Alice},
		Vector{
			Name: "CONNECT", Request: Do("CONNECT", "", alice...),
			Want: Malformed(token.ReasonBadPath),
		},
		Vector{
			Name:    "CONNECT with an authority",
			Request: Do("CONNECT", "things.example.com:443", alice...),
			Want:    Malformed(token.ReasonBadPath),
		},
	)
}
