package faults

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// masterName is how the sentinels know the primary.
const masterName = "mesh"

// server is one redis-server or sentinel.
type server struct {
	*node
	name    string
	number  int // from 1
	dir     string
	backend string // where it listens
	address string // where everybody else reaches it: through the network
	client  *redis.Client

	user, password string // of client

	shard int // of a cluster
	// of a cluster's node: where it listens to the others, and where they reach it
	bus, busAddress string
}

// startRedis starts Redis as the plan says.
func (w *world) startRedis(ctx context.Context) error {
	if err := w.writeAccessList(); err != nil {
		return err
	}
	switch w.plan.Topology {
	case Cluster:
		return errors.Join(w.startCluster(ctx), w.findKeys(ctx))
	case Sentinel:
		return w.startSentinels(ctx)
	}
	s, err := w.newServer("redis-1")
	if err != nil {
		return err
	}
	w.servers = append(w.servers, s)
	lines, err := w.settings(s)
	if err != nil {
		return err
	}
	return w.startServer(ctx, s, lines)
}

// startSentinels starts a primary, its replicas and the sentinels that watch over them.
func (w *world) startSentinels(ctx context.Context) error {
	for i := range 3 {
		s, err := w.newServer(fmt.Sprintf("redis-%d", i+1))
		if err != nil {
			return err
		}
		w.servers = append(w.servers, s)
	}
	err := together(w.servers, func(i int, s *server) error {
		lines, err := w.replicated(s)
		if err != nil {
			return err
		}
		_, announced, _ := strings.Cut(s.address, ":")
		lines = append(lines, "replica-announce-ip 127.0.0.1", "replica-announce-port "+announced)
		if i > 0 {
			_, primary, _ := strings.Cut(w.servers[0].address, ":")
			lines = append(lines, "replicaof 127.0.0.1 "+primary)
		}
		return w.startServer(ctx, s, lines)
	})
	for i := range 3 {
		s, sentinelErr := w.newSentinel(fmt.Sprintf("sentinel-%d", i+1))
		if sentinelErr != nil {
			return errors.Join(err, sentinelErr)
		}
		w.sentinels = append(w.sentinels, s)
	}
	if err != nil {
		return err
	}
	return together(w.sentinels, func(_ int, s *server) error {
		if err := w.startServer(ctx, s, w.sentinelSettings(s), "--sentinel"); err != nil {
			return err
		}
		return s.quicken(ctx)
	})
}

// newServer makes a server that holds data: its folder, its addresses and the harness' client, who
// may do anything.
func (w *world) newServer(name string) (*server, error) {
	s, err := w.place(name)
	if err != nil {
		return nil, err
	}
	if err := w.limitDisk(s.dir); err != nil {
		return nil, err
	}
	if s.address, err = w.network.listen(name, s.backend); err != nil {
		return nil, err
	}
	w.connect(s, harnessUser, w.passwords[harnessUser])
	return s, nil
}

// newSentinel makes a sentinel, which asks for no password.
func (w *world) newSentinel(name string) (*server, error) {
	s, err := w.place(name)
	if err != nil {
		return nil, err
	}
	s.address = s.backend
	w.connect(s, "", "")
	return s, nil
}

func (w *world) place(name string) (*server, error) {
	s := &server{name: name, number: len(w.servers) + 1, dir: filepath.Join(w.dir, name)}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	s.backend, err = w.processes.Address(name)
	return s, err
}

func (w *world) connect(s *server, user, password string) {
	// A pool that has failed to dial as often as its size repeats its last error for a second,
	// whatever is true by then.
	const size = 1000
	s.user, s.password = user, password
	s.client = redis.NewClient(&redis.Options{
		Addr: s.backend, Username: user, Password: password,
		MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
		DisableIdentity: true, Protocol: 2, PoolSize: size, ContextTimeoutEnabled: true, DialerRetries: 1,
	})
	w.closers = append(w.closers, s.client.Close)
}

// harnessUser is the one user that the harness puts into the access list for itself.
const harnessUser = "harness"

// writeAccessList writes the list that all servers have: the one that is deployed, the users of
// replicas and sentinels, and the harness' own.
func (w *world) writeAccessList() error {
	for _, user := range []string{"issuer", "gate", serverUser, harnessUser} {
		w.passwords[user] = rand.Text()
	}
	daemons := map[string]string{"issuer": w.passwords["issuer"], "gate": w.passwords["gate"]}
	list, err := w.redis.Deployed.Users(daemons)
	if err != nil {
		return err
	}
	list += meshtest.ServerUsers(w.passwords[serverUser]) +
		"user " + harnessUser + " on >" + w.passwords[harnessUser] + " ~* &* +@all\n"
	errs := []error{os.WriteFile(w.accessList(), []byte(list), 0o600)}
	for user, password := range daemons {
		errs = append(errs, os.WriteFile(filepath.Join(w.dir, user+"-password"), []byte(password), 0o600))
	}
	return errors.Join(errs...)
}

func (w *world) accessList() string { return filepath.Join(w.dir, "users.acl") }

// serverUser stands for the two users replica and sentinel, which have one password.
const serverUser = "server"

// settings are what is deployed, at the place of this server.
func (w *world) settings(s *server) ([]string, error) {
	_, port, _ := strings.Cut(s.backend, ":")
	return w.redis.Deployed.Settings(meshtest.Place{Dir: s.dir, Port: port, Users: w.accessList()})
}

