package e2e_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// stack is a running mesh: one of the test's own, or the one that tests share which break nothing.
type stack interface{ Endpoints() mesh.Endpoints }

// common is the shared mesh: two gates with the race detector, on a real redis-server.
var common struct {
	start sync.Once
	dir   string
	mesh  *mesh.Mesh
	err   error
}

// TestMain ends the shared mesh; a daemon of it that did not end well fails the run.
func TestMain(m *testing.M) {
	code := m.Run()
	if common.mesh != nil {
		if err := common.mesh.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "the shared mesh did not end well:", err)
			code = 1
		}
	}
	if common.dir != "" {
		if code != 0 {
			fmt.Fprintln(os.Stderr, "logs of the shared mesh are kept in", common.dir)
		} else if err := os.RemoveAll(common.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// shared returns the mesh that tests share. A test that stops or signals a process starts its own.
func shared(t *testing.T) stack {
	t.Helper()
	common.start.Do(func() {
		if common.dir, common.err = os.MkdirTemp("", "sallyport-e2e-"); common.err != nil {
			return
		}
		o := mesh.Options{
			Dir: common.dir, Binaries: meshtest.Binaries(t, true), Envoy: meshtest.Envoy(t),
			RedisServer: meshtest.RedisServer(t), Gates: 2,
		}
		meshtest.GateInside(t, &o)
		common.mesh, common.err = mesh.Start(t.Context(), o)
	})
	if common.err != nil {
		t.Fatal(common.err)
	}
	if common.mesh == nil {
		t.Fatal("the shared mesh did not start: see the first test that asked for it")
	}
	return common.mesh
}

// with changes a mesh of a test's own before it starts.
func with(change func(*mesh.Options)) meshtest.Options { return meshtest.Options{Mesh: change} }
