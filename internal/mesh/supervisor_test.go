package mesh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"go.uber.org/goleak"
)

// helper names the environment variable that makes this test binary play a child.
const helper = "MESH_TEST_HELPER"

func TestMain(m *testing.M) {
	if role := os.Getenv(helper); role != "" {
		os.Exit(play(role))
	}
	goleak.VerifyTestMain(m)
}

// play is what a child does, by its role.
func play(role string) int {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	fmt.Println("playing", role)
	switch name, argument, _ := strings.Cut(role, " "); name {
	case "good": // exits when asked
	case "deaf": // ignores what asks it to exit
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("deaf by now")
		term = nil
	case "listen":
		l, err := net.Listen("tcp4", argument)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer l.Close()
	case "bad":
		<-term
		fmt.Println("could not drain")
		return 3
	case "parent": // of one that outlives it
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), helper+"=deaf")
		if err := child.Start(); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("child", child.Process.Pid)
	case "mesh": // of two children, for a test that kills it with SIGKILL
		s := newSupervisor()
		for range 2 {
			c := &Child{
				name: "good", path: os.Args[0], env: append(os.Environ(), helper+"=good"),
				logFile: os.DevNull, supervisor: s,
			}
			if err := c.start(); err != nil {
				fmt.Println(err)
				return 1
			}
			fmt.Println("child", c.PID())
		}
		fmt.Println("complete")
	}
	<-term
	return 0
}

// newChild returns a child that plays a role, not started yet.
func newChild(t *testing.T, s *supervisor, role string) *Child {
	t.Helper()
	name := strings.Fields(role)[0]
	return &Child{
		name: name, path: os.Args[0], env: append(os.Environ(), helper+"="+role),
		logFile: filepath.Join(t.TempDir(), name+".log"), supervisor: s,
	}
}

// startChild starts a child and returns once it plays.
func startChild(t *testing.T, s *supervisor, role string) *Child {
	t.Helper()
	c := newChild(t, s, role)
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, c.logFile, "playing")
	return c
}

// awaitLog returns the first line of a file that contains text.
func awaitLog(t *testing.T, path, text string) string {
	t.Helper()
	var found string
	eventually.True(t, fmt.Sprintf("%q in %s", text, path), func() bool {
		content, _ := os.ReadFile(path) // not there yet: asked again
		for line := range strings.Lines(string(content)) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				found = strings.TrimSpace(line)
				return true
			}
		}
		return false
	})
	return found
}

// alive reports whether a process runs; a zombie does not.
func alive(t *testing.T, pid int) bool {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), ") ")
	return !strings.HasPrefix(after, "Z")
}

func TestAChildThatExitsIsReportedWithTheEndOfItsLog(t *testing.T) {
	s := newSupervisor()
	defer s.stop(time.Second)
	c := startChild(t, s, "good")
	other := startChild(t, s, "good")
	if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := <-s.failed
	for _, want := range []string{"good ended", "killed", "playing good", c.LogFile()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("expected %q in: %v", want, err)
		}
	}
	if !alive(t, other.PID()) {
		t.Error("the supervisor stopped its other child: that is left to the mesh")
	}
}

func TestAnExitThatIsExpectedIsNotReported(t *testing.T) {
	s := newSupervisor()
	defer s.stop(time.Second)
	killed, asked := startChild(t, s, "good"), startChild(t, s, "good")
	if err := killed.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := asked.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if alive(t, killed.PID()) || alive(t, asked.PID()) {
		t.Error("a child is still there")
	}
	if err := killed.Kill(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("expected %q, got %v", ErrNotRunning, err)
	}
	select {
	case err := <-s.failed:
		t.Errorf("reported: %v", err)
	default:
	}
}

func TestAChildRunsAgainAfterRestart(t *testing.T) {
	s := newSupervisor()
	defer s.stop(time.Second)
	c := startChild(t, s, "good")
	before := c.PID()
	c.ready = func(context.Context) error { return nil }
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.PID() == before || !alive(t, c.PID()) || alive(t, before) {
		t.Errorf("process %d before, %d after", before, c.PID())
	}
}

