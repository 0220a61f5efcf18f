package authz

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// IdentityPrefix is how each identity header begins.
const IdentityPrefix = "x-auth-"

// The headers that tell the upstream who is calling.
const (
	HeaderSubject = IdentityPrefix + "subject"  // sub
	HeaderIssuer  = IdentityPrefix + "issuer"   // iss: to whom the subject is known by that name
	HeaderRoles   = IdentityPrefix + "roles"    // joined by commas
	HeaderScope   = IdentityPrefix + "scope"    // joined by spaces
	HeaderSession = IdentityPrefix + "session"  // sid
	HeaderTokenID = IdentityPrefix + "token-id" // jti
)

var identityHeaders = [...]string{
	HeaderSubject, HeaderIssuer, HeaderRoles, HeaderScope, HeaderSession, HeaderTokenID,
}

// IdentityHeaders lists them.
func IdentityHeaders() []string { return slices.Clone(identityHeaders[:]) }

// Identity is who calls, and what the upstream is told of it. It is never changed once made.
type Identity struct {
	Claims *token.Claims     // nil: anybody
	Facts  *revocation.Facts // by which the token may be revoked; nil: anybody
	Set    []Header          // identity headers to be overwritten
	Remove []string          // identity headers to be removed, there being nothing to say
	Wire   any               // what the transport's Wire made of it

	// Named are all headers that the policy makes of claims, some of which are in Set and the others
	// in Remove: of these too, no other spelling may go further.
	Named    []string
	Client   []Header   // headers of the answer to the client
	Metadata []Metadata // what the proxy's other filters are told

	body token.Body // all claims, where they are kept
}

// Claim returns a claim of the token as JSON, by its name or by a path into nested claims. ok is
// false when the token has none, or when claims are not kept (Options.KeepClaims).
func (id *Identity) Claim(name string) (json string, ok bool) {
	v, ok := id.body.Root().Lookup(name)
	if !ok {
		return "", false
	}
	return asJSON(v), true
}

func newIdentity(c *token.Claims, facts *revocation.Facts, wire Wire) *Identity {
	id := &Identity{Claims: c, Facts: facts}
	if c == nil {
		id.Remove = IdentityHeaders()
	} else {
		// Each is set or removed: a header that the client sent never stays.
		id.Set = make([]Header, 0, len(identityHeaders))
		id.tell(HeaderSubject, encode(c.Subject))
		id.tell(HeaderIssuer, encode(c.Issuer))
		id.tell(HeaderRoles, join(c.Roles, ","))
		id.tell(HeaderScope, join(c.Scope, " "))
		id.tell(HeaderSession, encode(c.SessionID))
		id.tell(HeaderTokenID, encode(c.ID))
	}
	if wire != nil {
		id.Wire = wire.Allow(id)
	}
	return id
}

func (id *Identity) tell(name, value string) {
	if value == "" {
		id.Remove = append(id.Remove, name)
		return
	}
	id.Set = append(id.Set, Header{name, value})
}

func join(values []string, separator string) string {
	encoded := make([]string, len(values))
	for i, v := range values {
		encoded[i] = encode(v)
	}
	return strings.Join(encoded, separator)
}

// encode percent-encodes a value whole, all but RFC 3986's unreserved characters, when it has a
// separator of any identity header (comma, space), a control or non-ASCII character, or a percent
// sign: so that decoding every value gives it back.
func encode(value string) string {
	if !strings.ContainsFunc(value,
		func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ',' || r == '%' }) {
		return value
	}
	return percent(value)
}

// percent percent-encodes all but RFC 3986's unreserved characters.
func percent(value string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; isAlphanumeric(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// isMisspelt reports whether a header is a client's attempt at what gates alone say: a name that
// begins as the identity headers do and is none of them, or that a server might take for one of them
// although it is not; CGI, WSGI and their kin fold `-`, `_` and `.` (some of them every sign) into
// one. The true names need no stripping, being overwritten.
func isMisspelt(name string) bool {
	return hasIdentityPrefix(name) && !slices.ContainsFunc(identityHeaders[:],
		func(identity string) bool { return equalFold(name, identity) })
}

// hasIdentityPrefix reports whether a server might take the header for one of a gate's.
func hasIdentityPrefix(name string) bool {
	return mayBeIdentity(name) && folds(name[:len(IdentityPrefix)], IdentityPrefix)
}

// mayBeIdentity reports whether hasIdentityPrefix has to be asked. One letter tells of most headers,
// and of each header of each request that is: it is small enough to be inlined.
func mayBeIdentity(name string) bool {
	return len(name) > len(IdentityPrefix) && name[3]|0x20 == IdentityPrefix[3]
}

// folds reports whether name is identity when case and the choice of signs make no difference.
func folds(name, identity string) bool {
	if len(name) != len(identity) {
		return false
	}
	for i := range len(name) {
		// In the place of a hyphen a server may fold any sign.
		if identity[i] == '-' {
			if isAlphanumeric(name[i]) {
				return false
			}
		} else if lowerByte(name[i]) != identity[i] {
			return false
		}
	}
	return true
}

// overrides are headers by which many a framework is told to serve another method or path than that
// of the request line, which is the one that was judged.
var overrides = [...]string{
	"x-http-method-override",
	"x-http-method",
	"x-method-override",
	"x-original-url",
	"x-rewrite-url",
}

// OverrideHeaders lists them.
func OverrideHeaders() []string { return slices.Clone(overrides[:]) }

// isOverride reports whether a server might take the header for one of the overrides.
func isOverride(name string) bool {
	for _, override := range overrides {
		if folds(name, override) {
			return true
		}
	}
	return false
}

// nominatesIdentity reports whether a Connection header names an identity header, which asks the
// next proxy to drop it (RFC 9110 section 7.6.1).
func nominatesIdentity(connection string) bool {
	return nominates(connection, identityHeaders[:])
}

func nominates(connection string, names []string) bool {
	for rest, more := connection, true; more; {
		var option string
		option, rest, more = strings.Cut(rest, ",")
		option = strings.Trim(option, " \t")
		for _, name := range names {
			if folds(option, name) {
				return true
			}
		}
	}
	return false
}

// Misspellings lists every spelling of the identity headers with `-`, `_` and `.` in the place of
// their hyphens but the true ones: for transports whose proxy does not show the gate all headers of
// a request. With all fifteen signs that a name may have, there would be thousands: such names the
// proxy itself has to remove, or to show.
func Misspellings() []string {
	var all []string
	for _, name := range IdentityHeaders() {
		all = append(all, SpellingsOf(name)...)
	}
	return all
}

func spellings(name string) []string {
	first, rest, more := strings.Cut(name, "-")
	if !more {
		return []string{name}
	}
	var all []string
	for _, tail := range spellings(rest) {
		for _, sign := range []string{"-", "_", "."} {
			all = append(all, first+sign+tail)
		}
	}
	return all
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
