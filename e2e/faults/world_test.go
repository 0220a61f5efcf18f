package faults

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/sallyport/sallyport/internal/keyring"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// world is an installation in which faults happen, and the record of what happens in it.
type world struct {
	plan     Plan
	dir      string
	binaries string
	redis    Redis

	began      time.Time
	processes  *mesh.Processes
	network    *network
	ring       *keyring.Ring
	adminToken string
	passwords  map[string]string // of Redis' users
	hash       string            // of the users' password
	users      []user            // one for each client
	foreigners []*foreign
	http       *http.Client
	closers    []func() error // last in, first out

	servers, sentinels []*server
	logShard           int            // of the cluster: which one holds the log
	keyOf              [shards]string // of the cluster: a key in each shard
	relay              *relay         // nil without one
	issuers            []*issuer
	gates              []*gate
	failovers          sync.Mutex // one change of primaries at a time

	mu       sync.Mutex
	nodes    map[string]*node
	events   []Event
	spans    []Span
	sessions []*session
}

// node is a process that faults can happen to.
type node struct {
	name  string
	child *mesh.Child
	hurt  sync.Mutex // held by the fault that happens to it
	began time.Time

	clock *meshtest.Clock
	moved sync.Mutex    // held by the fault that moves the clock
	slept time.Duration // by how much its monotonic clock is behind

	mu     sync.Mutex
	run    int  // which one it is in, or was in
	up     bool // whether it is in it
	starts []time.Duration
}

type issuer struct {
	*node
	url, admin string
}

// relay is the relay that all gates but the last ask.
type relay struct {
	*node
	address string // where gates reach it: through the network
}

type gate struct {
	*node
	admin string
	check authv3.AuthorizationClient
}

// now returns the time of the history.
func (w *world) now() time.Duration { return time.Since(w.began) }

// start starts a process.
func (w *world) start(ctx context.Context, spec mesh.Spec) (*node, error) {
	n := &node{name: spec.Name, began: w.began}
	var err error
	if n.clock, err = meshtest.NewClock(filepath.Join(w.dir, spec.Name+".clock")); err != nil {
		return nil, err
	}
	spec.Env = n.clock.Env()
	if spec.Path == w.redis.Server {
		spec.Env = append(spec.Env, meshtest.PreloadedClock(w.binaries))
	}
	n.started()
	if n.child, err = w.processes.Start(ctx, spec); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[spec.Name] = n
	return n, nil
}

func (n *node) started() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.run, n.up = n.run+1, true
	n.starts = append(n.starts, time.Since(n.began))
}

// current returns the number of the run the process is in, 0 when it is in none.
func (n *node) current() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		return 0
	}
	return n.run
}

// kill ends the process with SIGKILL.
func (n *node) kill() error {
	n.mu.Lock()
	n.up = false
	n.mu.Unlock()
	return n.child.Kill()
}

// restart starts it again.
func (n *node) restart(ctx context.Context) error {
	n.started()
	return n.child.Restart(ctx)
}

