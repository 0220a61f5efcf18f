package meshtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/mesh"
)

// Root returns the folder of this working tree: the one with go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		} else if !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			t.Fatalf("meshtest: no go.mod in the working directory or above it: %v", err)
		}
	}
}

// Binaries builds issuer, authz and sallyport from this working tree, once in a test process, and
// returns the folder they are in. With race they have the race detector: a race makes a daemon end
// with a status that fails the test.
func Binaries(t testing.TB, race bool) string {
	t.Helper()
	if race {
		return builds[1].done(t, "bin-race", "-race")
	}
	return builds[0].done(t, "bin")
}

const movableFolder = "bin-movableclock"

// MovableBinaries is Binaries with programs whose clocks a [Clock] moves.
func MovableBinaries(t testing.TB) string {
	t.Helper()
	return builds[2].done(t, movableFolder, "-tags", "movableclock")
}

// builds are the ways the programs are built in.
var builds [3]building

type building struct {
	once sync.Once
	dir  string
	err  error
}

func (b *building) done(t testing.TB, folder string, flags ...string) string {
	t.Helper()
	root := Root(t)
	b.once.Do(func() { b.dir, b.err = build(root, folder, flags...) })
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.dir
}

// build puts the programs where the next test process finds them: the linker then has nothing to
// do.
func build(root, folder string, flags ...string) (string, error) {
	dir := filepath.Join(root, ".tools", "test", folder)
	args := append(append([]string{"build"}, flags...), "-o", dir+string(filepath.Separator))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("meshtest: %w", err)
	}
	// Test processes run side by side: one may not start a program that another is writing.
	lock, err := os.OpenFile(
		filepath.Join(root, ".tools", "test", "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("meshtest: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("meshtest: lock %s: %w", lock.Name(), err)
	}
	cmd := exec.Command("go", append(args, "./cmd/...")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("meshtest: go build ./cmd/...: %w\n%s", err, out)
	}
	if folder == movableFolder {
		return dir, buildPreloaded(root, dir)
	}
	return dir, nil
}

// Envoy returns the path of the real Envoy. Without one the test fails and says how to get it.
func Envoy(t testing.TB) string {
	t.Helper()
	path, err := mesh.FindEnvoy(Root(t))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// RedisServer returns the path of the real redis-server. Without one the test fails and says how to
// get it.
func RedisServer(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("meshtest: redis-server (7.0 or newer) is missing: run `make test`, " +
			"or on Debian and Ubuntu: apt-get install redis-server")
	}
	return path
}
