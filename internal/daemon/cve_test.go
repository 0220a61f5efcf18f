package daemon_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/daemon"
)

// raw sends bytes to the admin port and returns what comes until it is closed.
func (p *process) raw(sent string) string {
	p.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.WriteString(c, sent); err != nil {
		p.t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if e, late := err.(net.Error); late && e.Timeout() {
		p.t.Errorf("the connection stayed open after %.40q", sent)
	}
	return string(b)
}

// The rows of advisories that concern a process and its admin port.
func TestCVE(t *testing.T) {
	t.Run("CVE-2026-40173", func(t *testing.T) { // pprof's cmdline showed a secret
		p := serving(t, daemon.Options{Admin: daemon.Config{Listen: "127.0.0.1:0", Pprof: true}})
		for _, path := range []string{
			"/debug/pprof/cmdline", "/debug/vars", "/debug/pprof/cmdline/", "/debug/pprof//cmdline",
		} {
			if status, body := p.get(path); status != 404 || strings.Contains(body, "-test.") {
				t.Errorf("%s: %d %.80q", path, status, body)
			}
		}
	})
	t.Run("CVE-2022-21698", func(t *testing.T) { // invented methods grew metrics
		p := serving(t, daemon.Options{})
		series := func() int { _, body := p.get("/metrics"); return strings.Count(body, "\nsallyport_") }
		before := series()
		for i := range 500 {
			p.request(fmt.Sprintf("M%d", i), fmt.Sprintf("/path%d", i))
			p.request(fmt.Sprintf("M%d", i), "/metrics")
		}
		if after := series(); after != before {
			t.Errorf("%d series, before %d", after, before)
		}
	})
	t.Run("CVE-2022-41721", func(t *testing.T) { // an upgrade to h2c smuggled requests in a body
		p := serving(t, daemon.Options{})
		smuggled := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
		got := p.raw(fmt.Sprintf(
			"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, "+
				"close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: %d\r\n\r\n%s",
			len(smuggled), smuggled))
		if !strings.HasPrefix(got, "HTTP/1.1 200 ") || strings.Contains(got, "101 Switching") ||
			strings.Count(got, "HTTP/1.1 ") != 1 ||
			strings.Contains(got, "go_goroutines") {
			t.Errorf("got %.300q", got)
		}
	})
	t.Run("CVE-2023-45288", func(t *testing.T) { // HTTP/2 is not spoken here, so none of its floods
		p := serving(t, daemon.Options{})
		got := p.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		if answer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)),
			nil); err != nil ||
			answer.StatusCode < 400 {
			t.Errorf("got %q", got)
		}
	})
	t.Run("CVE-2026-56853", func(t *testing.T) { // HTTP/2's preface was awaited without a time-out
		cutOff(t, "", "G", "GET /livez HTTP/1.1\r\nHost: localhost\r\n",
			"PRI * HTTP/2.0\r\n\r\nS", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
	})
	t.Run("GHSA-xr7q-jx4m-x55m", func(t *testing.T) { // logging a context printed bearer tokens
		var out bytes.Buffer
		log := daemon.NewLogger(&out, daemon.LogConfig{Level: "debug", Format: "json"})
		type key string
		ctx := context.WithValue(context.Background(), key("authorization"), "Bearer "+canaryToken)
		log.DebugContext(ctx, "a request", "context", fmt.Sprint(ctx), "header",
			http.Header{"Authorization": {"Bearer " + canaryToken}})
		log.Error("failed", "error", fmt.Errorf("calling with %v: %w", ctx, errors.New(canaryToken)))
		if strings.Contains(out.String(), "c2lnbmF0dXJl") {
			t.Errorf("the log holds the token:\n%s", out.String())
		}
	})
}

const canaryToken = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"

// cutOff holds that a connection that sends this and then nothing is closed at the time-out.
func cutOff(t *testing.T, all ...string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := daemon.NewAdminServer(http.NotFoundHandler(), 50*time.Millisecond, 50*time.Millisecond)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	p := &process{t: t, url: "http://" + listener.Addr().String()}
	for _, sent := range all {
		p.raw(sent)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	<-done
}
