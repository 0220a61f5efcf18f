package keyring

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/config"
)

// Config is the setting `keys` of the issuer.
type Config struct {
	// Dir is the folder of the key ring; `sallyport keygen` makes one.
	Dir config.Path `yaml:"dir" usage:"folder of the key ring"`
	// Algorithm is what new signing keys are made for, by RFC 7518 and RFC 8037 names. Keys that
	// are already in the ring keep theirs.
	Algorithm string `yaml:"algorithm" usage:"signature algorithm of new signing keys"`
	// PassphraseFile names a file whose content, less one trailing newline, encrypts the ring's
	// keys. With it set, a key that lies unencrypted in the folder is refused.
	PassphraseFile config.Path `yaml:"passphrase_file" usage:"file with the passphrase of the key ring"`
	// RotateEvery is how long a signing key stays active before its successor takes over. 0 turns
	// rotation off, and the issuer then never writes to the folder.
	RotateEvery time.Duration `yaml:"rotate_every" usage:"age at which the active signing key is replaced; 0 = by hand"`
	// Spread is the longest that a change of the folder takes to reach every issuer that reads it.
	Spread time.Duration `yaml:"spread" usage:"longest time that a change of the key ring takes to reach every issuer"`
	// GroupReadable permits key files with mode 0440 or 0640, as Kubernetes mounts a Secret for a
	// pod with an fsGroup.
	GroupReadable bool `yaml:"group_readable" usage:"permit key files that their group may read"`
}

// Options is what an issuer hands to its ring beside the configuration.
type Options struct {
	Now      func() time.Time      // required
	Logger   *slog.Logger          // nil: silent
	Registry prometheus.Registerer // nil: metrics go nowhere

	// longest that a reader of the JWKS may keep it, as its Cache-Control says
	PublishFor      time.Duration
	MaxLifetime     time.Duration // longest lifetime of an access token
	SessionLifetime time.Duration // longest lifetime of a refresh token
	ClockSkew       time.Duration // the one leeway between clocks
}

// DefaultConfig is a ring that rotates by hand.
func DefaultConfig() Config {
	return Config{Algorithm: "ES256", Spread: DefaultLifetimes().Spread}
}

// Validate implements the configuration's check.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs,
			config.At("dir", "expected the folder of the key ring; make one with `sallyport keygen`"))
	}
	if !slices.Contains(algorithms, c.Algorithm) {
		errs = append(errs,
			config.At("algorithm", "expected one of %s, got %q", strings.Join(algorithms, ", "),
				c.Algorithm))
	}
	if c.RotateEvery < 0 {
		errs = append(errs,
			config.At("rotate_every", "expected a time, or 0 to rotate by hand, got %v", c.RotateEvery))
	}
	if c.RotateEvery > 0 && symmetric(c.Algorithm) {
		errs = append(errs,
			config.At("rotate_every",
				"%s keys can not rotate by themselves: gates learn of them by hand only; leave it out",
				c.Algorithm))
	}
	if c.Spread < spreadMin || c.Spread > spreadMax {
		errs = append(errs,
			config.At("spread", "expected %v to %v, got %v", spreadMin, spreadMax, c.Spread))
	}
	return errors.Join(errs...)
}

const (
	spreadMin = time.Second
	spreadMax = time.Hour
)

func newStore(cfg Config, o Options) *store {
	return &store{
		dir:            string(cfg.Dir),
		passphraseFile: string(cfg.PassphraseFile),
		groupReadable:  cfg.GroupReadable,
		now:            o.Now,
		lifetimes: Lifetimes{
			Publish: o.PublishFor, Token: o.MaxLifetime, Session: o.SessionLifetime,
			Spread: cfg.Spread, Skew: o.ClockSkew,
		},
	}
}
