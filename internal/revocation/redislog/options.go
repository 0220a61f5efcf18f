package redislog

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/revocation"
)

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
	// KeySetAge, if set, is shown in this process's line for `sallyport status`.
	KeySetAge func() time.Duration
	// Stopped, if set, is asked when Run ends: whether nobody is answered by this gate's copy any
	// more, and nobody will be.
	Stopped func() bool
	// Snapshot is where a gate keeps its copy for its next start; an issuer has none.
	Snapshot SnapshotConfig
	// Instant reads both clocks; nil means the machine's. For tests.
	Instant func() revocation.Instant
}

// Line is what one process says of itself on the log, for `sallyport status`.
type Line struct {
	Name    string        `json:"name"`
	Version string        `json:"version"`
	Epoch   string        `json:"epoch"`
	Seq     uint64        `json:"seq"`
	OnLog   bool          `json:"on_log"` // its position lies on the log as it is now
	Age     time.Duration `json:"age"`    // since this issuer last saw it move
	// age is at most max_staleness + settle, and it has not left
	Live      bool          `json:"live"`
	Left      bool          `json:"left"`        // it was stopped, and has said so
	Staleness time.Duration `json:"staleness"`   // as the process itself gave it
	KeySetAge time.Duration `json:"key_set_age"` // as the process itself gave it; 0 when unknown
	Ready     bool          `json:"ready"`
	// MaxStaleness is the process's setting, as it gave it itself; 0 when unknown. All on one log
	// must agree on it.
	MaxStaleness time.Duration `json:"max_staleness"`
	// another process of this name, or for which there was no other place, is at work
	Shared bool `json:"shared"`
}
