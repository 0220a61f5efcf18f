package gate_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/config"
)

const goodConfig = `issuers: [{issuer: "https://a.example", jwks_file: jwks.json, audiences: [things]}]
policy: {routes: [{match: {path: /public}, allow: public}, {match: {path: /**}}]}
`

// load loads a file's text, the environment and flags, and returns what was warned of.
func load(t *testing.T, text string, env map[string]string, args ...string) (c *gate.Config,
	warnings []string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "authz.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	defaults := gate.DefaultConfig()
	flags := pflag.NewFlagSet("authz", pflag.ContinueOnError)
	config.BindFlags(flags, &defaults)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, err = gate.Load(config.Options{
		File: file, EnvPrefix: "SALLYPORT", Flags: flags,
		LookupEnv: func(name string) (string, bool) { value, set := env[name]; return value, set },
		Warn:      func(p *config.Problem) { warnings = append(warnings, p.Error()) },
	})
	return c, warnings, err
}

// TestFormerNamesAreAccepted with a warning, in the file, the environment and as flags; but not
// beside the names of today.
func TestFormerNamesAreAccepted(t *testing.T) {
	for name, row := range map[string]struct {
		text     string
		env      map[string]string
		flags    []string
		warnings []string
	}{
		"file": {
			text:     "ext_authz: {audit: {rate: 3, burst: 4}}\n",
			warnings: []string{"authz.yaml:3:13: ext_authz.audit: this is a former name"},
		},
		"environment": {
			env: map[string]string{
				"SALLYPORT_EXT_AUTHZ_AUDIT_RATE": "3", "SALLYPORT_EXT_AUTHZ_AUDIT_BURST": "4",
			},
			warnings: []string{
				"SALLYPORT_EXT_AUTHZ_AUDIT_RATE: this is a former name, which is still accepted: " +
					"write SALLYPORT_AUDIT_RATE",
				"SALLYPORT_EXT_AUTHZ_AUDIT_BURST: this is a former name, which is still accepted: " +
					"write SALLYPORT_AUDIT_BURST",
			},
		},
		"flags": {
			flags: []string{"--ext-authz-audit-rate", "3", "--ext-authz-audit-burst=4"},
			warnings: []string{
				"--ext-authz-audit-rate: this is a former name, which is still accepted: " +
					"write --audit-rate",
				"--ext-authz-audit-burst: this is a former name, which is still accepted: " +
					"write --audit-burst",
			},
		},
		"today": {text: "audit: {rate: 3, burst: 4}\n"},
	} {
		c, warnings, err := load(t, goodConfig+row.text, row.env, row.flags...)
		if err != nil || c.Audit != (gate.AuditConfig{Rate: 3, Burst: 4}) {
			t.Errorf("%s: got %+v, %v", name, c, err)
			continue
		}
		for i, w := range warnings {
			if i >= len(row.warnings) || !strings.Contains(w, row.warnings[i]) {
				t.Errorf("%s: got the warning %s", name, w)
			}
		}
		if len(warnings) != len(row.warnings) {
			t.Errorf("%s: got %d warnings, expected %d", name, len(warnings), len(row.warnings))
		}
	}
	_, _, err := load(t, goodConfig+"audit: {rate: 3}\next_authz: {audit: {burst: 4}}\n", nil)
	if err == nil ||
		!strings.Contains(err.Error(), "authz.yaml:4:13: ext_authz.audit: expected this or audit") {
		t.Errorf("got %v", err)
	}
}

// TestAPolicyThatNoProxyOverHTTPCanNameIsAnError: over HTTP all requests go by `policy`, whatever
// policy Envoy's route names, so that another one is not the one that decides.
func TestAPolicyThatNoProxyOverHTTPCanNameIsAnError(t *testing.T) {
	const partner = "policies: {partner: {routes: [{match: {path: /**}, allow: nobody}]}, " +
		"next: {routes: [{match: {path: /**}, allow: nobody}]}}\n"
	door := func(proxy string) string {
		return `http_check: {listen: "unix:/run/x.sock", proxy: ` + proxy + "}\n"
	}
	const told = "expected none beside http_check"
	for name, row := range map[string]struct {
		text string
		want []string // policies that are told of
	}{
		"Envoy":                   {partner + door("envoy"), []string{"partner", "next"}},
		"NGINX":                   {partner + door("nginx"), []string{"partner", "next"}},
		"but for the shadow":      {partner + "shadow: next\n" + door("envoy"), []string{"partner"}},
		"Envoy over gRPC":         {partner, nil},
		"no policy but the first": {door("envoy"), nil},
	} {
		_, _, err := load(t, goodConfig+row.text, nil)
		var got []string
		for _, p := range config.Problems(err) {
			if p.Line == 3 && strings.Contains(p.Error(), told) {
				got = append(got, strings.TrimPrefix(p.Path, "policies."))
			}
		}
		slices.Sort(got)
		slices.Sort(row.want)
		if !slices.Equal(got, row.want) || (err != nil) != (len(row.want) > 0) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
