package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/config"
)

// Config is the admin port, key `admin:` of a daemon's file.
type Config struct {
	Listen string `yaml:"listen" usage:"address of /livez, /readyz and /metrics, host:port"`
	// Hosts are names besides localhost, that of Listen, and addresses: what a browser asks for in another name is refused.
	Hosts []string `yaml:"hosts" usage:"names by which the admin port is asked, besides localhost and addresses; .example.com is all names under it"`
	Pprof bool     `yaml:"pprof" flag:"-" usage:"serve /debug/pprof there; the address must be loopback"`
}

// Validate refuses an address without a port, and profiles, which show memory, beyond this host.
func (c Config) Validate() error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return config.At("listen", "expected host:port such as \"127.0.0.1:9101\", got %q", c.Listen)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return config.At("listen", "expected a port of 0 to 65535, got %q", port)
	}
	for i, name := range c.Hosts {
		if !isHostName(name) {
			return config.At(fmt.Sprintf("hosts[%d]", i), "expected a host's name without a port, such as \"issuer.example.com\", got %q", name)
		}
	}
	if c.Pprof && !loopback(host) {
		return config.At("pprof", "expected a loopback address in listen, got %q: profiles are for this host only", c.Listen)
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// LogConfig is key `log:` of a daemon's file.
type LogConfig struct {
	Level  string `yaml:"level" usage:"least severe level to log: debug, info, warn or error"`
	Format string `yaml:"format" usage:"json, or text for people"`
}

// DefaultLogConfig logs JSON from level info on.
func DefaultLogConfig() LogConfig { return LogConfig{Level: "info", Format: "json"} }

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"json", "text"}
)

// Validate refuses other words than the known ones.
func (c LogConfig) Validate() error {
	if !slices.Contains(logLevels, c.Level) {
		return config.At("level", "expected one of %s, got %q", strings.Join(logLevels, ", "), c.Level)
	}
	if !slices.Contains(logFormats, c.Format) {
		return config.At("format", "expected one of %s, got %q", strings.Join(logFormats, ", "), c.Format)
	}
	return nil
}
