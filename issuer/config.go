package issuer

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/keyring"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/sender"
)

// Config is the issuer's file, issuer.yaml.
type Config struct {
	Name     string   `yaml:"name" usage:"this issuer's name among the issuers; empty: host name and address"`
	Issuer   string   `yaml:"issuer" usage:"the tokens' iss: the issuer's URL, as gates know it"`
	Audience []string `yaml:"audience" usage:"the tokens' aud: the services they are for"`

	Listen   string `yaml:"listen" usage:"address to serve on"`
	ClientID string `yaml:"client_id" usage:"the tokens' client_id"`
	// TokenName is for clients that look for the access token under another name than RFC 6749's.
	TokenName string `yaml:"token_name" usage:"what the answer to a login and a refresh calls the access token: access_token, auth_token or token"`

	AccessTokenLifetime  time.Duration `yaml:"access_token_lifetime" usage:"how long an access token is valid"`
	RefreshTokenLifetime time.Duration `yaml:"refresh_token_lifetime" usage:"how long a session lasts"`
	RefreshGrace         time.Duration `yaml:"refresh_grace" usage:"how long a spent refresh token may be repeated"`

	MaxSessionsPerUser int           `yaml:"max_sessions_per_user" usage:"sessions of one user at a time; one more ends the oldest"`
	KeySetMaxAge       time.Duration `yaml:"key_set_max_age" usage:"how long readers may keep the key set"`

	KeyCacheDir config.Path `yaml:"key_cache_dir" usage:"folder in which the last good key sets of senders are kept; empty: they are not"`

	HTTP         HTTPConfig         `yaml:"http"`
	Keys         keyring.Config     `yaml:"keys"`
	Users        credential.Config  `yaml:"users"`
	Limits       credential.Limits  `yaml:"limits"`
	Redis        redisconn.Config   `yaml:"redis"`
	Revocation   redislog.Config    `yaml:"revocation"`
	OtherIssuers []OtherIssuer      `yaml:"other_issuers"`
	Admin        daemon.AdminConfig `yaml:"admin"`
	Senders      []sender.Config    `yaml:"senders"`
	Messages     MessagesConfig     `yaml:"messages"`
	Log          daemon.LogConfig   `yaml:"log"`
	Audit        AuditConfig        `yaml:"audit"`
	Drain        daemon.DrainConfig `yaml:"drain"`
}

// HTTPConfig bounds what strangers can make the issuer do.
type HTTPConfig struct {
	// TrustedProxies are those whose X-Forwarded-For is believed; it is read from its end, through
	// trusted addresses only.
	TrustedProxies config.Networks `yaml:"trusted_proxies" usage:"addresses or networks whose X-Forwarded-For is believed, as 10.0.0.7 or 10.0.0.0/24"`
	// TrustedOrigins are pages that may log users in and read the answers, besides the issuer's own.
	TrustedOrigins []string `yaml:"trusted_origins" usage:"origins whose pages may use the issuer, as https://app.example.com"`
	// Requests is how many requests one address may make to the endpoints that take a password or a
	// token, before anything of them is read.
	Requests       credential.Rate `yaml:"requests"`
	MaxConcurrent  int             `yaml:"max_concurrent" usage:"requests served at a time; more get 503. Logouts have half as many places besides"`
	MaxConnections int             `yaml:"max_connections" usage:"connections held at a time; more wait"`
	ReadTimeout    time.Duration   `yaml:"read_timeout" usage:"longest time a client may take to send its request"`
	WriteTimeout   time.Duration   `yaml:"write_timeout" usage:"longest time from a request to the end of its answer"`
	IdleTimeout    time.Duration   `yaml:"idle_timeout" usage:"how long an idle connection is kept"`
	MaxWait        time.Duration   `yaml:"max_wait" usage:"longest ?wait= of a logout"`
}

// AuditConfig is where security events go, and how many of them.
type AuditConfig struct {
	File config.Path `yaml:"file" usage:"file that security events are appended to; empty: standard output"`
	// Failures are what strangers can make happen as often as they like.
	Rate  float64 `yaml:"rate" usage:"lines a second of failures of one kind and reason; more are counted"`
	Burst int     `yaml:"burst" usage:"and at once"`
}

