package daemon_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/daemon"
)

// TestSignalsChild is not a test of its own: it is the process that the tests below send signals
// to.
func TestSignalsChild(t *testing.T) {
	if os.Getenv("SALLYPORT_TEST_SIGNALS") == "" {
		return
	}
	ctx, stop := daemon.Signals(context.Background())
	defer stop()
	fmt.Println("waiting")
	<-ctx.Done()
	fmt.Println("stopping")
	if os.Getenv("SALLYPORT_TEST_SIGNALS") == "hang" {
		time.Sleep(time.Minute)
	}
	os.Exit(7)
}

func child(t *testing.T, mode string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestSignalsChild$")
	c.Env = append(os.Environ(), "SALLYPORT_TEST_SIGNALS="+mode)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	return c, bufio.NewScanner(out)
}

func await(t *testing.T, out *bufio.Scanner, line string) {
	t.Helper()
	for out.Scan() {
		if out.Text() == line {
			return
		}
	}
	t.Fatalf("the child ended without %q", line)
}

func TestTheFirstSignalEndsTheContext(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		c, out := child(t, "exit")
		await(t, out, "waiting")
		if err := c.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		await(t, out, "stopping")
		if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != 7 {
			t.Errorf("%v: %v", s, c.ProcessState)
		}
	}
}

func TestTheSecondSignalEndsTheProcessAtOnce(t *testing.T) {
	c, out := child(t, "hang")
	await(t, out, "waiting")
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, out, "stopping")
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := c.Wait()
	status, ok := c.ProcessState.Sys().(syscall.WaitStatus)
	if err == nil || !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("%v, %v", err, c.ProcessState)
	}
}

func TestStoppingSignalsEndsTheContext(t *testing.T) {
	ctx, stop := daemon.Signals(context.Background())
	stop()
	<-ctx.Done()
}
