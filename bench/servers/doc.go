// Package servers has what the gate is measured beside, each a program of its own: ext_authz
// servers as one writes them with the usual libraries, and what they share.
package servers

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// Serve answers checks on every address, host:port or unix:/path, until the process is told to
// stop.
func Serve(addresses []string, checks authv3.AuthorizationServer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := grpc.NewServer() // with no option: as it comes
	authv3.RegisterAuthorizationServer(server, checks)
	healthv1.RegisterHealthServer(server, health.NewServer())
	served := make(chan error, len(addresses))
	for _, address := range addresses {
		l, err := listen(address)
		if err != nil {
			return err
		}
		go func() { served <- server.Serve(l) }()
	}
	select {
	case err := <-served:
		return fmt.Errorf("servers: %w", err)
	case <-ctx.Done():
		server.Stop()
		return nil
	}
}

func listen(address string) (net.Listener, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("servers: %w", err)
	}
	return l, nil
}

// Allow is the answer that lets a request pass, with headers for the upstream as name and value in
// turn.
func Allow(headers ...string) *authv3.CheckResponse {
	ok := new(authv3.OkHttpResponse)
	for i := 0; i+1 < len(headers); i += 2 {
		ok.Headers = append(ok.Headers, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: headers[i], Value: headers[i+1]},
		})
	}
	return &authv3.CheckResponse{
		Status: &status.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
	}
}

// Deny is the answer that refuses a request with 401.
func Deny() *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(codes.Unauthenticated)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized},
		}},
	}
}

// Bearer returns the token of a check's Authorization header, "" when there is none.
func Bearer(r *authv3.CheckRequest) string {
	token, ok := strings.CutPrefix(
		r.GetAttributes().GetRequest().GetHttp().GetHeaders()["authorization"], "Bearer ")
	if !ok {
		return ""
	}
	return token
}
