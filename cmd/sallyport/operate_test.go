package main_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// operator works on a stack with the commands of this program.
type operator struct {
	t     *testing.T
	stack *meshtest.Stack
	env   []string // where the admin API is, as a shell gives it
}

// operate brings up a stack and points the commands to it.
func operate(t *testing.T, o meshtest.Options) *operator {
	t.Helper()
	s := meshtest.Start(t, o)
	return &operator{
		t,
		s,
		[]string{
			"SALLYPORT_ADMIN_URL=" + s.Endpoints().IssuerAdmin,
			"SALLYPORT_ADMIN_TOKEN_FILE=" + s.Endpoints().AdminTokenFile,
		},
	}
}

// command prepares a run of this program.
func (o *operator) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(o.t.Context(),
		filepath.Join(meshtest.Binaries(o.t, false), "sallyport"), args...)
	cmd.Env = append(os.Environ(), o.env...)
	return cmd
}

// try runs a command and returns its exit status.
func (o *operator) try(args ...string) (status int, out, errOut string) {
	o.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := o.command(args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var ended *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &ended) {
		o.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// run runs a command and wants its exit status.
func (o *operator) run(want int, args ...string) string {
	o.t.Helper()
	got, out, errOut := o.try(args...)
	if got != want || (got == 0) != (errOut == "") {
		o.t.Fatalf("sallyport %s: expected status %d, got %d\n%s%s", strings.Join(args, " "),
			want, got, out, errOut)
	}
	return out
}

// logEntry is an entry as "show" prints it.
type logEntry struct {
	adminapi.Entry
	AppliedBy []string `json:"applied_by"`
	NotYetBy  []string `json:"not_yet_by"`
}

// json runs a command that succeeds and reads what it prints, strictly.
func (o *operator) json(dst any, args ...string) {
	o.t.Helper()
	out := o.run(0, append(args, "--json")...)
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(dst); err != nil {
		o.t.Fatalf("sallyport %s: %v in %s", strings.Join(args, " "), err, out)
	}
}

// claim reads a claim of an access token, without checking anything.
func (o *operator) claim(access, name string) string {
	o.t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(access, ".")[1])
	if err != nil {
		o.t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		o.t.Fatal(err)
	}
	text, ok := claims[name].(string)
	if !ok {
		o.t.Fatalf("the token has no %s", name)
	}
	return text
}

// passes and refused say what all gates do: Envoy asks them in turn.
func (o *operator) passes(access string) { o.t.Helper(); o.answers(access, http.StatusOK) }
func (o *operator) refused(access string) {
	o.t.Helper()
	o.answers(access, http.StatusUnauthorized)
}

func (o *operator) answers(access string, want int) {
	o.t.Helper()
	for range 3 * len(o.stack.Endpoints().Gates) {
		if got := o.stack.Call("/protected", access); got.Status != want {
			o.t.Fatalf("expected %d, got %d: %s", want, got.Status, got.Body)
		}
	}
}

// TestARevocationByEverySelectorIsInForceWhenTheCommandSaysSo: on a real stack, with no wait
// between the command and the request.
func TestARevocationByEverySelectorIsInForceWhenTheCommandSaysSo(t *testing.T) {
	o := operate(t, meshtest.Options{Gates: 2})
	s := o.stack

	one, other := s.Login("alice"), s.Login("alice")
	out := o.run(0, "revoke", "--jti", o.claim(one.AccessToken, "jti"), "--reason", "leaked",
		"--actor", "ops")
	if !strings.Contains(out, "applied by 2/2 gates") {
		t.Errorf("got %s", out)
	}
	o.refused(one.AccessToken)
	o.passes(s.Refresh(one).AccessToken) // its session goes on

	o.run(0, "revoke", "--sid", o.claim(one.AccessToken, "sid"))
	o.refused(one.AccessToken)
	o.passes(other.AccessToken)
	got := s.Post("/refresh", map[string]string{"refresh_token": one.RefreshToken})
	if got.Status != http.StatusUnauthorized {
		t.Errorf("the session goes on: %d", got.Status)
	}

	bob := s.Login("bob")
	if out := o.run(0, "revoke", "--sub", "alcie"); !strings.Contains(out,
		"no session of alcie was known") {
		t.Errorf("a misspelt name is not told: %s", out)
	}
	o.passes(other.AccessToken)
	out = o.run(0, "revoke", "--sub", "Alice") // names are folded at login, too
	if strings.Contains(out, "note:") || !strings.Contains(out, "at issuer "+s.Endpoints().Iss) {
		t.Errorf("got %s", out)
	}
	out = o.run(0, "revoke", "--sub", "alice", "--issuer", "https://other.example")
	if !strings.Contains(out, "alice at issuer https://other.example:") {
		t.Errorf("the issuer is not named: %s", out)
	}
	o.refused(other.AccessToken)
	o.passes(bob.AccessToken)
	again := s.Login("alice")
	o.passes(again.AccessToken)

	o.run(0, "revoke", "--tenant", "of-nobody")
	o.passes(bob.AccessToken)
	o.run(0, "revoke", "--client", "sallyport", "--issued-before", "2020-01-01T00:00:00Z")
	o.passes(bob.AccessToken)
	o.run(0, "revoke", "--client", "sallyport")
	o.refused(bob.AccessToken)
	o.refused(again.AccessToken)
	s.Eventually("a login of the next second passes", func() bool {
		again = s.Login("alice")
		return s.Call("/protected", again.AccessToken).Status == http.StatusOK
	})
	o.passes(again.AccessToken)

	o.run(0, "revoke", "--iss", "https://other.example")
	o.passes(again.AccessToken)
	o.run(0, "revoke", "--iss", s.Endpoints().Iss)
	o.refused(again.AccessToken)

	var entries []logEntry
	o.json(&entries, "revocations", "list", "--jti", o.claim(one.AccessToken, "jti"))
	if len(entries) != 1 || entries[0].Reason != "leaked" || entries[0].Actor != "ops" ||
		entries[0].Issuer != s.Endpoints().Iss {
		t.Errorf("got %+v", entries)
	}
	var found logEntry
	o.json(&found, "revocations", "show", strconv.FormatUint(entries[0].Seq, 10))
	if found.Seq != entries[0].Seq || len(found.AppliedBy) != 2 || len(found.NotYetBy) != 0 {
		t.Errorf("got %+v", found)
	}
	found = logEntry{}
	o.json(&found, "revocations", "show", "--client", "sallyport")
	// the newest of two
	if found.Kind != "client" || found.IssuedBefore == nil || found.IssuedBefore.Year() < 2026 {
		t.Errorf("got %+v", found)
	}
	o.json(&entries, "revocations", "list", "--after", "0", "--limit", "0")
	for i, e := range entries {
		if e.Seq != uint64(i+1) {
			t.Fatalf("entry %d is listed at place %d", e.Seq, i+1)
		}
	}
	all := len(entries)
	if o.json(&entries, "revocations", "list", "--limit", "2"); len(entries) != 2 ||
		entries[1].Seq != uint64(all) {
		t.Errorf("the newest two of %d: %+v", all, entries)
	}
	o.run(1, "revocations", "show", strconv.Itoa(all+1))
	o.run(1, "revocations", "show", "--jti", "of-nobody")
}

func TestADryRunShowsTheSessionsAndLeavesThemAlone(t *testing.T) {
	o := operate(t, meshtest.Options{Embedded: true})
	one, other := o.stack.Login("alice"), o.stack.Login("alice")
	out := o.run(0, "revoke", "--sub", "alice", "--dry-run")
	for _, tokens := range []meshtest.Tokens{one, other} {
		if sid := o.claim(tokens.AccessToken, "sid"); !strings.Contains(out, sid) {
			t.Errorf("no session %s in\n%s", sid, out)
		}
	}
	if !strings.Contains(out, "2 sessions") {
		t.Errorf("got\n%s", out)
	}
	var p adminapi.Preview
	o.json(&p, "revoke", "--sid", o.claim(one.AccessToken, "sid"), "--dry-run")
	if !p.DryRun || p.SessionsTotal != 1 || p.Sessions[0].Subject != "alice" ||
		p.Sessions[0].State != "active" {
		t.Errorf("got %+v", p)
	}
	o.passes(one.AccessToken)
	o.passes(other.AccessToken)
	var entries []logEntry
	if o.json(&entries, "revocations", "list"); len(entries) != 1 || entries[0].Kind != "epoch" {
		t.Errorf("got %+v", entries)
	}
}

// TestStatusFailsWhileProcessesAreNotWhatTheyShouldBe: two gates share a name, and another gate has
// a max_staleness of its own; each is named.
func TestStatusFailsWhileProcessesAreNotWhatTheyShouldBe(t *testing.T) {
	o := operate(t, meshtest.Options{})
	o.gate("--name", "gate-1")
	o.gate("--name", "gate-2", "--revocation-max-staleness", "9s")
	o.stack.Eventually("status to name them", func() bool {
		status, out, errOut := o.try("status")
		return status == 2 && strings.Contains(errOut, "gate-1 is shared") &&
			strings.Contains(errOut, "gate-2 is unlike") &&
			strings.Contains(out, "shared") &&
			strings.Contains(out, "unlike")
	})
}

// gate runs one more gate of the stack, by its file and with flags of its own, until the test ends.
func (o *operator) gate(flags ...string) {
	o.t.Helper()
	args := append(
		[]string{"serve", "--config", filepath.Join(o.stack.Dir, "authz.yaml"), "--listen", "127.0.0.1:0",
			"--admin-listen", "127.0.0.1:0", "--key-cache-dir", o.t.TempDir()},
		flags...)
	cmd := exec.Command(filepath.Join(meshtest.Binaries(o.t, false), "authz"), args...)
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			o.t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	})
}

