package mesh

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
)

func TestProcessesOfTheCallersChoiceAreSupervised(t *testing.T) {
	dir := t.TempDir()
	p := NewProcesses(dir)
	at, err := p.Address("it")
	if err != nil || at == "" {
		t.Fatalf("%q, %v", at, err)
	}
	started := filepath.Join(dir, "started")
	c, err := p.Start(t.Context(), Spec{
		Name:  "it",
		Path:  "/bin/sh",
		Args:  []string{"-c", "echo once >> " + started + "; exec sleep 600"},
		Dir:   dir,
		Ready: func(context.Context) error { _, err := os.Stat(started); return err },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Expect(); err != nil {
		t.Fatal(err)
	}
	if err := signalGroup(c.PID(), 9); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "it has exited", func() bool { return c.Expect() != nil })
	select {
	case err := <-p.Failed():
		t.Errorf("an exit that was expected is reported: %v", err)
	default:
	}
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := signalGroup(c.PID(), 9); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Failed():
	case <-time.After(20 * time.Second):
		t.Error("an exit that nobody expected is not reported")
	}
	if err := p.Stop(5 * time.Second); err != nil {
		t.Error(err)
	}
}
