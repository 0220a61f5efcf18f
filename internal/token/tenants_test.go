package token_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/token"
)

const (
	anyTenant = "https://login.example.com/{tenantid}/v2.0"
	tenantA   = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	tenantB   = "11111111-2222-3333-4444-555555555555"
)

func of(tenant string) string { return strings.Replace(anyTenant, "{tenantid}", tenant, 1) }

// forTenants is a profile that stands for the issuers of tenants.
func forTenants(tenants ...string) *token.Profile {
	p := good()
	p.Issuer, p.Tenants = anyTenant, tenants
	return &p
}

// TestATenantsTokenIsReadAsItsIssuerNamesIt: by iss and tid, which agree letter by letter; whatever
// differs in one letter is another issuer's.
func TestATenantsTokenIsReadAsItsIssuerNamesIt(t *testing.T) {
	const wrongTid, unknown = token.ReasonClaimRequired, token.ReasonUnknownIssuer
	quoted := func(s string) string { return `,"tid":"` + s + `"` }
	for _, row := range []struct {
		tenants  string
		iss, tid string
		want     token.Reason
	}{
		{tenantA, of(tenantA), quoted(tenantA), ""},
		{tenantB + " " + tenantA, of(tenantA), quoted(tenantA), ""},
		{"all", of(tenantA), quoted(tenantA), ""},
		{"all", of(tenantB), quoted(tenantB), ""},
		{tenantA, of(tenantB), quoted(tenantB), unknown},
		{"", of(tenantA), quoted(tenantA), unknown},
		{"all", of(tenantA), quoted(tenantB), wrongTid},
		{"all", of(tenantA), quoted(strings.ToUpper(tenantA)), wrongTid},
		{"all", of(tenantA), quoted(tenantA + " "), wrongTid},
		{"all", of(tenantA), quoted(""), wrongTid},
		{"all", of(tenantA), "", wrongTid},
		{"all", of(tenantA), `,"tid":null`, wrongTid},
		{"all", of(tenantA), `,"tid":["` + tenantA + `"]`, wrongTid},
		{"all", of(strings.ToUpper(tenantA)), quoted(strings.ToUpper(tenantA)), unknown},
		{"all", of("{" + tenantA + "}"), quoted("{" + tenantA + "}"), unknown},
		{"all", of("{tenantid}"), quoted("{tenantid}"), unknown},
		{"all", of("common"), quoted("common"), unknown},
		{"all", of(""), quoted(""), unknown},
		{"all", of(tenantA + "/" + tenantB), quoted(tenantA), unknown},
		{"all", of("x/" + tenantA), quoted(tenantA), unknown},
		{"all", of(tenantA[:35]), quoted(tenantA[:35]), unknown},
		{"all", of(tenantA[:35] + "g"), quoted(tenantA[:35] + "g"), unknown},
		{"all", of(strings.ReplaceAll(tenantA, "-", "0")), quoted(tenantA), unknown},
		{"all", of(tenantA) + "/", quoted(tenantA), unknown},
		{"all", "x" + of(tenantA), quoted(tenantA), unknown},
		{"all", strings.TrimSuffix(of(tenantA), "0"), quoted(tenantA), unknown},
	} {
		p := forTenants(strings.Fields(row.tenants)...)
		c, err := p.Read(fmt.Appendf(nil, `{"iss":"%s","sub":"a","aud":"orders","exp":1800003600,`+
			`"iat":1800000000,"jti":"j"%s}`, row.iss, row.tid))
		if got := token.ReasonOf(err); got != row.want {
			t.Errorf("tenants %s, iss %s%s: got %q, want %q", row.tenants, row.iss, row.tid, got, row.want)
		}
		if err == nil && c.Issuer != row.iss {
			t.Errorf("the claims name %s, want the token's own %s", c.Issuer, row.iss)
		}
		tenants, ok := token.NewTenants(p)
		if trusted := tenants.Has(row.iss); ok && trusted != (row.want != unknown) {
			t.Errorf("tenants %s, iss %s: looked up as %v", row.tenants, row.iss, trusted)
		}
	}
}

