package redislog_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// logBuffer is where a process under test logs, for a test that reads it meanwhile.
type logBuffer struct{ eventually.Buffer }

// lines are those of one level.
func (l *logBuffer) lines(t *testing.T, level string) (lines []string) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var entry struct{ Level, Error string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if entry.Level == level {
			lines = append(lines, entry.Error)
		}
	}
	return lines
}

// TestAWrongPasswordIsSaidOnceAsAnErrorAndIsWhatReadySays, by a gate and by an issuer: with
// address, user and setting, and never the password.
func TestAWrongPasswordIsSaidOnceAsAnErrorAndIsWhatReadySays(t *testing.T) {
	s := startRedis(t)
	s.do("ACL", "SETUSER", "gate", "on", ">right-password", "~*", "+@all")
	for _, kind := range []string{"gate", "issuer"} {
		log := &logBuffer{}
		o := redislog.Options{
			Name: kind + "-1", Version: "test", Logger: slog.New(slog.NewJSONHandler(log, nil)),
			Registry: prometheus.NewRegistry(),
		}
		rc := redisconn.DefaultConfig()
		rc.Address, rc.Username, rc.Password = s.addr(), "gate", config.NewSecret("wrong-password")
		client, err := redisconn.Open(rc)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		run, ready := processOf(t, kind, client, o)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx) }()
		wants := []string{s.addr(), `"gate"`, "redis.username", "redis.password", "WRONGPASS"}
		eventually.True(t, kind+" says why it is not ready",
			func() bool { err := ready(); return err != nil && containsAll(err.Error(), wants) })
		// Fifty milliseconds apart at least: time for two more lines, if one a second were said.
		eventually.True(t, "many heartbeats have failed",
			func() bool { return failedHeartbeats(t, o.Registry) >= 50 })
		if got := log.lines(t, "ERROR"); len(got) != 1 || !containsAll(got[0], wants) {
			t.Errorf("%s: expected one ERROR with all of %q, got %q", kind, wants, got)
		}
		if got := log.lines(t, "WARN"); len(got) != 0 {
			t.Errorf("%s: warns too: %q", kind, got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if strings.Contains(log.String(), "wrong-password") {
			t.Error("the password is in the log")
		}
	}
}

func failedHeartbeats(t *testing.T, r *prometheus.Registry) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "sallyport_revocation_heartbeats_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == "error" {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func processOf(t *testing.T, kind string, client *redisconn.Client,
	o redislog.Options) (run func(context.Context) error, ready func() error) {
	t.Helper()
	if kind == "gate" {
		g, err := redislog.NewGate(client, quick(), o)
		if err != nil {
			t.Fatal(err)
		}
		return g.Run, g.Ready
	}
	i, err := redislog.NewIssuer(client, quick(), o)
	if err != nil {
		t.Fatal(err)
	}
	return i.Run, i.Ready
}

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// TestAWarningNeverKeepsAnErrorFromBeingSaid: what comes right behind one is what has to be mended.
func TestAWarningNeverKeepsAnErrorFromBeingSaid(t *testing.T) {
	var o redislog.Outage
	for i, c := range []struct {
		at    time.Duration
		level slog.Level
		text  string
		said  bool
	}{
		{0, slog.LevelWarn, "i/o timeout", true},
		{time.Millisecond, slog.LevelWarn, "i/o timeout", false},
		{2 * time.Millisecond, slog.LevelError, "wants TLS", true},
		{3 * time.Millisecond, slog.LevelError, "wants a password", false},
		{time.Second, slog.LevelWarn, "i/o timeout", true},
		{2 * time.Second, slog.LevelError, "wants TLS", false},
		{3 * time.Second, slog.LevelError, "wants a password", true},
		{62 * time.Second, slog.LevelError, "wants a password", false},
		{63 * time.Second, slog.LevelError, "wants a password", true},
	} {
		if got := o.Say(c.at, c.level, c.text); got != c.said {
			t.Errorf("%d: %v at %v: said is %t", i, c.text, c.at, got)
		}
	}
}

// TestTLSThatIsNotThereIsSaidOnceAsAnError, whatever was to be done over the connection.
func TestTLSThatIsNotThereIsSaidOnceAsAnError(t *testing.T) {
	s := startRedis(t)
	log := &logBuffer{}
	rc := redisconn.DefaultConfig()
	rc.Address, rc.TLS = s.addr(), redisconn.TLSConfig{Enabled: true}
	client, err := redisconn.Open(rc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	o := redislog.Options{
		Name: "gate-1", Version: "test", Logger: slog.New(slog.NewJSONHandler(log, nil)),
		Registry: prometheus.NewRegistry(),
	}
	run, ready := processOf(t, "gate", client, o)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	eventually.True(t, "ready says what is wrong", func() bool {
		return containsAll(ready().Error(),
			[]string{s.addr(), "answers without TLS", "redis.tls.enabled"})
	})
	said := failedHeartbeats(t, o.Registry)
	eventually.True(
		t,
		"more heartbeats have failed, each of which takes half of settle at least",
		func() bool {
			return failedHeartbeats(t, o.Registry) >= said+20
		},
	)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := log.lines(t, "ERROR"); len(got) != 1 {
		t.Errorf("expected one ERROR, got %q", got)
	}
}

// TestReadySaysWhyTheCopyIsStale: the last cause, not only what follows from it.
func TestReadySaysWhyTheCopyIsStale(t *testing.T) {
	s := startRedis(t)
	startIssuer(t, s.addr(), named("issuer-1"))
	g := startGate(t, s.addr(), named("gate-1"))
	eventually.True(t, "the gate is ready", func() bool { return g.Ready() == nil })
	s.kill()
	eventually.True(t, "the gate is stale and says that nobody answers", func() bool {
		err := g.Ready()
		return err != nil &&
			containsAll(err.Error(), []string{s.addr(), "connection refused", "max_staleness"})
	})
	s.start()
	eventually.True(t, "the gate is ready again", func() bool { return g.Ready() == nil })
}