// Validate refuses limits that let nothing or everything through.
func (c AuditConfig) Validate() error {
	var errs []error
	if !(c.Rate >= 0.1 && c.Rate <= 100000) {
		errs = append(errs,
			config.At("rate", "issuer: expected 0.1 to 100000 lines a second, got %v", c.Rate))
	}
	if c.Burst < 1 || c.Burst > 1000000 {
		errs = append(errs, config.At("burst", "issuer: expected 1 to 1000000, got %d", c.Burst))
	}
	return errors.Join(errs...)
}

// DefaultConfig has every setting but issuer, keys.dir, and, where users log in, audience and
// users.file.
func DefaultConfig() Config {
	return Config{
		Listen:               "127.0.0.1:10001",
		ClientID:             "sallyport",
		TokenName:            accessTokenName,
		AccessTokenLifetime:  time.Hour,
		RefreshTokenLifetime: 720 * time.Hour,
		RefreshGrace:         10 * time.Second,
		MaxSessionsPerUser:   100,
		KeySetMaxAge:         5 * time.Minute,
		HTTP: HTTPConfig{
			Requests:       credential.Rate{Burst: 2000, Every: time.Millisecond},
			MaxConcurrent:  512,
			MaxConnections: 4096,
			ReadTimeout:    10 * time.Second,
			WriteTimeout:   30 * time.Second,
			IdleTimeout:    time.Minute,
			MaxWait:        10 * time.Second,
		},
		Keys:       keyring.DefaultConfig(),
		Users:      credential.DefaultConfig(),
		Limits:     credential.DefaultLimits(),
		Redis:      redisconn.DefaultConfig(),
		Revocation: redislog.DefaultConfig(),
		Admin:      daemon.AdminConfig{Config: daemon.Config{Listen: "127.0.0.1:9101"}},
		Messages:   defaultMessagesConfig(),
		Log:        daemon.DefaultLogConfig(),
		Audit:      AuditConfig{Rate: 20, Burst: 100},
		Drain:      daemon.DrainConfig{Timeout: 15 * time.Second},
	}
}

// FormerNames returns the settings that had other names.
func (c Config) FormerNames() map[string]string {
	return map[string]string{"http.drain_delay": "drain.delay", "http.drain_timeout": "drain.timeout"}
}

// Validate checks what is the issuer's own; each room checks its part.
func (c Config) Validate() error {
	return errors.Join(
		checkIssuer(c.Issuer),
		c.checkAudience(),
		daemon.CheckListen("listen", c.Listen),
		required("client_id", c.ClientID, "the client's name"),
		checkTokenName(c.TokenName),
		c.HTTP.checkOrigins(),
		c.checkLifetimes(),
		c.checkSenders(),
		c.checkOtherIssuers(),
	)
}

// tokenNames are what clients look for an access token under.
var tokenNames = []string{accessTokenName, "auth_token", "token"}

func checkTokenName(name string) error {
	if !slices.Contains(tokenNames, name) {
		return config.At("token_name", "issuer: expected %s, got %q", strings.Join(tokenNames, ", "), name)
	}
	return nil
}

func (c HTTPConfig) checkOrigins() error {
	var errs []error
	for i, origin := range c.TrustedOrigins {
		if err := config.CheckOrigin(origin); err != nil {
			errs = append(errs, config.At(fmt.Sprintf("http.trusted_origins[%d]", i), "issuer: %w", err))
		}
	}
	return errors.Join(errs...)
}

func required(path, value, what string) error {
	if value == "" {
		return config.At(path, "issuer: expected %s, got nothing", what)
	}
	return nil
}

// checkIssuer checks the issuer identifier as RFC 8414 section 2 has it: a URL without query and
// fragment. http is accepted for meshes that add TLS underneath.
func checkIssuer(s string) error {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return config.At("issuer",
			"issuer: expected the issuer's URL, got nothing: write issuer: https://login.example.com")
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil:
		return config.At("issuer", "issuer: expected an http or https URL, got %q", s)
	case strings.ContainsAny(s, "?#") || strings.HasSuffix(s, "/"):
		return config.At("issuer",
			"issuer: expected a URL without query, fragment and slash at the end, got %q", s)
	case u.Path != "" && (path.Clean(u.Path) != u.Path || !plainPath.MatchString(u.EscapedPath())):
		return config.At("issuer", "issuer: expected a path of letters, digits, -, . _ and ~, got %q", s)
	}
	return nil
}

