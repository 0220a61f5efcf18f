package extauthz

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/sallyport/sallyport/authz"
)

// serviceName and the descriptor are those of envoy/service/auth/v3/external_auth.proto; they are
// written out here because the generated ones tie requests to the generated types.
const serviceName = "envoy.service.auth.v3.Authorization"

var serviceDesc = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*service)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Check", Handler: handleCheck}},
	Metadata:    "envoy/service/auth/v3/external_auth.proto",
}

type service interface {
	check(context.Context, *checkRequest) *answer
}

// requests are used again, for their memory. A pool hands a processor what it had before, so that
// each processor has tallies of its own, or nearly.
var requests = sync.Pool{New: newRequest}

// made is how many requests have been made.
var made atomic.Uint32

func newRequest() any {
	r := new(checkRequest)
	r.Tally = int(made.Add(1))
	return r
}

// handleCheck answers one Check. Its error is nil whatever happens, as long as Envoy waits for the
// answer: an RPC that fails is for Envoy a gate that fails.
func handleCheck(srv any, ctx context.Context, receive func(any) error,
	_ grpc.UnaryServerInterceptor) (any, error) {
	r := requests.Get().(*checkRequest)
	defer func() {
		r.free()
		requests.Put(r)
	}()
	if err := receive(r); err != nil {
		// Envoy has given up: there is nobody to refuse, and nothing to count or record
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		r.fault(badWire) // more than one message, or a broken stream: gRPC has answered by itself
	}
	return srv.(service).check(ctx, r), nil
}

// check judges one request and accounts for it.
func (s *Server) check(ctx context.Context, r *checkRequest) (a *answer) {
	// Not recovered from, a panic would end the process; and an error is for Envoy a gate that fails,
	// which it may be set to let pass.
	defer func() {
		if value := recover(); value != nil {
			s.checker.Recovered(value)
			a = s.broken
		}
	}()
	d := s.checker.Check(ctx, &r.Request)
	if !d.Allow {
		return identified(s.made(d.Refused().Wire), d.ID, &refusedID)
	}
	// Behind a refusal, what belongs to an allowed answer would take its place.
	if a = s.allow(&d); a == s.broken {
		return identified(a, d.ID, &refusedID)
	}
	return identified(a, d.ID, &allowedID)
}

// allow returns the answer that was marshalled with the identity, and behind it what this request
// alone needs.
func (s *Server) allow(d *authz.Decision) *answer {
	a := s.made(d.Identity.Wire)
	switch lifetime := s.config.Streams.Lifetime(d); {
	case a == s.broken:
		return a
	case len(d.Strip) > 0, d.Changes != nil:
		return &answer{buffers: a.and(besides(d, lifetime))}
	case lifetime > 0:
		return a.within(lifetime)
	}
	return a
}

// made returns an answer that the engine has kept. If nobody made one, it is a refusal.
func (s *Server) made(wire any) *answer {
	if a, ok := wire.(*answer); ok && a != nil {
		return a
	}
	return s.broken
}
