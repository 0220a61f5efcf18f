package meshtest

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Clock moves the clocks of one process: of our programs from [MovableBinaries], or of another with
// a [PreloadedClock]. It may be moved while the process runs, or is stopped, and keeps its place
// over restarts.
type Clock struct{ path string }

// NewClock makes a clock that goes right, kept in a file that must not be there yet.
func NewClock(path string) (*Clock, error) {
	c := &Clock{path: path}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("meshtest: clock: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("meshtest: clock: %w", err)
	}
	return c, c.Move(0, 0)
}

// Env is what a process must have in its environment to go by this clock.
func (c *Clock) Env() []string { return []string{"MOVABLE_CLOCK=" + c.path} }

// Move sets how far the process' wall clock is ahead of the machine's, and its monotonic clock
// ahead of where it would be. A suspended machine's monotonic clock stands, so it falls behind.
// Only our own programs heed the latter.
func (c *Clock) Move(wall, monotonic time.Duration) error {
	f, err := os.OpenFile(c.path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("meshtest: clock: %w", err)
	}
	defer f.Close()
	both := binary.NativeEndian.AppendUint64(nil, uint64(wall))
	// One write to one page: who reads either number reads the old one or the new one.
	if _, err := f.Write(binary.NativeEndian.AppendUint64(both, uint64(monotonic))); err != nil {
		return fmt.Errorf("meshtest: clock: %w", err)
	}
	return nil
}

// PreloadedClock returns what a program like redis-server must have in its environment besides
// [Clock.Env], so that its wall clock is moved. binaries is the folder from [MovableBinaries], or
// another with the library from [BuildPreloaded].
func PreloadedClock(binaries string) string {
	return "LD_PRELOAD=" + filepath.Join(binaries, preloaded)
}

const preloaded = "movableclock.so"

// BuildPreloaded builds the library that PreloadedClock speaks of into a folder of the test's.
func BuildPreloaded(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := buildPreloaded(Root(t), dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func buildPreloaded(root, dir string) error {
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "gcc"
	}
	source := filepath.Join(root, "internal", "meshtest", "testdata", "movableclock.c")
	cmd := exec.Command(compiler, "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o",
		filepath.Join(dir, preloaded), source)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("meshtest: building what moves the clocks of other programs "+
			"(it needs a C compiler, as the race detector does): %w\n%s", err, out)
	}
	return nil
}
