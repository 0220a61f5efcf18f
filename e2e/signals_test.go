package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/keyring"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
	"github.com/sallyport/sallyport/internal/ssf"
	"github.com/sallyport/sallyport/internal/ssf/stream/streamtest"
)

const (
	pushSecret       = "Bearer of-the-pushing-transmitter"
	receiversToken   = "0123456789abcdef0123456789abcdef"
	roundsOfSignals  = 10
	signalsEachRound = 100
)

// receivers are two issuers without users, and their Redis, each a process that can be killed. They
// hear of logouts from two transmitters: one pushes, one is polled.
type receivers struct {
	t               *testing.T
	dir             string
	pushing, polled *streamtest.Transmitter
	redis           string     // its address
	urls, admins    [2]string  // of the issuers
	running         [3]*killed // the issuers, and Redis
}

// killed is a process that was started, and is killed at the latest when the test ends.
type killed struct {
	cmd  *exec.Cmd
	gone chan struct{}
}

func (k *killed) kill() {
	_ = k.cmd.Process.Kill() // it may be gone already
	<-k.gone
}

func startReceivers(t *testing.T) *receivers {
	t.Helper()
	r := &receivers{
		t: t, dir: t.TempDir(), pushing: streamtest.New(t), polled: streamtest.New(t),
		redis: closedAddress(t),
	}
	if _, err := (&keyring.Folder{Dir: filepath.Join(r.dir, "keys")}).Generate(t.Context(),
		"ES256"); err != nil {
		t.Fatal(err)
	}
	r.write("push", pushSecret)
	r.write("client", streamtest.Secret)
	r.write("token", receiversToken)
	r.start(2)
	for i := range r.urls {
		r.urls[i], r.admins[i] = "http://"+closedAddress(t), "http://"+closedAddress(t)
		r.write(fmt.Sprintf("issuer-%d.yaml", i), r.config(i))
		r.start(i)
	}
	t.Cleanup(func() {
		for i, k := range r.running {
			k.kill()
			if log, err := os.ReadFile(r.log(i)); t.Failed() {
				t.Logf("process %d: %v\n%s", i, err, log[max(0, len(log)-4000):])
			}
		}
	})
	for i := range r.urls {
		r.ready(i)
	}
	return r
}

func (r *receivers) config(i int) string {
	return fmt.Sprintf(`name: issuer-%[1]d
issuer: https://receiver.example.com
listen: %[2]s
admin: {listen: %[3]s, token_file: token}
keys: {dir: keys}
redis: {address: %[4]s, checks: warn}
revocation: {settle: 200ms, heartbeat: 50ms}
senders:
- issuer: %[5]s
  jwks_url: %[5]s/jwks
  audiences: [sallyport/stream-1]
  signals: {delivery: push, authorization_file: push}
- issuer: %[6]s
  jwks_url: %[6]s/jwks
  signals:
    delivery: poll
    client_id: %[7]s
    client_secret_file: client
    check_every: 1s
    poll_every: 20ms
`, i, strings.TrimPrefix(r.urls[i], "http://"), strings.TrimPrefix(r.admins[i], "http://"), r.redis,
		r.pushing.URL, r.polled.URL, streamtest.Client)
}

func (r *receivers) write(name, content string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *receivers) log(i int) string { return filepath.Join(r.dir, fmt.Sprintf("log-%d", i)) }

// start starts an issuer, or, as the third, a Redis that loses nothing it has acknowledged.
func (r *receivers) start(i int) {
	r.t.Helper()
	log, err := os.OpenFile(r.log(i), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	program := filepath.Join(meshtest.Binaries(r.t, false), "issuer")
	args := []string{"serve", "--config", filepath.Join(r.dir, fmt.Sprintf("issuer-%d.yaml", i))}
	if i == 2 {
		host, port, err := net.SplitHostPort(r.redis)
		if err != nil {
			r.t.Fatal(err)
		}
		program, args = meshtest.RedisServer(r.t), []string{
			"--bind", host, "--port", port, "--save", "", "--appendonly", "yes",
			"--appendfsync", "always", "--dir", r.dir,
		}
	}
	k := &killed{cmd: exec.Command(program, args...), gone: make(chan struct{})}
	k.cmd.Dir, k.cmd.Stdout, k.cmd.Stderr = r.dir, log, log
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := k.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		_ = k.cmd.Wait() // it is killed: its status says so and nothing else
		_ = log.Close()
		close(k.gone)
	}()
	r.running[i] = k
}

