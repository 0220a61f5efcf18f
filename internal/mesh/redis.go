package mesh

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/alicebob/miniredis/v2"
)

// startRedis starts a Redis, unless one runs already, and returns its address.
func (m *Mesh) startRedis(ctx context.Context, p *ports) (string, error) {
	switch o := m.options; {
	case o.RedisAddress != "":
		return o.RedisAddress, reachable(ctx, o.RedisAddress)
	case o.RedisServer != "":
		return m.startRedisServer(ctx, p)
	default:
		return m.embedRedis(p)
	}
}

// reachable returns an error when nobody answers at the address that the user gave, before a daemon
// would say so in its log.
func reachable(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("mesh: no Redis answers at %s: %w", address, err)
	}
	return conn.Close()
}

// embedRedis runs miniredis in this process: no program to install, and nothing left when it ends.
func (m *Mesh) embedRedis(p *ports) (string, error) {
	at, err := p.take(redisOffset, "the embedded Redis")
	if err != nil {
		return "", err
	}
	server := miniredis.NewMiniRedis()
	server.ClockTTL(true)
	if err := server.StartAddr(at); err != nil {
		if isTaken(err) {
			err = fmt.Errorf("port %s is %w", portOf(at), ErrPort)
		}
		return "", fmt.Errorf("mesh: embedded Redis: %w", err)
	}
	m.closers = append(m.closers, func() error { server.Close(); return nil })
	return at, nil
}

// startRedisServer runs a real redis-server that loses nothing it has acknowledged.
func (m *Mesh) startRedisServer(ctx context.Context, p *ports) (string, error) {
	at, err := p.take(redisOffset, "redis-server")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(m.options.Dir, redisDir)
	if err := makeDirs(dir); err != nil {
		return "", err
	}
	c := m.child("redis", stageRedis, m.options.RedisServer,
		"--bind", loopback, "--port", portOf(at), "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
	c.ready = func(ctx context.Context) error { return ping(ctx, at) }
	return at, m.startChildren(ctx, c)
}

// ping returns nil once Redis has loaded its data and answers.
func ping(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	// By hand: a client library would retry, and log, while Redis is not up yet.
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if answer != "+PONG\r\n" {
		return fmt.Errorf("redis answered PING with %q", strings.TrimSpace(answer))
	}
	return nil
}
