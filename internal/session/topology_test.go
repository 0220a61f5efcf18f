package session_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appconfig "github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

// The users of deploy/redis/users.acl, and the one who sets a cluster up.
const issuerPassword, gatePassword, adminPassword = "issuer-password", "gate-password", "admin-password"

// TestEveryKindOfRedisByConfigurationAlone walks one scenario over each: sessions begin, are refreshed and end, the end is
// acknowledged by the gate, and the gate denies.
func TestEveryKindOfRedisByConfigurationAlone(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) redisconn.Config{
		"single":                            func(t *testing.T) redisconn.Config { return single(t, site{}) },
		"single, TLS":                       func(t *testing.T) redisconn.Config { return single(t, site{tls: true}) },
		"single, users":                     func(t *testing.T) redisconn.Config { return single(t, site{users: true}) },
		"single, TLS, users":                func(t *testing.T) redisconn.Config { return single(t, site{tls: true, users: true}) },
		"cluster":                           func(t *testing.T) redisconn.Config { return cluster(t, site{}) },
		"cluster, TLS, users":               func(t *testing.T) redisconn.Config { return cluster(t, site{tls: true, users: true}) },
		"sentinel, password, users":         func(t *testing.T) redisconn.Config { return sentinel(t, site{users: true}) },
		"sentinel, password, without users": func(t *testing.T) redisconn.Config { return sentinel(t, site{}) },
	} {
		t.Run(name, func(t *testing.T) { walk(t, start(t)) })
	}
}

func walk(t *testing.T, cfg redisconn.Config) {
	t.Helper()
	settings := redislog.DefaultConfig()
	settings.Heartbeat, settings.Settle, settings.AppendTimeout = 50*time.Millisecond, 250*time.Millisecond, 10*time.Second
	client := openAs(t, cfg, "issuer", issuerPassword)
	log, err := redislog.NewIssuer(client, settings, redislog.Options{Name: "issuer-1"})
	if err != nil {
		t.Fatal(err)
	}
	gate, err := redislog.NewGate(openAs(t, cfg, "gate", gatePassword), settings, redislog.Options{Name: "gate-1"})
	if err != nil {
		t.Fatal(err)
	}
	keepRunning(t, log.Run)
	keepRunning(t, gate.Run)
	within(t, "issuer and gate are ready", func() bool { return log.Ready() == nil && gate.Ready() == nil })
	sessions, err := session.New(configFor(settings), client, log, sessiontest.NewRing())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Store: sessions, t: t, redis: client}
	g := w.login("alice")
	next := w.mustRefresh(g.RefreshToken)
	receipt, err := w.End(t.Context(), g.Session.ID, "logout", "alice")
	if err != nil {
		t.Fatalf("end: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if a, err := log.Applied(ctx, receipt); err != nil || a.Total != 1 || !a.All() {
		t.Errorf("applied: %+v, %v", a, err)
	}
	if !gate.Check(&revocation.Facts{Issuer: issuerName, SessionID: g.Session.ID, Ours: true}).Revoked {
		t.Error("acknowledged, and the gate allows")
	}
	w.refused(next.RefreshToken, session.ReasonEnded)
	other := w.login("alice")
	if done, err := w.EndAll(t.Context(), "alice", "admin", ""); err != nil || done.Sessions != 1 {
		t.Errorf("log out everywhere: %+v, %v", done, err)
	}
	w.refused(other.RefreshToken, session.ReasonEnded)
	w.login("alice")
}

func configFor(settings redislog.Config) session.Config {
	c := config()
	c.Retain = settings.MaxTokenLifetime + 2*settings.ClockSkew
	return c
}

func openAs(t *testing.T, cfg redisconn.Config, user, password string) *redisconn.Client {
	t.Helper()
	if cfg.Username != "" {
		cfg.Username, cfg.Password = user, appconfig.NewSecret(password)
	}
	cfg.Checks = redisconn.ChecksWarn
	cfg.DialTimeout, cfg.ReadTimeout, cfg.WriteTimeout = 5*time.Second, 5*time.Second, 5*time.Second
	client, err := redisconn.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

func keepRunning(t *testing.T, run func(context.Context) error) {
	t.Helper()
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

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// site is what a Redis has besides its kind.
type site struct{ tls, users bool }

// serve starts a redis-server and gives what a client needs to reach it.
func (s site) serve(t *testing.T, more ...string) (cfg redisconn.Config, port string) {
	t.Helper()
	port = freePort(t)
	cfg = redisconn.DefaultConfig()
	cfg.Address = "127.0.0.1:" + port
	args := []string{"--bind", "127.0.0.1"}
	if s.users {
		args = append(args, "--aclfile", usersFile(t))
		cfg.Username, cfg.Password = "admin", appconfig.NewSecret(adminPassword)
	}
	if s.tls {
		cert, key := certificateFiles(t)
		args = append(args, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no",
			"--tls-cluster", "yes")
		cfg.TLS = redisconn.TLSConfig{Enabled: true, CAFile: appconfig.Path(cert)}
	} else {
		args = append(args, "--port", port)
	}
	sessiontest.StartRedis(t, append(args, more...)...)
	return cfg, port
}

func single(t *testing.T, s site) redisconn.Config {
	cfg, _ := s.serve(t)
	return cfg
}

// cluster is one of a single node that has all slots.
func cluster(t *testing.T, s site) redisconn.Config {
	cfg, _ := s.serve(t, "--cluster-enabled", "yes", "--cluster-port", freePort(t), "--cluster-announce-ip", "127.0.0.1")
	node := openAs(t, cfg, "admin", adminPassword).Universal()
	if err := node.Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	within(t, "the cluster is up", func() bool {
		return strings.Contains(node.Do(t.Context(), "CLUSTER", "INFO").String(), "cluster_state:ok")
	})
	cfg.Mode, cfg.Addresses, cfg.Address = redisconn.ModeCluster, []string{cfg.Address}, ""
	return cfg
}

// sentinel is a primary that a sentinel with a password of its own leads to.
func sentinel(t *testing.T, s site) redisconn.Config {
	cfg, primary := s.serve(t)
	port, dir := freePort(t), t.TempDir()
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\nrequirepass sentinel-password\nsentinel monitor main 127.0.0.1 %s 1\n", port, primary)
	if s.users {
		text += "sentinel auth-user main admin\nsentinel auth-pass main " + adminPassword + "\n"
	}
	file := filepath.Join(dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", file, "--sentinel", "--dir", dir, "--logfile", filepath.Join(dir, "log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: its status says so and nothing else
	})
	cfg.Mode, cfg.Addresses, cfg.Address, cfg.MasterName = redisconn.ModeSentinel, []string{"127.0.0.1:" + port}, "", "main"
	cfg.SentinelPassword = appconfig.NewSecret("sentinel-password")
	return cfg
}

// usersFile is deploy/redis/users.acl with passwords, and an administrator.
func usersFile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "redis", "users.acl"))
	if err != nil {
		t.Fatal(err)
	}
	digest := func(p string) string { sum := sha256.Sum256([]byte(p)); return hex.EncodeToString(sum[:]) }
	filled := strings.NewReplacer("ISSUER_PASSWORD_SHA256", digest(issuerPassword), "GATE_PASSWORD_SHA256", digest(gatePassword)).Replace(string(text))
	file := filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(file, []byte(filled+"user admin on #"+digest(adminPassword)+" ~* &* +@all\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// certificateFiles makes a self-signed certificate for 127.0.0.1 and its key.
func certificateFiles(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
