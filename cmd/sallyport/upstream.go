package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/mesh"
)

// newUpstream is the small upstream of docker-compose.yaml and k8s/: it stands for a service of the
// user's own.
func newUpstream() *cobra.Command {
	var listen, check string
	cmd := &cobra.Command{
		Use:    "upstream",
		Short:  "Answer every request with what was received, as JSON, until SIGTERM",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check != "" {
				return checkUpstream(cmd.Context(), check)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("upstream: %w", err)
			}
			return serveUpstream(ctx, l)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address to serve on")
	cmd.Flags().StringVar(&check, "check", "",
		"serve nothing, and ask the upstream at this address whether it answers")
	return cmd
}

// upstreamDrain is how long requests under way may take once the upstream is asked to stop.
const upstreamDrain = 5 * time.Second

// serveUpstream serves on l until ctx ends, and then finishes what is under way.
func serveUpstream(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: mesh.Echo, Protocols: mesh.UpstreamProtocols(),
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
	}
	drained := make(chan error, 1)
	// Serve returns as soon as Shutdown begins; the process must not end before what is under way.
	go func() {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), upstreamDrain)
		defer cancel()
		drained <- server.Shutdown(ctx)
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("upstream: %w", err)
	}
	return <-drained
}

// checkUpstream is nil when the upstream at that address answers 200 within two seconds.
func checkUpstream(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("upstream: expected 200 of %s, got %d", address, response.StatusCode)
	}
	return nil
}