// suspend stops the process, and returns when it no longer runs.
func (n *node) suspend() error {
	if err := n.child.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	deadline := time.Now().Add(5 * time.Second)
	for !isStopped(n.child.PID()) {
		if time.Now().After(deadline) {
			return fmt.Errorf("faults: %s does not stop", n.name)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (n *node) resume() error { return n.child.Signal(syscall.SIGCONT) }

// owner names the process at the other end of a connection.
func (w *world) owner(c net.Conn) string {
	pids := map[string]int{}
	w.mu.Lock()
	for name, n := range w.nodes {
		pids[name] = n.child.PID()
	}
	w.mu.Unlock()
	return ownerOf(c, pids)
}

// build brings up the installation of a plan.
func build(ctx context.Context, plan Plan, dir, binaries string, redis Redis) (*world, error) {
	w := &world{
		plan:       plan,
		dir:        dir,
		binaries:   binaries,
		redis:      redis,
		began:      time.Now(),
		processes:  mesh.NewProcesses(dir),
		nodes:      map[string]*node{},
		adminToken: rand.Text() + rand.Text(),
		passwords:  map[string]string{},
		http: &http.Client{
			Timeout: 4 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16},
		},
	}
	w.network = newNetwork(w.owner)
	w.closers = append(w.closers,
		func() error { w.network.close(); w.http.CloseIdleConnections(); return nil })
	err := errors.Join(w.startRedis(ctx))
	if err == nil {
		err = w.startDaemons(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, w.end())
	}
	return w, nil
}

// end ends everything.
func (w *world) end() error {
	for _, n := range w.nodes { // one that is stopped hears nothing, one that is down is no concern
		_ = n.child.Expect()
	}
	err := w.processes.Stop(5 * time.Second)
	for _, c := range slices.Backward(w.closers) {
		err = errors.Join(err, c())
	}
	return err
}

// limitDisk puts a server on a small disk when the plan wants to fill it.
func (w *world) limitDisk(dir string) error {
	wanted := slices.ContainsFunc(w.plan.Rounds, func(round []Injection) bool {
		return slices.ContainsFunc(round, func(i Injection) bool { return i.Kind == FullDisk })
	})
	if !wanted || !canFill() {
		return nil
	}
	unmount, err := mountSmall(dir)
	if err == nil {
		w.closers = append(w.closers, unmount)
	}
	return err
}

// startDaemons starts issuers and gates.
func (w *world) startDaemons(ctx context.Context) error {
	if err := w.prepare(ctx); err != nil {
		return err
	}
	for i := range w.plan.Issuers {
		if err := w.addIssuer(ctx, fmt.Sprintf("issuer-%d", i+1)); err != nil {
			return err
		}
	}
	if w.plan.Topology == Relayed {
		if err := w.addRelay(ctx, "relay-1"); err != nil {
			return err
		}
	}
	for i := range gates {
		if err := w.addGate(ctx, fmt.Sprintf("gate-%d", i+1)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) addIssuer(ctx context.Context, name string) error {
	listen, admin, err := w.twoAddresses(name)
	if err != nil {
		return err
	}
	i := &issuer{url: "http://" + listen, admin: "http://" + admin}
	i.node, err = w.startDaemon(ctx, name, "issuer", w.issuerConfig(name, listen, admin), admin)
	if err == nil {
		w.issuers = append(w.issuers, i)
	}
	return err
}

// gates is how many there are.
const gates = 3

func (w *world) addRelay(ctx context.Context, name string) error {
	listen, admin, err := w.twoAddresses(name)
	if err != nil {
		return err
	}
	r := &relay{}
	if r.address, err = w.network.listen(name, listen); err != nil {
		return err
	}
	r.node, err = w.startDaemon(ctx, name, "relay", w.relayConfig(name, listen, admin), admin)
	w.relay = r
	return err
}

// relayOf returns the address of the relay that a gate asks; "" where it asks Redis.
func (w *world) relayOf(gate string) string {
	if w.relay == nil || gate == fmt.Sprintf("gate-%d", gates) {
		return ""
	}
	return w.relay.address
}

func (w *world) addGate(ctx context.Context, name string) error {
	if err := os.Mkdir(filepath.Join(w.dir, name), 0o700); err != nil { // for its snapshot
		return err
	}
	listen, admin, err := w.twoAddresses(name)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(
		listen,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 20 * time.Millisecond, Multiplier: 1, MaxDelay: 20 * time.Millisecond,
			},
			MinConnectTimeout: time.Second,
		}),
	)
	if err != nil {
		return err
	}
	w.closers = append(w.closers, conn.Close)
	g := &gate{admin: "http://" + admin, check: authv3.NewAuthorizationClient(conn)}
	g.node, err = w.startDaemon(ctx, name, "authz", w.gateConfig(name, listen, admin), admin)
	if err == nil {
		w.gates = append(w.gates, g)
	}
	return err
}

func (w *world) twoAddresses(name string) (listen, admin string, err error) {
	if listen, err = w.processes.Address(name); err == nil {
		admin, err = w.processes.Address(name)
	}
	return listen, admin, err
}

func (w *world) startDaemon(ctx context.Context,
	name, program, config, admin string) (*node, error) {
	file := filepath.Join(w.dir, name+".yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return w.start(ctx, mesh.Spec{
		Name:  name,
		Path:  filepath.Join(w.binaries, program),
		Args:  []string{"serve", "--config", file},
		Dir:   w.dir,
		Ready: func(ctx context.Context) error { return w.answersOK(ctx, "http://"+admin+"/livez") },
	})
}

// answersOK is nil when url answers 200.
func (w *world) answersOK(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	status, body, err := w.send(request)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s answered %d: %.200s", url, status, body)
	}
	return err
}
