package extauthz

import (
	"context"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/token"
)

// serviceName and the descriptor are those of envoy/service/auth/v3/external_auth.proto; they are
// written out here because the generated ones tie requests to the generated types.
const serviceName = "envoy.service.auth.v3.Authorization"

var serviceDesc = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*checker)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Check", Handler: handleCheck}},
	Metadata:    "envoy/service/auth/v3/external_auth.proto",
}

type checker interface {
	check(context.Context, *checkRequest) *answer
}

// requests are used again, for their memory. A pool hands a processor what it had before, so that
// each processor has tallies of its own, or nearly.
var requests = sync.Pool{New: func() any { return &checkRequest{tally: int(made.Add(1))} }}

// made is how many requests have been made.
var made atomic.Uint32

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
	return srv.(checker).check(ctx, r), nil
}

// check judges one request and accounts for it.
func (s *Server) check(ctx context.Context, r *checkRequest) (a *answer) {
	// Not recovered from, a panic would end the process; and an error is for Envoy a gate that fails,
	// which it may be set to let pass.
	defer func() {
		if value := recover(); value != nil {
			s.metrics.checks.refused(r.tally, token.ReasonInternal)
			s.Panicked(authz.PanicText(value), debug.Stack())
			a = s.broken
		}
	}()
	r.At = s.options.Instant()
	begin := r.At.Mono // decide may have to read the time again
	d := s.decide(ctx, r)
	if d.Allow {
		a = s.allow(&d)
	} else {
		a = s.made(d.Refused().Wire)
		s.audit.refused(r, &d)
	}
	s.metrics.checks.decided(r.tally, &d, s.options.Instant().Mono-begin)
	return a
}

// decide asks the engine; when a key is missing, it has it fetched once and asks again.
func (s *Server) decide(ctx context.Context, r *checkRequest) authz.Decision {
	if r.malformed != "" {
		return authz.Decision{
			Refusal: s.engine.Refusal(token.ReasonBadRequest), Problem: string(r.malformed),
		}
	}
	// Before all else: what Envoy leaves to a client would reach the upstream on public routes, too.
	if s.byEnvoy && r.mark != stripped {
		return s.notStripped(notMarked)
	}
	d := s.engine.Decide(&r.Request)
	if d.Missing.Needed() && s.await(ctx, d.Missing) {
		r.At = s.options.Instant() // the wait has taken time, in which the token may have expired
		d = s.engine.Decide(&r.Request)
	}
	// An Envoy that passes one on passes on others, which it may not show.
	if s.byEnvoy && d.Allow && len(d.Strip) > 0 {
		return s.notStripped(notStripped)
	}
	return d
}

// notStripped refuses a request from which Envoy should have removed headers and has not, and says
// so in the log now and then: all requests are refused until somebody mends it.
func (s *Server) notStripped(p problem) authz.Decision {
	if s.unstripped.Allow() {
		s.options.Logger.Warn(
			"requests are refused: ext_authz.strip is envoy, and Envoy does not remove "+
				"identity headers; give it what deploy/config/envoy.yaml has, or write `strip: all`",
			"problem",
			string(p),
		)
	}
	return authz.Decision{Refusal: s.engine.Refusal(token.ReasonNotStripped), Problem: string(p)}
}

// await has a missing key fetched, and reports whether it is there now. Only so many checks may
// wait at a time, each within its budget; the others have it fetched for those who come later, and
// are decided without it: whoever takes all places with keys of slow issuers must not keep another
// issuer's new key out.
func (s *Server) await(ctx context.Context, missing authz.Missing) bool {
	if s.options.Keys == nil {
		return false
	}
	wait := s.config.KeyWait
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		s.metrics.notAwaited.Inc()
		wait = 0 // Await begins the fetch all the same
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return s.options.Keys.Await(ctx, strings.Clone(missing.Issuer), strings.Clone(missing.KeyID))
}

// allow returns the answer that was marshalled with the identity, and behind it what this request
// alone needs.
func (s *Server) allow(d *authz.Decision) *answer {
	a := s.made(d.Identity.Wire)
	lifetime := s.config.Streams.lifetime(d)
	switch {
	case a == s.broken:
		return a
	case len(d.Strip) > 0:
		return &answer{buffers: a.and(besides(d.Strip, lifetime))}
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

// headerStreamDuration limits the life of the upstream stream; Envoy takes it from an allowed
// request and removes it. 0 would mean no limit.
const headerStreamDuration = "x-envoy-upstream-stream-duration-ms"

// lifetime returns for how long an allowed request may last; 0 if that is not limited.
//
// Every request that passes by a token has this limit, whatever it says of itself: whether its
// answer is a stream is known to the upstream alone, and a client that could choose would outlive
// its token by asking for */*. An answer that is over before costs Envoy a timer. It is whole
// seconds, so that a token's requests of one second have one answer.
func (c StreamConfig) lifetime(d *authz.Decision) time.Duration {
	if !c.EndAtExpiry || !d.EndsWithToken {
		return 0
	}
	return max(d.Remaining.Truncate(time.Second), c.Least)
}
