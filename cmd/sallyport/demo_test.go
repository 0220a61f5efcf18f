package main_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is a demo under test.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string // --dir, empty for a temporary folder
	tmp    string // $TMPDIR
	output *eventually.Buffer
	ended  chan struct{} // closed when it has ended
	err    error         // how it ended
}

// startDemo runs `sallyport demo` with free ports and these flags, in a process group of its own as
// a shell does.
func startDemo(t *testing.T, flags ...string) *process {
	t.Helper()
	p := &process{t: t, tmp: t.TempDir(), output: &eventually.Buffer{}, ended: make(chan struct{})}
	if i := slices.Index(flags, "--dir"); i >= 0 {
		p.dir = flags[i+1]
	}
	if !slices.Contains(flags, "--port") {
		flags = append(flags, "--port", "0")
	}
	p.cmd = exec.Command(filepath.Join(meshtest.Binaries(t, false), "sallyport"),
		append([]string{"demo"}, flags...)...)
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.tmp, "SALLYPORT_ENVOY="+meshtest.Envoy(t))
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended, as it should
		<-p.ended
		if t.Failed() {
			t.Logf("the demo printed:\n%s", p.output)
		}
	})
	return p
}

// wait returns how the demo ended.
func (p *process) wait() error {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.err
	case <-time.After(60 * time.Second):
		p.t.Fatal("the demo did not end within 60s")
		return nil
	}
}

// serving waits for the end of the tour.
func (p *process) serving() {
	p.t.Helper()
	eventually.Within(p.t, aMinute, "the demo serves", func() bool {
		select {
		case <-p.ended:
			p.t.Fatalf("the demo ended: %v", p.err)
		default:
		}
		return strings.Contains(p.output.String(), "Serving until Ctrl-C.")
	})
}

// aMinute is what a whole stack may take to start or to stop, on a machine that does much else.
const aMinute = time.Minute

// children returns the demo's child processes by the names of their programs.
func (p *process) children() map[int]string {
	p.t.Helper()
	children := map[int]string{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		// pid (program) state ppid ...
		var pid, ppid int
		var state string
		front, back, _ := strings.Cut(string(content), ") ")
		number, program, _ := strings.Cut(front, " (")
		if _, err := fmt.Sscan(number, &pid); err != nil {
			p.t.Fatal(err)
		}
		if _, err := fmt.Sscan(back, &state, &ppid); err != nil {
			p.t.Fatal(err)
		}
		if ppid == p.cmd.Process.Pid {
			children[pid] = program
		}
	}
	return children
}

// gone waits until none of the processes is left.
func (p *process) gone(pids map[int]string) {
	p.t.Helper()
	for pid, name := range pids {
		eventually.Within(p.t, aMinute, fmt.Sprintf("%s, process %d, is gone", name, pid), func() bool {
			content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
			_, state, _ := strings.Cut(string(content), ") ")
			return err != nil || strings.HasPrefix(state, "Z")
		})
	}
}

// leavesNothing fails when the temporary folder is still there.
func (p *process) leavesNothing() {
	p.t.Helper()
	entries, err := os.ReadDir(p.tmp)
	if err != nil || len(entries) > 0 {
		p.t.Errorf("left behind in $TMPDIR: %v, %v", entries, err)
	}
}

