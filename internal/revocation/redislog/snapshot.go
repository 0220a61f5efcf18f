package redislog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/ownfile"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

// SnapshotConfig is the key `snapshot:` under a gate's `revocation:`.
type SnapshotConfig struct {
	File  config.Path   `yaml:"file" usage:"where a gate keeps its copy of the log for its next start; empty: nowhere"`
	Every time.Duration `yaml:"every" usage:"how often it is written while the log moves; also at a clean stop"`
}

// DefaultSnapshotConfig keeps nothing.
func DefaultSnapshotConfig() SnapshotConfig { return SnapshotConfig{Every: time.Minute} }

// Validate checks the time.
func (c SnapshotConfig) Validate() error {
	if c.Every < time.Second || c.Every > 24*time.Hour {
		return config.At("every", "revocation: expected a snapshot every 1s to 24h, got %s", c.Every)
	}
	return nil
}

// Check returns what would keep a gate from keeping a snapshot. It changes nothing; a folder that
// is not there is made at a start.
func (c SnapshotConfig) Check() error {
	if c.File == "" {
		return nil
	}
	dir := filepath.Dir(string(c.File))
	err := ownfile.Folder(dir)
	if _, missing := os.Stat(dir); err == nil && missing == nil {
		err = ownfile.CheckFolder(dir)
	}
	if err != nil {
		return fmt.Errorf("redislog: revocation.snapshot.file: %w", err)
	}
	return nil
}

// keeper writes a gate's copy to a file for its next start.
type keeper struct {
	f      *follower
	file   snapshotFile
	every  time.Duration
	loads  *prometheus.CounterVec
	writes *prometheus.CounterVec

	saved   revocation.Position // what the file holds
	savedAt time.Duration       // monotonic
}

// openKeeper reads the file, if there is one that may be used: then the follower's set is the
// file's.
func openKeeper(f *follower) (*keeper, *liveset.Snapshot, error) {
	c := f.o.Snapshot
	if c.File == "" {
		return nil, nil, nil
	}
	k := &keeper{f: f, file: snapshotFile(c.File), every: c.Every}
	if err := errors.Join(c.Validate(), k.file.prepare()); err != nil {
		return nil, nil, err
	}
	began := time.Now()
	s, refused := k.file.load(f.instant().Wall, f.cfg.MaxTokenLifetime+2*f.cfg.ClockSkew,
		f.cfg.ClockSkew)
	outcome := loadOutcome(refused)
	var err error
	if k.loads, k.writes, err = snapshotMetrics(f.o.Registry); err != nil {
		return nil, nil, err
	}
	k.loads.WithLabelValues(outcome).Inc()
	switch outcome {
	case "used":
		f.log.Info(
			"the snapshot of the revocation log is read; nothing is allowed before the log confirms it",
			"seq", s.Position.Seq, "taken", s.Taken.UTC(), "took",
			time.Since(began).Round(time.Millisecond).String())
	case "absent":
		f.log.Info("there is no snapshot of the revocation log yet", "file", string(c.File))
	default:
		f.log.Warn("the snapshot of the revocation log is not used", "file", string(c.File),
			"reason", refused)
	}
	f.noted = notedKeys{}
	if s == nil {
		return k, nil, nil
	}
	f.set = s.Set
	f.set.MoveWith(f.o.Versions)
	for i := range s.Keys {
		f.noted.add(s.Keys[i])
	}
	return k, s, nil
}

func loadOutcome(err error) string {
	switch {
	case err == nil:
		return "used"
	case errors.Is(err, fs.ErrNotExist):
		return "absent"
	case errors.Is(err, liveset.ErrSnapshotBroken):
		return "broken"
	case errors.Is(err, liveset.ErrSnapshotVersion):
		return "version"
	case errors.Is(err, errForeign):
		return "foreign"
	case errors.Is(err, errOld):
		return "old"
	case errors.Is(err, errFuture):
		return "future"
	}
	return "unreadable"
}

// run writes the file every so often until ctx ends, and then once more: a clean stop leaves the
// newest.
func (k *keeper) run(ctx context.Context) {
	for sleep(ctx, k.every, nil) {
		k.save()
	}
	k.save()
}

// save writes the file if this process may rely on its copy and the file lacks something.
func (k *keeper) save() {
	f := k.f
	// The position first: the set is read while the file is written, and then holds at least what the
	// log does up to there.
	f.mu.Lock()
	s := liveset.Snapshot{Position: f.copy.Position(), Set: f.set}
	complete := f.copy.Complete()
	now := f.instant()
	s.Taken, s.Keys = now.Wall, f.revokedKeys(now)
	f.mu.Unlock()
	if !complete || !f.Freshness(now).Fresh {
		return
	}
	// An old file is of no use: one of a log that stands still is written again in time.
	if s.Position == k.saved && now.Mono-k.savedAt < f.cfg.MaxTokenLifetime/2 {
		return
	}
	if err := k.file.save(&s); err != nil {
		k.writes.WithLabelValues("failed").Inc()
		f.log.Error("the snapshot of the revocation log could not be written", "file",
			string(k.file), "error", err)
		return
	}
	k.writes.WithLabelValues("written").Inc()
	k.saved, k.savedAt = s.Position, now.Mono
}

// tellNoted reports the keys that a snapshot says are revoked.
func (k *keeper) tellNoted() {
	f := k.f
	if f.o.OnKeyRevoked == nil {
		return
	}
	f.mu.Lock()
	keys := f.revokedKeys(f.instant())
	f.mu.Unlock()
	for _, key := range keys {
		f.o.OnKeyRevoked(key.Issuer, key.KeyID, time.UnixMilli(key.Expires))
	}
}

// keyName names a revoked key.
type keyName struct{ issuer, kid string }

// notedKeys are the keys that entries revoke, with when the entries expire (unix ms), for a
// snapshot. nil notes nothing.
type notedKeys map[keyName]int64

func (n notedKeys) add(k revocation.RevokedKey) {
	name := keyName{k.Issuer, k.KeyID}
	n[name] = max(n[name], k.Expires)
}

// note remembers the keys among entries.
func (n notedKeys) note(entries []revocation.Entry) {
	if n == nil {
		return
	}
	for i := range entries {
		if k, ok := entries[i].RevokedKey(); ok {
			n.add(k)
		}
	}
}

// revokedKeys returns the keys that are revoked, in order, and forgets the others. f.mu is held.
func (f *follower) revokedKeys(now revocation.Instant) []revocation.RevokedKey {
	expired, _ := f.copy.Expired(now) // 0 while not known: no key expires by this machine's clock alone
	keys := make([]revocation.RevokedKey, 0, len(f.noted))
	for name, expires := range f.noted {
		if expires <= expired {
			delete(f.noted, name)
			continue
		}
		keys = append(keys, revocation.RevokedKey{Issuer: name.issuer, KeyID: name.kid, Expires: expires})
	}
	slices.SortFunc(keys, revocation.CompareRevokedKeys)
	return keys
}
