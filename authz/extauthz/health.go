package extauthz

import (
	"context"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// health is gRPC's health service (grpc.health.v1). It is SERVING exactly while ready returns nil.
type health struct {
	healthpb.UnimplementedHealthServer
	ready func() error
}

// Check answers for the server as a whole ("") and for its one service.
func (h health) Check(_ context.Context,
	r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if r.GetService() != "" && r.GetService() != serviceName {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	return &healthpb.HealthCheckResponse{Status: h.status()}, nil
}

// List answers for both names.
func (h health) List(context.Context,
	*healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	now := &healthpb.HealthCheckResponse{Status: h.status()}
	return &healthpb.HealthListResponse{
		Statuses: map[string]*healthpb.HealthCheckResponse{"": now, serviceName: now},
	}, nil
}

func (h health) status() healthpb.HealthCheckResponse_ServingStatus {
	if h.ready() != nil {
		return healthpb.HealthCheckResponse_NOT_SERVING
	}
	return healthpb.HealthCheckResponse_SERVING
}