// replicated are the settings of servers with replicas. Half of the schedules have the weakest that
// is allowed there.
func (w *world) replicated(s *server) ([]string, error) {
	lines, err := w.settings(s)
	lines = append(lines, "masteruser replica", "masterauth "+w.passwords[serverUser],
		"min-replicas-to-write 1", "min-replicas-max-lag 2",
		"repl-diskless-sync-delay 0", "repl-ping-replica-period 1", "repl-timeout 5")
	if w.plan.Seed/uint64(len(topologies))%2 == 1 {
		lines = append(lines, "appendfsync everysec")
	}
	return lines, err
}

func (w *world) sentinelSettings(s *server) []string {
	_, port, _ := strings.Cut(s.backend, ":")
	_, primary, _ := strings.Cut(w.servers[0].address, ":")
	return []string{
		"bind 127.0.0.1",
		"port " + port,
		"dir " + s.dir,
		"logfile \"\"",
		"sentinel monitor " + masterName + " 127.0.0.1 " + primary + " 2",
		"sentinel down-after-milliseconds " + masterName + " 1000",
		"sentinel failover-timeout " + masterName + " 4000",
		"sentinel parallel-syncs " + masterName + " 2",
		"sentinel auth-user " + masterName + " sentinel",
		"sentinel auth-pass " + masterName + " " + w.passwords[serverUser],
	}
}

// quicken makes a sentinel check more often than by default, and recover sooner from TILT, the mode
// in which a busy machine puts it.
func (s *server) quicken(ctx context.Context) error {
	return s.client.Do(ctx, "SENTINEL", "DEBUG", "INFO-PERIOD", 500, "PUBLISH-PERIOD", 500,
		"ASK-PERIOD", 300, "TILT-TRIGGER", 5000, "TILT-PERIOD", 1000).Err()
}

// startServer starts a server with a file of these lines, and more arguments.
func (w *world) startServer(ctx context.Context, s *server, lines []string, args ...string) error {
	file := filepath.Join(w.dir, s.name+".conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	var err error
	s.node, err = w.start(ctx, mesh.Spec{
		Name: s.name, Path: w.redis.Server, Args: append([]string{file}, args...), Dir: s.dir,
		Ready: s.answers,
	})
	return err
}

// silent drops what go-redis would log about servers that are down on purpose: each of these errors
// is also returned.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(silent{}) }

// answers is nil once a server has loaded its data, whatever else it complains of.
func (s *server) answers(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp4", s.backend)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	reader := bufio.NewReader(conn)
	ask := func(command string) (string, error) {
		if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
			return "", err
		}
		return reader.ReadString('\n')
	}
	if s.user != "" { // who has not said who they are is told nothing of loading
		if line, err := ask("AUTH " + s.user + " " + s.password); err != nil || line != "+OK\r\n" {
			return errors.Join(err, fmt.Errorf("faults: %s answers its administrator: %q", s.name, line))
		}
	}
	line, err := ask("PING")
	if err == nil && strings.HasPrefix(line, "-LOADING") {
		err = errors.New("it is loading")
	}
	return err
}

// primary returns the server that holds the log, as those who choose primaries see it.
func (w *world) primary(ctx context.Context) *server { return w.primaryOf(ctx, w.logShard) }

// primaryOf returns the primary of a shard.
func (w *world) primaryOf(ctx context.Context, shard int) *server {
	switch w.plan.Topology {
	case Cluster:
		return w.clusterPrimary(ctx, shard)
	case Sentinel:
		return w.sentinelPrimary(ctx)
	}
	return w.servers[0]
}

// sentinelPrimary returns the server that most sentinels hold to be the primary.
func (w *world) sentinelPrimary(ctx context.Context) *server {
	votes := map[string]int{}
	for _, s := range w.sentinels {
		at, err := s.client.Do(ctx, "SENTINEL", "get-master-addr-by-name", masterName).StringSlice()
		if err == nil && len(at) == 2 {
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

// others returns the servers of a primary's shard besides itself, in an order that pick chooses.
func (w *world) others(primary *server, pick int) []*server {
	var others []*server
	for i := range w.servers {
		if s := w.servers[(i+pick)%len(w.servers)]; s != primary && s.shard == primary.shard {
			others = append(others, s)
		}
	}
	return others
}

// redisWell returns why Redis is not yet as it should be: primaries that all agree on, take writes
// and have all their replicas.
func (w *world) redisWell(ctx context.Context) error {
	switch w.plan.Topology {
	case Cluster:
		return w.clusterWell(ctx)
	case Sentinel:
		return w.sentinelsWell(ctx)
	}
	return w.servers[0].client.Set(ctx, "harness", "well", 0).Err()
}

func (w *world) sentinelsWell(ctx context.Context) error {
	primary := w.sentinelPrimary(ctx)
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
	var errs []error
	for _, s := range w.others(primary, 0) {
		errs = append(errs, s.follows(ctx, primary))
	}
	return errors.Join(errs...)
}

// follows returns why a replica does not follow a primary.
func (s *server) follows(ctx context.Context, primary *server) error {
	role, err := s.client.Do(ctx, "ROLE").Slice()
	if err == nil && (len(role) < 4 || role[0] != "slave" || role[3] != "connected" ||
		!strings.HasSuffix(primary.address, fmt.Sprintf(":%v", role[2]))) {
		err = fmt.Errorf("its role is %v", role)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// sentinelEpoch returns the epoch of the newest primary that a sentinel knows.
func (s *server) sentinelEpoch(ctx context.Context) (int64, error) {
	facts, err := s.client.Do(ctx, "SENTINEL", "MASTER", masterName).StringSlice()
	for i := 0; i+1 < len(facts); i += 2 {
		if facts[i] == "config-epoch" {
			return strconv.ParseInt(facts[i+1], 10, 64)
		}
	}
	return 0, errors.Join(err, fmt.Errorf("faults: %s gives no config-epoch", s.name))
}
