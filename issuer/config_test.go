package issuer

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/config"
)

const goodConfig = `issuer: https://login.example
audience: api
keys: {dir: keys}
users: {file: users.yaml}
`

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	cfg, _, err := loadFrom(t, text, nil)
	return cfg, err
}

// loadFrom loads a file's text, the environment and flags, and returns what was warned of.
func loadFrom(t *testing.T, text string, env map[string]string, args ...string) (cfg Config,
	warnings []string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "issuer.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg = DefaultConfig()
	flags := pflag.NewFlagSet("issuer", pflag.ContinueOnError)
	config.BindFlags(flags, &cfg)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	err = config.Load(&cfg, config.Options{
		File: file, EnvPrefix: "SALLYPORT", Flags: flags,
		LookupEnv: func(name string) (string, bool) { value, set := env[name]; return value, set },
		Warn:      func(p *config.Problem) { warnings = append(warnings, p.Error()) },
	})
	return cfg, warnings, err
}

func TestFourLinesAreAConfiguration(t *testing.T) {
	cfg, err := load(t, goodConfig)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Audience) != 1 || cfg.Audience[0] != "api" || cfg.AccessTokenLifetime != time.Hour ||
		cfg.Admin.Listen != "127.0.0.1:9101" ||
		!cfg.Admin.Token.IsZero() {
		t.Errorf("got %+v", cfg)
	}
}

func TestConfigurationsThatWouldBeUnsafeAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no issuer": {
			strings.Replace(goodConfig, "issuer: https://login.example\n", "", 1), "issuer",
		},
		"issuer is no URL": {
			strings.Replace(goodConfig, "https://login.example", "login", 1), "issuer",
		},
		"issuer with a query": {
			strings.Replace(goodConfig, "login.example", "login.example?x", 1), "issuer",
		},
		"issuer with a slash": {
			strings.Replace(goodConfig, "login.example", "login.example/", 1), "issuer",
		},
		"issuer with dots": {
			strings.Replace(goodConfig, "login.example", "login.example/a/../b", 1), "issuer",
		},
		"issuer with a pattern": {
			strings.Replace(goodConfig, "login.example", "login.example/{x}", 1), "issuer",
		},
		"issuer with a user": {
			strings.Replace(goodConfig, "login.example", "u:p@login.example", 1), "issuer",
		},
		"no audience": {strings.Replace(goodConfig, "audience: api\n", "", 1), "audience"},
		"an empty audience": {
			strings.Replace(goodConfig, "audience: api\n", "audience: [api, \"\"]\n", 1), "audience",
		},
		"no client":             {goodConfig + "client_id: \"\"\n", "client_id"},
		"tokens beyond the log": {goodConfig + "access_token_lifetime: 2h\n", "access_token_lifetime"},
		"a sessions shorter":    {goodConfig + "refresh_token_lifetime: 1m\n", "access_token_lifetime"},
		"sessions beyond cuts": {
			goodConfig + "refresh_token_lifetime: 721h\n", "refresh_token_lifetime",
		},
		"half a second": {
			goodConfig + "access_token_lifetime: 1500ms\n", "access_token_lifetime",
		},
		"a long grace": {goodConfig + "refresh_grace: 1h\n", "refresh_grace"},
		"no sessions":  {goodConfig + "max_sessions_per_user: 0\n", "max_sessions_per_user"},
		"every proxy trusted": {
			goodConfig + "http: {trusted_proxies: [0.0.0.0/0]}\n", "trusted_proxies[0]",
		},
		"every one of IPv6": {
			goodConfig + "http: {trusted_proxies: [10.0.0.0/8, \"::/0\"]}\n", "trusted_proxies[1]",
		},
		"a proxy by name": {
			goodConfig + "http: {trusted_proxies: [envoy]}\n", "trusted_proxies[0]",
		},
		"no requests":           {goodConfig + "http: {requests: {burst: 0}}\n", "requests"},
		"no concurrency":        {goodConfig + "http: {max_concurrent: 0}\n", "max_concurrent"},
		"no connections":        {goodConfig + "http: {max_connections: 0}\n", "max_connections"},
		"no time-out":           {goodConfig + "http: {read_timeout: 0s}\n", "read_timeout"},
		"waits beyond answers":  {goodConfig + "http: {max_wait: 30s}\n", "max_wait"},
		"an endless drain":      {goodConfig + "drain: {timeout: 100h}\n", "drain.timeout"},
		"an admin port of none": {goodConfig + "admin: {listen: nowhere}\n", "admin.listen"},
		"a weak admin token":    {goodConfig + "admin: {token: \"short\"}\n", "admin.token"},
		"no audit lines":        {goodConfig + "audit: {rate: 0}\n", "audit.rate"},
		"audit lines of NaN":    {goodConfig + "audit: {rate: .nan}\n", "audit.rate"},
		"no audit burst":        {goodConfig + "audit: {burst: 0}\n", "audit.burst"},
		"an unknown key":        {goodConfig + "acess_token_lifetime: 1h\n", "access_token_lifetime"},
	} {
		_, err := load(t, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(err.Error(), "issuer.yaml:") {
			t.Errorf("%s: expected an error with its place that names %s, got %v", name, c.want, err)
		}
	}
}

// TestFormerNamesAreAccepted with a warning, in the file, the environment and as flags; but not
// beside the names of today.
func TestFormerNamesAreAccepted(t *testing.T) {
	for former, row := range map[string]struct {
		today  string
		inFile string
		value  func(Config) time.Duration
	}{
		"http.drain_delay": {"drain.delay", "http: {drain_delay: 7s}\n",
			func(c Config) time.Duration { return c.Drain.Delay }},
		"http.drain_timeout": {"drain.timeout", "http: {drain_timeout: 7s}\n",
			func(c Config) time.Duration { return c.Drain.Timeout }},
	} {
		section, key, _ := strings.Cut(row.today, ".")
		today := fmt.Sprintf("%s: {%s: 7s}\n", section, key)
		variable := "SALLYPORT_" + strings.ToUpper(strings.ReplaceAll(former, ".", "_"))
		flag := "--" + strings.NewReplacer(".", "-", "_", "-").Replace(former)
		for source, given := range map[string]struct {
			text  string
			env   map[string]string
			flags []string
		}{
			"issuer.yaml:5:8: " + former: {text: row.inFile},
			variable:                     {env: map[string]string{variable: "7s"}},
			flag:                         {flags: []string{flag, "7s"}},
		} {
			cfg, warnings, err := loadFrom(t, goodConfig+given.text, given.env, given.flags...)
			if err != nil || row.value(cfg) != 7*time.Second {
				t.Errorf("%s: got %+v, %v", source, cfg.Drain, err)
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0], source+": this is a former name") {
				t.Errorf("%s: got the warnings %q", source, warnings)
			}
		}
		if _, _, err := loadFrom(t, goodConfig+row.inFile+today, nil); err == nil ||
			!strings.Contains(err.Error(), "issuer.yaml:5:8: "+former+": expected this or "+row.today) {
			t.Errorf("%s and %s: got %v", former, row.today, err)
		}
	}
}

func TestValidateDoesNotNeedAFile(t *testing.T) {
	cfg := testConfig()
	if err := errors.Join(cfg.Validate(), cfg.HTTP.Validate(), cfg.Admin.Validate()); err != nil {
		t.Error(err)
	}
	cfg.HTTP.TrustedProxies = config.Networks{{Prefix: netip.MustParsePrefix("::/0")}}
	if cfg.HTTP.Validate() == nil {
		t.Error("everyone is trusted")
	}
}