func (r *receivers) ready(i int) {
	r.t.Helper()
	eventually.Within(r.t, time.Minute, fmt.Sprintf("issuer %d to be ready", i), func() bool {
		res, err := http.Get(r.admins[i] + "/readyz")
		return err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK
	})
}

// closedAddress is an address on this machine that nobody listens on.
func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// disabled is a message that a user's account is disabled.
func disabled(tr *streamtest.Transmitter, user string) string {
	return tr.Message("message of "+user, ssf.AccountDisabled.URI(), "{}",
		fmt.Sprintf(`{"format":"iss_sub","iss":%q,"sub":%q}`, tr.URL, user))
}

// push pushes a message as a transmitter does: again and again, to one issuer and the other, until
// it is acknowledged.
func (r *receivers) push(ctx context.Context, n int, message string) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for ctx.Err() == nil {
		n++
		request, err := http.NewRequestWithContext(ctx, http.MethodPost,
			r.urls[n%len(r.urls)]+"/security-events", strings.NewReader(message))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/secevent+jwt")
		request.Header.Set("Authorization", pushSecret)
		res, err := http.DefaultClient.Do(request)
		if err == nil { // else it is down
			_ = res.Body.Close() // what matters is its status
			switch {
			case res.StatusCode == http.StatusAccepted:
				return nil
			case res.StatusCode < 500:
				return fmt.Errorf("a message was answered %d", res.StatusCode)
			}
		}
		select {
		case <-ctx.Done():
		case <-again.C:
		}
	}
	return ctx.Err()
}

// revoked are the users of each sender whose tokens the log revokes.
func (r *receivers) revoked() map[string]bool {
	r.t.Helper()
	found, after := map[string]bool{}, uint64(0)
	for {
		request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet,
			fmt.Sprintf("%s/admin/revocations?kind=sub&limit=1000&after=%d", r.admins[0], after), nil)
		if err != nil {
			r.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+receiversToken)
		res, err := http.DefaultClient.Do(request)
		if err != nil {
			r.t.Fatal(err)
		}
		var page adminapi.Entries
		err = json.NewDecoder(res.Body).Decode(&page)
		_ = res.Body.Close() // it is read
		if err != nil || res.StatusCode != http.StatusOK {
			r.t.Fatalf("%d, %v", res.StatusCode, err)
		}
		for _, e := range page.Entries {
			found[e.Issuer+" "+e.Value] = true
		}
		if page.Next == 0 {
			return found
		}
		after = page.Next
	}
}

