package redislog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/internal/ownfile"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

// snapshotFile is where a gate keeps its copy of the log for its next start.
type snapshotFile string

// maxSnapshot bounds the file: more than a hundred million entries.
const maxSnapshot = 4 << 30

// ahead is how far in the future a file may be dated.
const ahead = 5 * time.Minute

// Why a snapshot is not used, besides what revocation says of its content.
var (
	errForeign = errors.New("redislog: somebody else may have written the snapshot")
	errOld     = errors.New("redislog: the snapshot's time is past")
	errFuture  = errors.New("redislog: the snapshot is dated in the future")
)

// prepare makes the folder, refuses one in which others could put a file in the snapshot's place,
// and removes what an earlier life had not finished to write.
func (f snapshotFile) prepare() error {
	dir := filepath.Dir(string(f))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("redislog: snapshot: %w", err)
	}
	if err := ownfile.CheckFolder(dir); err != nil {
		return fmt.Errorf("redislog: snapshot: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, f.pattern()))
	if err != nil {
		return fmt.Errorf("redislog: snapshot: %w", err)
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("redislog: snapshot: %w", err)
		}
	}
	return nil
}

// pattern is of the names under which a snapshot is written before it takes its place.
func (f snapshotFile) pattern() string { return "." + filepath.Base(string(f)) + ".tmp-*" }

// load reads the file. What it tells is to be confirmed by the log. least is how long a file is of
// use, even if nothing in it is in force: it says from where the log is to be followed.
func (f snapshotFile) load(now time.Time, least, skew time.Duration) (*liveset.Snapshot, error) {
	file, info, err := ownfile.OpenRegular(string(f), ours)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	s, err := liveset.ReadSnapshot(file, info.Size(), skew)
	if err != nil {
		return nil, err
	}
	switch age := now.Sub(s.Taken); {
	case age > least && now.UnixMilli() > s.Set.Last():
		// By this machine's clock alone, which may be ahead: all that is in force is in the log, too.
		return nil, fmt.Errorf("%w: taken %s ago, all that it holds has expired", errOld,
			age.Round(time.Second))
	case age < -ahead:
		return nil, fmt.Errorf("%w: by %s", errFuture, -age.Round(time.Second))
	}
	return s, nil
}

// ours refuses a file that somebody else may have written, or that is too large to be one of ours.
func ours(info fs.FileInfo) error {
	if err := ownfile.Believable(info, os.Geteuid()); err != nil {
		return fmt.Errorf("%w: %w", errForeign, err)
	}
	if info.Size() > maxSnapshot {
		return fmt.Errorf("%w: expected at most %d bytes, got %d",
			liveset.ErrSnapshotBroken, int64(maxSnapshot), info.Size())
	}
	return nil
}

// save writes the file so that a reader, or a crash, meets the old one or the new one whole. Its
// mode is 0600: it holds the key of its digests, and with it one can ask whether a name is revoked.
func (f snapshotFile) save(s *liveset.Snapshot) error {
	return ownfile.Replace(string(f), f.pattern(), func(file *os.File) error { return s.Encode(file) })
}
