package extauthz

import "google.golang.org/protobuf/encoding/protowire"

// Field numbers in envoy/config/core/v3.
const (
	fieldPeerAddress   protowire.Number = 1 // of AttributeContext.Peer
	fieldSocketAddress protowire.Number = 1 // of Address
	fieldAddress       protowire.Number = 2 // of SocketAddress
)

// address gives the IP address from which Envoy has a request, "" when there is none.
func address(peer []byte) string {
	b := peer
	for _, number := range []protowire.Number{fieldPeerAddress, fieldSocketAddress, fieldAddress} {
		b = content(b, number)
	}
	return string(b)
}

// content gives the first field of that number.
func content(message []byte, number protowire.Number) []byte {
	for f := (fields{rest: message}); f.next(); {
		if f.has(number) {
			return f.value
		}
	}
	return nil
}
