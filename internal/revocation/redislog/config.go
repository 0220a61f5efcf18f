package redislog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// Config is the key `revocation:` in both daemons' files. Gates and issuers on one log must agree
// on all of it.
type Config struct {
	MaxStaleness       time.Duration `yaml:"max_staleness" usage:"age of the last confirmed copy of the log from which a gate denies everything"`
	Settle             time.Duration `yaml:"settle" usage:"age of a connection's first good heartbeat from which its heartbeats count"`
	Heartbeat          time.Duration `yaml:"heartbeat" usage:"time between heartbeats"`
	MinReplicas        int           `yaml:"min_replicas" usage:"Redis replicas that must have a write before it counts"`
	ClockSkew          time.Duration `yaml:"clock_skew" usage:"most that two clocks may differ"`
	MaxTokenLifetime   time.Duration `yaml:"max_token_lifetime" usage:"longest life of any token that is to be revocable"`
	MaxSessionLifetime time.Duration `yaml:"max_session_lifetime" usage:"longest life of a session: how long an issuer remembers cutoffs, and an entry for a session of another issuer stays in force"`
	MaxGates           int           `yaml:"max_gates" usage:"most gates on one log: each has a key of its own in Redis, numbered from 1"`
	AppendTimeout      time.Duration `yaml:"append_timeout" usage:"longest wait for a revocation to be acknowledged"`
	Prefix             string        `yaml:"prefix" usage:"start of the log's keys in Redis, a hash tag in braces"`
}

// DefaultConfig is for a single Redis without replicas.
func DefaultConfig() Config {
	return Config{
		MaxStaleness: 10 * time.Second, Settle: time.Second, Heartbeat: 250 * time.Millisecond,
		ClockSkew: 30 * time.Second, MaxTokenLifetime: time.Hour, MaxSessionLifetime: 720 * time.Hour,
		MaxGates: 99, AppendTimeout: 3 * time.Second, Prefix: "{sallyport}",
	}
}

// covered is the longest life of a token that the log answers for, as its head says it:
// max_token_lifetime, and what gates forgive beyond an issuer's max_lifetime. A gate refuses a token
// that lives longer than the head says, so none that passes outlives its revocation, whichever
// version the issuers are of.
func (c Config) covered() time.Duration { return c.MaxTokenLifetime + token.Forgiven }

// Validate reports every setting out of its range and every two that contradict each other.
func (c Config) Validate() error {
	var errs []error
	bad := func(path, format string, args ...any) {
		errs = append(errs, config.At(path, format, args...))
	}
	if c.Heartbeat < 10*time.Millisecond || c.Heartbeat > 10*time.Second {
		bad("heartbeat", "revocation: expected a heartbeat from 10ms to 10s, got %s", c.Heartbeat)
	}
	if c.Settle < 4*c.Heartbeat {
		bad("settle", "revocation: settle must be at least four heartbeats (%s), got %s",
			4*c.Heartbeat, c.Settle)
	}
	if c.MaxStaleness < c.Settle+4*c.Heartbeat {
		bad("max_staleness",
			"revocation: max_staleness must be at least settle + 4 heartbeats (%s), got %s",
			c.Settle+4*c.Heartbeat, c.MaxStaleness)
	}
	if c.MaxStaleness > time.Hour {
		bad("max_staleness", "revocation: expected max_staleness of at most 1h, got %s", c.MaxStaleness)
	}
	if c.MinReplicas < 0 || c.MinReplicas > 100 {
		bad("min_replicas", "revocation: expected 0 to 100 replicas, got %d", c.MinReplicas)
	}
	if c.ClockSkew < time.Second || c.ClockSkew > 10*time.Minute {
		bad("clock_skew", "revocation: expected a clock_skew from 1s to 10m, got %s", c.ClockSkew)
	}
	if c.MaxTokenLifetime < time.Second || c.MaxTokenLifetime > 90*24*time.Hour {
		bad("max_token_lifetime",
			"revocation: expected a max_token_lifetime from 1s to 2160h, got %s",
			c.MaxTokenLifetime)
	}
	if c.MaxSessionLifetime < c.MaxTokenLifetime {
		bad("max_session_lifetime",
			"revocation: max_session_lifetime must be at least max_token_lifetime (%s), got %s",
			c.MaxTokenLifetime, c.MaxSessionLifetime)
	}
	if c.MaxSessionLifetime > revocation.LongestSession {
		bad("max_session_lifetime", "revocation: expected a max_session_lifetime of at most %s, got %s",
			revocation.LongestSession, c.MaxSessionLifetime)
	}
	if c.MaxGates < 1 || c.MaxGates > 999 {
		bad("max_gates", "revocation: expected 1 to 999 gates, got %d", c.MaxGates)
	}
	if c.AppendTimeout < 10*time.Millisecond || c.AppendTimeout > time.Minute {
		bad("append_timeout", "revocation: expected an append_timeout from 10ms to 1m, got %s",
			c.AppendTimeout)
	}
	if err := checkPrefix(c.Prefix); err != nil {
		bad("prefix", "%v", err)
	}
	return errors.Join(errs...)
}

