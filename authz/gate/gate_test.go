package gate_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
)

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// TestAProgramOfItsOwnAsksTheEngine: whoever has a configuration has a gate, which decides in their
// process, knows what it waits for, and shows its metrics.
func TestAProgramOfItsOwnAsksTheEngine(t *testing.T) {
	c, _, err := load(t, goodConfig, nil, "--listen", freeAddress(t), "--admin-listen",
		freeAddress(t), "--redis-address", freeAddress(t), "--drain-delay", "0s")
	if err != nil {
		t.Fatal(err)
	}
	g, err := gate.New(c, gate.Options{Version: "test", Audit: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()

	now := revocation.Instant{Mono: time.Minute, Wall: time.Now()}
	for path, want := range map[string]string{"/public": "allowed", "/protected": "no_token"} {
		d := g.Engine().Decide(&authz.Request{Method: "GET", Path: path, Host: "h", At: now})
		if got := d.Reason(); got != want && !(d.Allow && want == "allowed") {
			t.Errorf("%s: expected %s, got %s", path, want, got)
		}
	}
	if err := g.Ready(); err == nil || !strings.Contains(err.Error(), "key") {
		t.Errorf("without keys and log it is ready: %v", err)
	}
	eventually.True(t, "the metrics of the gate and of the process are there", func() bool {
		families, err := g.Metrics().Gather()
		names := ""
		for _, f := range families {
			names += f.GetName() + " "
		}
		return err == nil && strings.Contains(names, "sallyport_gate_decisions_total") &&
			strings.Contains(names, "sallyport_build_info")
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := g.Ready(); err == nil || err.Error() != "stopping" {
		t.Errorf("expected stopping, got %v", err)
	}
}

// TestAGateWhosePortIsTakenSaysSo and gives back what it has opened.
func TestAGateWhosePortIsTakenSaysSo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	c, _, err := load(t, goodConfig, nil, "--listen", taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	g, err := gate.New(c, gate.Options{Audit: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
}
