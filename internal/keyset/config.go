package keyset

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/token"
)

// Config is one entry of a gate's setting `issuers`: how the tokens of one trusted issuer are
// judged, and where its keys come from. Exactly one of JWKSURL, Discovery, JWKSFile and SecretFile
// is set. A duration of 0 stands for its default.
type Config struct {
	token.Profile `yaml:",inline"`

	JWKSURL string `yaml:"jwks_url"` // http or https address of the issuer's JWKS
	// take the address from the issuer's metadata (OpenID Connect Discovery 1.0, RFC 8414), which must
	// name this issuer
	Discovery bool `yaml:"discovery"`
	// certificate authorities in PEM to trust for jwks_url and discovery in place of the system's;
	// looked at before each fetch
	CAFile config.Path `yaml:"ca_file"`
	// a file that holds the bearer token without which jwks_url or discovery is not answered; looked
	// at before each fetch, and sent to that host alone
	JWKSTokenFile config.Path `yaml:"jwks_token_file"`
	// a file that holds the issuer's JWKS; it is read again every five seconds
	JWKSFile config.Path `yaml:"jwks_file"`
	// a file that holds the secret of HS256 tokens: either the secret itself, at least 32 bytes, of
	// which one newline at the end is no part; or the files of a Sallyport key ring's HS256 keys, one
	// after the other
	SecretFile config.Path `yaml:"secret_file"`
	// the kid that tokens made with a plain secret carry; "" is the one that Sallyport derives from
	// the secret
	KeyID string `yaml:"key_id"`
	// whether the file's group may read secret_file and jwks_token_file; else only their owner may
	GroupReadable bool `yaml:"group_readable"`

	// the shortest time between two fetches, even if the answer's Cache-Control says less; default 30s
	RefreshMin time.Duration `yaml:"refresh_min"`
	// the longest time between two fetches, even if Cache-Control says more; default 15m
	RefreshMax time.Duration `yaml:"refresh_max"`
	// how long after the last good fetch a gate that restarts may still use the key set that it kept
	// on disk; default 24h
	MaxAge time.Duration `yaml:"max_age"`
	// how long one fetch may take, from the connection to the last byte; default 5s
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
	c.Profile.Claims = token.ClaimNames{} // an empty name stands for the usual one
	*c = c.withDefaults()
}

func (c Config) withDefaults() Config {
	c.RefreshMin = cmp.Or(c.RefreshMin, defaultRefreshMin)
	c.RefreshMax = cmp.Or(c.RefreshMax, defaultRefreshMax)
	c.MaxAge = cmp.Or(c.MaxAge, defaultMaxAge)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	if c.Algorithms == nil {
		c.Algorithms = []string{"ES256"}
	}
	return c
}

// Validate checks what is written in the entry and makes no request. That an issuer's keys can not be
// read is no fault of the configuration: the gate starts, and refuses that issuer's tokens.
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
	for _, is := range []bool{c.JWKSURL != "", c.Discovery, c.JWKSFile != "", c.SecretFile != ""} {
		if is {
			given++
		}
	}
	// A secret in a public set, or a public key taken for a secret, would let anyone sign.
	symmetric := slices.ContainsFunc(c.Algorithms,
		func(a string) bool { return strings.HasPrefix(a, "HS") })
	switch {
	case given == 0:
		return config.At("",
			"expected jwks_url, discovery: true or jwks_file, or secret_file for HS256, to say where the "+
				"issuer's keys are")
	case given > 1:
		return config.At("", "expected one of jwks_url, discovery, jwks_file and secret_file, got %d",
			given)
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
	case len(c.KeyID) > jose.MaxKeyID:
		return config.At("key_id", "expected at most %d bytes, got %d", jose.MaxKeyID, len(c.KeyID))
	}
	return c.checkAddress()
}

// address is what is asked for first; "" when the keys are in a file.
func (c *Config) address() string {
	if c.Discovery {
		return c.Issuer
	}
	return c.JWKSURL
}

func (c *Config) checkAddress() error {
	setting := "jwks_url"
	if c.Discovery {
		setting = "discovery"
	}
	u, err := url.Parse(c.address())
	switch {
	case c.address() == "" && c.CAFile != "":
		return config.At("ca_file", "expected only beside jwks_url or discovery")
	case c.address() == "" && c.JWKSTokenFile != "":
		return config.At("jwks_token_file", "expected only beside jwks_url or discovery")
	case c.address() == "":
		return nil
	case c.Discovery && (err != nil || !isWeb(u) || u.User != nil ||
		strings.ContainsAny(c.Issuer, "?#")):
		return config.At(setting,
			"expected an issuer such as https://issuer.example.com, got %q; write jwks_url", c.Issuer)
	case err != nil || !isWeb(u):
		return config.At(setting,
			"expected an address such as https://issuer.example.com/.well-known/jwks.json")
	case u.User != nil:
		return config.At(setting, "expected no user or password in the address; a token for it goes "+
			"into jwks_token_file")
	case strings.ContainsAny(c.address(), "{}"):
		return config.At(setting, "expected an address without {}: write jwks_url, which all tenants"+
			" share, as https://login.microsoftonline.com/common/discovery/v2.0/keys")
	case u.Fragment != "":
		return config.At(setting, "expected no fragment (#...) in the address")
	case c.CAFile != "" && u.Scheme != "https":
		return config.At("ca_file", "expected only beside an https address")
	case c.JWKSTokenFile != "" && u.Scheme != "https" && !config.IsThisMachine(u.Hostname()):
		return config.At("jwks_token_file",
			"expected an https address beside it: anyone on the way could read the token")
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