// checkPrefix wants exactly one hash tag around the whole prefix, so that all keys lie in one slot
// of a cluster.
func checkPrefix(p string) error {
	tag := strings.TrimSuffix(strings.TrimPrefix(p, "{"), "}")
	if len(p) != len(tag)+2 || tag == "" ||
		strings.Trim(tag, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return errors.New(
			"revocation: expected a prefix of a-z, 0-9, -, _ and . in braces, as {sallyport}")
	}
	return nil
}

// Options are what a Gate or an Issuer is given besides its settings.
type Options struct {
	Name     string // unique among gates; what a process is called wherever they are listed
	Version  string
	Logger   *slog.Logger
	Registry *prometheus.Registry
	// OnKeyRevoked is called for every entry of kind kid, also those loaded at a start, from one
	// goroutine; until is when the entry expires. It must not block.
	OnKeyRevoked func(iss, kid string, until time.Time)
	// OnReappend is called by an issuer that appends live sid entries to a log that has lost them,
	// before it does: the sessions must be ended again. An error is logged and the call repeated
	// until it succeeds.
	OnReappend func(ctx context.Context, sids []revocation.SessionRef) error
	// OnLinesDropped is called by an issuer that has dropped gates' lines unread, since they were
	// no lines, at most once a second. It must not block.
	OnLinesDropped func(lines int)
	// SessionLifetime, if set, is asked by an issuer for how long a session of an issuer may go on,
	// making tokens, after it has been revoked here: 0 where the revocation ends it. Entries that
	// name sessions live as much longer.
	SessionLifetime func(issuer string) time.Duration
	// KeySetAge, if set, is shown in this process's line for `sallyport status`.
	KeySetAge func() time.Duration
	// Versions move with every change of what tokens are judged by; nil: nobody remembers answers.
	Versions *revocation.Versions
	// Stopped, if set, is asked when Run ends: whether nobody is answered by this gate's copy any
	// more, and nobody will be.
	Stopped func() bool
	// Snapshot is where a gate keeps its copy for its next start; an issuer has none.
	Snapshot SnapshotConfig
	// Instant reads both clocks; nil means the machine's. For tests.
	Instant func() revocation.Instant
}

func (o Options) validate() error {
	if err := checkName(o.Name); err != nil {
		return err
	}
	if len(o.Version) > 64 {
		return fmt.Errorf("redislog: expected a version of up to 64 bytes, got %d", len(o.Version))
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > 128 || oneLine(name) != name || strings.Contains(name, "#") {
		return fmt.Errorf(
			"redislog: expected a name of 1 to 128 bytes without # and control characters, got %q",
			name)
	}
	return nil
}
