package authztest

import (
	"strings"

	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// issuers are requests at a gate that trusts several: whose roles count where, and what the
// upstream is told of whom.
func issuers(w *World) []Vector {
	alice := bearer(w.Token())
	unknown := Invalid(token.ReasonUnknownIssuer)
	at := func(name, path string, want Want, bearing string) Vector {
		return Vector{Name: name, Want: want, Request: Get(path, bearer(bearing)...)}
	}
	given := func(state func(*World), v Vector) Vector {
		v.Given = state
		return v
	}
	foreign := func(change func(josetest.Object) josetest.Object) string {
		return w.ForeignKey.Token(w.ForeignKey.Header("JWT").JSON(), change(w.ForeignClaims()).JSON())
	}
	admin := foreign(
		func(c josetest.Object) josetest.Object { return c.And("roles", `["admin","x"]`) })
	zoeAdmin := Want{Status: 200, Set: Zoe.Set + " roles=foreign:admin,foreign:x"}
	odd := foreign(func(c josetest.Object) josetest.Object { return c.And("roles", `["a,b"]`) })
	spelt := foreign(func(c josetest.Object) josetest.Object { return c.With("sub", `"alice"`) })
	of := func(tenant string) string { return w.TenantToken(IssuerOf(tenant), josetest.Text(tenant)) }
	atTenant := func(tenant string) Want {
		return Want{Status: 200, Set: "subject=zoe issuer=" + IssuerOf(tenant) + " roles=tenant:admin"}
	}
	upper := IssuerOf(strings.ToUpper(TenantA))
	return []Vector{
		at("another issuer's role of the same name", "/admin",
			Forbidden(token.ReasonInsufficientRole), admin),
		at("another issuer's role behind its prefix", "/their-admins", zoeAdmin, admin),
		at("our role where another issuer's is asked for", "/their-admins",
			Forbidden(token.ReasonInsufficientRole), w.Token()),
		at("our role that is spelt like another issuer's", "/their-admins", Want{
			Status: 200, Set: strings.Replace(Alice.Set, "admin,staff", "foreign:admin", 1),
		}, w.Token(func(c *token.Claims) { c.Roles = []string{"foreign:admin"} })),
		at("a role with a comma behind a prefix", "/protected",
			Want{Status: 200, Set: Zoe.Set + " roles=foreign%3Aa%2Cb"}, odd),
		at("two of one name are told apart", "/protected",
			Want{Status: 200, Set: "subject=alice issuer=" + Foreign}, spelt),
		{Name: "the route's issuer", Request: Get("/ours", alice...), Want: Alice},
		at("another issuer than the route's", "/ours", Forbidden(token.ReasonPolicy), w.ForeignToken()),
		at("the route's issuer, role missing", "/ours", Forbidden(token.ReasonInsufficientRole),
			w.Token(func(c *token.Claims) { c.Roles = nil })),
		at("one of the route's issuers", "/theirs", Zoe, w.ForeignToken()),
		at("none of the route's issuers", "/theirs", Forbidden(token.ReasonPolicy), w.Token()),
		{Name: "a route's issuer without a token", Request: Get("/ours"), Want: NoToken},
		given(revokeAlice, at("revoked, where another issuer is asked for", "/theirs",
			Invalid(token.ReasonRevoked), w.Token())),

		at("one tenant", "/protected", atTenant(TenantA), of(TenantA)),
		at("another tenant", "/theirs", atTenant(TenantB), of(TenantB)),
		at("a tenant that is not listed", "/protected", unknown, of(OtherTenant)),
		at("a tenant in capital letters", "/protected", unknown,
			w.TenantToken(upper, josetest.Text(strings.ToUpper(TenantA)))),
		at("the template itself", "/protected", unknown,
			w.TenantToken(Tenants, josetest.Text("{tenantid}"))),
		at("another tenant than iss names", "/protected", Invalid(token.ReasonClaimRequired),
			w.TenantToken(IssuerOf(TenantA), josetest.Text(TenantB))),
		at("tid in capital letters", "/protected", Invalid(token.ReasonClaimRequired),
			w.TenantToken(IssuerOf(TenantA), josetest.Text(strings.ToUpper(TenantA)))),
		at("tid that is a list", "/protected", Invalid(token.ReasonClaimRequired),
			w.TenantToken(IssuerOf(TenantA), `["`+TenantA+`"]`)),
		at("more behind the tenant's issuer", "/protected", unknown,
			w.TenantToken(IssuerOf(TenantA)+"/", josetest.Text(TenantA))),
		at("another key for a tenant's token", "/protected", Invalid(token.ReasonSignature),
			w.ForeignKey.Token(w.ForeignKey.Header("JWT").JSON(), w.ForeignClaims().
				With("iss", josetest.Text(IssuerOf(TenantA))).And("tid", josetest.Text(TenantA)).JSON())),
		given(revokeTenantA, at("all that one tenant has", "/protected",
			Invalid(token.ReasonRevoked), of(TenantA))),
		given(revokeTenantA, at("not what another has", "/protected", atTenant(TenantB), of(TenantB))),
		given(func(w *World) { w.Keys.Remove(Tenants, KeyID) },
			at("the key of all tenants removed", "/protected", Invalid(token.ReasonUnknownKey),
				of(TenantA))),
	}
}

// revokeTenantA revokes all that the issuer of TenantA has made, by the name that its tokens have.
func revokeTenantA(w *World) {
	w.Revocations.Revoke(func(f *revocation.Facts) bool { return f.Issuer == IssuerOf(TenantA) })
}
