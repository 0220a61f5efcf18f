package redisconn

import (
	"errors"
	"net"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
)

// The modes of a Redis installation.
const (
	ModeSingle   = "single"
	ModeSentinel = "sentinel"
	ModeCluster  = "cluster"
)

// What a failed check of Redis does to an issuer that starts.
const (
	ChecksEnforce = "enforce"
	ChecksWarn    = "warn"
)

// Config is the key `redis:` in both daemons' files.
type Config struct {
	Mode             string        `yaml:"mode" usage:"what Redis is: single, sentinel or cluster"`
	Address          string        `yaml:"address" usage:"host:port, or the path of a Unix socket, of a single Redis"`
	Addresses        []string      `yaml:"addresses" usage:"host:port of the sentinels, or of some nodes of the cluster"`
	MasterName       string        `yaml:"master_name" usage:"the name the sentinels know the primary by"`
	Username         string        `yaml:"username" usage:"ACL user"`
	Password         config.Secret `yaml:"password"`
	SentinelUsername string        `yaml:"sentinel_username" usage:"ACL user at the sentinels"`
	SentinelPassword config.Secret `yaml:"sentinel_password"`
	TLS              TLSConfig     `yaml:"tls"`
	DialTimeout      time.Duration `yaml:"dial_timeout" usage:"longest time to connect"`
	ReadTimeout      time.Duration `yaml:"read_timeout" usage:"longest wait for an answer"`
	WriteTimeout     time.Duration `yaml:"write_timeout" usage:"longest wait to send a command"`
	PoolSize         int           `yaml:"pool_size" usage:"most pooled connections"`
	Checks           string        `yaml:"checks" usage:"what an issuer does when Redis is not safely set up: enforce (do not start) or warn"`
}

// TLSConfig says how to trust Redis' certificate and which one to show.
type TLSConfig struct {
	Enabled    bool        `yaml:"enabled" usage:"talk TLS to Redis"`
	CAFile     config.Path `yaml:"ca_file" usage:"PEM of the authorities to trust instead of the system's"`
	CertFile   config.Path `yaml:"cert_file" usage:"PEM of the client certificate"`
	KeyFile    config.Path `yaml:"key_file" usage:"PEM of the client certificate's key"`
	ServerName string      `yaml:"server_name" usage:"name the certificate must have, if not the address"`
}

// DefaultConfig is a single Redis on this machine.
func DefaultConfig() Config {
	return Config{
		Mode: ModeSingle, Address: "127.0.0.1:6379",
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
		PoolSize: 16, Checks: ChecksEnforce,
	}
}

// Validate reports every setting that is missing or contradicts another one.
func (c Config) Validate() error {
	// All of them, so that whoever writes the file need not start once for each.
	var errs []error
	bad := func(path, format string, args ...any) {
		errs = append(errs, config.At(path, format, args...))
	}
	switch c.Mode {
	case ModeSingle:
		if c.Address == "" {
			bad("address", "redis: mode single needs an address: write host:port")
		} else if err := checkAddress(c.Address, true); err != nil {
			bad("address", "%v", err)
		}
		if len(c.Addresses) > 0 {
			bad("addresses",
				"redis: mode single has one `address`; `addresses` is for mode sentinel or cluster")
		}
	case ModeSentinel, ModeCluster:
		if len(c.Addresses) == 0 {
			bad("addresses", "redis: mode %s needs `addresses`: write a list of host:port", c.Mode)
		}
		for _, a := range c.Addresses {
			if err := checkAddress(a, false); err != nil {
				bad("addresses", "%v", err)
			}
		}
	default:
		bad("mode", "redis: expected mode single, sentinel or cluster, got %q", c.Mode)
	}
	if (c.Mode == ModeSentinel) != (c.MasterName != "") {
		bad("master_name",
			"redis: mode sentinel, and only it, needs master_name: the name the sentinels know the "+
				"primary by")
	}
	if c.Checks != ChecksEnforce && c.Checks != ChecksWarn {
		bad("checks", "redis: expected checks enforce or warn, got %q", c.Checks)
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		bad("tls.cert_file", "redis: a client certificate needs both tls.cert_file and tls.key_file")
	}
	if !c.TLS.Enabled && (c.TLS.CAFile != "" || c.TLS.CertFile != "" || c.TLS.ServerName != "") {
		bad("tls.enabled", "redis: tls settings without tls.enabled: true")
	}
	if c.Username != "" && c.Password.IsZero() {
		bad("password", "redis: a username needs a password")
	}
	for path, d := range map[string]time.Duration{
		"dial_timeout": c.DialTimeout, "read_timeout": c.ReadTimeout,
		"write_timeout": c.WriteTimeout,
	} {
		if d < 10*time.Millisecond || d > time.Minute {
			bad(path, "redis: expected a time from 10ms to 1m, got %s", d)
		}
	}
	if c.PoolSize < 1 || c.PoolSize > 10000 {
		bad("pool_size", "redis: expected a pool of 1 to 10000 connections, got %d", c.PoolSize)
	}
	return errors.Join(errs...)
}

func checkAddress(a string, unix bool) error {
	if unix && strings.HasPrefix(a, "/") {
		return nil
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil || host == "" || port == "" {
		return errors.New("redis: expected host:port, got " + strings.ToValidUTF8(a, "?"))
	}
	return nil
}