func (p *process) endpoints() mesh.Endpoints {
	p.t.Helper()
	content, err := os.ReadFile(filepath.Join(p.dir, "endpoints.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	var e mesh.Endpoints
	if err := json.Unmarshal(content, &e); err != nil {
		p.t.Fatal(err)
	}
	return e
}

var stepLine = regexp.MustCompile(`(?m)^ *(\d+) .* \d+\.\d ms   (\d+)$`)

// statuses returns the statuses of the tour's steps.
func (p *process) statuses() []string {
	var all []string
	for _, m := range stepLine.FindAllStringSubmatch(p.output.String(), -1) {
		all = append(all, m[2])
	}
	return all
}

var expectedTour = []string{
	"200",
	"401",
	"200",
	"200",
	"200",
	"403",
	"200",
	"401",
	"200",
	"200",
	"401",
}

func TestTheDemoTakesItsTourAndEndsWithStatus0(t *testing.T) {
	p := startDemo(t, "--once")
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	if got := p.statuses(); !slices.Equal(got, expectedTour) {
		t.Errorf("expected the statuses %v, got %v", expectedTour, got)
	}
	for _, want := range []string{
		"x-auth-subject   alice", "x-auth-issuer    http", "x-auth-roles     admin",
		"after the logout's answer, at the gate",
		"All 11 steps went as expected.", "Everything is stopped.",
	} {
		if !strings.Contains(p.output.String(), want) {
			t.Errorf("expected %q in the output", want)
		}
	}
	if strings.Contains(p.output.String(), "\x1b") {
		t.Error("colours on what is no terminal")
	}
	p.leavesNothing()
}

func TestTheDemoRunsOnARedisOfTheUsersWithThreeGates(t *testing.T) {
	redis := startRedis(t)
	dir := t.TempDir()
	p := startDemo(t, "--once", "--gates", "3", "--redis", redis, "--dir", dir)
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(p.output.String(), "at all 3 gates") {
		t.Error("the tour did not ask all 3 gates after the logout")
	}
	if e := p.endpoints(); e.Redis != redis || len(e.Gates) != 3 {
		t.Errorf("endpoints.json: %+v", e)
	}
}

// TestTheDemoRunsWithTheGateInsideEnvoy: the same tour, and no gate beside Envoy.
func TestTheDemoRunsWithTheGateInsideEnvoy(t *testing.T) {
	beside := filepath.Join(meshtest.Binaries(t, false), mesh.ModuleFile)
	if err := os.Remove(beside); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.Symlink(meshtest.Module(t), beside); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := startDemo(t, "--once", "--in-process", "--dir", dir)
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(p.output.String(), "steps went as expected.") {
		t.Errorf("the tour:\n%s", p.output.String())
	}
	if e := p.endpoints(); len(e.Gates) != 1 || e.Gates[0].GRPC != "" {
		t.Errorf("endpoints.json: %+v", e)
	}
	if _, err := os.Stat(filepath.Join(dir, "log", "gate-1.log")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a gate beside Envoy has a log: %v", err)
	}
}

// startRedis runs a redis-server for one test.
func startRedis(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	_, port, _ := strings.Cut(address, ":")
	cmd := exec.Command(meshtest.RedisServer(t), "--bind", "127.0.0.1", "--port", port, "--dir",
		t.TempDir(), "--save", "", "--appendonly", "yes", "--appendfsync", "always")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	eventually.Within(t, aMinute, "redis-server answers", func() bool {
		conn, err := net.Dial("tcp4", address)
		if err != nil {
			return false
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "PING\r\n")
		answer, _ := bufio.NewReader(conn).ReadString('\n')
		return err == nil && answer == "+PONG\r\n"
	})
	return address
}

func TestEndpointsSayWhereEverythingIs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "the", "demo")
	p := startDemo(t, "--gates", "2", "--dir", dir)
	eventually.Within(p.t, aMinute, "endpoints.json",
		func() bool { _, err := os.Stat(filepath.Join(dir, "endpoints.json")); return err == nil })
	e := p.endpoints()

	var raw map[string]any
	content, err := os.ReadFile(filepath.Join(dir, "endpoints.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &raw); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"gateway", "issuer", "issuer_admin", "envoy_admin", "gates", "redis", "iss", "audience",
		"key_dir", "users", "admin_token_file",
	} {
		if raw[name] == nil {
			t.Errorf("endpoints.json has no %s", name)
		}
		delete(raw, name)
	}
	if len(raw) > 0 {
		t.Errorf("endpoints.json has more than is promised: %v", raw)
	}

	// Whoever sees the file sees a mesh that is ready.
	for _, url := range []string{
		e.Gateway + "/public", e.Issuer + "/.well-known/jwks.json", e.Gateway + "/.well-known/jwks.json",
		e.IssuerAdmin + "/readyz", e.EnvoyAdmin + "/ready", e.Gates[0].Admin + "/readyz",
		e.Gates[1].Admin + "/readyz",
	} {
		if status := get(t, url); status != http.StatusOK {
			t.Errorf("%s answered %d", url, status)
		}
	}
	for _, at := range []string{e.Redis, e.Gates[0].GRPC, e.Gates[1].GRPC} {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Errorf("%s: %v", at, err)
			continue
		}
		conn.Close()
	}
	if names := []string{
		e.Gates[0].Name,
		e.Gates[1].Name,
	}; !slices.Equal(names, []string{"gate-1", "gate-2"}) {
		t.Errorf("gates %v", names)
	}
	if !filepath.IsAbs(e.KeyDir) {
		t.Errorf("key_dir is %q", e.KeyDir)
	}
	if len(e.Users) < 2 || e.Users[0].Name != "alice" || !slices.Contains(e.Users[0].Roles, "admin") ||
		e.Users[1].Name != "bob" ||
		slices.Contains(e.Users[1].Roles, "admin") {
		t.Errorf("users %+v", e.Users)
	}
	p.serving()

	// The files that the daemons run from are good for running a daemon.
	bin := meshtest.Binaries(t, false)
	for _, command := range [][]string{
		{filepath.Join(bin, "issuer"), "check", "--config", filepath.Join(dir, "issuer.yaml")},
		{filepath.Join(bin, "authz"), "check", "--config", filepath.Join(dir, "authz.yaml")},
		{meshtest.Envoy(t), "--mode", "validate", "-l", "error", "-c", filepath.Join(dir, "envoy.yaml")},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", command, err, out)
		}
	}

	t.Run("and a second demo in the same folder is refused", func(t *testing.T) {
		second := startDemo(t, "--dir", dir, "--once")
		if second.wait() == nil ||
			!strings.Contains(second.output.String(), "another mesh is using "+dir) {
			t.Errorf("got: %s", second.output)
		}
		if _, err := os.Stat(filepath.Join(dir, "endpoints.json")); err != nil {
			t.Errorf("it took the first one's endpoints.json away: %v", err)
		}
	})
}

