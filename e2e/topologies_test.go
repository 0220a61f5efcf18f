package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/mesh/freeport"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestEveryRedisIsAMatterOfSettings: one walk, from login to a logout that every gate has applied,
// on each kind of Redis, with issuers that check it and may not start on one that can lose what
// they acknowledged. Nothing but `redis:` and min_replicas differs. Every server has the settings
// that are deployed.
func TestEveryRedisIsAMatterOfSettings(t *testing.T) {
	type steps []func(*installation, *testing.T)
	for name, steps := range map[string]steps{
		"single":                            {(*installation).single},
		"single with TLS":                   {(*installation).encrypt, (*installation).single},
		"single with TLS and users":         {(*installation).secure, (*installation).single},
		"sentinel with passwords":           {(*installation).guard, (*installation).sentinel},
		"sentinel with TLS and users":       {(*installation).secure, (*installation).sentinel},
		"cluster of six":                    {(*installation).cluster},
		"cluster of six with TLS and users": {(*installation).secure, (*installation).cluster},
	} {
		t.Run(name, func(t *testing.T) {
			r := newInstallation(t)
			for _, step := range steps {
				step(r, t)
			}
			walk(t, r.stack(t))
		})
	}
}

// TestACleanRestartOfRedisLosesNothing: with the access list and the settings that are deployed,
// every Redis holds after a clean restart, of all its servers at once, what it held before: the log
// and every session. Where the user default is disabled and has no rights, Redis 7.0 would lose
// them: it reads the append-only file as that user.
func TestACleanRestartOfRedisLosesNothing(t *testing.T) {
	for name, start := range map[string]func(*installation, *testing.T){
		"single":         (*installation).single,
		"sentinel":       (*installation).sentinel,
		"cluster of six": (*installation).cluster,
	} {
		t.Run(name, func(t *testing.T) {
			r := newInstallation(t)
			r.name(t)
			start(r, t)
			s := r.stack(t)
			gateway := newCaller(t, s.Endpoints().Gateway)
			out := gateway.login(t, s.Endpoints().Users[0])
			gateway.login(t, s.Endpoints().Users[1])
			if got := gateway.send(t, http.MethodPost, "/logout", nil,
				bearer(out.Access)).status; got != http.StatusOK {
				t.Fatalf("a logout was answered %d", got)
			}
			if err := s.Stop(); err != nil { // what an issuer would put back is not what Redis has kept
				t.Fatal(err)
			}
			before := r.contents(t)
			if before["{sallyport}:rev:log"] == "" || len(before) < 8 {
				t.Fatalf(
					"Redis holds %d keys, expected the log, its head, cutoffs, and records of two users at least",
					len(before))
			}
			r.restart(t)
			after := r.contents(t)
			for key, value := range before {
				if after[key] != value {
					t.Errorf("%s is not what it was before the restart", key)
				}
			}
		})
	}
}

