package daemon

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newLife(delay, timeout time.Duration) (*life, *strings.Builder) {
	log := &strings.Builder{}
	return &life{log: slog.New(slog.NewTextHandler(log, nil)), health: newHealth(nil), delay: delay, timeout: timeout}, log
}

func TestTheDrainDelayPassesBeforeAnythingDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newLife(15*time.Second, time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		var drained, stopped time.Duration
		time.AfterFunc(time.Minute, cancel)
		err := l.run(ctx, []Part{{
			Name:  "server",
			Run:   func(ctx context.Context) error { <-ctx.Done(); stopped = time.Since(begun); return nil },
			Drain: func(context.Context) { drained = time.Since(begun); time.Sleep(500 * time.Millisecond) },
		}})
		if err != nil || drained != 75*time.Second || stopped != 75500*time.Millisecond {
			t.Errorf("drained after %v, stopped after %v, %v", drained, stopped, err)
		}
	})
}

func TestAPartThatNeverDrainsOrStopsHoldsTheProcessUpForABoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, log := newLife(0, 10*time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		defer close(release)
		cancel()
		begun := time.Now()
		other := false
		err := l.run(ctx, []Part{
			{Name: "first", Run: func(ctx context.Context) error { <-ctx.Done(); other = true; return nil }},
			{Name: "hung", Run: func(context.Context) error { <-release; return nil }, Drain: func(context.Context) { <-release }},
		})
		synctest.Wait()
		if err == nil || err.Error() != "daemon: part hung: expected it to stop within 10s, but it runs on" {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begun); took != 21*time.Second || !other {
			t.Errorf("took %v, the other part stopped: %v", took, other)
		}
		if !strings.Contains(log.String(), `msg="draining took too long" part=hung drain_timeout=10s`) {
			t.Errorf("log: %s", log)
		}
	})
}

// TestASilentClientIsCutOff is also GHSA and CVE-2026-56853's row: a connection that sends nothing, or one byte, or a
// piece of HTTP/2's preface.
func TestASilentClientIsCutOff(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	short := timeouts{header: 50 * time.Millisecond, read: 50 * time.Millisecond, write: time.Second, idle: 50 * time.Millisecond}
	server := newAdminServer(http.HandlerFunc(serveLive), short)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	for _, sent := range []string{"", "G", "GET /livez HTTP/1.1\r\nHost: x\r\n", "PRI * HTTP/2.0\r\n\r\nS", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"} {
		t.Run("CVE-2026-56853", func(t *testing.T) {
			c, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, sent); err != nil {
				t.Fatal(err)
			}
			if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			_, err = io.ReadAll(c)
			if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Errorf("%q: the connection stayed open", sent)
			}
		})
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	<-done
}

func TestTheAdminServerHasItsBounds(t *testing.T) {
	s := newAdminServer(nil, adminTimeouts)
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes > 64<<10 {
		t.Errorf("%+v", s)
	}
	if s.Protocols.HTTP2() || s.Protocols.UnencryptedHTTP2() || !s.Protocols.HTTP1() {
		t.Errorf("protocols %v", s.Protocols)
	}
}
