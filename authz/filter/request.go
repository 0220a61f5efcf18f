package filter

import (
	"strings"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
)

// found is what a request's headers say beside what is judged.
type found uint8

const (
	foundGRPC     found = 1 << iota // a gRPC request
	foundUpgrade                    // asks for a websocket
	foundIdentity                   // has a header of ours: its sender says who it is
	foundMark                       // has Envoy's word that it has removed such headers
	foundDecision                   // names a decision, which is for a gate to do
)

// What may be wrong with a request. It is all that a refusal tells of it.
const (
	badPseudo = "the request lacks a pseudo-header, or has one twice"
	badMany   = "the request has more than 1000 headers"
)

// read takes what is judged out of a request's headers. It keeps views of them.
func read(r *check.Request, headers []authz.Header) (f found) {
	r.Headers = headers
	if len(headers) > check.MaxHeaders {
		r.Malformed = badMany
	}
	methods, paths, hosts := 0, 0, 0
	for i := range headers {
		name, value := headers[i].Name, headers[i].Value
		switch {
		case name == "":
		case name[0] == ':':
			switch name {
			case ":method":
				r.Method, methods = value, methods+1
			case ":path":
				r.Path, paths = value, paths+1
			case ":authority":
				r.Host, hosts = value, hosts+1
			}
		case name == "content-type":
			if isGRPC(value) {
				f |= foundGRPC
			}
		case name == "upgrade":
			if strings.EqualFold(value, "websocket") {
				f |= foundUpgrade
			}
		case name == check.HeaderStripped:
			f |= foundMark
		case name == authz.HeaderDecision:
			f |= foundDecision
		case len(name) > len(authz.IdentityPrefix) &&
			strings.EqualFold(name[:len(authz.IdentityPrefix)], authz.IdentityPrefix):
			f |= foundIdentity
		}
	}
	// Of two, Envoy may act on the other. A CONNECT has no path, and falls under no route.
	if methods != 1 || paths > 1 || hosts > 1 {
		r.Malformed = badPseudo
	}
	return f
}

// isGRPC reports whether that is the content type of gRPC over HTTP/2, not of gRPC-Web.
func isGRPC(contentType string) bool {
	const grpc = "application/grpc"
	rest, ok := strings.CutPrefix(contentType, grpc)
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}
