package extauthz

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport/sallyport/authz"
)

// encoded writes a CheckRequest as Envoy does, byte by byte, so that it may hold what generated
// types refuse to write.
func encoded(r authz.Request, raw bool) []byte {
	var http []byte
	http = appendBytes(http, fieldID, "1234")
	http = appendBytes(http, fieldMethod, r.Method)
	for _, h := range append([]authz.Header{
		{Name: ":path", Value: r.Path}, {Name: ":method", Value: r.Method},
		{Name: ":authority", Value: r.Host},
	}, joined(r.Headers)...) {
		if !raw {
			http = appendBytes(http, fieldHeaders, string(entry(h.Name, h.Value, fieldValue)))
		}
	}
	http = appendBytes(http, fieldPath, r.Path)
	http = appendBytes(http, fieldHost, r.Host)
	http = appendBytes(http, 6, "http")
	http = protowire.AppendVarint(protowire.AppendTag(http, 9, protowire.VarintType), 17)
	http = appendBytes(http, 10, "HTTP/1.1")
	if raw {
		var headers []byte
		for _, h := range append([]authz.Header{{Name: ":path", Value: r.Path}}, r.Headers...) {
			headers = appendBytes(headers, fieldMapHeaders, string(entry(h.Name, h.Value, fieldRawValue)))
		}
		http = appendBytes(http, fieldHeaderMap, string(headers))
	}
	return enclosedFrom(r, http)
}

// joined are headers as Envoy has them in its map: one of each name.
func joined(lines []authz.Header) (all []authz.Header) {
	for _, h := range lines {
		same := func(o authz.Header) bool { return strings.EqualFold(o.Name, h.Name) }
		i := slices.IndexFunc(all, same)
		switch {
		case i < 0:
			all = append(all, h)
		case h.Name == "cookie":
			all[i].Value += "; " + h.Value
		default:
			all[i].Value += "," + h.Value
		}
	}
	return all
}

// enclosed puts an HttpRequest into a CheckRequest from 192.0.2.1.
func enclosed(http []byte) []byte { return enclosedFrom(authz.Request{}, http) }

// enclosedFrom is enclosed with the principal of the certificate that the connection had, and the
// policy that the route names.
func enclosedFrom(r authz.Request, http []byte) []byte {
	socket := appendBytes(nil, fieldAddress, "192.0.2.1")
	peer := appendBytes(nil, fieldPeerAddress,
		string(appendBytes(nil, fieldSocketAddress, string(socket))))
	if r.Peer != "" {
		peer = appendBytes(peer, fieldPrincipal, r.Peer)
	}
	attributes := appendBytes(nil, fieldSource, string(peer))
	attributes = appendBytes(attributes, fieldRequest,
		string(appendBytes(nil, fieldHTTP, string(http))))
	if r.Policy != "" {
		attributes = appendBytes(attributes, fieldExtensions,
			string(entry(policyKey, r.Policy, fieldValue)))
	}
	return appendBytes(nil, fieldAttributes, string(attributes))
}

func entry(key, value string, field protowire.Number) []byte {
	return appendBytes(appendBytes(nil, fieldKey, key), field, value)
}

func appendBytes(b []byte, field protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), value)
}
