package extauthz

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
)

// checkRequest is what a decision needs of an envoy.service.auth.v3.CheckRequest. Its strings are
// views of the message.
type checkRequest struct {
	check.Request
	source []byte // the Peer that sent the request, not read yet

	has                     fieldSet
	path, method, authority string // the pseudo-headers, among the headers
}

// What may be wrong with a message. It is all that a refusal tells of it.
const (
	badWire      = "the message is not well-formed"
	badTwice     = "a field that may stand once stands twice"
	badNoRequest = "the message has no HTTP request"
	badValues    = "a header has both a value and a raw value"
	badMany      = "the request has more than 1000 headers"
	badPolicy    = "the route's context_extensions have a policy without a name"
	badPseudo    = "a pseudo-header differs from the request"
)

// Field numbers in envoy/service/auth/v3 and envoy/config/core/v3.
const (
	fieldAttributes protowire.Number = 1 // of CheckRequest

	fieldSource     protowire.Number = 1 // of AttributeContext
	fieldRequest    protowire.Number = 4
	fieldExtensions protowire.Number = 10

	fieldPrincipal protowire.Number = 4 // of AttributeContext.Peer

	fieldHTTP protowire.Number = 2 // of AttributeContext.Request

	fieldID        protowire.Number = 1 // of AttributeContext.HttpRequest
	fieldMethod    protowire.Number = 2
	fieldHeaders   protowire.Number = 3
	fieldPath      protowire.Number = 4
	fieldHost      protowire.Number = 5
	fieldHeaderMap protowire.Number = 13

	fieldMapHeaders protowire.Number = 1 // of HeaderMap

	fieldKey      protowire.Number = 1 // of HeaderValue, and of an entry of the map headers
	fieldValue    protowire.Number = 2
	fieldRawValue protowire.Number = 3 // of HeaderValue alone
)

// fieldSet is which of the fields that may stand once a message has had.
type fieldSet uint16

const (
	hasAttributes fieldSet = 1 << iota
	hasSource
	hasRequest
	hasHTTP
	hasID
	hasMethod
	hasPath
	hasHost
	hasHeaderMap
	hasPseudoPath
	hasPseudoMethod
	hasPseudoAuthority
	hasMark
	hasPrincipal
	hasPolicy
)

// policyKey is the entry of a route's context_extensions that names a policy.
const policyKey = "policy"

// reset empties the request for the next message, keeping the memory for headers and where it is
// counted.
func (r *checkRequest) reset() {
	clear(r.Headers)
	headers, tally := r.Headers[:0], r.Tally
	*r = checkRequest{}
	r.Headers, r.Tally = headers, tally
}

// read walks a message. What is wrong with it is noted in Malformed, and the request is then to be
// refused.
func (r *checkRequest) read(message []byte) {
	r.Source = r
	f := fields{rest: message}
	for f.next() {
		if f.has(fieldAttributes) && r.first(hasAttributes) {
			r.readAttributes(f.value)
		}
	}
	r.end(&f)
	if r.has&hasHTTP == 0 {
		r.fault(badNoRequest)
	}
	r.comparePseudo()
}

func (r *checkRequest) readAttributes(message []byte) {
	f := fields{rest: message}
	for f.next() {
		switch {
		case f.has(fieldSource) && r.first(hasSource):
			r.source = f.value
			r.readSource(f.value)
		case f.has(fieldRequest) && r.first(hasRequest):
			r.readRequest(f.value)
		case f.has(fieldExtensions):
			r.readExtension(f.value)
		}
	}
	r.end(&f)
}

// readExtension takes the policy's name out of an entry of context_extensions. One without a name is
// a fault: it is not the policy of those that name none.
func (r *checkRequest) readExtension(message []byte) {
	key, value, _ := r.readEntry(message, false)
	if view(key) != policyKey {
		return
	}
	if r.take(hasPolicy, &r.Policy, value); r.Policy == "" {
		r.fault(badPolicy)
	}
}

// readSource takes the principal out of a Peer: what Envoy has of the certificate of the connection.
func (r *checkRequest) readSource(message []byte) {
	f := fields{rest: message}
	for f.next() {
		if f.has(fieldPrincipal) {
			r.take(hasPrincipal, &r.Peer, f.value)
		}
	}
	r.end(&f)
}

func (r *checkRequest) readRequest(message []byte) {
	f := fields{rest: message}
	for f.next() {
		if f.has(fieldHTTP) && r.first(hasHTTP) {
			r.readHTTP(f.value)
		}
	}
	r.end(&f)
}

