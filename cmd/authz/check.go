package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/authz/extauthz"
	"github.com/sallyport/sallyport/internal/keyset"
)

func checkCommand(out io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration, without connecting to anything",
	}
	bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, from, err := configured(cmd)
		if err != nil {
			return err
		}
		notes, err := check(cmd.Context(), c, from)
		if err != nil {
			return err
		}
		for _, note := range notes {
			if _, err := fmt.Fprintln(out, note); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintf(out, "ok: gate %s trusts %d issuers and has %d routes\n", c.Name,
			len(c.Issuers), len(c.Policy.Routes))
		return err
	}
	return cmd
}

// check puts the gate together as serve does, starts nothing and writes nothing, and returns what
// serve would have met, and what would keep the gate from being ready; besides, what the policy's
// author may not have meant.
func check(ctx context.Context, c *Config, from source) (notes []string, err error) {
	errs := []error{
		keyset.CheckCacheDir(string(c.KeyCacheDir)),
		c.Revocation.Snapshot.Check(),
		extauthz.CheckSocket(c.Listen),
	}
	still := *c
	still.KeyCacheDir, still.Revocation.Snapshot.File = "", "" // whose folders a gate makes and tidies
	g, err := newGate(ctx, &still, from, io.Discard, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	notes = g.policy.Value().rules.CaseNotes()
	return notes, errors.Join(append(errs, g.keys.Check(ctx), g.close())...)
}

func healthcheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "healthcheck", Short: "Ask the running gate whether it is ready; for containers",
	}
	bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, _, err := configured(cmd)
		if err != nil {
			return err
		}
		return healthcheck(cmd.Context(), c.Admin.Listen)
	}
	return cmd
}

// healthcheckTimeout is less than the least that containers give a probe.
const healthcheckTimeout = 2 * time.Second

// healthcheck asks an admin port whether its gate is ready.
func healthcheck(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"http://"+reachable(admin)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	// without the environment's proxies
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		// what could be read of it is only for the message
		body, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
		return fmt.Errorf("healthcheck: expected 200 of %s, got %d: %s", request.URL,
			response.StatusCode, body)
	}
	return nil
}

// reachable makes an address to listen on one to call: loopback for all addresses.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listen
}
