package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh/freeport"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func client(t *testing.T, address, user, password string) *redisconn.Client {
	t.Helper()
	c := redisconn.DefaultConfig()
	c.Address, c.Checks, c.Username = address, redisconn.ChecksWarn, user
	c.Password = config.NewSecret(password)
	opened, err := redisconn.Open(c)
	must(t, err)
	t.Cleanup(func() { _ = opened.Close() }) // Redis may be gone already
	return opened
}

func running(t *testing.T, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// TestARelayServesFromItsFile: over a Unix socket, to a gate that says the password, which is in no
// log.
func TestARelayServesFromItsFile(t *testing.T) {
	server := redistest.NewServer(t)
	server.StartPlain()
	issuer, err := redislog.NewIssuer(client(t, server.Address(), "", ""), redislog.DefaultConfig(),
		redislog.Options{Name: "issuer-1"})
	must(t, err)
	running(t, issuer.Run)

	dir, admin := t.TempDir(), freeport.Address(t)
	socket, file := filepath.Join(dir, "relay.sock"), filepath.Join(dir, "relay.yaml")
	const password = "the-gates-password"
	must(t, os.WriteFile(filepath.Join(dir, "password"), []byte(password+"\n"), 0o600))
	must(t, os.WriteFile(file, fmt.Appendf(nil,
		"name: relay-1\nlisten: unix:%s\ngates: {password_file: ./password}\nredis: {address: %q}\n"+
			"admin: {listen: %s}\n", socket, server.Address(), admin), 0o600))
	var out, log eventually.Buffer
	running(t, func(ctx context.Context) error {
		cmd := program().Command()
		cmd.SetOut(&out)
		cmd.SetErr(&log)
		cmd.SetArgs([]string{"serve", "--config", file})
		return cmd.ExecuteContext(ctx)
	})
	eventually.True(t, "the relay is ready", func() bool { return get(admin, "/readyz") == "200" })

	gate, err := redislog.NewGate(client(t, socket, "gate", password), redislog.DefaultConfig(),
		redislog.Options{Name: "gate-1"})
	must(t, err)
	running(t, gate.Run)
	eventually.True(t, "the gate is ready", func() bool { return gate.Ready() == nil })
	_, err = issuer.Append(t.Context(), []revocation.Request{{
		Kind: revocation.KindSID, Issuer: "https://i", Value: "s-1", Reason: "logout", Actor: "test",
	}})
	must(t, err)
	facts := revocation.Facts{Issuer: "https://i", SessionID: "s-1", TokenID: "t", Ours: true}
	eventually.True(t, "the gate denies", func() bool { return gate.Check(&facts).Revoked })

	stranger := client(t, socket, "gate", "another")
	if err := stranger.Explain(stranger.Universal().Ping(t.Context()).Err()); err == nil ||
		!strings.Contains(err.Error(), "redis.password") {
		t.Errorf("a wrong password: got %v", err)
	}
	var metrics string
	for _, want := range []string{
		"sallyport_relay_gates 1\n", `sallyport_relay_refused_total{reason="command"} 0`,
		// The stranger's connection, and one that a gate has given up, are counted until they end.
		"sallyport_relay_connections 2\n", "sallyport_revocation_fresh 1\n",
	} {
		eventually.True(t, "the metrics have "+want, func() bool {
			metrics = get(admin, "/metrics")
			return strings.Contains(metrics, want)
		})
	}
	if strings.Contains(out.String()+log.String()+metrics, password) {
		t.Error("the password is in the log or metrics")
	}
}

// get returns what the admin port answers: the status alone but for metrics.
func get(admin, path string) string {
	response, err := http.Get("http://" + admin + path)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || path != "/metrics" {
		return fmt.Sprint(response.StatusCode)
	}
	return string(body)
}

func TestCheckStartsNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "relay.yaml")
	check := func(text string) (string, error) {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		var out bytes.Buffer
		cmd := program().Command()
		cmd.SetOut(&out)
		cmd.SetArgs([]string{"check", "--config", file})
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	socket := filepath.Join(dir, "s")
	out, err := check("name: relay-1\nlisten: unix:" + socket + "\nredis: {address: 'nowhere:1'}\n")
	if err != nil || out != "ok: relay relay-1 listens on unix:"+socket+"\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("it has made a socket")
	}
	for text, want := range map[string]string{
		"listen: unix:" + dir + "/not/there\n":                      "no such file",
		"gates: {tls: {cert_file: ./none.pem, key_file: ./none}}\n": "gates.tls.cert_file",
		"listen: 0.0.0.0:1\n":                                       "relay.yaml:1:1: gates.password",
		"gates: {pasword: x}\n":                                     "did you mean",
	} {
		if _, err := check(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", text, err, want)
		}
	}
}
