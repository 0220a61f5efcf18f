package extauthz

import (
	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/extauthz/door"
)

type (
	// Config is the settings of a Server.
	Config = door.Config
	// Options is what a Server needs beside its engine and its Config.
	Options = door.Options
)

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return door.DefaultConfig() }

// GRPC is this package's server, for a gate that Envoy asks.
var GRPC door.Transport = transport{}

type transport struct{}

func (transport) Wire(c Config) authz.Wire { return NewWire(c) }

func (transport) Server(engine *authz.Engine, c Config, o Options) (door.Server, error) {
	s, err := New(engine, c, o)
	if err != nil {
		return nil, err // not a Server that is nil and does not look so
	}
	return s, nil
}
