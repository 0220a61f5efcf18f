package extauthz

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport/sallyport/internal/unary"
)

// health is gRPC's health service (grpc.health.v1). It is SERVING exactly while ready returns nil.
type health struct {
	ready  func() error
	answer func(h health, request, to []byte) ([]byte, error)
}

// The values of HealthCheckResponse.ServingStatus.
const (
	healthServing    = 1
	healthNotServing = 2
)

// Field numbers in grpc/health/v1/health.proto.
const (
	fieldService       protowire.Number = 1 // of HealthCheckRequest
	fieldHealthStatus  protowire.Number = 1 // of HealthCheckResponse
	fieldHealthEntries protowire.Number = 1 // of HealthListResponse, a map
)

var (
	errNoService = &unary.Error{Code: codes.NotFound, Text: "unknown service"}
	errMalformed = &unary.Error{Code: codes.Internal, Text: "the message is not well-formed"}
)

// Quick implements unary.Method. A gate that is busy is asked for its health all the same, and by
// that Envoy knows that it is there.
func (h health) Quick(request, to []byte) ([]byte, bool) {
	answer, err := h.answer(h, request, to)
	return answer, err == nil
}

// Work implements unary.Method.
func (health) Work(_, to []byte) ([]byte, bool) { return to, false }

// Wait implements unary.Method.
func (h health) Wait(_ context.Context, request, to []byte) ([]byte, error) {
	return h.answer(h, request, to)
}

// check answers for the server as a whole ("") and for its one service.
func (h health) check(request, to []byte) ([]byte, error) {
	f, name := fields{rest: request}, ""
	for f.next() {
		if f.has(fieldService) {
			name = string(f.value)
		}
	}
	switch {
	case f.malformed:
		return nil, errMalformed
	case name != "" && name != serviceName:
		return nil, errNoService
	}
	return append(to, h.status()...), nil
}

// list answers for both names.
func (h health) list(_, to []byte) ([]byte, error) {
	now := h.status()
	for _, name := range []string{"", serviceName} {
		to = appendEntry(to, fieldHealthEntries, name, now)
	}
	return to, nil
}

// status marshals a HealthCheckResponse.
func (h health) status() []byte {
	status := uint64(healthServing)
	if h.ready() != nil {
		status = healthNotServing
	}
	return protowire.AppendVarint(
		protowire.AppendTag(nil, fieldHealthStatus, protowire.VarintType), status)
}
