package httpcheck

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/listen"
)

// Config is the setting `http_check` of a gate: which proxy may ask over HTTP, and where.
type Config struct {
	Listen         string          `yaml:"listen" usage:"where a proxy asks over HTTP: host:port or unix:/path; without it, nowhere"`
	Proxy          string          `yaml:"proxy" usage:"which proxy asks: nginx, traefik, caddy, haproxy or envoy"`
	TrustedProxies config.Networks `yaml:"trusted_proxies" usage:"addresses or networks of the proxies, as 10.0.0.7 or 10.0.0.0/24; nobody else is answered"`
	PeerHeader     string          `yaml:"peer_header" usage:"header in which the proxy, and it alone, names the calling service by its certificate"`
	listen.Config  `yaml:",inline"`
	MaxHeaders     int           `yaml:"max_headers" usage:"greatest size of a request's headers in bytes"`
	MaxConnections int           `yaml:"max_connections" usage:"most connections at a time, each of which has one check at a time"`
	ReadTimeout    time.Duration `yaml:"read_timeout" usage:"how long a request's headers may take to come"`
}

// DefaultConfig returns what suits one proxy or a few.
func DefaultConfig() Config {
	return Config{
		Config: listen.DefaultConfig(), MaxHeaders: 64 << 10, MaxConnections: 1024,
		ReadTimeout: 5 * time.Second,
	}
}

// Enabled reports whether there is such a door at all.
func (c Config) Enabled() bool { return c.Listen != "" }

// Validate finds what is missing or contradicts itself.
func (c Config) Validate() error {
	var errs []error
	bad := func(path, format string, args ...any) {
		errs = append(errs, config.At(path, format, args...))
	}
	if !c.Enabled() {
		if c.Proxy != "" || len(c.TrustedProxies) > 0 || c.TLS.CertFile != "" {
			bad("listen", "expected where the proxy asks, such as 127.0.0.1:10004 or "+
				"unix:/run/sallyport/http.sock")
		}
		return errors.Join(append(errs, c.Config.Validate())...)
	}
	errs = append(errs, listen.CheckAddress("listen", c.Listen), c.validatePeers())
	if _, known := proxies[c.Proxy]; !known {
		bad("proxy", "expected %s, got %q: it says by which headers the proxy tells method, host and "+
			"path", strings.Join(proxyNames(), ", "), c.Proxy)
	}
	if c.PeerHeader != "" && !httpguts.ValidHeaderFieldName(c.PeerHeader) {
		bad("peer_header", "expected the name of a header, got %s", strconv.Quote(c.PeerHeader))
	}
	if c.MaxHeaders < 16<<10 || c.MaxHeaders > 1<<20 {
		bad("max_headers", "expected 16384 to 1048576 bytes, got %d", c.MaxHeaders)
	}
	if c.MaxConnections < 1 || c.MaxConnections > 1000000 {
		bad("max_connections", "expected 1 to 1000000, got %d", c.MaxConnections)
	}
	if c.ReadTimeout < 100*time.Millisecond || c.ReadTimeout > time.Minute {
		bad("read_timeout", "expected 100ms to 1m, got %v", c.ReadTimeout)
	}
	return errors.Join(append(errs, c.Config.Validate())...)
}

// validatePeers wants it said who may ask: whoever may, tells the gate what it judges.
func (c Config) validatePeers() error {
	var errs []error
	for i, n := range c.TrustedProxies {
		if n.Bits() == 0 { // believing everyone is believing no one
			errs = append(errs, config.At(fmt.Sprintf("trusted_proxies[%d]", i),
				"expected the addresses of your proxies, got %s, which is everyone", n))
		}
	}
	switch unix := listen.IsUnix(c.Listen); {
	case unix && len(c.TrustedProxies) > 0:
		errs = append(errs, config.At("trusted_proxies", "expected none with a Unix socket, whose "+
			"clients have no addresses: its folder and socket_mode say who may ask"))
	case !unix && len(c.TrustedProxies) == 0 && c.TLS.ClientCAFile == "":
		errs = append(errs, config.At("trusted_proxies", "expected who may ask: the addresses of your "+
			"proxies, such as trusted_proxies: [127.0.0.1], or tls.client_ca_file and "+
			"tls.client_names, or a Unix socket in listen"))
	}
	return errors.Join(errs...)
}
