package keyset

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/token"
)

// Config is one entry of the setting `issuers` of a gate: whom it trusts, and where that issuer's
// keys are. Exactly one of JWKSURL, JWKSFile and SecretFile is set. A duration of 0 stands for its
// default.
type Config struct {
	token.Profile `yaml:",inline"`

	JWKSURL string `yaml:"jwks_url"` // http or https address of the issuer's JWKS
	// PEM roots to trust for jwks_url instead of the system's; read at each fetch
	CAFile config.Path `yaml:"ca_file"`
	// the JWKS as a file; read again every few seconds
	JWKSFile config.Path `yaml:"jwks_file"`
	// the secret of HS256 tokens: at least 32 bytes, less one trailing newline; or HS256 keys of a
	// Sallyport ring
	SecretFile config.Path `yaml:"secret_file"`
	// the kid of tokens made with a plain secret_file; "" is the one that a ring would give it
	KeyID         string `yaml:"key_id"`
	GroupReadable bool   `yaml:"group_readable"` // permit a secret_file that its group may read

	// least time between refreshes, whatever Cache-Control says; default 30s
	RefreshMin time.Duration `yaml:"refresh_min"`
	RefreshMax time.Duration `yaml:"refresh_max"` // most time between refreshes; default 15m
	// a kept key set that was confirmed longer ago is not used at a start; default 24h
	MaxAge time.Duration `yaml:"max_age"`
	// of one fetch, from the connection to the last byte; default 5s
	Timeout time.Duration `yaml:"timeout"`
}

const (
	defaultRefreshMin = 30 * time.Second
	defaultRefresh    = 5 * time.Minute // when Cache-Control says nothing
	defaultRefreshMax = 15 * time.Minute
	defaultMaxAge     = 24 * time.Hour
	defaultTimeout    = 5 * time.Second
)

// SetDefaults implements config.Defaulter.
func (c *Config) SetDefaults() {
	c.Profile = token.DefaultProfile()
	c.Profile.Claims = token.ClaimNames{} // each name's own default
	*c = c.withDefaults()
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		to *time.Duration
		by time.Duration
	}{{&c.RefreshMin, defaultRefreshMin}, {&c.RefreshMax, defaultRefreshMax}, {&c.MaxAge, defaultMaxAge}, {&c.Timeout, defaultTimeout}} {
		if *d.to == 0 {
			*d.to = d.by
		}
	}
	if c.Algorithms == nil {
		c.Algorithms = []string{"ES256"}
	}
	return c
}

// Validate implements the configuration's check. Only the entry's form is judged: keys that can not
// be had stop nothing but their issuer.
func (c *Config) Validate() error {
	var errs []error
	for _, p := range c.Problems() {
		errs = append(errs, config.At(p.Path, "%s", p.Problem))
	}
	full := c.withDefaults()
	return errors.Join(append(errs, full.checkSource(), full.checkTimes())...)
}

func (c *Config) checkSource() error {
	given := 0
	for _, s := range []string{c.JWKSURL, string(c.JWKSFile), string(c.SecretFile)} {
		if s != "" {
			given++
		}
	}
	symmetric := slices.ContainsFunc(c.Algorithms,
		func(a string) bool { return strings.HasPrefix(a, "HS") })
	switch {
	case given == 0:
		return config.At("",
			"expected jwks_url or jwks_file, or secret_file for HS256, to say where the issuer's keys are")
	case given > 1:
		return config.At("", "expected one of jwks_url, jwks_file and secret_file, got %d", given)
	case symmetric && c.SecretFile == "":
		return config.At("algorithms",
			"expected secret_file for HS256: a secret is never taken from a published set")
	case !symmetric && c.SecretFile != "":
		return config.At("secret_file",
			"expected algorithms: [HS256] beside a secret, got %v; public keys go into jwks_file",
			c.Algorithms)
	case symmetric && len(c.Algorithms) > 1:
		return config.At("algorithms", "expected one algorithm for one secret, got %v", c.Algorithms)
	case c.KeyID != "" && c.SecretFile == "":
		return config.At("key_id", "expected only beside secret_file: published keys bring their own")
	case len(c.KeyID) > kidMax:
		return config.At("key_id", "expected at most %d bytes, got %d", kidMax, len(c.KeyID))
	}
	return c.checkURL()
}

func (c *Config) checkURL() error {
	if c.JWKSURL == "" {
		if c.CAFile != "" {
			return config.At("ca_file", "expected only beside jwks_url")
		}
		return nil
	}
	u, err := url.Parse(c.JWKSURL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return config.At("jwks_url",
			"expected an address such as https://issuer.example.com/.well-known/jwks.json")
	case u.User != nil:
		return config.At("jwks_url", "expected no user or password in the address: a JWKS is public")
	case u.Fragment != "":
		return config.At("jwks_url", "expected no fragment (#...) in the address")
	case c.CAFile != "" && u.Scheme != "https":
		return config.At("ca_file", "expected only beside an https jwks_url")
	}
	return nil
}

func (c *Config) checkTimes() error {
	var errs []error
	for _, b := range []struct {
		path        string
		is, min, to time.Duration
	}{
		{"refresh_min", c.RefreshMin, time.Second, 24 * time.Hour},
		{"refresh_max", c.RefreshMax, c.RefreshMin, 24 * time.Hour},
		{"max_age", c.MaxAge, c.RefreshMax, 366 * 24 * time.Hour},
		{"timeout", c.Timeout, 100 * time.Millisecond, time.Minute},
	} {
		if b.is < b.min || b.is > b.to {
			errs = append(errs, config.At(b.path, "expected %v to %v, got %v", b.min, b.to, b.is))
		}
	}
	return errors.Join(errs...)
}
