package gate_test

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz/extauthz"
	"github.com/sallyport/sallyport/authz/gate"
)

const (
	tenantA   = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	tenantB   = "11111111-2222-3333-4444-555555555555"
	anyTenant = "https://t.example/{tenantid}/v2.0"
)

// trusting is a configuration with these entries, a line each, and these routes.
func trusting(entries []string, routes ...string) string {
	const keys = "audiences: [things], jwks_file: jwks.json, "
	return "issuers:\n- {" + keys + strings.Join(entries, "}\n- {"+keys) + "}\npolicy:\n  routes:\n  - " +
		strings.Join(append(routes, "{match: {path: /**}}"), "\n  - ") + "\n"
}

// TestAnIssuersRolesAndRoutesAreSaidWhereThereAreSeveral: silence is an error with its line and what
// to write, and so is a route's issuer that is none.
func TestAnIssuersRolesAndRoutesAreSaidWhereThereAreSeveral(t *testing.T) {
	const a, b = `issuer: "https://a"`, `issuer: "https://b"`
	const some = "issuer: \"" + anyTenant + "\", tenants: [" + tenantA + "]"
	const fixed = `issuer: "https://t.example/` + tenantA + `/v2.0"`
	prefixed := func(entry, prefix string) string { return entry + ", role_prefix: \"" + prefix + "\"" }
	asking := func(issuers string) string {
		return "{match: {path: /x}, require: {issuers: [" + issuers + "]}}"
	}
	both := []string{prefixed(a, ""), prefixed(b, "b:")}
	for name, row := range map[string]struct {
		entries []string
		routes  []string
		want    []string // of each error, in their order
	}{
		"one that is silent": {entries: []string{a}},
		"one that speaks":    {entries: []string{prefixed(a, "a:")}},
		"two that speak":     {entries: both},
		"two of no prefix":   {entries: []string{prefixed(a, ""), prefixed(b, "")}},
		"two of one prefix":  {entries: []string{prefixed(a, "x:"), prefixed(b, "x:")}},
		"the second silent": {
			entries: []string{prefixed(a, ""), b},
			want: []string{":3:4: issuers[1].role_prefix: expected each of several issuers to say it, " +
				"got none: add the line `role_prefix: \"NAME:\"`", "or `role_prefix: \"\"`"},
		},
		"both silent": {
			entries: []string{a, b},
			want:    []string{":2:4: issuers[0].role_prefix", ":3:4: issuers[1].role_prefix"},
		},
		"nothing said": {
			entries: []string{prefixed(a, ""), b + ", role_prefix:"}, want: []string{":3:"},
		},
		"one begins another": {
			entries: []string{prefixed(a, "part"), prefixed(b, "partner:")},
			want: []string{":2:", "issuers[0].role_prefix: expected no beginning of another issuer's " +
				"prefix, got \"part\" and \"partner:\" of issuers[1]"},
		},
		"a comma in a prefix": {
			entries: []string{prefixed(a, "a,"), prefixed(b, "")},
			want:    []string{":2:", "role_prefix: expected up to 64"},
		},

		"a route's issuer": {entries: both, routes: []string{asking(`"https://b"`)}},
		"a route's issuer, misspelt": {
			entries: both, routes: []string{asking(`"https://a", "https://b/"`)},
			want: []string{":6:", "policy.routes[0].require.issuers[1]: expected the `issuer` of an " +
				"entry of issuers, letter by letter, got \"https://b/\": write one of https://a, https://b"},
		},
		"an alternative's issuer, misspelt": {
			entries: both,
			routes:  []string{`{match: {path: /x}, require: {anyOf: [{issuers: ["https://B"]}]}}`},
			want:    []string{":6:", "policy.routes[0].require.anyOf[0].issuers[0]: expected the `issuer`"},
		},
		"a route's audience": {
			entries: both, routes: []string{`{match: {path: /x}, require: {audiences: [things]}}`},
		},
		"a route's audience, misspelt": {
			entries: both, routes: []string{`{match: {path: /x}, require: {audiences: [thing]}}`},
			want: []string{":6:", "policy.routes[0].require.audiences[0]: expected one of the `audiences`"},
		},
		"a tenant": {
			entries: []string{some}, routes: []string{asking(`"https://t.example/` + tenantA + `/v2.0"`)},
		},
		"every tenant": {entries: []string{some}, routes: []string{asking(`"` + anyTenant + `"`)}},
		"a tenant that is not listed": {
			entries: []string{some}, routes: []string{asking(`"https://t.example/` + tenantB + `/v2.0"`)},
			want: []string{"require.issuers[0]"},
		},

		"a name twice": {
			entries: []string{prefixed(a, ""), prefixed(a, "b:")},
			want:    []string{":3:", "issuers[1].issuer: expected each issuer once"},
		},
		"a tenant of its own too": {
			entries: []string{prefixed(some, "t:"), prefixed(fixed, "")},
			want: []string{":3:", "issuers[1].issuer: expected issuers that no other entry stands for",
				"issuers[0]"},
		},
		"a place without tenants": {
			entries: []string{"issuer: \"" + anyTenant + "\""},
			want: []string{":2:4: issuers[0].tenants: expected whose tokens are accepted: add the line " +
				"`tenants: [ID, ID]`"},
		},
		"a tenant's name": {
			entries: []string{"issuer: \"" + anyTenant + "\", tenants: contoso"},
			want:    []string{":2:", "issuers[0].tenants[0]", "contoso"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, trusting(row.entries, row.routes...), nil)
			if (err == nil) != (len(row.want) == 0) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
			rest := ""
			if err != nil {
				rest = err.Error()
			}
			for _, want := range row.want {
				var found bool
				if _, rest, found = strings.Cut(rest, want); !found {
					t.Errorf("expected %q in: %v", want, err)
				}
			}
		})
	}
}

