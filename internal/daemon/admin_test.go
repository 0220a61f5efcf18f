package daemon_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/eventually"
)

// serving is a process whose admin port is asked.
func serving(t *testing.T, o daemon.Options) *process {
	p := run(t, o, daemon.Part{Name: "server", Run: forever, Ready: func() error { return nil }})
	eventually.True(t, "ready", p.ready)
	t.Cleanup(func() {
		p.stop()
		if err := p.end(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestTheAdminPortServesItsOwnPathsAndNoOthers(t *testing.T) {
	p := serving(t, daemon.Options{Handlers: map[string]http.Handler{
		"GET /status": http.HandlerFunc(
			func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") }),
	}})
	for path, want := range map[string]int{
		"/livez": 200, "/readyz": 200, "/metrics": 200, "/status": 200,
		"/": 404, "/healthz": 404, "/livez/": 404, "/metrics/x": 404, "/debug/vars": 404,
		"/debug/pprof/":        404,
		"/debug/pprof/cmdline": 404, "/debug/pprof/heap": 404, "/debug/pprof/profile": 404,
		"/config": 404, "/LIVEZ": 404,
	} {
		if status, _ := p.get(path); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"} {
		for _, path := range []string{"/livez", "/readyz", "/metrics", "/status"} {
			if status, _, h := p.request(method, path); status != 405 || h.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow %q", method, path, status, h.Get("Allow"))
			}
		}
	}
	_, _, h := p.request("GET", "/readyz")
	if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" ||
		h.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", h)
	}
}

func TestMetricsTellTheBuildAndTheRuntime(t *testing.T) {
	p := serving(t, daemon.Options{Name: "issuer", Version: "9.9"})
	_, body := p.get("/metrics")
	for _, want := range []string{
		`sallyport_build_info{go="go`, `name="issuer"`, `version="9.9"`, "sallyport_ready 1",
		`sallyport_part_ready{part="server"} 1`,
		"go_goroutines ", "process_open_fds ", `sallyport_reloads_total{result="ok"} 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestOneRegistryMayServeTwoRuns(t *testing.T) {
	registry := prometheus.NewRegistry()
	for range 2 {
		p := run(t, daemon.Options{Registry: registry}, daemon.Part{Name: "server", Run: forever})
		eventually.True(t, "ready", p.ready)
		p.stop()
		if err := p.end(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProfilesAreServedOnlyWhenAskedForAndOnLoopback(t *testing.T) {
	p := serving(t, daemon.Options{Admin: daemon.Config{Listen: "127.0.0.1:0", Pprof: true}})
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/goroutine": 200,
		"/debug/pprof/cmdline": 404, "/debug/pprof/symbol": 404, "/debug/pprof/none": 404,
	} {
		if status, _ := p.get(path); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	if status, _ := p.get("/debug/pprof/trace?seconds=0.01"); status != 200 {
		t.Errorf("trace: %d", status)
	}
	err := daemon.Run(context.Background(),
		daemon.Options{Admin: daemon.Config{Listen: "0.0.0.0:0", Pprof: true}})
	want := `daemon: admin: pprof: expected a loopback address in listen, got "0.0.0.0:0": profiles are for this host only`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestAnAdminHandlerThatPanicsAnswers500AndShowsNothing(t *testing.T) {
	p := serving(t, daemon.Options{Handlers: map[string]http.Handler{
		"GET /boom": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("canary") }),
	}})
	status, body := p.get("/boom")
	if status != 500 || strings.Contains(body+p.log.String(), "canary") ||
		!strings.Contains(p.log.String(), "an admin handler has panicked") {
		t.Errorf("%d %q\n%s", status, body, p.log)
	}
	if !p.ready() {
		t.Error("not ready")
	}
}

func TestAdminPatternsInConflictAreAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = daemon.Run(context.Background(), daemon.Options{
		AdminListener: l,
		Handlers:      map[string]http.Handler{"GET /livez": http.NotFoundHandler()},
	})
	if err == nil || !strings.HasPrefix(err.Error(), "daemon: admin handlers: ") {
		t.Errorf("got %v", err)
	}
}

func TestSettingsOutOfBoundsAreRefused(t *testing.T) {
	for want, err := range map[string]error{
		`listen: expected host:port such as "127.0.0.1:9101", got "9101"`:                                    daemon.Config{Listen: "9101"}.Validate(),
		`listen: expected a port of 0 to 65535, got "99999"`:                                                 daemon.Config{Listen: ":99999"}.Validate(),
		`listen: expected a port of 0 to 65535, got "http"`:                                                  daemon.Config{Listen: "localhost:http"}.Validate(),
		`pprof: expected a loopback address in listen, got ":9101": profiles are for this host only`:         daemon.Config{Listen: ":9101", Pprof: true}.Validate(),
		`pprof: expected a loopback address in listen, got "10.0.0.1:9101": profiles are for this host only`: daemon.Config{Listen: "10.0.0.1:9101", Pprof: true}.Validate(),
		`level: expected one of debug, info, warn, error, got "INFO+1"`:                                      daemon.LogConfig{Level: "INFO+1", Format: "json"}.Validate(),
		`format: expected one of json, text, got "xml"`:                                                      daemon.LogConfig{Level: "info", Format: "xml"}.Validate(),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	for _, ok := range []daemon.Config{
		{Listen: "127.0.0.1:0"}, {Listen: "[::1]:9101", Pprof: true},
		{Listen: "localhost:1", Pprof: true}, {Listen: ":9101"},
		{Listen: "[::ffff:127.0.0.1]:1", Pprof: true},
	} {
		if err := ok.Validate(); err != nil {
			t.Errorf("%+v: %v", ok, err)
		}
	}
	if err := daemon.DefaultLogConfig().Validate(); err != nil {
		t.Error(err)
	}
}