// TestStatusFailsWhileAGateIsBehind: one gate is stopped as by a debugger, and another command's
// revocation passes it by.
func TestStatusFailsWhileAGateIsBehind(t *testing.T) {
	o := operate(t, meshtest.Options{Gates: 2, Issuers: 2})
	var got adminapi.Status
	o.json(&got, "status")
	if !got.Well || got.Head == nil || len(got.Gates) != 2 || len(got.Issuers) != 2 {
		t.Fatalf("got %+v", got)
	}
	for _, g := range got.Gates {
		if g.State != "ok" || g.Version == "" || g.Staleness == nil || g.KeySetAge == nil ||
			g.Lag == nil ||
			!g.Ready {
			t.Errorf("got %+v", g)
		}
	}
	table := o.run(0, "status")
	for _, want := range []string{
		"NAME", "LAG", "STALENESS", "KEY SET", "READY", "VERSION", "gate-1", "gate-2", "issuer-1",
		"issuer-2",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}

	stopped := o.stack.Child("gate-2")
	if err := stopped.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	out := o.run(2, "revoke", "--jti", "x", "--wait", "200ms")
	if !strings.Contains(out, "1/2 gates; not yet by gate-2") {
		t.Errorf("got %s", out)
	}
	status, out, said := o.try("status", "--within", "200ms")
	if status != 2 || !strings.Contains(said, "gate-2 is ") || strings.Contains(said, "gate-1") {
		t.Errorf("status %d\n%s%s", status, out, said)
	}
	var found logEntry
	o.json(&found, "revocations", "show", "--jti", "x")
	if len(found.AppliedBy) != 1 || len(found.NotYetBy) != 1 || found.NotYetBy[0] != "gate-2" {
		t.Errorf("got %+v", found)
	}
	if err := stopped.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	o.stack.Eventually("all is well again", func() bool {
		status, _, _ := o.try("status")
		return status == 0
	})
}

