package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/extauthz"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// Config is a gate's configuration file.
type Config struct {
	Name        string            `yaml:"name" usage:"this gate's name in the list of gates; the machine's name by default"`
	Listen      string            `yaml:"listen" usage:"where Envoy asks: host:port or unix:/path"`
	Realm       string            `yaml:"realm" usage:"realm of the challenge in a 401"`
	Issuers     []keyset.Config   `yaml:"issuers"`
	KeyCacheDir config.Path       `yaml:"key_cache_dir" usage:"folder for the last good key sets"`
	Policy      policy.Config     `yaml:"policy"`
	Cache       authz.CacheConfig `yaml:"cache"`
	ExtAuthz    extauthz.Config   `yaml:"ext_authz"`
	Redis       redisconn.Config  `yaml:"redis"`
	Revocation  RevocationConfig  `yaml:"revocation"`
	Admin       daemon.Config     `yaml:"admin"`
	Log         daemon.LogConfig  `yaml:"log"`
	Drain       DrainConfig       `yaml:"drain"`
}

// RevocationConfig is what gates and issuers have in common, and what a gate has besides.
type RevocationConfig struct {
	redislog.Config `yaml:",inline"`
	Snapshot        redislog.SnapshotConfig `yaml:"snapshot"`
}

// DrainConfig is how a gate stops.
type DrainConfig struct {
	Delay   time.Duration `yaml:"delay" usage:"how long to go on answering after saying that it is not ready, so that every Envoy has seen it"`
	Timeout time.Duration `yaml:"timeout" usage:"how long checks under way may take to end"`
}

// DefaultConfig is what a file changes.
func DefaultConfig() Config {
	return Config{
		Listen:     "127.0.0.1:10003",
		Realm:      authz.DefaultRealm,
		Policy:     policy.DefaultConfig(),
		Cache:      authz.DefaultCacheConfig(),
		ExtAuthz:   extauthz.DefaultConfig(),
		Redis:      redisconn.DefaultConfig(),
		Revocation: RevocationConfig{redislog.DefaultConfig(), redislog.DefaultSnapshotConfig()},
		Admin:      daemon.Config{Listen: "127.0.0.1:9102"},
		Log:        daemon.DefaultLogConfig(),
		Drain:      DrainConfig{Delay: time.Second, Timeout: 5 * time.Second},
	}
}

// apartFromPolicy is what takes a restart to change: not the policy, nor secrets, which are read
// from their files again.
func (c Config) apartFromPolicy() Config {
	c.Policy = policy.Config{}
	c.Redis.Password, c.Redis.SentinelPassword = c.Redis.Password.Place(), c.Redis.SentinelPassword.Place()
	return c
}

// Validate checks what no room checks by itself.
func (c Config) Validate() error {
	var errs []error
	if err := authz.ValidateRealm(c.Realm); err != nil {
		errs = append(errs, config.At("realm", "%w", err))
	}
	if err := extauthz.CheckListen("listen", c.Listen); err != nil {
		errs = append(errs, err)
	}
	if len(c.Issuers) == 0 {
		errs = append(
			errs,
			config.At(
				"issuers",
				"expected at least one issuer to trust: write `issuers: [{issuer: ..., jwks_url: ..., audiences: [...]}]`",
			),
		)
	}
	for i, issuer := range c.Issuers {
		if issuer.ClockSkew > c.Revocation.ClockSkew {
			errs = append(errs, config.At(fmt.Sprintf("issuers[%d].clock_skew", i),
				"expected at most revocation.clock_skew (%v), found %v: a token could outlive its revocation",
				c.Revocation.ClockSkew, issuer.ClockSkew))
		}
	}
	return errors.Join(errs...)
}

// Validate checks the times.
func (c DrainConfig) Validate() error {
	if c.Delay < 0 || c.Delay > time.Minute {
		return config.At("delay", "expected 0s to 1m, found %v", c.Delay)
	}
	if c.Timeout < 0 || c.Timeout > 10*time.Minute {
		return config.At("timeout", "expected 0s to 10m, found %v", c.Timeout)
	}
	return nil
}

const envPrefix = "SALLYPORT"

// bind declares the flags that every command that reads the configuration has.
func bind(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.Flags().String("config", "", "the configuration file")
	defaults := DefaultConfig()
	config.BindFlags(cmd.Flags(), &defaults)
}

// source is where a command's configuration comes from.
type source struct {
	file string
	read func(content []byte) (*Config, error) // the file's; nil: read reads it
}

// sourceOf is what a command was given.
func sourceOf(cmd *cobra.Command) (source, error) {
	file, err := cmd.Flags().GetString("config")
	if err != nil {
		return source{}, err
	}
	if file == "" {
		return source{}, errors.New("expected a configuration file: write --config authz.yaml")
	}
	return source{file, func(content []byte) (*Config, error) { return load(cmd, file, content) }}, nil
}

// configured reads the configuration that a command was given.
func configured(cmd *cobra.Command) (*Config, source, error) {
	from, err := sourceOf(cmd)
	if err != nil {
		return nil, from, err
	}
	c, err := from.read(nil)
	return c, from, err
}

func load(cmd *cobra.Command, file string, content []byte) (*Config, error) {
	c := DefaultConfig()
	err := config.Load(&c,
		config.Options{File: file, Content: content, EnvPrefix: envPrefix, Flags: cmd.Flags()})
	if err != nil {
		return nil, err
	}
	if c.Name == "" {
		if c.Name, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("the gate's name: %w; write `name` in %s", err, file)
		}
	}
	c.Name = strings.TrimSpace(c.Name)
	return &c, nil
}
