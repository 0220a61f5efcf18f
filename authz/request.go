package authz

import (
	"iter"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/policy"
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
	// Policy is the one that the proxy's route names; "" for the policy of those that name none.
	Policy string
	// Peer is whose certificate the proxy has checked on the connection that the request came by, as
	// spiffe://example.com/checkout; "" without one.
	Peer string
	// Remembered has a token that was not verified before left unverified: Decision.Unverified. It is
	// for callers that others wait for, who ask again where nobody does.
	Remembered bool
}

// shown goes over the headers that conditions may read: not those that say who calls or what is made
// of claims, which are the client's own word here, nor those that carry tokens.
func (r *Request) shown(rs *rules) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, h := range r.Headers {
			secret := equalFold(h.Name, "authorization") || equalFold(h.Name, "x-access-token") ||
				rs.sources.hides(h.Name)
			if !secret && !hasIdentityPrefix(h.Name) && !rs.claims.hides(h.Name) && !yield(h.Name, h.Value) {
				return
			}
		}
	}
}

// HasHeader reports whether a header of that name, in any case, is among them.
func HasHeader(headers []Header, name string) bool {
	return slices.ContainsFunc(headers, func(h Header) bool { return strings.EqualFold(h.Name, name) })
}

// header implements policy.Header.
func (r *Request) header(name string) (value string, ok bool) {
	var joined strings.Builder
	for i := range r.Headers {
		switch h := &r.Headers[i]; {
		case !equalFold(h.Name, name):
		case !ok:
			value, ok = h.Value, true
		default:
			if joined.Len() == 0 {
				joined.WriteString(value)
			}
			joined.WriteByte(',')
			joined.WriteString(h.Value)
		}
	}
	if joined.Len() > 0 {
		value = joined.String()
	}
	return value, ok
}

// headerOnce is header for a policy that asks again for each of its routes: what a name has is
// gathered once.
func (r *Request) headerOnce() policy.Header {
	type answer struct {
		value string
		ok    bool
	}
	gathered := map[string]answer{}
	return func(name string) (string, bool) {
		a, again := gathered[name]
		if !again {
			a.value, a.ok = r.header(name)
			gathered[name] = a
		}
		return a.value, a.ok
	}
}

// headers is what a request's headers say of who is calling, and which of them are to be removed.
type headers struct {
	authorization, accessToken   string
	authorizations, accessTokens int
	// of the lines behind the first
	furtherAuthorizations []string

	bearer bool // Authorization does carry a bearer token, well formed or not
	// Connection names an identity header, so that a proxy on the way would drop it
	nominated bool
	strip     []string
}

// readHeaders goes once over all headers. keep leaves the overrides alone.
func readHeaders(all []Header, keep bool) (h headers) {
	for i := range all {
		name, value := all[i].Name, all[i].Value
		// Few names have one of these lengths.
		switch len(name) {
		case len("connection"):
			if equalFold(name, "connection") && nominatesIdentity(value) {
				h.nominated = true
			}
		case len("authorization"), len("x-access-token"),
			len("x-method-override"), len("x-http-method-override"):
			// The overrides, too, have these lengths.
			switch {
			case equalFold(name, "authorization"):
				h.addAuthorization(value)
			case lowerByte(name[0]) != 'x':
			case equalFold(name, "x-access-token"):
				h.accessToken, h.accessTokens = value, h.accessTokens+1
			case isMisspelt(name), !keep && isOverride(name):
				h.strip = append(h.strip, name)
			}
		default:
			if mayBeIdentity(name) && isMisspelt(name) {
				h.strip = append(h.strip, name)
			}
		}
	}
	return h
}

func (h *headers) addAuthorization(value string) {
	if h.authorizations++; h.authorizations == 1 {
		h.authorization = value
	} else {
		h.furtherAuthorizations = append(h.furtherAuthorizations, value)
	}
}

// token returns the one token of the request, or the reason why there is not exactly one.
func (h *headers) token() (string, token.Reason) {
	switch {
	case h.authorizations == 0 && h.accessTokens == 0:
		return "", token.ReasonNoToken
	case h.accessTokens == 0:
		return h.fromAuthorization(bearerScheme)
	case h.authorizations+h.accessTokens > 1, strings.IndexByte(h.accessToken, ',') >= 0:
		h.bearer = true
		return "", token.ReasonManyTokens
	}
	return h.accessToken, ""
}

const bearerScheme = "bearer"

// fromAuthorization takes `Bearer TOKEN` apart (RFC 6750 section 2.1; the scheme, given in small
// letters, in any case, RFC 9110 section 11.1): one space and nothing around it. Proxies join
// duplicates of the header by commas, which no token contains: lines and what is joined of them
// have one answer, and the scheme among other credentials is many tokens in both.
func (h *headers) fromAuthorization(scheme string) (string, token.Reason) {
	value := h.authorization
	joined := h.authorizations > 1 || strings.IndexByte(value, ',') >= 0
	if joined && (containsFold(value, scheme) || slices.ContainsFunc(h.furtherAuthorizations,
		func(line string) bool { return containsFold(line, scheme) })) {
		h.bearer = true
		return "", token.ReasonManyTokens
	}
	if len(value) <= len(scheme)+1 || !equalFold(value[:len(scheme)], scheme) {
		return "", token.ReasonScheme
	}
	// A tab is no separator to RFC 9110, but whoever sends one means a bearer token.
	separator, credential := value[len(scheme)], value[len(scheme)+1:]
	h.bearer = separator == ' ' || separator == '\t'
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
