// Package sessiontest holds what tests of sessions, and of what stands on them, need: a real Redis,
// a ring of throwaway keys, a revocation log in memory whose clock and faults are in the test's
// hands, and faults on the way to Redis.
package sessiontest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
)

// RealRedis starts a redis-server on a Unix socket, stopped with the test, and returns its address.
func RealRedis(t testing.TB, settings ...string) string {
	t.Helper()
	address, _ := StartRedis(t, settings...)
	return address
}

// StartRedis is RealRedis for tests that also need the process.
func StartRedis(t testing.TB, settings ...string) (address string, process *os.Process) {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("this test needs redis-server 7.0 or newer: apt-get install redis-server: %v", err)
	}
	// shorter than t.TempDir: a socket's path has at most 107 bytes
	dir, err := os.MkdirTemp("", "sp-redis-")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	args := append(
		[]string{
			"--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "yes",
			"--appendfsync", "always", "--dir", dir,
		},
		settings...)
	cmd := exec.Command(binary, args...)
	dieWithParent(cmd)
	started, end, ended := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // Linux kills the child when the thread that started it ends
		err := cmd.Start()
		started <- err
		if err == nil {
			<-end
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // killed: its status says so and nothing else
		}
	}()
	err = <-started
	t.Cleanup(func() {
		close(end)
		<-ended
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatalf("starting %s: %v", binary, err)
	}
	await(t, socket)
	return socket, cmd.Process
}

func await(t testing.TB, address string) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1})
	defer func() { _ = client.Close() }()
	eventually.True(t, "redis-server answers", func() bool {
		err := client.Ping(context.Background()).Err()
		return err == nil || redis.HasErrorPrefix(err, "NOAUTH") // one that wants a password answers, too
	})
}

// EachRedis runs a test on a real Redis and on miniredis, which every script must work on too.
func EachRedis(t *testing.T, test func(t *testing.T, c *redisconn.Client)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) { test(t, Open(t, RealRedis(t))) })
	t.Run("miniredis", func(t *testing.T) { test(t, Open(t, miniredis.RunT(t).Addr())) })
}

// Open returns a client of the Redis at an address, closed with the test.
func Open(t testing.TB, address string) *redisconn.Client {
	t.Helper()
	cfg := redisconn.DefaultConfig()
	cfg.Address = address
	cfg.DialTimeout, cfg.ReadTimeout, cfg.WriteTimeout = 10*time.Second, 10*time.Second, 10*time.Second
	client, err := redisconn.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(fmt.Errorf("closing the Redis client: %w", err))
		}
	})
	return client
}