// TestNoSecurityEventIsAcknowledgedAndLost: 1,000 messages, half pushed and half polled, while
// issuers and Redis are killed among them. Each is acknowledged in the end, and the log has what
// each one asks for.
func TestNoSecurityEventIsAcknowledgedAndLost(t *testing.T) {
	r := startReceivers(t)
	eventually.True(t, "polls", func() bool { return r.polled.Calls("POST /poll") > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	victims := []int{0, 2, 1, 2, 0}
	for round := range roundsOfSignals {
		var pushing sync.WaitGroup
		for n := range signalsEachRound / 2 {
			user := fmt.Sprintf("user-%d-%d", round, n)
			r.polled.Send("message of "+user, disabled(r.polled, user))
			message := disabled(r.pushing, user)
			pushing.Go(func() {
				if err := r.push(ctx, n, message); err != nil {
					t.Error(err)
				}
			})
		}
		if round%2 == 0 {
			victim := victims[round/2]
			r.running[victim].kill()
			r.start(victim)
		}
		pushing.Wait()
	}
	for i := range r.urls {
		r.ready(i)
	}
	eventually.Within(t, 2*time.Minute, "all polled messages to be acknowledged", func() bool {
		return r.polled.Left() == 0
	})
	found := r.revoked()
	for round := range roundsOfSignals {
		for n := range signalsEachRound / 2 {
			user := fmt.Sprintf("user-%d-%d", round, n)
			for _, tr := range []*streamtest.Transmitter{r.pushing, r.polled} {
				if !found[tr.URL+" "+user] {
					t.Errorf("the log has nothing of %s at %s", user, tr.URL)
				}
			}
			if acked, code := r.polled.Acked("message of " + user); !acked {
				t.Errorf("%s: not acknowledged, refused as %q", user, code)
			}
		}
	}
}

// telling has a mesh's gates accept the tokens of two transmitters, and its issuers their security
// events: of one pushed, of the other polled.
func telling(t *testing.T, m *mesh.Options, pushing, polled *streamtest.Transmitter) {
	for name, content := range map[string]string{"push": pushSecret, "client": streamtest.Secret} {
		if err := os.WriteFile(filepath.Join(m.Dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.Rewrite = func(name, content string) string {
		switch name {
		case "issuer.yaml":
			return content + fmt.Sprintf(`
messages: {requests: {burst: 100000, every: 1ms}}
senders:
- issuer: %[1]s
  jwks_url: %[1]s/jwks
  audiences: [sallyport/stream-1]
  signals: {delivery: push, authorization_file: push}
- issuer: %[2]s
  jwks_url: %[2]s/jwks
  signals: {delivery: poll, client_id: %[3]s, client_secret_file: client}
`, pushing.URL, polled.URL, streamtest.Client)
		case "authz.yaml":
			const silent = `  role_prefix: ""` + "\n"
			content = strings.Replace(content, "\n  ours: true\n", "\n  ours: true\n"+silent, 1)
			for _, tr := range []*streamtest.Transmitter{pushing, polled} {
				content = strings.Replace(content, "\nissuers:\n", fmt.Sprintf("\nissuers:\n- issuer: %[1]s\n"+
					"  jwks_url: %[1]s/jwks\n  audiences: [shop]\n  algorithms: [RS256]\n  typ: JWT\n",
					tr.URL)+silent, 1)
			}
		}
		return content
	}
}

// accessOf is an access token of a session at a transmitter's issuer.
func accessOf(t *testing.T, tr *streamtest.Transmitter, sid string) string {
	t.Helper()
	now := time.Now().Unix()
	access, err := tr.Key().Sign("JWT", fmt.Appendf(nil,
		`{"iss":%q,"aud":"shop","sub":"carol","sid":%q,"jti":%q,"iat":%d,"exp":%d}`,
		tr.URL, sid, "access of "+sid, now, now+1800))
	if err != nil {
		t.Fatal(err)
	}
	return access
}

// TestALogoutElsewhereThatIsSignalledIsInForceAtEveryGate (S1): from the moment when a transmitter
// begins to push a security event, through Envoy, or has it for a poll that it holds open, until
// three gates refuse the session's access token.
func TestALogoutElsewhereThatIsSignalledIsInForceAtEveryGate(t *testing.T) {
	const sessions = 300
	pushing, polled := streamtest.New(t), streamtest.New(t)
	polled.HoldPolls(5 * time.Second)
	s := meshtest.Start(t, meshtest.Options{
		Gates: 3, Mesh: func(m *mesh.Options) { telling(t, m, pushing, polled) },
	})
	gates := dialGates(t, s)
	c := newCaller(t, s.Endpoints().Gateway)
	eventually.True(t, "a poll", func() bool { return polled.Calls("POST /poll") > 0 })
	for name, by := range map[string]struct {
		*streamtest.Transmitter
		tell func(id, message string)
	}{
		"pushed": {pushing, func(_, message string) {
			a := c.send(t, http.MethodPost, "/security-events", []byte(message),
				header("Content-Type", "application/secevent+jwt"), header("Authorization", pushSecret))
			if a.status != http.StatusAccepted {
				t.Fatalf("a security event: %d %s", a.status, a.body)
			}
		}},
		"polled": {polled, polled.Send},
	} {
		t.Run(name, func(t *testing.T) {
			took := make([]time.Duration, sessions)
			for i := range took {
				sid := fmt.Sprintf("session-%d", i)
				access := accessOf(t, by.Transmitter, sid)
				message := by.Message("logout of "+sid, ssf.SessionRevoked.URI(), "{}", fmt.Sprintf(
					`{"format":"complex","user":{"format":"iss_sub","iss":%q,"sub":"carol"},`+
						`"session":{"format":"opaque","id":%q}}`, by.URL, sid))
				for n, gate := range gates {
					if status, reason, err := ask(gate, access); status != http.StatusOK {
						t.Fatalf("gate %d refuses a valid token: %d %s %v (S8)", n+1, status, reason, err)
					}
				}
				sent := time.Now()
				by.tell("logout of "+sid, message)
				took[i] = untilRefusedEverywhere(t, gates, access, sent)
			}
			inTime(t, took)
			eventually.True(t, "all polled messages to be acknowledged",
				func() bool { return polled.Left() == 0 })
			// One that had to be tried again is in the times: a machine that has no time for it shows here.
			t.Logf("steps of streams that have failed: %v", metric(t,
				newCaller(t, s.Endpoints().IssuerAdmin), "sallyport_issuer_stream_failures_total"))
		})
	}
}