func TestStopAsksThenKillsAndSaysSo(t *testing.T) {
	for _, row := range []struct{ role, want string }{
		{role: "good"},
		{role: "deaf", want: "deaf did not end within"},
		{role: "bad", want: "bad ended (exit status 3)"},
	} {
		t.Run(row.role, func(t *testing.T) {
			s := newSupervisor()
			c := startChild(t, s, row.role)
			within := 20 * time.Second
			if row.role == "deaf" {
				awaitLog(t, c.logFile, "deaf by now")
				within = 50 * time.Millisecond
			}
			err := s.stop(within)
			if row.want == "" && err != nil ||
				row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("expected %q, got: %v", row.want, err)
			}
			if alive(t, c.PID()) {
				t.Error("the child is still there")
			}
			if err := newChild(t, s, "good").start(); !errors.Is(err, errStopping) {
				t.Errorf("a child was started by a supervisor that has stopped: %v", err)
			}
		})
	}
}

func TestStopReachesASuspendedProcess(t *testing.T) {
	s := newSupervisor()
	c := startChild(t, s, "good")
	if err := c.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(20 * time.Second); err != nil {
		t.Errorf("a suspended child did not exit by itself: %v", err)
	}
}

func TestAChildsOwnChildrenAreStoppedWithIt(t *testing.T) {
	s := newSupervisor()
	defer s.stop(time.Second)
	c := startChild(t, s, "parent")
	grandchild, err := strconv.Atoi(strings.TrimPrefix(awaitLog(t, c.logFile, "child"), "child "))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the grandchild is gone", func() bool { return !alive(t, grandchild) })
}

func TestChildrenAreKilledWithTheirParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), helper+"=mesh")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var children []int
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "complete"; {
		if text, ok := strings.CutPrefix(lines.Text(), "child "); ok {
			pid, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			children = append(children, pid)
		}
	}
	if len(children) != 2 || !alive(t, children[0]) || !alive(t, children[1]) {
		t.Fatalf("expected two children that run, got %v", children)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	for _, pid := range children {
		eventually.True(t, "child "+strconv.Itoa(pid)+" is gone", func() bool { return !alive(t, pid) })
	}
}

// A terminal's Ctrl-C goes to a whole process group: it must reach children only through us, in
// order.
func TestEachChildLeadsAGroupOfItsOwn(t *testing.T) {
	s := newSupervisor()
	defer s.stop(time.Second)
	c := startChild(t, s, "good")
	group, err := syscall.Getpgid(c.PID())
	if err != nil {
		t.Fatal(err)
	}
	if group != c.PID() {
		t.Errorf("expected process group %d, got %d", c.PID(), group)
	}
}

func TestAChildThatFindsItsPortTakenSaysSo(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newSupervisor()
	defer s.stop(time.Second)
	c := newChild(t, s, "listen "+l.Addr().String())
	c.ready = func(context.Context) error { return errors.New("never") }
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	if err := c.awaitReady(t.Context()); !errors.Is(err, ErrPort) {
		t.Errorf("expected %q, got: %v", ErrPort, err)
	}
}

func TestWaitingForAChildEndsWithItsContextAndSaysWhatItSaid(t *testing.T) {
	s := newSupervisor()
	defer s.stop(time.Second)
	c := startChild(t, s, "good")
	c.ready = func(context.Context) error { return errors.New("no keys yet") }
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("ctrl-c"))
	err := c.awaitReady(ctx)
	if err == nil || !strings.Contains(err.Error(), "ctrl-c") ||
		!strings.Contains(err.Error(), "no keys yet") {
		t.Errorf("got: %v", err)
	}
}

func TestTheTailOfALogBeginsWithThisRunAndAWholeLine(t *testing.T) {
	c := &Child{name: "x", logFile: filepath.Join(t.TempDir(), "x.log")}
	line := strings.Repeat("y", 99) + "\n"
	content := "former run\n" + strings.Repeat(line, 100) + "last words\n"
	if err := os.WriteFile(c.logFile, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	tail := c.logTail(&run{offset: int64(len("former run\n"))})
	if !strings.HasSuffix(tail, "last words") || strings.Contains(tail, "former") ||
		len(tail) > tailBytes+500 {
		t.Errorf("got %d bytes: %s", len(tail), tail)
	}
	for _, l := range strings.Split(tail, "\n")[1:] {
		if l = strings.TrimSpace(l); l != strings.TrimSpace(line) && l != "last words" {
			t.Errorf("a cut line: %q", l)
		}
	}
	tail = c.logTail(&run{offset: int64(len(content))})
	if !strings.Contains(tail, "written nothing") {
		t.Errorf("got %q", tail)
	}
}
