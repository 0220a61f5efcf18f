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