// contents are the values of all keys, with when they expire, as the primaries have them.
func (r *installation) contents(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, s := range r.data() {
		c := r.client(t, s.at)
		if !strings.Contains(c.Info(t.Context(), "replication").Val(), "role:master") {
			continue
		}
		keys := c.Scan(t.Context(), 0, "*", 1000).Iterator()
		for keys.Next(t.Context()) {
			values[keys.Val()] = fmt.Sprintf("%s until %v", value(t, c, keys.Val()),
				c.PExpireTime(t.Context(), keys.Val()).Val())
		}
		if err := keys.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return values
}

// value is a key's value, whatever order Redis has its fields in.
func value(t *testing.T, c *redis.Client, key string) string {
	t.Helper()
	kind, err := c.Type(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	var got any
	switch kind {
	case "hash":
		got, err = c.HGetAll(t.Context(), key).Result()
	case "zset":
		got, err = c.ZRangeWithScores(t.Context(), key, 0, -1).Result()
	case "stream":
		got, err = c.XRange(t.Context(), key, "-", "+").Result()
	case "string":
		got, err = c.Get(t.Context(), key).Result()
	default:
		t.Fatalf("%s is a %s, of which this test knows nothing", key, kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(got)
}

// walk goes through the life of a session.
func walk(t *testing.T, s *meshtest.Stack) {
	gateway := newCaller(t, s.Endpoints().Gateway)
	alice := gateway.login(t, s.Endpoints().Users[0])
	second := gateway.post(t, "/refresh", map[string]string{"refresh_token": alice.Refresh}).tokens(t)
	if got := gateway.get(t, "/protected", bearer(second.Access)).status; got != http.StatusOK {
		t.Fatalf("a call was answered %d", got)
	}
	out := gateway.send(t, http.MethodPost, "/logout?wait=5s", nil, bearer(second.Access))
	if out.status != http.StatusOK || out.field(t, "applied") != "2/2" {
		t.Fatalf("a logout was answered %d %s, expected 200 and that 2/2 gates have applied it",
			out.status, out.body)
	}
	for range 20 { // both gates
		if got := gateway.get(t, "/protected",
			bearer(alice.Access)).status; got != http.StatusUnauthorized {
			t.Fatalf("a call with a token of the session that was ended was answered %d", got)
		}
	}
	if got := gateway.post(t, "/refresh",
		map[string]string{"refresh_token": second.Refresh}); got.status != http.StatusUnauthorized {
		t.Errorf("a refresh of the session that was ended was answered %d %s", got.status, got.body)
	}
	third := gateway.login(t, s.Endpoints().Users[0])
	out = gateway.send(t, http.MethodPost, "/logout?everywhere=true&wait=5s", nil,
		bearer(third.Access))
	if out.status != http.StatusOK || out.field(t, "applied") != "2/2" {
		t.Fatalf(
			"a logout everywhere was answered %d %s, expected 200 and that 2/2 gates have applied it",
			out.status, out.body)
	}
	if got := gateway.get(t, "/protected",
		bearer(third.Access)).status; got != http.StatusUnauthorized {
		t.Errorf("a call after the logout everywhere was answered %d", got)
	}
	fourth := gateway.login(t, s.Endpoints().Users[0])
	if got := gateway.get(t, "/protected", bearer(fourth.Access)).status; got != http.StatusOK {
		t.Errorf("a call after a login in the same second was answered %d", got)
	}
}

// installation is a Redis of some kind, and what the daemons' files say of it.
type installation struct {
	dir       string
	deployed  meshtest.DeployedRedis
	place     meshtest.Place    // of every redis-server, but for its folder and port
	servers   []string          // what every redis-server's file says besides what is deployed
	sentinels []string          // what a sentinel's file says besides
	settings  map[string]string // of `redis:`
	tls       bool
	users     bool
	replicas  int
	addresses []string
	admin     *redis.Options // for the test itself
	cli       []string       // the same for redis-cli
	launched  []*launched
}

// launched is a redis-server or a sentinel.
type launched struct {
	at      string
	admin   *redis.Options // nil for a sentinel
	args    []string
	process *exec.Cmd
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	deployed, err := meshtest.Deployed(meshtest.Root(t))
	if err != nil {
		t.Fatal(err)
	}
	return &installation{
		dir: t.TempDir(), deployed: deployed, settings: map[string]string{},
		admin: &redis.Options{},
	}
}

// stack is two issuers and two gates on this Redis.
func (r *installation) stack(t *testing.T) *meshtest.Stack {
	t.Helper()
	return meshtest.Start(
		t,
		meshtest.Options{Gates: 2, Issuers: 2, Embedded: true, Mesh: func(o *mesh.Options) {
			o.RedisAddress = r.addresses[0]
			o.Rewrite = func(file, content string) string { return r.rewrite(t, file, content) }
		}},
	)
}

// data returns the servers that are no sentinels.
func (r *installation) data() (servers []*launched) {
	for _, s := range r.launched {
		if s.admin != nil {
			servers = append(servers, s)
		}
	}
	return servers
}

// The passwords of an installation that asks for some.
const (
	serverPassword   = "of-the-servers"
	sentinelPassword = "of-the-sentinels"
)

var userPasswords = map[string]string{"issuer": "of-the-issuer", "gate": "of-the-gate"}

// guard asks for one password, and for another one at the sentinels.
func (r *installation) guard(t *testing.T) {
	r.servers = append(r.servers, "requirepass "+serverPassword, "masterauth "+serverPassword)
	r.sentinels = append(r.sentinels, "requirepass "+sentinelPassword,
		"sentinel sentinel-pass "+sentinelPassword, "sentinel auth-pass main "+serverPassword)
	r.settings["password_file"] = r.file(t, "password", serverPassword)
	r.settings["sentinel_password_file"] = r.file(t, "sentinel-password", sentinelPassword)
	r.admin.Password = serverPassword
}

// encrypt has everybody speak TLS, with a certificate of their own.
func (r *installation) encrypt(t *testing.T) {
	certificate, key := meshtest.Certificate(t)
	r.tls = true
	r.place.Certificate, r.place.Key = certificate, key
	r.servers = append(r.servers, "tls-replication yes")
	r.sentinels = append(r.sentinels, "tls-cert-file "+certificate, "tls-key-file "+key,
		"tls-ca-cert-file "+certificate, "tls-replication yes")
	r.settings["tls"] = fmt.Sprintf("{enabled: true, ca_file: %s, cert_file: %s, key_file: %s}",
		certificate, certificate, key)
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	r.admin.TLSConfig = &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}
	r.cli = []string{"--tls", "--cacert", certificate, "--cert", certificate, "--key", key}
}

// secure has everybody speak TLS and name themselves.
func (r *installation) secure(t *testing.T) {
	r.encrypt(t)
	r.name(t)
}

// name has everybody name themselves: the daemons as the users that are deployed, replicas and
// sentinels as docs/operations.md has them, and the test itself, by the one user that may do
// anything.
func (r *installation) name(t *testing.T) {
	r.users = true
	list, err := r.deployed.Users(userPasswords)
	if err != nil {
		t.Fatal(err)
	}
	r.place.Users = r.file(t, "users.acl",
		list+meshtest.ServerUsers(serverPassword)+"user test on >"+serverPassword+" ~* &* +@all\n")
	r.servers = append(r.servers, "masteruser replica", "masterauth "+serverPassword)
	r.sentinels = append(r.sentinels, "sentinel auth-user main sentinel",
		"sentinel auth-pass main "+serverPassword)
	r.admin.Username, r.admin.Password = "test", serverPassword
	r.cli = append(r.cli, "--user", "test", "--pass", serverPassword, "--no-auth-warning")
}

func (r *installation) single(t *testing.T) {
	r.addresses = []string{r.server(t)}
	r.settings["address"] = r.addresses[0]
}

func (r *installation) sentinel(t *testing.T) {
	r.replicas = 1
	replicated := []string{
		"min-replicas-to-write 1", "min-replicas-max-lag 3", "repl-diskless-sync-delay 0",
	}
	primary := r.server(t, replicated...)
	host, port, _ := strings.Cut(primary, ":")
	r.server(t, append(replicated, "replicaof "+host+" "+port)...)
	at := freeport.Address(t)
	lines := append([]string{"sentinel monitor main " + host + " " + port + " 1"}, r.sentinels...)
	r.launch(t, &launched{at: at, args: []string{"--sentinel"}}, append(lines, r.listen(at)...))
	r.settings["mode"], r.settings["master_name"] = "sentinel", "main"
	r.settings["addresses"] = "[" + at + "]"
	r.addresses = []string{primary}
	r.await(t, primary, "connected_slaves:1")
}

func (r *installation) cluster(t *testing.T) {
	r.replicas = 1
	lines := []string{
		"cluster-enabled yes", "min-replicas-to-write 1", "min-replicas-max-lag 3",
		"repl-diskless-sync-delay 0",
	}
	if r.tls {
		lines = append(lines, "tls-cluster yes")
	}
	for range 6 {
		_, bus, _ := net.SplitHostPort(freeport.Address(t))
		r.addresses = append(r.addresses, r.server(t, append(lines, "cluster-port "+bus)...))
	}
	create := append(append([]string{"--cluster", "create"}, r.addresses...),
		"--cluster-replicas", "1", "--cluster-yes")
	out, err := exec.Command("redis-cli", append(create, r.cli...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli --cluster create: %v: %s", err, out)
	}
	r.settings["mode"] = "cluster"
	r.settings["addresses"] = "[" + strings.Join(r.addresses[:3], ", ") + "]"
	for _, primary := range r.addresses[:3] { // redis-cli makes primaries of the first ones
		r.await(t, primary, "connected_slaves:1")
	}
}

// server starts a redis-server and returns its address.
func (r *installation) server(t *testing.T, lines ...string) string {
	at := freeport.Address(t)
	place := r.place
	place.Dir = r.folder(at)
	_, place.Port, _ = net.SplitHostPort(at)
	settings, err := r.deployed.Settings(place)
	if err != nil {
		t.Fatal(err)
	}
	r.launch(t, &launched{at: at, admin: r.admin}, append(append(settings, r.servers...), lines...))
	return at
}

func (r *installation) folder(at string) string {
	return filepath.Join(r.dir, strings.TrimPrefix(at, "127.0.0.1:"))
}

// listen is how a sentinel is to listen.
func (r *installation) listen(at string) []string {
	_, port, _ := net.SplitHostPort(at)
	if r.tls {
		return []string{"bind 127.0.0.1", "port 0", "tls-port " + port, "dir " + r.folder(at)}
	}
	return []string{"bind 127.0.0.1", "port " + port, "dir " + r.folder(at)}
}

func (r *installation) launch(t *testing.T, s *launched, lines []string) {
	t.Helper()
	if err := os.Mkdir(r.folder(s.at), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.folder(s.at), "redis.conf")
	write(t, file, strings.Join(lines, "\n")+"\n")
	s.args = append([]string{file}, s.args...)
	s.process = startRedis(t, s.args...)
	r.launched = append(r.launched, s)
	r.answers(t, s)
}

func (r *installation) answers(t *testing.T, s *launched) {
	t.Helper()
	eventually.True(t, "a server answers at "+s.at, func() bool {
		conn, err := net.Dial("tcp", s.at)
		if err != nil {
			return false
		}
		conn.Close()
		return s.admin == nil || r.client(t, s.at).Ping(t.Context()).Err() == nil
	})
}

// restart ends all servers as an operator would, before it starts the first of them again on the
// same files, and waits until all is well.
func (r *installation) restart(t *testing.T) {
	t.Helper()
	for _, s := range r.launched {
		if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range r.launched {
		if err := s.process.Wait(); err != nil {
			t.Fatalf("%s: %v", s.at, err)
		}
	}
	for _, s := range r.launched {
		s.process = startRedis(t, s.args...)
	}
	for _, s := range r.launched {
		r.answers(t, s)
	}
	for _, s := range r.data() {
		c := r.client(t, s.at)
		eventually.True(t, s.at+" has its replica, or its primary", func() bool {
			info := c.Info(t.Context(), "replication", "cluster").Val()
			if strings.Contains(info, "cluster_enabled:1") &&
				!strings.Contains(c.ClusterInfo(t.Context()).Val(), "cluster_state:ok") {
				return false
			}
			return r.replicas == 0 || strings.Contains(info, "state=online") ||
				strings.Contains(info, "master_link_status:up")
		})
	}
}

func (r *installation) client(t *testing.T, at string) *redis.Client {
	options := *r.admin
	options.Addr = at
	c := redis.NewClient(&options)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// await waits until a server says something of itself.
func (r *installation) await(t *testing.T, at, what string) {
	t.Helper()
	c := r.client(t, at)
	eventually.True(t, at+" says "+what, func() bool {
		return strings.Contains(c.Info(t.Context(), "replication").Val(), what) &&
			strings.Contains(c.Info(t.Context(), "replication").Val(), "state=online")
	})
}

func (r *installation) file(t *testing.T, name, content string) string {
	path := filepath.Join(r.dir, name)
	write(t, path, content)
	return path
}

// rewrite puts the settings of this Redis into a daemon's file.
func (r *installation) rewrite(t *testing.T, file, content string) string {
	user := map[string]string{"issuer.yaml": "issuer", "authz.yaml": "gate"}[file]
	if user == "" {
		return content
	}
	lines := ""
	for name, value := range r.settings {
		lines += "\n  " + name + ": " + value
	}
	if r.users {
		lines += "\n  username: " + user + "\n  password_file: " + r.file(t, user+"-password",
			userPasswords[user])
	}
	content = replace(t, content, "\n  address: "+r.addresses[0], lines)
	if user == "issuer" {
		content = replace(t, content, "checks: warn", "checks: enforce")
	}
	return replace(t, content, "revocation: {",
		fmt.Sprintf("revocation: {min_replicas: %d, ", r.replicas))
}

// startRedis runs a redis-server until the test ends, or ends it before.
func startRedis(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(meshtest.RedisServer(t), args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed, or the test has waited for it
	})
	return cmd
}
