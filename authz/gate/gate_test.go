package gate_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/extauthz"
	"github.com/sallyport/sallyport/authz/filter"
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
	g, err := gate.New(c, gate.Options{Version: "test", Audit: io.Discard, Transport: extauthz.GRPC})
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
	g, err := gate.New(c, gate.Options{Audit: io.Discard, Transport: extauthz.GRPC})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
}

// TestATakenAdminPortIsKnownBeforeAGateRuns, and one that was opened ahead is Run's, or is closed
// with the gate.
func TestATakenAdminPortIsKnownBeforeAGateRuns(t *testing.T) {
	admin := freeAddress(t)
	open := func() *gate.Gate {
		c, _, err := load(t, goodConfig, nil, "--listen", freeAddress(t), "--admin-listen", admin,
			"--redis-address", freeAddress(t), "--drain-delay", "0s")
		if err != nil {
			t.Fatal(err)
		}
		g, err := gate.New(c, gate.Options{Audit: io.Discard, Transport: extauthz.GRPC})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	first, second := open(), open()
	if err := first.Listen(); err != nil {
		t.Fatal(err)
	}
	if err := second.Listen(); err == nil || !strings.Contains(err.Error(), admin) {
		t.Errorf("got %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := second.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- second.Run(ctx) }()
	eventually.True(t, "it is answered there", func() bool {
		response, err := http.Get("http://" + admin + "/livez")
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode == http.StatusOK
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestAGateHasTwoDoors: what both are asked is counted once each, and a gate that stops has closed
// both.
func TestAGateHasTwoDoors(t *testing.T) {
	at := freeAddress(t)
	c, _, err := load(t, goodConfig, nil, "--listen", freeAddress(t), "--admin-listen",
		freeAddress(t), "--redis-address", freeAddress(t), "--drain-delay", "0s",
		"--http-check-listen", at, "--http-check-proxy", "traefik", "--http-check-trusted-proxies",
		"127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	g, err := gate.New(c, gate.Options{Version: "test", Audit: io.Discard, Transport: extauthz.GRPC})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	eventually.True(t, "the gate answers over HTTP", func() bool {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+at, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-Method", "GET")
		r.Header.Set("X-Forwarded-Host", "h")
		r.Header.Set("X-Forwarded-Uri", "/public")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode == http.StatusOK
	})
	if n := authztest.Value(t, g.Metrics(), "sallyport_gate_decisions_total", "code=200"); n != 1 {
		t.Errorf("%v decisions are counted", n)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, address := range []string{at, c.Listen} {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			t.Errorf("%s is still open", address)
		}
	}
}

// host is an Envoy that does nothing.
type host struct{}

func (host) Resume(filter.Stream, []byte)                  {}
func (host) End(filter.Stream, filter.Ending, []byte) bool { return false }
func (host) Versions() *revocation.Versions                { return nil }
func (host) Watched(func(filter.Stream, uint32))           {}
func (host) Given(func(int, filter.Given))                 {}

// TestInsideEnvoyThereIsNoHTTPDoor: it is not left closed without a word.
func TestInsideEnvoyThereIsNoHTTPDoor(t *testing.T) {
	c, _, err := load(t, goodConfig, nil, "--http-check-listen", "unix:/run/x.sock",
		"--http-check-proxy", "nginx")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gate.New(c, gate.Options{Audit: io.Discard, Host: host{}}); err == nil ||
		!strings.Contains(err.Error(), "http_check.listen") {
		t.Errorf("got %v", err)
	}
}

// TestAGateIsAskedInOneWay: over gRPC, or inside Envoy. With neither nobody could ask it, and with
// both nobody would know which settings hold.
func TestAGateIsAskedInOneWay(t *testing.T) {
	for name, o := range map[string]gate.Options{
		"neither": {Audit: io.Discard},
		"both":    {Audit: io.Discard, Transport: extauthz.GRPC, Host: host{}},
	} {
		c, _, err := load(t, goodConfig, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := gate.New(c, o); err == nil || !strings.Contains(err.Error(), "Transport") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