func TestAWatchPrintsRevocationsAsTheyCome(t *testing.T) {
	o := operate(t, meshtest.Options{Embedded: true})
	o.run(0, "revoke", "--jti", "before")
	printed, notes := &eventually.Buffer{}, &eventually.Buffer{}
	cmd := o.command("revocations", "watch", "--json", "--interval", "50ms", "--after", "1")
	cmd.Stdout, cmd.Stderr = printed, notes
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o.stack.Eventually("the watch shows what was there",
		func() bool { return strings.Contains(printed.String(), `"before"`) })
	o.run(0, "revoke", "--jti", "now")
	o.stack.Eventually("the watch shows what has come",
		func() bool { return strings.Contains(printed.String(), `"now"`) })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || notes.String() != "" {
		t.Errorf("%v, %s", err, notes)
	}
	if lines := strings.Count(printed.String(), "\n"); lines != 2 {
		t.Errorf("expected two lines, got\n%s", printed)
	}
}

// TestTheDemoSaysHowToOperateIt runs what it prints.
func TestTheDemoSaysHowToOperateIt(t *testing.T) {
	p := startDemo(t, "--dir", t.TempDir())
	p.serving()
	exports := regexp.MustCompile(`(?m)^  export (\w+)=(\S+) (\w+)=(\S+)$`).
		FindStringSubmatch(p.output.String())
	if exports == nil {
		t.Fatalf("no line with the settings in\n%s", p.output)
	}
	o := &operator{t: t, env: []string{exports[1] + "=" + exports[2], exports[3] + "=" + exports[4]}}
	lines := regexp.MustCompile(`(?m)^  \S*sallyport (status|revoke .*)$`).
		FindAllStringSubmatch(p.output.String(), -1)
	if len(lines) != 2 {
		t.Fatalf("expected a line for status and one for revoke, got %q", lines)
	}
	for _, line := range lines {
		if out := o.run(0, strings.Fields(line[1])...); out == "" {
			t.Errorf("%s prints nothing", line[0])
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(); err != nil {
		t.Errorf("the demo ended: %v", err)
	}
}