func TestLookingATenantUpCostsNoMemory(t *testing.T) {
	tenants, ok := token.NewTenants(forTenants(tenantA, tenantB))
	iss := of(tenantB)
	if n := testing.AllocsPerRun(100, func() {
		if !ok || !tenants.Has(iss) || tenants.Has(anyTenant) {
			t.Fatal("not found")
		}
	}); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

// TestSettingsOfTenantsAreRefusedByPath: the place for the id has one form, stands in issuer alone,
// and never without saying whose tokens are accepted.
func TestSettingsOfTenantsAreRefusedByPath(t *testing.T) {
	issuer := func(s string) func(*token.Profile) { return func(p *token.Profile) { p.Issuer = s } }
	tenants := func(ids ...string) func(*token.Profile) {
		return func(p *token.Profile) { p.Tenants = ids }
	}
	many := make([]string, 1001)
	for i := range many {
		many[i] = fmt.Sprintf("72f988bf-86f1-41af-91ab-%012x", i)
	}
	for name, c := range map[string]struct {
		change     func(*token.Profile)
		path, want string
	}{
		"no tenants":      {tenants(), "tenants", "tenants: all"},
		"an empty list":   {func(p *token.Profile) { p.Tenants = []string{} }, "tenants", "tenants: all"},
		"a name":          {tenants("contoso"), "tenants[0]", tenantA},
		"capital letters": {tenants(tenantB, strings.ToUpper(tenantA)), "tenants[1]", "small letters"},
		"twice":           {tenants(tenantA, tenantB, tenantA), "tenants[2]", "twice"},
		"all and one":     {tenants("all", tenantA), "tenants[0]", "alone"},
		"too many":        {tenants(many...), "tenants", "at most 1000"},
		"no place for it": {issuer(of(tenantA)), "tenants", "{tenantid}"},
		"another name of the place": {
			issuer("https://login.example.com/{tenant}/v2.0"), "issuer", "{tenantid} once",
		},
		"twice in the issuer": {
			issuer("https://login.example.com/{tenantid}/{tenantid}"), "issuer", "{tenantid} once",
		},
		"as the host": {issuer("https://{tenantid}.example.com/v2.0"), "issuer", "behind the host"},
		"as a part of a name": {
			issuer("https://login.example.com/x{tenantid}/v2.0"), "issuer", "between slashes",
		},
		"without a host": {issuer("{tenantid}"), "issuer", "behind the host"},
		"ours":           {func(p *token.Profile) { p.Ours = true }, "issuer", "Sallyport"},
		"in audiences": {
			func(p *token.Profile) { p.Audiences = []string{"orders", "api://{tenantid}"} },
			"audiences[1]", "issuer alone",
		},
		"in required_claims": {
			func(p *token.Profile) { p.RequiredClaims = []string{"tid={tenantid}"} },
			"required_claims[0]", "issuer alone",
		},
	} {
		p := forTenants(tenantA)
		c.change(p)
		problems := p.Problems()
		if len(problems) == 0 || problems[0].Path != c.path || !strings.Contains(problems[0].Problem, c.want) {
			t.Errorf("%s: expected %s: ... %s, got %v", name, c.path, c.want, p.Validate())
		}
	}
	for _, good := range []*token.Profile{forTenants("all"), forTenants(tenantA, tenantB)} {
		if err := good.Validate(); err != nil {
			t.Errorf("refused %v: %v", good.Tenants, err)
		}
	}
}

// TestEntriesThatMayMatchOneIssuerAreFound: no token may be judged by either of two entries.
func TestEntriesThatMayMatchOneIssuerAreFound(t *testing.T) {
	fixed := func(issuer string) *token.Profile {
		p := good()
		p.Issuer = issuer
		return &p
	}
	crossed := func(issuer string, tenants ...string) *token.Profile {
		p := forTenants(tenants...)
		p.Issuer = issuer
		return p
	}
	for _, row := range []struct {
		a, b *token.Profile
		want bool
	}{
		{fixed("https://a"), fixed("https://a"), true},
		{fixed("https://a"), fixed("https://a/"), false},
		{forTenants("all"), forTenants("all"), true},
		{forTenants("all"), forTenants(tenantA), true},
		{forTenants(tenantB, tenantA), forTenants(tenantA), true},
		{forTenants(tenantA), forTenants(tenantB), false},
		{forTenants("all"), fixed(of(tenantA)), true},
		{forTenants(tenantA), fixed(of(tenantA)), true},
		{forTenants(tenantA), fixed(of(tenantB)), false},
		{forTenants("all"), fixed(of("common")), false},
		{forTenants("all"), fixed(of(tenantA) + "/"), false},
		{
			crossed("https://a/{tenantid}/"+tenantA, "all"), crossed("https://a/"+tenantB+"/{tenantid}", "all"),
			true,
		},
		{
			crossed("https://a/{tenantid}/"+tenantA, tenantA),
			crossed("https://a/"+tenantB+"/{tenantid}", "all"), false,
		},
		{crossed("https://a/{tenantid}/x", "all"), crossed("https://a/{tenantid}/y", "all"), false},
	} {
		for _, pair := range [][2]*token.Profile{{row.a, row.b}, {row.b, row.a}} {
			if got := token.MayShare(pair[0], pair[1]); got != row.want {
				t.Errorf("%s %v and %s %v: got %v", pair[0].Issuer, pair[0].Tenants, pair[1].Issuer,
					pair[1].Tenants, got)
			}
		}
	}
}

// TestRolesHaveTheirIssuersPrefix: all of them, from wherever they are read, and nothing else has.
func TestRolesHaveTheirIssuersPrefix(t *testing.T) {
	claims := []byte(`{"iss":"https://issuer.example.com","sub":"admin","aud":"orders",` +
		`"exp":1800003600,"iat":1800000000,"jti":"a","scope":"admin","tenant":"admin",` +
		`"roles":["admin","partner:admin"],"realm":{"roles":["staff"]}}`)
	for prefix, want := range map[string][]string{
		"":         {"admin", "partner:admin", "staff"},
		"partner:": {"partner:admin", "partner:partner:admin", "partner:staff"},
	} {
		p := good()
		p.Claims.Roles, p.RolePrefix = []string{"roles", "/realm/roles"}, &prefix
		c, err := p.Read(claims)
		if err != nil || !slices.Equal(c.Roles, want) ||
			!slices.Equal(c.Scope, []string{"admin"}) || c.Subject != "admin" || c.Tenant != "admin" {
			t.Errorf("%q: got %+v, %v", prefix, c, err)
		}
	}
	for _, bad := range []string{"a ", "a,", "50%", "é:", "a\n", strings.Repeat("a", 65)} {
		p := good()
		p.RolePrefix = &bad
		if problems := p.Problems(); len(problems) != 1 || problems[0].Path != "role_prefix" {
			t.Errorf("%q: got %v", bad, problems)
		}
	}
}
