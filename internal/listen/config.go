// Package listen is how a gate is reached: host:port or a Unix socket, with or without TLS, and by
// whom.
//
// It promises:
//   - A Unix socket is never seen with another mode than its own.
//   - With TLS, each connection gets the certificate and is judged by the authorities that the
//     files hold at that moment; files that are broken change nothing.
//   - Where clients are named, a connection without a certificate of one of them is never served.
package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/livefile"
)

// Config is how one door of a gate is reached, beside its address.
type Config struct {
	SocketMode string    `yaml:"socket_mode" usage:"mode of the Unix socket, octal"`
	TLS        TLSConfig `yaml:"tls"`
}

// DefaultConfig returns no TLS, and a socket for its owner and group.
func DefaultConfig() Config { return Config{SocketMode: "0660"} }

// Validate checks the mode; TLS answers for itself.
func (c Config) Validate() error {
	if _, err := c.mode(); err != nil {
		return config.At("socket_mode", "expected an octal mode of 0600 to 0777, got %s",
			strconv.Quote(c.SocketMode))
	}
	return nil
}

func (c Config) mode() (uint32, error) {
	mode, err := strconv.ParseUint(c.SocketMode, 8, 32)
	if err != nil || mode < 0o600 || mode > 0o777 {
		return 0, errors.New("listen: not a mode")
	}
	return uint32(mode), nil
}

// TLSConfig says which certificate clients are shown, and which clients are served.
type TLSConfig struct {
	CertFile     config.Path `yaml:"cert_file" usage:"PEM of the certificate that is shown, with its chain; with it TLS is spoken"`
	KeyFile      config.Path `yaml:"key_file" usage:"PEM of its key"`
	ClientCAFile config.Path `yaml:"client_ca_file" usage:"PEM of the authorities that sign the certificates of those who may ask (mTLS)"`
	ClientNames  []string    `yaml:"client_names" usage:"who may ask: DNS names or URIs, of which a client's certificate must have one"`
}

// Validate finds what contradicts itself.
func (c TLSConfig) Validate() error {
	var errs []error
	bad := func(path, format string, args ...any) {
		errs = append(errs, config.At(path, format, args...))
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		bad("cert_file", "expected cert_file and key_file together: write both, or neither for no TLS")
	}
	if c.ClientCAFile != "" && c.CertFile == "" {
		bad("client_ca_file", "expected cert_file and key_file beside it: clients are asked for "+
			"their certificates within TLS")
	}
	// An authority signs for others than proxies, too.
	if (c.ClientCAFile == "") != (len(c.ClientNames) == 0) {
		bad("client_names", "expected client_ca_file and client_names together: write the names in "+
			"the certificates of those who may ask, such as client_names: [proxy.example.com]")
	}
	for i, name := range c.ClientNames {
		if name == "" {
			bad(fmt.Sprintf("client_names[%d]", i), "expected a DNS name or a URI, got an empty text")
		}
	}
	return errors.Join(errs...)
}

// Open reads the files, which must be whole, and returns what a server of that protocol (ALPN) has
// to speak; nil for no TLS. setting is the path of c.
func (c TLSConfig) Open(files *livefile.Files, setting, protocol string) (*tls.Config, error) {
	if c.CertFile == "" {
		return nil, nil
	}
	pair, err := livefile.OpenPair(files, setting+".cert_file", string(c.CertFile),
		string(c.KeyFile))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	t := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{protocol},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return pair.Value(), nil
		},
	}
	if c.ClientCAFile == "" {
		return t, nil
	}
	roots, err := livefile.OpenRoots(files, setting+".client_ca_file", string(c.ClientCAFile))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	t.ClientAuth = tls.RequireAndVerifyClientCert
	// A session that is resumed would be judged by the authorities of its beginning.
	t.SessionTicketsDisabled = true
	t.VerifyConnection = c.verify
	served := t.Clone()
	t.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := served.Clone()
		now.ClientCAs = roots.Value()
		return now, nil
	}
	return t, nil
}

var errNotNamed = errors.New("listen: expected a certificate with one of client_names, got another")

// verify refuses a client whose certificate, which an authority has signed, has no name of those
// who may ask.
func (c TLSConfig) verify(s tls.ConnectionState) error {
	if len(s.VerifiedChains) > 0 && c.names(s.PeerCertificates[0]) {
		return nil
	}
	return errNotNamed
}

func (c TLSConfig) names(cert *x509.Certificate) bool {
	for _, uri := range cert.URIs {
		if slices.Contains(c.ClientNames, uri.String()) {
			return true
		}
	}
	return slices.ContainsFunc(cert.DNSNames,
		func(name string) bool { return slices.Contains(c.ClientNames, name) })
}