func get(t *testing.T, url string) int {
	t.Helper()
	client := &http.Client{
		Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
	}
	response, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

func TestWhatAsksTheDemoToEndEndsItCleanly(t *testing.T) {
	for name, end := range map[string]func(p *process) error{
		// A terminal sends Ctrl-C to the whole foreground process group, as make's or the shell's.
		"Ctrl-C":  func(p *process) error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT) },
		"SIGTERM": func(p *process) error { return p.cmd.Process.Signal(syscall.SIGTERM) },
		"SIGHUP":  func(p *process) error { return p.cmd.Process.Signal(syscall.SIGHUP) },
	} {
		t.Run(name, func(t *testing.T) {
			p := startDemo(t)
			p.serving()
			children := p.children()
			if len(children) != 3 {
				t.Errorf("expected issuer, authz and envoy, got %v", children)
			}
			if err := end(p); err != nil {
				t.Fatal(err)
			}
			if err := p.wait(); err != nil {
				t.Errorf("expected status 0, got %v", err)
			}
			p.gone(children)
			p.leavesNothing()
		})
	}
}

func TestAChildThatDiesEndsTheDemoWithAnErrorThatSaysWhich(t *testing.T) {
	for program, name := range map[string]string{
		"issuer": "issuer-1", "authz": "gate-1", "envoy": "envoy",
	} {
		t.Run(program, func(t *testing.T) {
			p := startDemo(t)
			p.serving()
			children := p.children()
			for pid, found := range children {
				if found == program {
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}
			}
			var exit *exec.ExitError
			if err := p.wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("expected status 1, got %v", err)
			}
			if want := name + " ended (signal: killed)"; !strings.Contains(p.output.String(), want) {
				t.Errorf("expected %q in the output", want)
			}
			p.gone(children)
			p.leavesNothing()
		})
	}
}

