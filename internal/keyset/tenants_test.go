package keyset

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/token"
)

const (
	anyTenant = "https://tenants.example/{tenantid}/v2.0"
	tenantA   = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	tenantB   = "11111111-2222-3333-4444-555555555555"
	stranger  = "99999999-2222-3333-4444-555555555555"
)

func issuerOf(tenant string) string { return strings.Replace(anyTenant, "{tenantid}", tenant, 1) }

func tenants(ids ...string) func(*Config) {
	return func(c *Config) {
		c.Issuer, c.JWKSURL, c.Tenants = anyTenant, "https://tenants.example/keys", ids
	}
}

// TestTenantsShareOneKeySet: it is fetched once for all of them, under the name that the entry has,
// and nobody else is asked about.
func TestTenantsShareOneKeySet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		keys := newKeys(t, 2)
		o.publish(t, keys[0])
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA),
			trust("", tenants(tenantA, tenantB)))
		defer start(t, g)()
		for _, tenant := range []string{tenantA, tenantB} {
			g.wants(issuerOf(tenant), keys[0])
			if p, ok := g.Profile(issuerOf(tenant)); !ok || p.Issuer != anyTenant {
				t.Errorf("%s: got %v, %v", tenant, p, ok)
			}
		}
		before, series := o.requests(), g.series()
		for _, iss := range []string{
			issuerOf(stranger), issuerOf(strings.ToUpper(tenantA)), anyTenant, issuerOf(tenantA) + "/",
			"https://tenants.example/v2.0",
		} {
			if _, ok := g.Profile(iss); ok {
				t.Errorf("%s is trusted", iss)
			}
			if _, why := g.Key(iss, keys[0].ID(), ""); why != token.ReasonUnknownIssuer ||
				g.Await(t.Context(), iss, keys[1].ID()) {
				t.Errorf("%s has keys", iss)
			}
			g.RemoveKey(iss, keys[0].ID(), time.Now().Add(time.Hour))
		}
		if o.requests() != before || g.series() != series {
			t.Errorf("strangers cost %d fetches and %d series", o.requests()-before, g.series()-series)
		}
		o.publish(t, keys...)
		if !g.Await(t.Context(), issuerOf(tenantB), keys[1].ID()) || o.requests() != before+1 {
			t.Error("expected one fetch for a tenant's new key")
		}
		g.wants(issuerOf(tenantA), keys...)
	})
}

// TestATenantsRevokedKeyIsOutForAll: whoever has it signs for each of them.
func TestATenantsRevokedKeyIsOutForAll(t *testing.T) {
	o := &origin{}
	keys := newKeys(t, 2)
	o.publish(t, keys...)
	clock := newClock()
	g := newGate(t, Options{Transport: o, Now: clock.now}, trust("", tenants("all")))
	g.mustFetch()
	g.wants(issuerOf(stranger), keys...)
	removals := g.Removals()
	g.RemoveKey(issuerOf(tenantA), keys[0].ID(), clock.now().Add(time.Hour))
	for _, tenant := range []string{tenantA, tenantB} {
		g.wants(issuerOf(tenant), keys[1])
		if key, why := g.Key(issuerOf(tenant), keys[0].ID(), ""); key != nil ||
			why == token.ReasonNoKeys {
			t.Errorf("%s: the key is still in force", tenant)
		}
	}
	if g.Removals() == removals {
		t.Error("tokens that were verified before are still believed")
	}
}

// TestEntriesThatMayMatchOneIssuerAreRefused, each by its place.
func TestEntriesThatMayMatchOneIssuerAreRefused(t *testing.T) {
	fixed := trust(issuerOf(tenantA), at("https://tenants.example/keys"))
	for name, row := range map[string]struct {
		cfgs []Config
		want string // "" when they are accepted
	}{
		"a name twice":     {[]Config{trust(issuerA), trust(issuerA)}, "issuers[1].issuer: expected each"},
		"a listed tenant":  {[]Config{fixed, trust("", tenants(tenantB, tenantA))}, "issuers[1].issuer: "},
		"all and a tenant": {[]Config{trust("", tenants("all")), trust(issuerA), fixed}, "issuers[2].issuer: "},
		"all twice": {
			[]Config{trust("", tenants("all")), trust("", tenants("all"))}, "issuers[1].issuer: ",
		},
		"different tenants": {
			[]Config{trust("", tenants(tenantB)), fixed, trust("", tenants(stranger))}, "",
		},
	} {
		_, err := New(row.cfgs, Options{Now: time.Now})
		if (err == nil) != (row.want == "") || err != nil && !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("%s: expected %q, got %v", name, row.want, err)
		}
	}
}

