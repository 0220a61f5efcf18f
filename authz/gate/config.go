package gate

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/extauthz/door"
	"github.com/sallyport/sallyport/authz/httpcheck"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/decisionlog"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/listen"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// Config is a gate's configuration file, authz.yaml.
type Config struct {
	Name        string          `yaml:"name" usage:"this gate's name in the list of gates; the machine's name by default"`
	Listen      string          `yaml:"listen" usage:"where Envoy asks: host:port or unix:/path"`
	Realm       string          `yaml:"realm" usage:"realm of the challenge in a 401"`
	Issuers     []keyset.Config `yaml:"issuers"`
	KeyCacheDir config.Path     `yaml:"key_cache_dir" usage:"folder for the last good key sets"`
	Policy      policy.Config   `yaml:"policy"`
	// Policies are for routes of Envoy whose context_extensions name one: {policy: NAME}. A name that is
	// not here lets nobody pass. Over HTTP Envoy does not tell the name.
	Policies map[string]policy.Config `yaml:"policies"`
	// Shadow names one of Policies, which is asked beside Policy and decides nothing: metrics and log
	// say where it would decide otherwise.
	Shadow     string             `yaml:"shadow" usage:"the one of policies that is asked beside policy and decides nothing"`
	Cache      authz.CacheConfig  `yaml:"cache"`
	ExtAuthz   door.Config        `yaml:"ext_authz"`
	HTTPCheck  httpcheck.Config   `yaml:"http_check"`
	Redis      redisconn.Config   `yaml:"redis"`
	Revocation RevocationConfig   `yaml:"revocation"`
	Admin      daemon.AdminConfig `yaml:"admin"`
	Log        daemon.LogConfig   `yaml:"log"`
	Audit      AuditConfig        `yaml:"audit"`
	Decisions  decisionlog.Config `yaml:"decision_log"`
	Drain      daemon.DrainConfig `yaml:"drain"`
}

// RevocationConfig is what gates and issuers have in common, and what a gate has besides.
type RevocationConfig struct {
	redislog.Config `yaml:",inline"`
	Snapshot        redislog.SnapshotConfig `yaml:"snapshot"`
}

// AuditConfig bounds the audit lines that refused requests make, for each reason by itself, so that
// a flood of one leaves the others theirs. What is left out is counted.
type AuditConfig struct {
	Rate  float64 `yaml:"rate" usage:"audit lines a second for refusals of one reason; 0 for none"`
	Burst int     `yaml:"burst" usage:"and at once"`
}

// Validate checks the bounds.
func (c AuditConfig) Validate() error {
	if c.Rate < 0 || c.Burst < 0 || (c.Rate > 0 && c.Burst == 0) {
		return config.At("rate",
			"expected a rate and a burst of 1 or more, or a rate of 0, got %v and %d", c.Rate, c.Burst)
	}
	return nil
}

func (c AuditConfig) limit() audit.Limit { return audit.Limit{Rate: c.Rate, Burst: c.Burst} }

// DefaultConfig returns the defaults: of everything but the issuers and the routes.
func DefaultConfig() Config {
	return Config{
		Listen:     "127.0.0.1:10003",
		Realm:      authz.DefaultRealm,
		Policy:     policy.DefaultConfig(),
		Cache:      authz.DefaultCacheConfig(),
		ExtAuthz:   door.DefaultConfig(),
		HTTPCheck:  httpcheck.DefaultConfig(),
		Redis:      redisconn.DefaultConfig(),
		Revocation: RevocationConfig{redislog.DefaultConfig(), redislog.DefaultSnapshotConfig()},
		Admin:      daemon.AdminConfig{Config: daemon.Config{Listen: "127.0.0.1:9102"}},
		Log:        daemon.DefaultLogConfig(),
		Audit:      AuditConfig{Rate: 20, Burst: 100},
		Decisions:  decisionlog.DefaultConfig(),
		Drain:      daemon.DrainConfig{Delay: time.Second, Timeout: 5 * time.Second},
	}
}

// Load reads a configuration. A gate without a name of its own has the machine's.
func Load(o config.Options) (*Config, error) {
	c := DefaultConfig()
	err := config.Load(&c, o)
	if err != nil {
		return nil, err
	}
	if c.Name == "" {
		if c.Name, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("the gate's name: %w; write `name` in %s", err, o.File)
		}
	}
	c.Name = strings.TrimSpace(c.Name)
	return &c, nil
}

// FormerNames returns the settings that had other names.
func (c Config) FormerNames() map[string]string {
	return map[string]string{"ext_authz.audit": "audit"}
}

// Validate checks what no room checks by itself.
func (c Config) Validate() error {
	var errs []error
	if err := authz.ValidateRealm(c.Realm); err != nil {
		errs = append(errs, config.At("realm", "%w", err))
	}
	if err := listen.CheckAddress("listen", c.Listen); err != nil {
		errs = append(errs, err)
	}
	if c.HTTPCheck.Listen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		errs = append(errs, config.At("http_check.listen", "expected another address than that of "+
			"listen, where Envoy asks over gRPC, got %q for both", c.Listen))
	}
	if len(c.Issuers) == 0 {
		errs = append(errs, config.At("issuers", "expected at least one issuer to trust: "+
			"write `issuers: [{issuer: ..., jwks_url: ..., audiences: [...]}]`"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Policies)) {
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			errs = append(errs, config.At("policies."+name,
				"expected a name of small letters, digits, hyphens and underscores, got %q", name))
		}
	}
	if c.HTTPCheck.Enabled() {
		for _, path := range c.Policy.BeyondHTTP() {
			errs = append(errs, config.At("policy."+path, "expected none beside http_check: a proxy that "+
				"asks over HTTP cannot be told to do it; give Envoy, which asks over gRPC, a gate of its own"))
		}
		for _, name := range slices.Sorted(maps.Keys(c.Policies)) {
			if name != c.Shadow {
				errs = append(errs, config.At("policies."+name, "expected none beside http_check but the one "+
					"that shadow names: over HTTP no proxy, not even Envoy, tells which one its route names, and "+
					"policy would decide; give Envoy, which asks over gRPC, a gate of its own"))
			}
		}
	}
	if _, ok := c.Policies[c.Shadow]; c.Shadow != "" && !ok {
		errs = append(errs, config.At("shadow", "expected the name of one of policies, got %q", c.Shadow))
	}
	errs = append(errs, c.checkIssuers())
	for i, issuer := range c.Issuers {
		// The log keeps an entry for as long as its own leeway says that a token may still pass.
		if issuer.ClockSkew > c.Revocation.ClockSkew {
			errs = append(errs, config.At(fmt.Sprintf("issuers[%d].clock_skew", i),
				"expected at most revocation.clock_skew (%v), got %v: a token could outlive its revocation",
				c.Revocation.ClockSkew, issuer.ClockSkew))
		}
	}
	return errors.Join(errs...)
}

// apartFromPolicy returns what takes a restart to change: not the policies, nor secrets, which are
// read from their files again.
func (c Config) apartFromPolicy() Config {
	c.Policy, c.Policies, c.Shadow = policy.Config{}, nil, ""
	c.Redis.Password = c.Redis.Password.Place()
	c.Admin.Token = c.Admin.Token.Place()
	c.Redis.SentinelPassword = c.Redis.SentinelPassword.Place()
	return c
}
