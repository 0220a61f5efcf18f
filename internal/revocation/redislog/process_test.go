package redislog_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

const iss = "https://issuer.example"

// quick are settings with every time shortened alike.
func quick() redislog.Config {
	cfg := redislog.DefaultConfig()
	cfg.Heartbeat, cfg.Settle = 50*time.Millisecond, 250*time.Millisecond
	cfg.MaxStaleness, cfg.AppendTimeout = 3*time.Second, 10*time.Second
	return cfg
}

// shift is a pair of clocks a test can move.
type shift struct {
	mu    sync.Mutex
	start time.Time
	wall  time.Duration
}

func newShift() *shift { return &shift{start: time.Now()} }

func (s *shift) instant() revocation.Instant {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	return revocation.Instant{Mono: now.Sub(s.start), Wall: now.Round(0).Add(s.wall)}
}

func (s *shift) move(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wall += d
}

type settings struct {
	cfg redislog.Config
	o   redislog.Options
}

func named(name string) settings {
	return settings{quick(), redislog.Options{Name: name, Version: "test"}}
}

func (s settings) options(t testing.TB) redislog.Options {
	if s.o.Logger == nil && testing.Verbose() {
		s.o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil)).With("name", s.o.Name)
	}
	return s.o
}

// process is a running gate or issuer.
type process struct {
	stop func()
}

func running(t testing.TB, run func(context.Context) error) process {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	p := process{func() { cancel(); <-done }}
	t.Cleanup(p.stop)
	return p
}

type gate struct {
	*redislog.Gate
	process
}

type issuer struct {
	*redislog.Issuer
	process
}

func startGate(t testing.TB, addr string, s settings) gate {
	t.Helper()
	g, err := redislog.NewGate(connect(t, addr), s.cfg, s.options(t))
	if err != nil {
		t.Fatal(err)
	}
	return gate{g, running(t, g.Run)}
}

func startIssuer(t testing.TB, addr string, s settings) issuer {
	t.Helper()
	i, err := redislog.NewIssuer(connect(t, addr), s.cfg, s.options(t))
	if err != nil {
		t.Fatal(err)
	}
	return issuer{i, running(t, i.Run)}
}

func (g gate) fresh() bool   { return g.Freshness(g.Instant()).Fresh }
func (i issuer) fresh() bool { return i.Freshness(i.Instant()).Fresh }

func sid(value string) revocation.Request {
	return revocation.Request{
		Kind: revocation.KindSID, Issuer: iss, Value: value, Reason: "logout", Actor: "test",
	}
}

func session(value string) *revocation.Facts {
	return &revocation.Facts{
		Issuer: iss, SessionID: value, TokenID: "jti-" + value, Subject: "alice", Ours: true,
	}
}

func revoke(t testing.TB, i issuer, reqs ...revocation.Request) revocation.Receipt {
	t.Helper()
	r, err := i.Append(context.Background(), reqs)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return r
}

func timeout(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// refused asserts that an append is not acknowledged within a time that is plenty on a healthy log
// (S7).
func refused(t testing.TB, i issuer, why string, req revocation.Request) {
	t.Helper()
	ctx, cancel := timeout(t, time.Second)
	defer cancel()
	if _, err := i.Append(ctx, []revocation.Request{req}); !errors.Is(err, revocation.ErrUnavailable) {
		t.Errorf("append %s: %v, want ErrUnavailable (S7)", why, err)
	}
}

func asked(id string) []revocation.Request { return []revocation.Request{sid(id)} }
