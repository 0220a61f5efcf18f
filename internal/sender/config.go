package sender

import (
	"cmp"
	"errors"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/ssf/stream"
	"github.com/sallyport/sallyport/internal/token"
)

// Config is one entry of the setting `senders`: an issuer whose messages are believed. A duration of
// 0 stands for its default.
type Config struct {
	Issuer string `yaml:"issuer"` // iss of its messages, letter by letter
	// the iss of the tokens whose sessions it may end; default: issuer
	SessionsOf string   `yaml:"sessions_of"`
	Audiences  []string `yaml:"audiences"`  // a message must name one of these: the client's name there
	Algorithms []string `yaml:"algorithms"` // what it signs with; default [RS256]

	JWKSURL  string      `yaml:"jwks_url"`  // http or https address of its JWKS
	JWKSFile config.Path `yaml:"jwks_file"` // or the JWKS as a file; read again every few seconds
	CAFile   config.Path `yaml:"ca_file"`   // PEM roots to trust for jwks_url instead of the system's

	RefreshMin time.Duration `yaml:"refresh_min"` // as at a gate; default 30s
	RefreshMax time.Duration `yaml:"refresh_max"` // default 15m
	MaxAge     time.Duration `yaml:"max_age"`     // of a kept key set at a start; default 24h
	Timeout    time.Duration `yaml:"timeout"`     // of one fetch of its keys; default 5s

	// leeway on exp, nbf and iat; default 30s
	ClockSkew time.Duration `yaml:"clock_skew"`
	// how long after its iat a logout token without exp is taken; default 10m
	MaxMessageAge time.Duration `yaml:"max_message_age"`
	// how long a session lives there at most, from its login on, however often it is refreshed;
	// default: revocation.max_session_lifetime
	MaxSessionLifetime time.Duration `yaml:"max_session_lifetime"`

	Signals stream.Config `yaml:"signals"` // its security events; none unless said
}

const (
	defaultClockSkew     = 30 * time.Second
	defaultMaxMessageAge = 10 * time.Minute
)

// SetDefaults implements config.Defaulter.
func (c *Config) SetDefaults() { *c = c.withDefaults() }

func (c Config) withDefaults() Config {
	if c.Algorithms == nil {
		c.Algorithms = []string{"RS256"}
	}
	c.ClockSkew = cmp.Or(c.ClockSkew, defaultClockSkew)
	c.MaxMessageAge = cmp.Or(c.MaxMessageAge, defaultMaxMessageAge)
	c.Signals.SetDefaults()
	if c.Audiences == nil && c.Signals.ClientID != "" {
		c.Audiences = []string{c.Signals.ClientID}
	}
	return c
}

// EndsSessionsOf returns the iss of the tokens whose sessions the sender may end.
func (c *Config) EndsSessionsOf() string { return cmp.Or(c.SessionsOf, c.Issuer) }

// keys is what the sender's keys are looked after by.
func (c *Config) keys() keyset.Config {
	return keyset.Config{
		Profile: token.Profile{
			Issuer: c.Issuer, Audiences: c.Audiences, Algorithms: c.Algorithms, ClockSkew: c.ClockSkew,
			// No message is read as an access token: these two are never asked.
			Type: "none", TokenID: "none",
		},
		JWKSURL: c.JWKSURL, JWKSFile: c.JWKSFile, CAFile: c.CAFile,
		RefreshMin: c.RefreshMin, RefreshMax: c.RefreshMax, MaxAge: c.MaxAge, Timeout: c.Timeout,
	}
}

// Validate refuses an entry that cannot be, or that would believe too much.
func (c *Config) Validate() error {
	full := c.withDefaults()
	var errs []error
	bad := func(path, format string, args ...any) { errs = append(errs, config.At(path, format, args...)) }
	for _, a := range full.Algorithms {
		if strings.HasPrefix(a, "HS") {
			bad("algorithms", "sender: expected algorithms of a published key, as [RS256], got %s", a)
		}
	}
	if (c.JWKSURL == "") == (c.JWKSFile == "") {
		bad("", "sender: expected jwks_url or jwks_file, one of them, to say where its keys are")
	}
	// The log has room for so much in the field that says who asked.
	if len(c.Issuer) > revocation.MaxActor {
		bad("issuer", "sender: expected at most %d bytes, got %d", revocation.MaxActor, len(c.Issuer))
	}
	if len(full.Audiences) == 0 {
		bad("audiences", "sender: expected the names that its messages have in aud, as [shop], got none")
	}
	for _, name := range []struct{ path, text string }{
		{"issuer", c.Issuer}, {"sessions_of", c.SessionsOf},
	} {
		if strings.ContainsAny(name.text, "{}") {
			bad(name.path, "sender: expected one issuer, got %q: write an entry for each tenant", name.text)
		}
	}
	if len(c.SessionsOf) > revocation.MaxIssuer || strings.ContainsFunc(c.SessionsOf, isControl) {
		bad("sessions_of", "sender: expected the iss of the issuer's tokens, letter by letter")
	}
	if d := full.MaxMessageAge; d < 10*time.Second || d > 24*time.Hour {
		bad("max_message_age", "sender: expected 10s to 24h, got %s", d)
	}
	if d := c.MaxSessionLifetime; d != 0 && (d < time.Second || d > revocation.LongestSession) {
		bad("max_session_lifetime", "sender: expected 1s to %s, got %s", revocation.LongestSession, d)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	keys := full.keys()
	return keys.Validate()
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }
