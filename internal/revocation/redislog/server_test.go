package redislog_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
)

// server is a redis-server of one test.
type server struct {
	t    testing.TB
	port int
	dir  string
	args []string
	env  []string // besides ours
	cmd  *exec.Cmd
}

// startRedis starts redis-server on a free port of the loopback.
func startRedis(t testing.TB, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is missing: install it (Debian: apt install redis-server)")
	}
	s := &server{t: t, port: freePort(t), dir: t.TempDir(), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func freePort(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *server) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func (s *server) start() {
	s.t.Helper()
	args := append([]string{
		"--port",
		strconv.Itoa(s.port),
		"--bind",
		"127.0.0.1",
		"--save",
		"",
		"--appendonly",
		"yes",
		"--appendfsync",
		"always",
		"--dir",
		s.dir,
		"--loglevel",
		"warning",
		"--repl-diskless-sync-delay",
		"0",
	}, s.args...)
	s.launch(args...)
}

// launch starts the server's process and waits until it answers.
func (s *server) launch(args ...string) {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", args...)
	s.cmd.Env = append(os.Environ(), s.env...)
	out, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	_ = out.Close()
	c := s.client()
	eventually.True(s.t, "redis-server answers",
		func() bool { return c.Ping(context.Background()).Err() == nil })
}

// kill ends the server as a crash would.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// wipe removes what the server has on disk; it must not be running.
func (s *server) wipe() {
	if err := os.RemoveAll(filepath.Join(s.dir, "appendonlydir")); err != nil {
		s.t.Fatal(err)
	}
}

// client is a plain client for the test itself.
func (s *server) client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.addr(), Protocol: 2, DisableIdentity: true})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// do runs one command of the test's own.
func (s *server) do(args ...any) any {
	s.t.Helper()
	v, err := s.client().Do(context.Background(), args...).Result()
	if err != nil && err != redis.Nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// lines reads a hash.
func (s *server) lines(hash string) map[string]string {
	s.t.Helper()
	m, err := s.client().HGetAll(context.Background(), hash).Result()
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func connect(t testing.TB, addr string) *redisconn.Client {
	t.Helper()
	cfg := redisconn.DefaultConfig()
	cfg.Address, cfg.Checks = addr, redisconn.ChecksWarn
	c, err := redisconn.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
