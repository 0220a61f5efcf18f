package relay

import (
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/listen"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// Config is a relay's configuration file, relay.yaml.
type Config struct {
	Name       string             `yaml:"name" usage:"this relay's name in the list of gates; the machine's name by default"`
	Listen     string             `yaml:"listen" usage:"where gates ask instead of Redis: host:port or unix:/path"`
	Gates      GatesConfig        `yaml:"gates"`
	Redis      redisconn.Config   `yaml:"redis"`
	Revocation redislog.Config    `yaml:"revocation"`
	Admin      daemon.Config      `yaml:"admin"`
	Log        daemon.LogConfig   `yaml:"log"`
	Drain      daemon.DrainConfig `yaml:"drain"`
}

// GatesConfig is how gates reach a relay, and which may.
type GatesConfig struct {
	listen.Config  `yaml:",inline"`
	Username       string        `yaml:"username" usage:"the user that gates say in redis.username"`
	Password       config.Secret `yaml:"password"`
	MaxConnections int           `yaml:"max_connections" usage:"most connections of gates at a time; a gate has two, and a third for a moment"`
}

// DefaultConfig returns the defaults, of everything but how gates are told apart from others.
func DefaultConfig() Config {
	return Config{
		Listen: "127.0.0.1:10005",
		Gates: GatesConfig{
			Config: listen.DefaultConfig(), Username: "gate", MaxConnections: 1024,
		},
		Redis:      redisconn.DefaultConfig(),
		Revocation: redislog.DefaultConfig(),
		Admin:      daemon.Config{Listen: "127.0.0.1:9103"},
		Log:        daemon.DefaultLogConfig(),
		Drain:      daemon.DrainConfig{Timeout: 5 * time.Second},
	}
}

// Load reads a configuration. A relay without a name of its own has the machine's.
func Load(o config.Options) (*Config, error) {
	c := DefaultConfig()
	if err := config.Load(&c, o); err != nil {
		return nil, err
	}
	if c.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, errors.New("relay: the machine has no name: write `name` in " + o.File)
		}
		c.Name = name
	}
	c.Name = strings.TrimSpace(c.Name)
	return &c, nil
}

// Validate checks what no part checks by itself.
func (c Config) Validate() error {
	if err := listen.CheckAddress("listen", c.Listen); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(c.Listen) // it can be split, or is a Unix socket
	if !listen.IsUnix(c.Listen) && !config.IsThisMachine(host) && c.Gates.Password.IsZero() &&
		c.Gates.TLS.ClientCAFile == "" {
		return config.At("gates.password", "expected a password, or tls.client_ca_file and "+
			"tls.client_names, beyond this machine: whoever reaches %s reads the log, and writes "+
			"gates' lines: write password_file", c.Listen)
	}
	return nil
}

// Validate checks the bounds.
func (c GatesConfig) Validate() error {
	if err := c.Config.Validate(); err != nil {
		return err
	}
	switch {
	case c.Username == "" || len(c.Username) > maxWord:
		return config.At("username", "expected a user's name of 1 to %d bytes, got %d", maxWord,
			len(c.Username))
	case len(c.Password.Reveal()) > maxWord:
		return config.At("password", "expected at most %d bytes, got more", maxWord)
	case c.MaxConnections < 4 || c.MaxConnections > 10_000:
		return config.At("max_connections", "expected 4 to 10000 connections, got %d",
			c.MaxConnections)
	}
	return nil
}