// BenchmarkProfile looks up an issuer by its name, a tenant of a thousand, and a stranger.
func BenchmarkProfile(b *testing.B) {
	ids := []string{tenantA}
	for i := range 999 {
		ids = append(ids, fmt.Sprintf("%s%03d", tenantB[:33], i))
	}
	s, err := New([]Config{trust(issuerA), trust("", tenants(ids...))}, Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	for name, iss := range map[string]string{
		"fixed": issuerA, "tenant": issuerOf(tenantA), "stranger": issuerOf(stranger),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var p *token.Profile
			for b.Loop() {
				p, _ = s.Profile(iss)
			}
			if (p == nil) != (name == "stranger") {
				b.Fatal(p)
			}
		})
	}
}

// TestAKeySignsForTheTenantsThatItIsFor: in the set of a service, a key that names an issuer, or a
// template, is not taken for another's, also not when it was kept over a restart.
func TestAKeySignsForTheTenantsThatItIsFor(t *testing.T) {
	o, clock := &origin{}, newClock()
	keys := newKeys(t, 4)
	doc := jwks(t, keys...)
	for n, issuer := range []string{"", anyTenant, issuerOf(tenantA), "https://other.example/{tenantid}"} {
		kid := `"kid":"` + keys[n].ID() + `"`
		if issuer != "" {
			doc = strings.Replace(doc, kid, kid+`,"issuer":"`+issuer+`"`, 1)
		}
	}
	o.set(serve(doc))
	options := Options{Transport: o, Now: clock.now, CacheDir: t.TempDir()}
	// For an issuer of one name, what a key says beside RFC 7517 is left alone.
	entries := []Config{trust("", tenants("all")), trust(issuerA)}
	g := newGate(t, options, entries...)
	g.mustFetch()
	for _, i := range g.issuers {
		i.save()
	}
	for name, g := range map[string]*gate{"fetched": g, "kept": newGate(t, options, entries...)} {
		for iss, want := range map[string]string{
			issuerOf(tenantA): "yyyn", issuerOf(tenantB): "yynn", issuerA: "yyyy",
		} {
			got := ""
			for _, key := range keys {
				held, why := g.Key(iss, key.ID(), "")
				got += map[bool]string{true: "y", false: "n"}[held != nil]
				if held == nil && why != token.ReasonUnknownKey {
					t.Errorf("%s, %s: got %s for a key of another", name, iss, why)
				}
			}
			if got != want {
				t.Errorf("%s, %s: got %s, want %s", name, iss, got, want)
			}
		}
	}
}

// TestATokenWithoutAKidHasNoKeyOfAnotherTenant, be it the only one of the set.
func TestATokenWithoutAKidHasNoKeyOfAnotherTenant(t *testing.T) {
	o, key := &origin{}, newKey(t, "ES256")
	kid := `"kid":"` + key.ID() + `"`
	o.set(serve(strings.Replace(jwks(t, key), kid, kid+`,"issuer":"`+issuerOf(tenantA)+`"`, 1)))
	g := newGate(t, Options{Transport: o}, trust("", tenants("all")))
	g.mustFetch()
	if held, why := g.Key(issuerOf(tenantA), "", "ES256"); held == nil {
		t.Errorf("its own tenant has none: %s", why)
	}
	if held, why := g.Key(issuerOf(tenantB), "", "ES256"); held != nil ||
		why != token.ReasonKeyIDMissing {
		t.Errorf("another tenant has %v, %s", held, why)
	}
}
