package mesh

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
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
	eventually(t, "it has ended", func() bool { return c.Expect() != nil })
	select {
	case err := <-p.Died():
		t.Errorf("an end that was expected is mourned: %v", err)
	default:
	}
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := signalGroup(c.PID(), 9); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Died():
	case <-time.After(20 * time.Second):
		t.Error("a death that nobody meant is not told")
	}
	if err := p.End(5 * time.Second); err != nil {
		t.Error(err)
	}
}