func TestKillingTheDemoOutrightEndsItsChildren(t *testing.T) {
	p := startDemo(t, "--dir", t.TempDir())
	p.serving()
	children := p.children()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.gone(children)
}

func TestAReaderThatGoesAwayEndsTheDemoCleanly(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	cmd := exec.Command(filepath.Join(meshtest.Binaries(t, false), "sallyport"), "demo", "--port", "0")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "SALLYPORT_ENVOY="+meshtest.Envoy(t))
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Error(err)
	}
	r.Close()
	_ = cmd.Wait() // by whatever status: it has been interrupted
	(&process{t: t, tmp: tmp}).leavesNothing()
}

func TestATakenPortIsNamedWithTheWayOut(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	for _, row := range []struct {
		name  string
		port  int
		whose string
	}{
		{"the gateway's", port, "the gateway"},
		{"another one, counted from it", port - 1, "issuer-1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := startDemo(t, "--once", "--port", strconv.Itoa(row.port))
			if p.wait() == nil {
				t.Fatal("expected an error")
			}
			want := fmt.Sprintf("port %d, for %s, is taken", port, row.whose)
			for _, want := range []string{want, "--port"} {
				if !strings.Contains(p.output.String(), want) {
					t.Errorf("expected %q", want)
				}
			}
			p.leavesNothing()
		})
	}
}

func TestFlagsThatCannotWorkAreRefused(t *testing.T) {
	for name, row := range map[string]struct {
		flags []string
		want  string
	}{
		"no gate":           {[]string{"--gates", "0"}, "--gates: expected at least 1"},
		"no host:port":      {[]string{"--redis", "localhost"}, "--redis: expected host:port"},
		"no Redis there":    {[]string{"--redis", "127.0.0.1:1"}, "no Redis answers at 127.0.0.1:1"},
		"port out of range": {[]string{"--port", "65535"}, "got 65535"},
		"no such envoy":     {[]string{"--envoy", "/nowhere/envoy"}, "/nowhere/envoy"},
		"an argument":       {[]string{"now"}, "unknown command"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startDemo(t, append(row.flags, "--once")...)
			if p.wait() == nil || !strings.Contains(p.output.String(), row.want) {
				t.Errorf("expected %q, got: %s", row.want, p.output)
			}
			p.leavesNothing()
		})
	}
}

// shellAnswer finds what the script has got: a status line, or tokens that were put into a
// variable.
var shellAnswer = regexp.MustCompile(`HTTP/1\.1 (\d+)|ANSWER {"access_token":`)

// Every line that the tour prints, pasted into a shell one after the other, does what the tour did.
func TestTheToursLinesDoTheSameInAShell(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatalf(
			"the tour prints lines for curl, and curl is missing (on Debian and Ubuntu: "+
				"apt-get install curl): %v",
			err)
	}
	p := startDemo(t)
	p.serving()
	tour, _, _ := strings.Cut(p.output.String(), "All 11 steps")
	var script strings.Builder
	for line := range strings.Lines(tour) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "field()"),
			strings.HasPrefix(line, "BENT="),
			strings.HasPrefix(line, "curl "),
			strings.HasPrefix(line, "ALICE="),
			strings.HasPrefix(line, "BOB="):
			fmt.Fprintln(&script, line)
		case strings.HasPrefix(line, "R=$("):
			fmt.Fprintln(&script, line)
			fmt.Fprintln(&script, `echo "ANSWER $R"`)
		}
	}
	cmd := exec.Command("sh")
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the shell says: %v", err)
	}
	var got []string
	for _, m := range shellAnswer.FindAllStringSubmatch(string(out), -1) {
		got = append(got, cmp.Or(m[1], "200"))
	}
	if !slices.Equal(got, expectedTour) {
		t.Errorf("expected the statuses %v, got %v from\n%s", expectedTour, got, &script)
	}
}
