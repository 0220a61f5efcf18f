package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/mesh"
)

// masterName is how the sentinels know the primary.
const masterName = "mesh"

// server is one redis-server or sentinel.
type server struct {
	*node
	dir     string
	backend string // where it listens
	address string // where everybody else reaches it: through the network
	client  *redis.Client
}

// startRedis starts Redis as the plan says.
func (w *world) startRedis(ctx context.Context) error {
	count := 1
	if w.plan.Topology == Sentinel {
		count = 3
	}
	for i := range count {
		if err := w.addServer(ctx, fmt.Sprintf("redis-%d", i+1), i); err != nil {
			return err
		}
	}
	if w.plan.Topology == Single {
		return nil
	}
	for i := range 3 {
		if err := w.addSentinel(ctx, fmt.Sprintf("sentinel-%d", i+1)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) addServer(ctx context.Context, name string, index int) error {
	s := &server{dir: filepath.Join(w.dir, name)}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := w.limitDisk(s.dir); err != nil {
		return err
	}
	var err error
	if s.backend, err = w.processes.Address(name); err != nil {
		return err
	}
	if s.address, err = w.network.listen(name, s.backend); err != nil {
		return err
	}
	_, port, _ := strings.Cut(s.backend, ":")
	_, announced, _ := strings.Cut(s.address, ":")
	lines := []string{
		"bind 127.0.0.1", "port " + port, "dir " + s.dir, `save ""`, "appendonly yes", "appendfsync always", "logfile \"\"",
		"auto-aof-rewrite-percentage 0", "maxmemory-policy noeviction",
	}
	if w.plan.Topology != Single {
		lines = append(lines, "appendfsync everysec", "min-replicas-to-write 1", "min-replicas-max-lag 2",
			"repl-diskless-sync-delay 0", "repl-ping-replica-period 1", "repl-timeout 5",
			"replica-announce-ip 127.0.0.1", "replica-announce-port "+announced)
		if index > 0 {
			_, primary, _ := strings.Cut(w.servers[0].address, ":")
			lines = append(lines, "replicaof 127.0.0.1 "+primary)
		}
	}
	return w.startServer(ctx, name, s, lines, &w.servers)
}

func (w *world) addSentinel(ctx context.Context, name string) error {
	s := &server{dir: filepath.Join(w.dir, name)}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	var err error
	if s.backend, err = w.processes.Address(name); err != nil {
		return err
	}
	s.address = s.backend
	_, port, _ := strings.Cut(s.backend, ":")
	_, primary, _ := strings.Cut(w.servers[0].address, ":")
	lines := []string{
		"bind 127.0.0.1", "port " + port, "dir " + s.dir, "logfile \"\"",
		"sentinel monitor " + masterName + " 127.0.0.1 " + primary + " 2",
		"sentinel down-after-milliseconds " + masterName + " 1000",
		"sentinel failover-timeout " + masterName + " 4000",
		"sentinel parallel-syncs " + masterName + " 2",
	}
	if err := w.startServer(ctx, name, s, lines, &w.sentinels, "--sentinel"); err != nil {
		return err
	}
	return s.quicken(ctx)
}

// quicken makes a sentinel look around more often than its defaults, and soon forget that the machine was busy.
func (s *server) quicken(ctx context.Context) error {
	return s.client.Do(ctx, "SENTINEL", "DEBUG", "INFO-PERIOD", 500, "PUBLISH-PERIOD", 500, "ASK-PERIOD", 300, "TILT-TRIGGER", 5000, "TILT-PERIOD", 1000).Err()
}

func (w *world) startServer(ctx context.Context, name string, s *server, lines []string, to *[]*server, args ...string) error {
	file := filepath.Join(w.dir, name+".conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	s.client = redis.NewClient(&redis.Options{
		Addr: s.backend, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
		DisableIdentity: true, Protocol: 2, PoolSize: 4,
	})
	w.closers = append(w.closers, s.client.Close)
	var err error
	s.node, err = w.start(ctx, mesh.Spec{
		Name: name, Path: w.redisServer, Args: append([]string{file}, args...), Dir: s.dir,
		Ready: func(ctx context.Context) error { return answers(ctx, s.backend) },
	})
	if err == nil {
		*to = append(*to, s)
	}
	return err
}

// answers is nil once a server has loaded its data, whatever else it complains of.
func answers(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp4", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && strings.HasPrefix(line, "-LOADING") {
		err = errors.New("it is loading")
	}
	return err
}

// primary gives the server that most sentinels hold to be the primary.
func (w *world) primary(ctx context.Context) *server {
	votes := map[string]int{}
	for _, s := range w.sentinels {
		if at, err := s.client.Do(ctx, "SENTINEL", "get-master-addr-by-name", masterName).StringSlice(); err == nil && len(at) == 2 {
			votes[at[1]]++
		}
	}
	best := w.servers[0]
	for _, s := range w.servers {
		_, port, _ := strings.Cut(s.address, ":")
		_, bestPort, _ := strings.Cut(best.address, ":")
		if votes[port] > votes[bestPort] {
			best = s
		}
	}
	return best
}

// others gives the servers besides one, in an order that pick chooses.
func (w *world) others(primary *server, pick int) []*server {
	var others []*server
	for i := range w.servers {
		if s := w.servers[(i+pick)%len(w.servers)]; s != primary {
			others = append(others, s)
		}
	}
	return others
}

// redisWell says why Redis is not yet as it should be: a primary that all agree on, takes writes and has all its replicas.
func (w *world) redisWell(ctx context.Context) error {
	primary := w.primary(ctx)
	for _, s := range w.sentinels {
		at, err := s.client.Do(ctx, "SENTINEL", "get-master-addr-by-name", masterName).StringSlice()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if len(at) != 2 || !strings.HasSuffix(primary.address, ":"+at[1]) {
			return fmt.Errorf("%s holds another to be the primary than %s", s.name, primary.name)
		}
	}
	if err := primary.client.Set(ctx, "harness", "well", 0).Err(); err != nil {
		return fmt.Errorf("%s takes no writes: %w", primary.name, err)
	}
	if len(w.servers) == 1 {
		return nil
	}
	var errs []error
	for _, s := range w.others(primary, 0) {
		role, err := s.client.Do(ctx, "ROLE").Slice()
		if err == nil && (len(role) < 4 || role[0] != "slave" || role[3] != "connected" || !strings.HasSuffix(primary.address, fmt.Sprintf(":%v", role[2]))) {
			err = fmt.Errorf("its role is %v", role)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	return errors.Join(errs...)
}
