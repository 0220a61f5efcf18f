package meshtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// module is the gate's dynamic module.
var module struct {
	once sync.Once
	path string
	err  error
}

// Module builds the gate's dynamic module from this working tree, once in a test process, and
// returns its path.
func Module(t testing.TB) string {
	t.Helper()
	root := Root(t)
	module.once.Do(func() {
		module.path = filepath.Join(root, ".tools", "test", "libsallyport.so")
		module.err = buildModule(root, module.path)
	})
	if module.err != nil {
		t.Fatal(module.err)
	}
	return module.path
}

// BrokenModule is Module with other content of its files, by their paths below the root.
func BrokenModule(t testing.TB, content map[string]string) string {
	t.Helper()
	root, dir := Root(t), t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, text := range content {
		at := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, name)] = at
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay"), list, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "libsallyport.so")
	if err := buildModule(root, path, "-overlay", filepath.Join(dir, "overlay")); err != nil {
		t.Fatal(err)
	}
	return path
}

// buildModule puts a module where the next test process finds it.
func buildModule(root, path string, flags ...string) error {
	unlock, err := lockBuilds(root)
	if err != nil {
		return err
	}
	defer unlock()
	cmd := exec.Command("go", append(append([]string{"build", "-buildmode=c-shared", "-trimpath"},
		flags...), "-o", path, ".")...)
	cmd.Dir = filepath.Join(root, "authz", "module")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("meshtest: go build ./authz/module (it takes gcc): %w\n%s", err, out)
	}
	return nil
}

// lockBuilds keeps other test processes from building: one may not start a program that another is
// writing.
func lockBuilds(root string) (unlock func(), err error) {
	folder := filepath.Join(root, ".tools", "test")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("meshtest: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("meshtest: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("meshtest: lock %s: %w", lock.Name(), err), lock.Close())
	}
	return func() { _ = lock.Close() }, nil
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
	args := append(append([]string{"build"}, flags...), "-o",
		dir+string(filepath.Separator))
	unlock, err := lockBuilds(root)
	if err != nil {
		return "", err
	}
	defer unlock()
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
