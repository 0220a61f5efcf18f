// Package door is what a gate and the server that Envoy asks agree on: the server's settings, and
// what there is to call. The server itself, with gRPC, comes from whoever makes the gate, so that a
// gate inside Envoy, which nobody asks over gRPC, links nothing of it.
package door

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
)

// Options is what a Server needs beside its engine. Ready and Check.Instant are needed. What its
// Config says of keys wins over Check.
type Options struct {
	Ready func() error // nil while the gate may be asked
	Check check.Options
	TLS   *tls.Config // nil: no TLS; else of the protocol [Protocol]
}

// Protocol is what a connection within TLS has to be about (ALPN): HTTP/2.
const Protocol = "h2"

// Transport makes servers that Envoy asks, and what their engines marshal answers with.
type Transport interface {
	// Wire returns what an engine needs to marshal answers once. The engine of a Server must have
	// the Wire of its Config.
	Wire(c Config) authz.Wire
	// Server makes a server. engine must have been made with Wire(c).
	Server(engine *authz.Engine, c Config, o Options) (Server, error)
}

// Server answers Envoy.
type Server interface {
	// Run answers on l until ctx ends. It returns nil after that, and an error when it cannot go on.
	Run(ctx context.Context, l net.Listener) error
	// Drain takes no more connections and finishes the checks under way, until ctx ends; then it
	// breaks them off.
	Drain(ctx context.Context)
	// Checker returns what checks the requests, so that other doors of the gate count with it.
	Checker() *check.Checker
	// Panicked counts and logs a panic of the engine's that was recovered from.
	Panicked(what string, stack []byte)
}
