package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/config"
)

// TokenSource is a place in which a request's token may stand: one of the four.
type TokenSource struct {
	Authorization string `yaml:"authorization"` // the header of that name, by this scheme
	Header        string `yaml:"header"`        // a header that holds the token alone
	Cookie        string `yaml:"cookie"`        // a cookie
	// WebSocket is what a subprotocol begins with that has the token behind it: browsers can send no
	// other header with a handshake. The upstream gets the handshake without it.
	WebSocket string `yaml:"websocket"`
	// Remove takes the credential, or the cookie, off the request before the upstream gets it.
	Remove bool `yaml:"remove"`
}

const (
	maxSources     = 8
	maxQueryName   = 64
	accessToken    = "x-access-token"
	socketProtocol = "sec-websocket-protocol"
)

// DefaultTokens is where a token stands when the policy does not say.
func DefaultTokens() []TokenSource {
	return []TokenSource{{Authorization: "Bearer"}, {Header: accessToken}}
}

// Validate checks that it is one place, and one in which a token can stand.
func (s TokenSource) Validate() error {
	places := 0
	for _, name := range []string{s.Authorization, s.Header, s.Cookie, s.WebSocket} {
		if name == "" {
			continue
		}
		if places++; !isMethod(name) { // the same characters (RFC 9110 section 5.6.2, RFC 6265)
			return fmt.Errorf("expected a name without spaces and separators, got %q", name)
		}
	}
	switch {
	case places != 1:
		return errors.New("expected one of authorization (the scheme), header, cookie and websocket (what" +
			" the subprotocol begins with)")
	case s.Header != strings.ToLower(s.Header):
		return config.At("header", "write it in small letters, got %q", s.Header)
	case s.Header != accessToken && slices.Contains(hiddenHeaders, s.Header),
		slices.Contains(notForTokens, s.Header),
		s.Header != accessToken && slices.Contains(reservedHeaders, s.Header):
		return config.At("header", "%s has a meaning of its own: choose another header", s.Header)
	}
	return nil
}

// notForTokens are headers of which a token would be something else as well.
var notForTokens = []string{
	"host", "connection", "content-length", "content-type", "transfer-encoding", "te", "trailer",
	"upgrade", "set-cookie", "user-agent", socketProtocol, "x-forwarded-for", "x-forwarded-proto",
}

// In returns the header in which the token stands.
func (s *TokenSource) In() string {
	switch {
	case s.Header != "":
		return s.Header
	case s.Cookie != "":
		return "cookie"
	case s.WebSocket != "":
		return socketProtocol
	}
	return "authorization"
}

// Carry returns the header's value with a token in it.
func (s *TokenSource) Carry(token string) string {
	switch {
	case s.Header != "":
		return token
	case s.Cookie != "":
		return s.Cookie + "=" + token
	case s.WebSocket != "":
		return s.WebSocket + token
	}
	return s.Authorization + " " + token
}

// validateTokens checks the sources as a whole, and against what else goes by headers.
func (c Config) validateTokens() error {
	var errs []error
	if len(c.Tokens) > maxSources {
		errs = append(errs, config.At("tokens", "expected at most %d, got %d", maxSources, len(c.Tokens)))
	}
	claims := c.claimHeaders()
	for i, s := range c.Tokens {
		at := fmt.Sprintf("tokens[%d]", i)
		for _, other := range c.Tokens[:i] {
			other.Remove = s.Remove
			if s == other || s.Authorization != "" && strings.EqualFold(s.Authorization, other.Authorization) {
				errs = append(errs, config.At(at, "is there twice"))
			}
		}
		if slices.Contains(claims, s.Header) {
			errs = append(errs, config.At(at+".header", "%s is made of a claim by a route", s.Header))
		}
		for j, r := range c.Routes {
			for k, h := range r.Match.Headers {
				if h.Name == s.In() {
					errs = append(errs, config.At(fmt.Sprintf("routes[%d].match.headers[%d]", j, k),
						"%s holds the token (tokens[%d]), which is a secret", h.Name, i))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// validateQuery checks the parameter in which a route takes a token.
func (r Route) validateQuery(access Access) error {
	switch {
	case r.QueryToken == "":
		return nil
	case access == Public || access == Nobody:
		return config.At("query_token", "has no meaning with `allow: %s`: leave it out", r.Allow)
	case len(r.QueryToken) > maxQueryName || strings.ContainsAny(r.QueryToken, "%&+*'") ||
		!isMethod(r.QueryToken):
		return config.At("query_token", "expected the name of a parameter as access_token, got %q",
			r.QueryToken)
	}
	return nil
}