func (r *checkRequest) readHTTP(message []byte) {
	f := fields{rest: message}
	for f.next() {
		if f.value == nil { // a number, of which none is of interest
			continue
		}
		switch f.number {
		case fieldID:
			r.take(hasID, &r.ID, f.value)
		case fieldMethod:
			r.take(hasMethod, &r.Method, f.value)
		case fieldPath:
			r.take(hasPath, &r.Path, f.value)
		case fieldHost:
			r.take(hasHost, &r.Host, f.value)
		case fieldHeaders:
			r.readHeader(f.value, false)
		case fieldHeaderMap:
			if r.first(hasHeaderMap) {
				r.readHeaderMap(f.value)
			}
		}
	}
	r.end(&f)
}

func (r *checkRequest) readHeaderMap(message []byte) {
	f := fields{rest: message}
	for f.next() {
		if f.has(fieldMapHeaders) {
			r.readHeader(f.value, true)
		}
	}
	r.end(&f)
}

// readHeader takes one header: an entry of the map `headers`, or a HeaderValue, which has its value
// as text or raw.
func (r *checkRequest) readHeader(message []byte, mayBeRaw bool) {
	key, value, raw := r.readEntry(message, mayBeRaw)
	// Envoy fills in one of them; which one another reader would take is not known.
	if len(value) > 0 && len(raw) > 0 {
		r.fault(badValues)
	}
	if len(raw) > 0 {
		value = raw
	}
	r.addHeader(view(key), view(value))
}

// readEntry takes an entry of a map of texts apart, or a HeaderValue.
func (r *checkRequest) readEntry(message []byte, mayBeRaw bool) (key, value, raw []byte) {
	f := fields{rest: message}
	for f.next() {
		switch {
		case f.has(fieldKey):
			r.takeBytes(&key, f.value)
		case f.has(fieldValue):
			r.takeBytes(&value, f.value)
		case mayBeRaw && f.has(fieldRawValue):
			r.takeBytes(&raw, f.value)
		}
	}
	r.end(&f)
	return key, value, raw
}

func (r *checkRequest) addHeader(name, value string) {
	switch {
	case name == "":
	case name[0] == ':': // no header of the client's
		r.takePseudo(name, value)
	case name == check.HeaderStripped:
		r.takeString(hasMark, &r.Mark, value)
	case len(r.Headers) == check.MaxHeaders:
		r.fault(badMany)
	default:
		r.Headers = append(r.Headers, authz.Header{Name: name, Value: value})
	}
}

func (r *checkRequest) takePseudo(name, value string) {
	switch name {
	case ":path":
		r.takeString(hasPseudoPath, &r.path, value)
	case ":method":
		r.takeString(hasPseudoMethod, &r.method, value)
	case ":authority":
		r.takeString(hasPseudoAuthority, &r.authority, value)
	}
}

// comparePseudo refuses a message whose headers name another path, method or host than the request
// that is judged.
func (r *checkRequest) comparePseudo() {
	if (r.has&hasPseudoPath != 0 && r.path != r.Path) ||
		(r.has&hasPseudoMethod != 0 && r.method != r.Method) ||
		(r.has&hasPseudoAuthority != 0 && r.authority != r.Host) {
		r.fault(badPseudo)
	}
}

// first notes a field, and reports whether it is the first of its kind. Protobuf merges two, or
// takes the last; nobody honest sends two.
func (r *checkRequest) first(s fieldSet) bool {
	if r.has&s != 0 {
		r.fault(badTwice)
		return false
	}
	r.has |= s
	return true
}

func (r *checkRequest) take(s fieldSet, to *string, value []byte) {
	r.takeString(s, to, view(value))
}

func (r *checkRequest) takeString(s fieldSet, to *string, value string) {
	if r.first(s) {
		*to = value
	}
}

func (r *checkRequest) takeBytes(to *[]byte, value []byte) {
	if *to != nil {
		r.fault(badTwice)
	}
	*to = value
}

func (r *checkRequest) fault(problem string) {
	if r.Malformed == "" {
		r.Malformed = problem
	}
}

func (r *checkRequest) end(f *fields) {
	if f.malformed {
		r.fault(badWire)
	}
}

// Address implements check.Source.
func (r *checkRequest) Address() string { return address(r.source) }

// address returns the IP address from which Envoy has a request, "" when there is none.
func address(peer []byte) string {
	b := peer
	for _, number := range []protowire.Number{fieldPeerAddress, fieldSocketAddress, fieldAddress} {
		b = content(b, number)
	}
	return string(b)
}

// content returns the content of the first field of that number.
func content(message []byte, number protowire.Number) []byte {
	for f := (fields{rest: message}); f.next(); {
		if f.has(number) {
			return f.value
		}
	}
	return nil
}

// Field numbers in envoy/config/core/v3.
const (
	fieldPeerAddress   protowire.Number = 1 // of AttributeContext.Peer
	fieldSocketAddress protowire.Number = 1 // of Address
	fieldAddress       protowire.Number = 2 // of SocketAddress
)
