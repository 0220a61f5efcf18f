package mesh_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// options are those of a small mesh in a folder of its own.
func options(t *testing.T) mesh.Options {
	t.Helper()
	return mesh.Options{
		Dir: t.TempDir(), Binaries: meshtest.Binaries(t, false), Envoy: meshtest.Envoy(t),
	}
}

// start starts a mesh that the test stops itself.
func start(t *testing.T, o mesh.Options) *mesh.Mesh {
	t.Helper()
	m, err := mesh.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Stop() }) // for a test that failed before it did
	return m
}

// gone fails when a process is left of a mesh that has stopped.
func gone(t *testing.T, m *mesh.Mesh) {
	t.Helper()
	for _, c := range m.Children() {
		if err := syscall.Kill(-c.PID(), 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s is still there: %v", c.Name(), err)
		}
	}
}

func TestStopStopsEverythingWithoutKilling(t *testing.T) {
	o := options(t)
	o.RedisServer = meshtest.RedisServer(t)
	m := start(t, o)
	var names []string
	for _, c := range m.Children() {
		names = append(names, c.Name())
	}
	if got := strings.Join(names, " "); got != "redis issuer-1 envoy gate-1" {
		t.Errorf("children: %s", got)
	}
	if err := m.Stop(); err != nil {
		t.Errorf("not everything ended by itself: %v", err)
	}
	gone(t, m)
	if err := m.Wait(); err != nil {
		t.Errorf("Wait after Stop: %v", err)
	}
}

func TestAnExitNobodyExpectedStopsTheMesh(t *testing.T) {
	o := options(t)
	o.Gates = 2
	m := start(t, o)
	if err := syscall.Kill(m.Child("gate-2").PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := m.Wait()
	if err == nil ||
		!strings.Contains(err.Error(), "gate-2 ended (signal: killed); the end of its log") {
		t.Errorf("got: %v", err)
	}
	gone(t, m)
}

func TestAnExitThatIsExpectedLeavesTheMeshRunning(t *testing.T) {
	o := options(t)
	o.Gates = 2
	m := start(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, name := range []string{"gate-1", "issuer-1", "envoy"} {
		c := m.Child(name)
		if err := c.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := c.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Child("gate-2").Terminate(ctx); err != nil {
		t.Errorf("a gate that is asked to end does not: %v", err)
	}
	response, err := http.Get(m.Endpoints().Gateway + "/public")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if response.StatusCode != http.StatusOK {
		t.Errorf("/public answered %s", response.Status)
	}
	if err := m.Stop(); err != nil {
		t.Error(err)
	}
	gone(t, m)
}

func TestAStartThatFailsLeavesNothingAndSaysWhy(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(*mesh.Options)
		want  []string
	}{
		"a gate that refuses its file": {
			spoil: func(o *mesh.Options) {
				o.Rewrite = func(name, content string) string {
					if name == "authz.yaml" {
						return strings.Replace(content, "realm:", "relm:", 1)
					}
					return content
				}
			},
			want: []string{"gate-1 ended (exit status", "authz.yaml:", "relm"},
		},
		"an Envoy that refuses its file": {
			spoil: func(o *mesh.Options) {
				o.Rewrite = func(name, content string) string {
					if name == "envoy.yaml" {
						return content + "no_such_field: 1\n"
					}
					return content
				}
			},
			want: []string{"envoy ended (exit status", "no_such_field"},
		},
		"no Redis there": {
			spoil: func(o *mesh.Options) { o.RedisAddress = "127.0.0.1:1" },
			want:  []string{"no Redis answers at 127.0.0.1:1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			// A former mesh's file would send people to ports where nobody is.
			former := filepath.Join(o.Dir, "endpoints.json")
			if err := os.WriteFile(former, []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
			row.spoil(&o)
			_, err := mesh.Start(t.Context(), o)
			if err == nil {
				t.Fatal("expected an error")
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("expected %q in: %v", want, err)
				}
			}
			if _, err := os.Stat(former); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("endpoints.json of a mesh that is not there: %v", err)
			}
			running(t, o.Dir)
		})
	}
}

// running fails when a process still runs that was started for a mesh in dir.
func running(t *testing.T, dir string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(line), dir) {
			t.Errorf("still running: %q", line)
		}
	}
}

func TestAStartThatIsInterruptedLeavesNothing(t *testing.T) {
	o := options(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	o.Progress = func(doing string) {
		if strings.Contains(doing, "gate-1") {
			cancel(errors.New("ctrl-c"))
		}
	}
	if _, err := mesh.Start(ctx, o); err == nil || !strings.Contains(err.Error(), "ctrl-c") {
		t.Errorf("got: %v", err)
	}
	running(t, o.Dir)
}

func TestAnotherMeshInTheSameFolderIsRefused(t *testing.T) {
	o := options(t)
	m := start(t, o)
	if _, err := mesh.Start(t.Context(), o); err == nil ||
		!strings.Contains(err.Error(), "another mesh is using") {
		t.Errorf("got: %v", err)
	}
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, o)
	if got, want := again.Endpoints().KeyDir, m.Endpoints().KeyDir; got != want {
		t.Errorf("expected the folder to be used again, got key_dir %s, not %s", got, want)
	}
	if err := again.Stop(); err != nil {
		t.Error(err)
	}
}

func TestTheMeshSharesItsFilesWithNobody(t *testing.T) {
	o := options(t)
	m := start(t, o)
	defer m.Stop()
	err := filepath.WalkDir(o.Dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || path == o.Dir {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
