package daemon

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newLife(delay, timeout time.Duration) (*life, *strings.Builder) {
	log := &strings.Builder{}
	return &life{
		log: slog.New(slog.NewTextHandler(log, nil)), health: newHealth(nil), delay: delay,
		timeout: timeout,
	}, log
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
			{
				Name: "hung", Run: func(context.Context) error { <-release; return nil },
				Drain: func(context.Context) { <-release },
			},
		})
		synctest.Wait()
		if err == nil ||
			err.Error() != "daemon: part hung: expected it to stop within 10s, but it runs on" {
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

func TestTheAdminServerHasItsBounds(t *testing.T) {
	s := newAdminServer(nil, adminTimeouts)
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 ||
		s.MaxHeaderBytes > 64<<10 {
		t.Errorf("%+v", s)
	}
	if s.Protocols.HTTP2() || s.Protocols.UnencryptedHTTP2() || !s.Protocols.HTTP1() {
		t.Errorf("protocols %v", s.Protocols)
	}
}
