package redisconn_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/meshtest"
	"github.com/sallyport/sallyport/internal/redisconn"
)

// server starts a redis-server, or with --sentinel a sentinel, and returns its port and process id.
func server(t *testing.T, port int, args ...string) (pid int) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is missing: install it (Debian: apt install redis-server)")
	}
	dir := t.TempDir()
	cmd := exec.Command("redis-server",
		append(args, "--dir", dir, "--bind", "127.0.0.1", "--loglevel", "warning")...)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})
	eventually.True(t, fmt.Sprintf("port %d listens", port), func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
	return cmd.Process.Pid
}

func freePort(t *testing.T) int {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		if port < 50000 { // a cluster's bus is 10000 above
			return port
		}
	}
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func open(t *testing.T, cfg redisconn.Config) *redisconn.Client {
	t.Helper()
	c, err := redisconn.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ping goes over both kinds of connection.
func ping(t *testing.T, c *redisconn.Client) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := c.Universal().Ping(ctx).Err(); err != nil {
		return err
	}
	conn, err := c.Dedicated(ctx, "{sallyport}:rev:log")
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Set(ctx, "{sallyport}:rev:test", "x", 0).Err()
}

func TestSingleWithUser(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	server(t, port, "--port", strconv.Itoa(port), "--user", "default", "off", "--user", "sally",
		"on", ">secret", "~*", "+@all")
	cfg := redisconn.DefaultConfig()
	cfg.Address, cfg.Username, cfg.Password = address(port), "sally", config.NewSecret("secret")
	if err := ping(t, open(t, cfg)); err != nil {
		t.Errorf("with the user: %v", err)
	}
	if open, err := redisconn.AnswersStrangers(t.Context(), cfg); open || err != nil {
		t.Errorf("answers strangers: %v, %v; want no", open, err)
	}
	cfg.Password = config.NewSecret("wrong-secret")
	err := ping(t, open(t, cfg))
	if err == nil || strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("with a wrong password: %v, want an error without it", err)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	port, path := freePort(t), filepath.Join(t.TempDir(), "redis.sock")
	server(t, port, "--port", strconv.Itoa(port), "--unixsocket", path)
	cfg := redisconn.DefaultConfig()
	cfg.Address = path
	c := open(t, cfg)
	eventually.True(t, "the socket answers", func() bool { return ping(t, c) == nil })
	if open, err := redisconn.AnswersStrangers(t.Context(), cfg); !open || err != nil {
		t.Errorf("answers strangers: %v, %v; want yes", open, err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	cert, key := meshtest.Certificate(t)
	server(t, port, "--port", "0", "--tls-port", strconv.Itoa(port), "--tls-cert-file", cert,
		"--tls-key-file", key, "--tls-ca-cert-file", cert)
	cfg := redisconn.DefaultConfig()
	cfg.Address = address(port)
	cfg.TLS = redisconn.TLSConfig{
		Enabled: true, CAFile: config.Path(cert), CertFile: config.Path(cert),
		KeyFile: config.Path(key),
	}
	if err := ping(t, open(t, cfg)); err != nil {
		t.Errorf("with a client certificate: %v", err)
	}
	stranger := cfg
	stranger.TLS.CertFile, stranger.TLS.KeyFile = "", ""
	if ping(t, open(t, stranger)) == nil {
		t.Error("without a client certificate it works")
	}
	untrusting := cfg
	untrusting.TLS.CAFile = ""
	if ping(t, open(t, untrusting)) == nil {
		t.Error("a certificate of an unknown authority is trusted")
	}
	misnamed := cfg
	misnamed.TLS.ServerName = "other.example"
	if ping(t, open(t, misnamed)) == nil {
		t.Error("a certificate for another name is trusted")
	}
	cfg.TLS.CAFile = config.Path(key)
	if _, err := redisconn.Open(cfg); err == nil {
		t.Error("a ca_file without a certificate is accepted")
	}
}

func TestSentinelFollowsThePrimary(t *testing.T) {
	t.Parallel()
	primary, replica := freePort(t), freePort(t)
	primaryPID := server(t, primary, "--port", strconv.Itoa(primary), "--save", "")
	server(t, replica, "--port", strconv.Itoa(replica), "--save", "", "--replicaof",
		fmt.Sprintf("127.0.0.1 %d", primary), "--repl-diskless-sync-delay", "0")
	port := freePort(t)
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf(
		"port %d\nsentinel monitor main 127.0.0.1 %d 1\nsentinel down-after-milliseconds main 500\n"+
			"sentinel failover-timeout main 2000\n",
		port,
		primary,
	)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server(t, port, file, "--sentinel")
	cfg := redisconn.DefaultConfig()
	cfg.Mode, cfg.Address, cfg.Addresses, cfg.MasterName = redisconn.ModeSentinel, "", []string{
		address(port),
	}, "main"
	c := open(t, cfg)
	eventually.True(t, "the primary takes writes", func() bool { return ping(t, c) == nil })
	watcher := redisconn.DefaultConfig()
	watcher.Address = address(port)
	sentinel := open(t, watcher)
	eventually.True(t, "the sentinel knows the replica", func() bool {
		v, err := sentinel.Universal().Do(t.Context(), "SENTINEL", "REPLICAS", "main").Slice()
		return err == nil && len(v) == 1
	})
	process, err := os.FindProcess(primaryPID)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the new primary takes writes", func() bool { return ping(t, c) == nil })
}

func TestClusterFindsThePrimaryOfAKey(t *testing.T) {
	t.Parallel()
	var addresses []string
	for range 3 {
		port := freePort(t)
		server(t, port, "--port", strconv.Itoa(port), "--save", "", "--cluster-enabled", "yes")
		addresses = append(addresses, address(port))
	}
	args := append([]string{"--cluster", "create"}, addresses...)
	if out, err := exec.Command("redis-cli", append(args, "--cluster-yes")...).
		CombinedOutput(); err != nil {
		t.Fatalf("redis-cli --cluster create: %v: %s", err, out)
	}
	cfg := redisconn.DefaultConfig()
	cfg.Mode, cfg.Address, cfg.Addresses = redisconn.ModeCluster, "", addresses[:1]
	c := open(t, cfg)
	eventually.True(t, "the cluster takes writes", func() bool { return ping(t, c) == nil })
}

func TestValidate(t *testing.T) {
	for name, change := range map[string]func(*redisconn.Config){
		"unknown mode":           func(c *redisconn.Config) { c.Mode = "both" },
		"no address":             func(c *redisconn.Config) { c.Address = "" },
		"address without a port": func(c *redisconn.Config) { c.Address = "localhost" },
		"single with addresses":  func(c *redisconn.Config) { c.Addresses = []string{"a:1"} },
		"sentinel without addresses": func(c *redisconn.Config) {
			c.Mode, c.MasterName = redisconn.ModeSentinel, "m"
		},
		"sentinel without a name": func(c *redisconn.Config) {
			c.Mode, c.Addresses = redisconn.ModeSentinel, []string{"a:1"}
		},
		"cluster with a bad address": func(c *redisconn.Config) {
			c.Mode, c.Addresses = redisconn.ModeCluster, []string{"a"}
		},
		"unknown checks": func(c *redisconn.Config) { c.Checks = "off" },
		"certificate without key": func(c *redisconn.Config) {
			c.TLS = redisconn.TLSConfig{Enabled: true, CertFile: "x"}
		},
		"tls settings without tls": func(c *redisconn.Config) { c.TLS.CAFile = "x" },
		"user without password":    func(c *redisconn.Config) { c.Username = "x" },
		"no time to read":          func(c *redisconn.Config) { c.ReadTimeout = 0 },
		"empty pool":               func(c *redisconn.Config) { c.PoolSize = 0 },
	} {
		cfg := redisconn.DefaultConfig()
		change(&cfg)
		if _, err := redisconn.Open(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := redisconn.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