// plainPath is a path that routers, proxies and gates all read in the same way.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9._~/-]*$`)

// checkAudience wants an audience only where somebody can log in: nobody else gets a token.
func (c Config) checkAudience() error {
	if c.Users.File == "" && len(c.Audience) == 0 {
		return nil
	}
	if len(c.Audience) == 0 || slices.Contains(c.Audience, "") {
		return config.At("audience",
			"issuer: expected the name of the service the tokens are for, got nothing: "+
				"write audience: my-service")
	}
	return nil
}

func (c Config) checkLifetimes() error {
	var errs []error
	in := func(path string, d, least, most time.Duration) {
		if d < least || d > most {
			errs = append(errs, config.At(path, "issuer: expected %s to %s, got %s", least, most, d))
		}
	}
	// Entries of the log live as long as revocation.max_token_lifetime and max_session_lifetime say: a
	// token or session that lived longer would outlive its revocation.
	in("access_token_lifetime", c.AccessTokenLifetime, time.Second, c.Revocation.MaxTokenLifetime)
	in("refresh_token_lifetime", c.RefreshTokenLifetime, time.Second, c.Revocation.MaxSessionLifetime)
	in("refresh_grace", c.RefreshGrace, 0, 10*time.Minute)
	in("key_set_max_age", c.KeySetMaxAge, 0, 24*time.Hour)
	if c.AccessTokenLifetime > c.RefreshTokenLifetime {
		errs = append(errs, config.At("access_token_lifetime",
			"issuer: expected at most refresh_token_lifetime (%s), got %s",
			c.RefreshTokenLifetime, c.AccessTokenLifetime))
	}
	// NumericDates are whole seconds, and expires_in is to be what the token says.
	if c.AccessTokenLifetime%time.Second != 0 {
		errs = append(errs, config.At("access_token_lifetime",
			"issuer: expected whole seconds, got %s", c.AccessTokenLifetime))
	}
	if c.MaxSessionsPerUser < 1 || c.MaxSessionsPerUser > 100000 {
		errs = append(errs,
			config.At("max_sessions_per_user", "issuer: expected 1 to 100000, got %d", c.MaxSessionsPerUser))
	}
	return errors.Join(errs...)
}

// Validate checks the bounds.
func (c HTTPConfig) Validate() error {
	var errs []error
	for i, p := range c.TrustedProxies {
		if p.Bits() == 0 { // believing everyone is believing no one
			errs = append(errs, config.At(fmt.Sprintf("trusted_proxies[%d]", i),
				"issuer: expected the addresses of your proxies, got %s, which is everyone", p))
		}
	}
	if c.Requests.Burst < 1 || c.Requests.Every <= 0 {
		errs = append(errs, config.At("requests",
			"issuer: expected a burst of at least 1 and a time above 0, got %d and %s",
			c.Requests.Burst, c.Requests.Every))
	}
	for path, n := range map[string]int{
		"max_concurrent": c.MaxConcurrent, "max_connections": c.MaxConnections,
	} {
		if n < 1 || n > 1000000 {
			errs = append(errs, config.At(path, "issuer: expected 1 to 1000000, got %d", n))
		}
	}
	for path, d := range map[string]time.Duration{
		"read_timeout": c.ReadTimeout, "write_timeout": c.WriteTimeout, "idle_timeout": c.IdleTimeout,
	} {
		if d < 100*time.Millisecond || d > time.Hour {
			errs = append(errs, config.At(path, "issuer: expected 100ms to 1h, got %s", d))
		}
	}
	// An answer that comes after the time for writing it would never arrive.
	if c.MaxWait < 0 || c.MaxWait >= c.WriteTimeout {
		errs = append(errs, config.At("max_wait",
			"issuer: expected less than write_timeout (%s), got %s", c.WriteTimeout, c.MaxWait))
	}
	return errors.Join(errs...)
}
