package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// askTimeout is less than the least that containers give a probe.
const askTimeout = 2 * time.Second

// AskReady asks the admin port of a daemon on this machine, which listens on an address, whether it
// is ready. It returns nil if so, else what the daemon waits for, or why it could not be asked.
func AskReady(ctx context.Context, listen string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"http://"+reachable(listen)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	// A proxy that the environment names must not be asked for what is on this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		// What could be read of it is only for the message.
		body, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
		return fmt.Errorf("healthcheck: expected 200 of %s, got %d: %s", request.URL,
			response.StatusCode, body)
	}
	return nil
}

// reachable turns an address to listen on into one to connect to. Loopback of IPv4 is among all
// addresses, those of IPv6 too: Go listens for both, and a container may have no ::1.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen // Config.Validate refuses it
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
