package authz

import (
	"strings"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// Header is one line of a request's header or of an answer's.
type Header struct{ Name, Value string }

// Request is what a decision is made of. Its strings may be views of a buffer: nothing is kept of
// them.
type Request struct {
	Method string
	Host   string // the authority: host or host:port
	Path   string // the request target, with its query
	// names in any case; one entry a line, or duplicates joined by commas, as the proxy has it
	Headers []Header
	At      revocation.Instant // when the request was seen, read once by the transport
}

// sight is what was seen in a request's headers.
type sight struct {
	authorization, accessToken   string
	authorizations, accessTokens int
	bearer                       bool // Authorization does carry a bearer token, well formed or not
	// Connection names an identity header, so that a proxy on the way would drop it
	nominated bool
	strip     []string
}

// look goes once over all headers. keep leaves the overrides alone.
func look(headers []Header, keep bool) (s sight) {
	for i := range headers {
		name, value := headers[i].Name, headers[i].Value
		switch len(name) {
		case len("connection"):
			if equalFold(name, "connection") && nominatesIdentity(value) {
				s.nominated = true
			}
		case len("authorization"),
			len(HeaderRoles),
			len(HeaderSubject),
			len(HeaderTokenID),
			len("x-method-override"),
			len("x-http-method-override"):
			// x-access-token, the identity headers and the overrides have these lengths.
			switch {
			case equalFold(name, "authorization"):
				s.authorization, s.authorizations = value, s.authorizations+1
			case lowerByte(name[0]) != 'x':
			case equalFold(name, "x-access-token"):
				s.accessToken, s.accessTokens = value, s.accessTokens+1
			case isMisspelt(name), !keep && isOverride(name):
				s.strip = append(s.strip, name)
			}
		}
	}
	return s
}

// token gives the one token of the request, or the reason why there is not exactly one.
func (s *sight) token() (string, token.Reason) {
	switch {
	case s.authorizations == 0 && s.accessTokens == 0:
		return "", token.ReasonNoToken
	case s.accessTokens == 0:
		return s.fromAuthorization()
	case s.authorizations+s.accessTokens > 1, strings.IndexByte(s.accessToken, ',') >= 0:
		s.bearer = true
		return "", token.ReasonManyTokens
	}
	return s.accessToken, ""
}

const bearerScheme = "bearer"

// fromAuthorization takes `Bearer TOKEN` apart (RFC 6750 section 2.1; the scheme in any case, RFC
// 9110 section 11.1): one space and nothing around it. Proxies join duplicates of the header by
// commas, which no token contains.
func (s *sight) fromAuthorization() (string, token.Reason) {
	value := s.authorization
	if s.authorizations > 1 ||
		(strings.IndexByte(value, ',') >= 0 && containsFold(value, bearerScheme)) {
		s.bearer = true
		return "", token.ReasonManyTokens
	}
	if len(value) <= len(bearerScheme)+1 || !equalFold(value[:len(bearerScheme)], bearerScheme) {
		return "", token.ReasonScheme
	}
	separator, credential := value[len(bearerScheme)], value[len(bearerScheme)+1:]
	s.bearer = separator == ' ' || separator == '\t'
	if separator != ' ' || strings.IndexByte(credential, ' ') >= 0 ||
		strings.IndexByte(credential, '\t') >= 0 {
		return "", token.ReasonScheme
	}
	return credential, ""
}

// equalFold compares with a lower-case ASCII word; case makes no difference.
func equalFold(s, word string) bool {
	if len(s) != len(word) {
		return false
	}
	for i := range len(s) {
		if lowerByte(s[i]) != word[i] {
			return false
		}
	}
	return true
}

func containsFold(s, word string) bool {
	for i := 0; i+len(word) <= len(s); i++ {
		if equalFold(s[i:i+len(word)], word) {
			return true
		}
	}
	return false
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
