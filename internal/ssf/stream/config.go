package stream

import (
	"cmp"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/ssf"
)

// The ways in which a transmitter hands over its messages.
const (
	Push = "push" // RFC 8935
	Poll = "poll" // RFC 8936
)

// methods are the values of delivery.method (SSF section 6.1).
var methods = map[string]string{Push: "urn:ietf:rfc:8935", Poll: "urn:ietf:rfc:8936"}

// Config is the setting `signals` of a sender: whether it sends security events, and how.
type Config struct {
	// how its security events come: push, poll; empty: it sends none
	Delivery string `yaml:"delivery"`

	// push: this issuer's /security-events, as the sender reaches it
	EndpointURL string `yaml:"endpoint_url"`
	// push: file with what the Authorization header of its messages must say, whole
	AuthorizationFile config.Path `yaml:"authorization_file"`

	// its transmitter's configuration; empty: under the issuer's .well-known/ssf-configuration
	ConfigurationURL string `yaml:"configuration_url"`
	// client that the stream is made and kept by, and that its messages are for; of this stream
	// alone
	ClientID string `yaml:"client_id"`
	// file with that client's secret
	ClientSecretFile config.Path `yaml:"client_secret_file"`
	// where the client gets its tokens; empty: as the issuer's metadata says
	TokenURL string `yaml:"token_url"`
	// scopes that the client asks for
	Scopes []string `yaml:"scopes"`
	// file with a token for the management API, in place of client_secret_file
	TokenFile config.Path `yaml:"token_file"`

	// which kind of entry a subject of a format names, as {email: sub}
	Subjects map[string]string `yaml:"subjects"`
	// events that end nothing, as [credential_change]
	Ignored []string `yaml:"ignored_events"`

	// how often it is looked at whether the stream is there and enabled
	CheckEvery time.Duration `yaml:"check_every"`
	// how often the stream is asked for a message that shows that it works
	VerifyEvery time.Duration `yaml:"verify_every"`
	// poll: least time between two polls that bring nothing
	PollEvery time.Duration `yaml:"poll_every"`
}

// SetDefaults implements config.Defaulter: it fills in what is not said.
func (c *Config) SetDefaults() {
	if c.Scopes == nil {
		c.Scopes = []string{"ssf.read", "ssf.manage"}
	}
	c.CheckEvery = cmp.Or(c.CheckEvery, time.Minute)
	c.VerifyEvery = cmp.Or(c.VerifyEvery, 10*time.Minute)
	c.PollEvery = cmp.Or(c.PollEvery, time.Second)
}

// Managed reports whether the stream is made and kept by us; one that is not is made by hand.
func (c *Config) Managed() bool { return c.ClientSecretFile != "" || c.TokenFile != "" }

// For reports whether a message with that audience is for the client of this stream: its name, or,
// as Keycloak has it, its name and the stream's id behind a slash.
func (c *Config) For(audience string) bool {
	rest, ok := strings.CutPrefix(audience, c.ClientID)
	if c.ClientID == "" || !ok {
		return false
	}
	id, ok := strings.CutPrefix(rest, "/")
	// A second slash would be in the name of another client, which begins with this one's.
	return rest == "" || ok && id != "" && !strings.Contains(id, "/")
}

// Types returns the types that end nothing.
func (c *Config) types() []ssf.Type {
	var list []ssf.Type
	for _, name := range c.Ignored {
		if t, ok := ssf.ParseType(name); ok {
			list = append(list, t)
		}
	}
	return list
}

// Rules returns how the messages of a sender are understood, who may end the sessions of an issuer.
func (c *Config) Rules(sender, issuer string) (ssf.Rules, error) {
	subjects, err := ssf.CheckSubjects(c.Subjects)
	return ssf.Rules{Issuer: issuer, Sender: sender, Subjects: subjects, Ignored: c.types()}, err
}

// Validate implements the configuration's check.
func (c *Config) Validate() error {
	if c.Delivery == "" {
		return nil
	}
	if methods[c.Delivery] == "" {
		return config.At("delivery", "expected push or poll, got %.20q", c.Delivery)
	}
	return errors.Join(c.checkEndpoint(), c.checkClient(), c.checkMeaning(), c.checkTimes())
}

func (c *Config) checkEndpoint() error {
	switch {
	case c.Delivery == Poll && c.EndpointURL != "":
		return config.At("endpoint_url", "expected only with delivery: push: polls go to the sender")
	case c.Delivery == Poll && c.AuthorizationFile != "":
		return config.At("authorization_file", "expected only with delivery: push")
	case c.Delivery == Poll && !c.Managed():
		return config.At("client_secret_file",
			"expected it or token_file: a poll needs a token of the sender")
	case c.Delivery == Push && c.Managed() && c.EndpointURL == "":
		return config.At("endpoint_url",
			"expected this issuer's address for the sender, "+
				"as https://login.example.com/security-events")
	}
	return nil
}

func (c *Config) checkClient() error {
	var errs []error
	for _, u := range []struct{ path, is string }{
		{"endpoint_url", c.EndpointURL}, {"configuration_url", c.ConfigurationURL},
		{"token_url", c.TokenURL},
	} {
		if u.is == "" {
			continue
		}
		if _, err := safeURL(u.is); err != nil {
			errs = append(errs, config.At(u.path, "%v", err))
		}
	}
	switch {
	case c.ClientSecretFile != "" && c.TokenFile != "":
		errs = append(errs, config.At("token_file", "expected it or client_secret_file, got both"))
	case c.ClientSecretFile != "" && c.ClientID == "":
		errs = append(errs, config.At("client_id", "expected it beside client_secret_file, got none"))
	}
	return errors.Join(errs...)
}

func (c *Config) checkMeaning() error {
	var errs []error
	if _, err := ssf.CheckSubjects(c.Subjects); err != nil {
		errs = append(errs, config.At("subjects", "%s", strings.TrimPrefix(err.Error(), "ssf: ")))
	}
	for _, name := range c.Ignored {
		if _, ok := ssf.ParseType(name); !ok {
			errs = append(errs, config.At("ignored_events", "expected one of %v, got %.60q",
				ssf.Ending(), name))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) checkTimes() error {
	var errs []error
	for _, b := range []struct {
		path        string
		is, min, to time.Duration
	}{
		{"check_every", c.CheckEvery, time.Second, time.Hour},
		{"verify_every", c.VerifyEvery, time.Second, 24 * time.Hour},
		{"poll_every", c.PollEvery, 10 * time.Millisecond, time.Minute},
	} {
		if b.is < b.min || b.is > b.to {
			errs = append(errs, config.At(b.path, "expected %v to %v, got %v", b.min, b.to, b.is))
		}
	}
	return errors.Join(errs...)
}

var errURL = errors.New(
	"expected an https address, or http to this machine, without a user and a fragment")

// safeURL reads an address that secrets may be sent to: over TLS, or to this machine.
func safeURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || !config.IsThisMachine(u.Hostname())) {
		return nil, errURL
	}
	return u, nil
}
