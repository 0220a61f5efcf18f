package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// explains asks a running gate by `sallyport explain`.
type explains struct{ binary, gate, adminToken string }

func (e *explains) ask(t *testing.T, path, token string) (a adminapi.Explanation) {
	t.Helper()
	args := []string{
		"explain", "GET", "http://things.example.com" + path, "--json", "--gate", e.gate,
		"--admin-token-file", e.adminToken,
	}
	cmd := exec.Command(e.binary, args...)
	if token != "" {
		cmd.Args = append(cmd.Args, "--token-file", "-")
		cmd.Stdin = strings.NewReader(token)
	}
	out, err := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != 0 && code != 1 {
		t.Fatalf("explain: %v, %s", err, out)
	}
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if a.Allow != (cmd.ProcessState.ExitCode() == 0) {
		t.Errorf("allow is %v, and the exit status %d", a.Allow, cmd.ProcessState.ExitCode())
	}
	if secret := token[strings.LastIndexByte(token, '.')+1:]; len(secret) > 1 &&
		strings.Contains(string(out), secret) {
		t.Error("the token is shown")
	}
	return a
}

// TestARunningGateExplainsWhatItAnswersEnvoy: tokens that are good, revoked, expired or forged, and
// all of them again while the gate's copy of the log is stale.
func TestARunningGateExplainsWhatItAnswersEnvoy(t *testing.T) {
	e := &explains{
		binary:     filepath.Join(meshtest.Binaries(t, true), "sallyport"),
		adminToken: filepath.Join(t.TempDir(), "gate-token"),
	}
	if err := os.WriteFile(e.adminToken, []byte(strings.Repeat("k3", 20)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.GateArgs = []string{fmt.Sprintf("--revocation-max-staleness=%v", outageStaleness)}
		o.IssuerArgs = o.GateArgs
		o.Rewrite = func(name, content string) string {
			if name != "authz.yaml" {
				return content
			}
			return replace(t, content, "admin: {listen:",
				fmt.Sprintf("admin: {token_file: %q, listen:", e.adminToken))
		}
	}))
	e.gate = s.Endpoints().Gates[0].Admin
	c := newCaller(t, s.Endpoints().Gateway)
	live := c.login(t, user(t, s, "bob")).Access
	gone := c.login(t, user(t, s, "bob")).Access
	head, claims := decode(t, live)
	for _, name := range []string{"iat", "exp", "auth_time"} {
		claims[name] = claims[name].(float64) - 7200
	}
	expired := sign(t, signingKey(t, s.Endpoints().KeyDir, head["kid"].(string)), head, claims)
	if a := c.send(t, "POST", "/logout", nil, bearer(gone)); a.status != 200 {
		t.Fatalf("logout: %d %s", a.status, a.body)
	}
	eventually.True(t, "the logout is in force",
		func() bool { return c.get(t, "/protected", bearer(gone)).status == 401 })

	compare := func(when string, wants map[string]string) {
		t.Helper()
		for name, want := range wants {
			path, token := "/protected", map[string]string{
				"live": live, "revoked": gone, "expired": expired, "forged": flip(live), "admin": live,
				"elsewhere": live, "public": "", "none": "", "garbage": "a.b.c",
			}[name]
			switch name {
			case "admin", "elsewhere", "public":
				path = "/" + name
			}
			var edits []edit
			if token != "" {
				edits = append(edits, bearer(token))
			}
			answered := c.get(t, path, edits...)
			told := e.ask(t, path, token)
			reason := answered.header.Get("X-Sallyport-Reason")
			if answered.status == 200 {
				reason = "allowed"
			}
			if told.Reason != reason || told.Status != answered.status || reason != want {
				t.Errorf(
					"%s, %s: Envoy is answered %d %s, and it is explained as %d %s; want %s",
					when,
					name,
					answered.status,
					reason,
					told.Status,
					told.Reason,
					want,
				)
			}
			text := fmt.Sprintf("%+v", told.Steps)
			if has := map[string]string{
				"revoked": "It was by sid, entry ", "allowed": "nothing revokes it: looked for token",
			}[want]; path == "/protected" && !strings.Contains(text, has) {
				t.Errorf("%s, %s: the steps do not say %q: %s", when, name, has, text)
			}
		}
	}
	compare("fresh", map[string]string{
		"live": "allowed", "revoked": "revoked", "expired": "expired", "forged": "signature",
		"admin": "insufficient_role", "elsewhere": "no_route", "public": "allowed", "none": "no_token",
		"garbage": "base64",
	})

	redis := s.Child("redis")
	if err := redis.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually.Within(t, 4*outageStaleness, "the copy is stale",
		func() bool { return c.get(t, "/protected", bearer(live)).status == 503 })
	compare("stale", map[string]string{
		"live": "stale", "revoked": "revoked", "expired": "expired", "forged": "signature",
		"admin": "stale", "elsewhere": "no_route", "public": "allowed", "none": "no_token",
	})
	if err := redis.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually.Within(t, 10*time.Second, "the copy is fresh again",
		func() bool { return c.get(t, "/protected", bearer(live)).status == 200 })
	compare("fresh again", map[string]string{"live": "allowed", "revoked": "revoked"})
}
