package extauthz

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/unary"
)

// serviceName is that of envoy/service/auth/v3/external_auth.proto.
const serviceName = "envoy.service.auth.v3.Authorization"

// requests are used again, for their memory. A pool hands a processor what it had before, so that
// each processor has tallies of its own, or nearly.
var requests = sync.Pool{New: func() any { return newRequest() }}

// made is how many requests have been made.
var made atomic.Uint32

func newRequest() *checkRequest {
	r := new(checkRequest)
	r.Tally = int(made.Add(1))
	return r
}

// method answers the checks of one connection. Its answers are no errors whatever happens, as long as
// Envoy waits for one: an RPC that fails is for Envoy a gate that fails.
type method struct {
	server  *Server
	request *checkRequest // for Quick
}

func (s *Server) method() unary.Method { return &method{server: s, request: newRequest()} }

// Quick implements unary.Method: it answers all but checks of tokens that are to be verified.
func (m *method) Quick(message, to []byte) (_ []byte, ok bool) {
	r := m.request
	defer r.reset()
	return m.server.answer(to, func() (authz.Decision, bool) {
		r.read(message)
		return m.server.checker.Quick(&r.Request)
	})
}

// Work implements unary.Method: it answers all but checks of tokens whose key is to be fetched.
func (m *method) Work(message, to []byte) (_ []byte, ok bool) {
	r := borrow()
	defer giveBack(r)
	return m.server.answer(to, func() (authz.Decision, bool) {
		r.read(message)
		return m.server.checker.Try(&r.Request)
	})
}

// Wait implements unary.Method.
func (m *method) Wait(ctx context.Context, message, to []byte) ([]byte, error) {
	// Envoy has given up: there is nobody to refuse, and nothing to count or record
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := borrow()
	defer giveBack(r)
	to, _ = m.server.answer(to, func() (authz.Decision, bool) {
		r.read(message)
		return m.server.checker.Check(ctx, &r.Request), true
	})
	return to, nil
}

func borrow() *checkRequest { return requests.Get().(*checkRequest) }

func giveBack(r *checkRequest) {
	r.reset()
	requests.Put(r)
}

// answer appends the answer to what is decided, if it is.
func (s *Server) answer(to []byte, decide func() (authz.Decision, bool)) (all []byte, decided bool) {
	// Not recovered from, a panic would end the connection; and an error is for Envoy a gate that
	// fails, which it may be set to let pass.
	defer func() {
		if value := recover(); value != nil {
			s.checker.Recovered(value)
			all, decided = s.broken.append(to), true
		}
	}()
	d, decided := decide()
	if !decided {
		return to, false
	}
	return s.append(to, &d), true
}

// append appends the answer that was marshalled with the identity or the refusal, and behind it what
// this request alone needs.
func (s *Server) append(to []byte, d *authz.Decision) []byte {
	if !d.Allow {
		return refusedID.append(s.made(d.Refused().Wire).append(to), d.ID)
	}
	a := s.made(d.Identity.Wire)
	to = a.append(to)
	switch lifetime := s.config.Streams.Lifetime(d); {
	case a == s.broken:
		// Behind a refusal, what belongs to an allowed answer would take its place.
		return refusedID.append(to, d.ID)
	case len(d.Strip) > 0, d.Changes != nil:
		to = append(to, besides(d, lifetime)...)
	case lifetime > 0:
		to = append(to, a.within(lifetime)...)
	}
	return allowedID.append(to, d.ID)
}

// made returns an answer that the engine has kept. If nobody made one, it is a refusal.
func (s *Server) made(wire any) *answer {
	// One that is empty would let the request through.
	if a, ok := wire.(*answer); ok && a != nil && len(a.message) > 0 {
		return a
	}
	return s.broken
}
