package authztest

import (
	"strings"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// What the world is made of.
const (
	Issuer = "https://issuer.example.com" // a Sallyport issuer
	// another kind of issuer: EdDSA, typ JWT, tokens without ids, the same kid as ours
	Foreign = "https://foreign.example.com"
	// what stands before the roles of Foreign's tokens
	ForeignPrefix = "foreign:"
	// a service with an issuer for each tenant, of which two are trusted, with Foreign's kind of
	// tokens and one key for all
	Tenants     = "https://tenants.example.com/{tenantid}/v2.0"
	TenantA     = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	TenantB     = "11111111-2222-3333-4444-555555555555"
	OtherTenant = "99999999-2222-3333-4444-555555555555"
	Audience    = "things"
	KeyID       = "key-1"
	Realm       = "sallyport"
	Host        = "things.example.com"
)

// World is what an engine stands on in tests. Its state may be changed before and between requests.
type World struct {
	Now         time.Time // by the gate's clock
	Key         *josetest.Key
	ForeignKey  *josetest.Key
	TenantsKey  *josetest.Key
	Keys        *Keys
	Revocations *Revocations
	Policy      *policy.Policy
	// MaxLifetime is for how long revocations are kept.
	MaxLifetime time.Duration
}

// Routes is the world's policy.
func Routes() policy.Config {
	at := func(path string) policy.Match { return policy.Match{Path: path} }
	return policy.Config{Routes: []policy.Route{
		{Match: at("/public"), Allow: "public"},
		{Match: at("/public-files/**"), Allow: "public"},
		{Match: at("/maybe"), Allow: "optional"},
		{Match: at("/protected")},
		{Match: at("/api/closed/*"), Allow: "nobody"},
		{Match: at("/api/**"), Allow: "authenticated"},
		{Match: at("/admin/**"), Require: policy.Require{Roles: []string{"admin", "root"}}},
		{Match: at("/scoped"), Require: policy.Require{Scopes: []string{"read", "write"}}},
		{Match: at("/both"), Require: policy.Require{Roles: []string{"admin"}, Scopes: []string{"read"}}},
		{Match: at("/ours"), Require: policy.Require{
			Roles: []string{"admin"}, Issuers: []string{Issuer},
		}},
		{Match: at("/theirs"), Require: policy.Require{Issuers: []string{Foreign, Tenants}}},
		{Match: at("/their-admins"), Require: policy.Require{Roles: []string{ForeignPrefix + "admin"}}},
		{Match: at("/fresh"), Require: policy.Require{Fresh: 5 * time.Minute}},
		{Match: at("/strong"), Require: policy.Require{ACR: []string{"gold"}}},
		{Match: at("/of/{user}"), Require: policy.Require{
			When: `claims.sub == path.user && request.headers["x-team"] == "blue"`,
		}},
		{Match: at("/checkout"), Require: policy.Require{
			When: `peer.principal == "spiffe://example.com/checkout"`,
		}},
		{Match: policy.Match{GRPC: "shop.v1.Orders/*"}, Require: policy.Require{AnyOf: []policy.Require{
			{Roles: []string{"clerk"}}, {Scopes: []string{"write"}, Audiences: []string{Audience}},
		}}},
		{Match: at("/tolerant"), AllowStale: true},
		{Match: at("/download"), OutlivesToken: true},
		{Match: at("/closed"), Allow: "nobody"},
		{Match: at("/matrix/**"), PathParameters: true},
		{Match: policy.Match{Path: "/put", Methods: []string{"PUT", "OPTIONS"}}},
		{
			Match: policy.Match{
				Path: "/inner/**", Hosts: []string{"inner.example.com", "*.inner.example.com"},
			},
		},
	}}
}

// New makes a world in which everything is well.
func New() *World {
	rules, err := policy.Compile(Routes())
	if err != nil {
		panic("authztest: " + err.Error())
	}
	return (&World{
		Now:        time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		Key:        josetest.NewKey("ES256", KeyID),
		ForeignKey: josetest.NewKey("EdDSA", KeyID),
		TenantsKey: josetest.NewKey("EdDSA", KeyID),
		Policy:     rules,
	}).Again()
}

// Again makes a world like w, with its keys and policy, in which everything is well.
func (w *World) Again() *World {
	next := &World{
		Now: w.Now, Key: w.Key, ForeignKey: w.ForeignKey, TenantsKey: w.TenantsKey,
		Policy: w.Policy, Keys: newKeys(), MaxLifetime: time.Hour,
	}
	next.Revocations = &Revocations{world: next, Fresh: revocation.Freshness{Fresh: true}}
	next.Keys.Trust(Profile(), w.Key.Public())
	next.Keys.Trust(ForeignProfile(), w.ForeignKey.Public())
	next.Keys.Trust(TenantsProfile(), w.TenantsKey.Public())
	return next
}

// Profile is that of Issuer's tokens.
func Profile() *token.Profile {
	p := token.DefaultProfile()
	p.Issuer, p.Audiences, p.Ours = Issuer, []string{Audience}, true
	return &p
}

// ForeignProfile is that of Foreign's tokens.
func ForeignProfile() *token.Profile {
	p := token.DefaultProfile()
	p.Issuer, p.Audiences, p.Algorithms = Foreign, []string{Audience}, []string{"EdDSA"}
	p.Type, p.TokenID = "JWT", "none"
	prefix := ForeignPrefix
	p.RolePrefix = &prefix
	return &p
}

// TenantsProfile is that of the tokens of Tenants.
func TenantsProfile() *token.Profile {
	p, prefix := ForeignProfile(), "tenant:"
	p.Issuer, p.Tenants, p.RolePrefix = Tenants, []string{TenantB, TenantA}, &prefix
	return p
}

// IssuerOf is the issuer of a tenant's tokens.
func IssuerOf(tenant string) string { return strings.Replace(Tenants, "{tenantid}", tenant, 1) }

// Options are an engine's, with a transport's Wire.
func (w *World) Options(wire authz.Wire) authz.Options {
	return authz.Options{
		Keys:        w.Keys,
		Revocations: w.Revocations,
		Realm:       Realm,
		Cache:       authz.CacheConfig{Entries: 64, Bytes: 1 << 20},
		Wire:        wire,
		MaxLifetime: func() (time.Duration, bool) { return w.MaxLifetime, true },
	}
}

// Engine makes an engine.
func (w *World) Engine(wire authz.Wire) *authz.Engine {
	e, err := authz.New(w.Policy, w.Options(wire))
	if err != nil {
		panic("authztest: " + err.Error())
	}
	return e
}

// Claims are those of alice, an admin, ten minutes after she has logged in.
func (w *World) Claims() token.Claims {
	return token.Claims{
		Issuer:    Issuer,
		Subject:   "alice",
		Audience:  []string{Audience},
		ID:        "token-1",
		ClientID:  "sallyport",
		SessionID: "session-1",
		Scope:     []string{"read", "write"},
		Roles:     []string{"admin", "staff"},
		Expiry: w.Now.Add(50 * time.Minute).
			Unix(),
		IssuedAt: w.Now.Add(-10 * time.Minute).Unix(),
		AuthTime: w.Now.Add(-10 * time.Minute).Unix(),
	}
}

// Token signs alice's claims as changed.
func (w *World) Token(change ...func(*token.Claims)) string {
	c := w.Claims()
	for _, f := range change {
		f(&c)
	}
	text, err := c.Marshal()
	if err != nil {
		panic("authztest: " + err.Error())
	}
	return w.Key.Token(w.Key.Header("at+jwt").JSON(), string(text))
}

// ForeignClaims are those of zoe at Foreign.
func (w *World) ForeignClaims() josetest.Object {
	return josetest.Object{
		{
			Name: "iss", Raw: josetest.Text(Foreign),
		},
		{Name: "sub", Raw: `"zoe"`},
		{Name: "aud", Raw: josetest.Text(Audience)},
		{
			Name: "exp", Raw: josetest.Seconds(w.Now.Add(time.Minute)),
		},
		{Name: "iat", Raw: josetest.Seconds(w.Now)},
	}
}

// ForeignToken signs zoe's claims.
func (w *World) ForeignToken() string {
	return w.ForeignKey.Token(w.ForeignKey.Header("JWT").JSON(), w.ForeignClaims().JSON())
}

// TenantToken signs zoe's claims, with her role, by the key of Tenants.
func (w *World) TenantToken(iss, tid string) string {
	claims := w.ForeignClaims().With("iss", josetest.Text(iss)).
		And("roles", `["admin"]`).And("tid", tid)
	return w.TenantsKey.Token(w.TenantsKey.Header("JWT").JSON(), claims.JSON())
}

// Setup is the world as makers of hostile tokens need it.
func (w *World) Setup() josetest.Setup {
	c := w.Claims()
	text, err := c.Marshal()
	if err != nil {
		panic("authztest: " + err.Error())
	}
	return josetest.Setup{Key: w.Key, Claims: josetest.ParseObject(string(text)), Now: w.Now}
}
