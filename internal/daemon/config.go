package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
)

// Config is the admin port, key `admin:` of a daemon's file.
type Config struct {
	Listen string `yaml:"listen" usage:"address of /livez, /readyz and /metrics, host:port"`
	// Hosts are names besides localhost, that of Listen, and addresses: what a browser asks for in
	// another name is refused.
	Hosts []string `yaml:"hosts" usage:"names by which the admin port is asked, besides localhost and addresses; .example.com is all names under it"`
	Pprof bool     `yaml:"pprof" flag:"-" usage:"serve /debug/pprof there; the address must be loopback"`
}

// Validate refuses an address without a port, and profiles, which show memory, beyond this host.
func (c Config) Validate() error {
	if err := CheckListen("listen", c.Listen); err != nil {
		return err
	}
	for i, name := range c.Hosts {
		if !isHostName(name) {
			return config.At(fmt.Sprintf("hosts[%d]", i),
				"expected a host's name without a port, such as \"issuer.example.com\", got %q",
				name)
		}
	}
	host, _, _ := net.SplitHostPort(c.Listen) // it can be split
	if c.Pprof && !config.IsThisMachine(host) {
		return config.At("pprof",
			"expected a loopback address in listen, got %q: profiles are for this host only",
			c.Listen)
	}
	return nil
}

// DrainConfig is key `drain:` of a daemon's file: how it stops.
type DrainConfig struct {
	Delay time.Duration `yaml:"delay" usage:"how long to go on answering after saying that it is not ready, so that load balancers and Envoys have seen it"`
	// Timeout is the bound of draining, and again of stopping; 0 is 10 s.
	Timeout time.Duration `yaml:"timeout" usage:"how long what is under way may take to end"`
}

// Validate refuses a stop that nobody would wait for.
func (c DrainConfig) Validate() error {
	var errs []error
	check := func(path string, d time.Duration) {
		if d < 0 || d > time.Hour {
			errs = append(errs, config.At(path, "expected 0s to 1h, got %v", d))
		}
	}
	check("delay", c.Delay)
	check("timeout", c.Timeout)
	return errors.Join(errs...)
}

// CheckListen refuses what is no address to listen on: host:port, the host being a name, an IP
// address or empty. path is the setting's.
func CheckListen(path, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return config.At(path, "expected host:port such as \"127.0.0.1:9101\", got %q", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return config.At(path, "expected a port of 0 to 65535, got %q", port)
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.Trim(host, hostChars) != "" {
		return config.At(path, "expected a name or an IP address before the port, got %q", host)
	}
	return nil
}

// hostChars is what names of hosts consist of.
const hostChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"

// LogConfig is key `log:` of a daemon's file.
type LogConfig struct {
	Level  string `yaml:"level" usage:"least severe level to log: debug, info, warn or error"`
	Format string `yaml:"format" usage:"json, or text for people"`
}

// DefaultLogConfig returns JSON from level info on.
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