// TestTenantsAreAllOrAList, as they are written in a file.
func TestTenantsAreAllOrAList(t *testing.T) {
	for text, want := range map[string]int{"all": 1, "[" + tenantA + ", " + tenantB + "]": 2, tenantB: 1} {
		c, _, err := load(t, trusting([]string{"issuer: \"" + anyTenant + "\", tenants: " + text}), nil)
		if err != nil || len(c.Issuers[0].Tenants) != want {
			t.Errorf("%s: got %+v, %v", text, c, err)
		}
	}
}

// TestAConfigurationMadeInCodeSaysWhoseRolesCount, too.
func TestAConfigurationMadeInCodeSaysWhoseRolesCount(t *testing.T) {
	c, _, err := load(t, trusting([]string{`issuer: "https://a"`}), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Issuers = append(c.Issuers, c.Issuers[0])
	c.Issuers[1].Issuer = "https://b"
	if g, err := gate.New(c, gate.Options{Audit: io.Discard, Transport: extauthz.GRPC}); err == nil ||
		!strings.Contains(err.Error(), "issuers[1].role_prefix") {
		t.Errorf("got %v, %v", g, err)
	}
}

// TestCheckSaysWhoseTokensRoutesTake, and where scopes are taken from every issuer.
func TestCheckSaysWhoseTokensRoutesTake(t *testing.T) {
	var log bytes.Buffer
	entries := []string{`issuer: "https://a", role_prefix: ""`, `issuer: "https://b", role_prefix: "b:"`}
	c, _, err := load(t, trusting(entries, `{match: {path: /x}, require: {issuers: ["https://b"]}}`,
		`{match: {path: /y}, require: {scopes: [write]}}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Redis.Address = "127.0.0.1:1"
	c.Policy.Roles = map[string][]string{"b:admin": {"clerk"}}
	// The entries' key files are not there, which is another matter.
	notes, _ := gate.Check(t.Context(), c, gate.Options{Audit: io.Discard, Transport: extauthz.GRPC})
	got := strings.Join(notes, "\n")
	for _, want := range []string{
		"note: who has the role b:admin has clerk, too",
		"warning: the issuer whose roles begin with b: decides by its role b:admin who has clerk",
		"note: routes[0] (/x) takes tokens of no issuers but https://b",
		"warning: routes[1] (/y) takes its scopes from every issuer",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("expected %q in %q", want, got)
		}
	}
	g, err := gate.New(c, gate.Options{
		Audit: io.Discard, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Transport: extauthz.GRPC,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil || strings.Count(log.String(), "routes[1] (/y)") != 1 {
		t.Errorf("expected one warning at the start, got %v and %s", err, &log)
	}
}
