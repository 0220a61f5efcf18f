package e2e_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestEveryRedisIsAMatterOfSettings: one walk, from login to a logout that every gate has applied, on each kind of Redis, with
// issuers that check it and may not start on one that can lose what they acknowledged. Nothing but `redis:` and min_replicas differs.
func TestEveryRedisIsAMatterOfSettings(t *testing.T) {
	for name, start := range map[string]func(*installation, *testing.T){
		"single":                            (*installation).single,
		"single with TLS":                   func(r *installation, t *testing.T) { r.encrypt(t); r.single(t) },
		"single with TLS and users":         func(r *installation, t *testing.T) { r.secure(t); r.single(t) },
		"sentinel with passwords":           func(r *installation, t *testing.T) { r.guard(t); r.sentinel(t) },
		"sentinel with TLS and users":       func(r *installation, t *testing.T) { r.secure(t); r.sentinel(t) },
		"cluster of six":                    (*installation).cluster,
		"cluster of six with TLS and users": func(r *installation, t *testing.T) { r.secure(t); r.cluster(t) },
	} {
		t.Run(name, func(t *testing.T) {
			r := &installation{dir: t.TempDir(), settings: map[string]string{}}
			start(r, t)
			walk(t, meshtest.Start(t, meshtest.Options{Gates: 2, Issuers: 2, Embedded: true, Mesh: func(o *mesh.Options) {
				o.RedisAddress = r.addresses[0]
				o.Rewrite = func(file, content string) string { return r.rewrite(t, file, content) }
			}}))
		})
	}
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
		t.Fatalf("a logout was answered %d %s, expected 200 and that 2/2 gates have applied it", out.status, out.body)
	}
	for range 20 { // both gates
		if got := gateway.get(t, "/protected", bearer(alice.Access)).status; got != http.StatusUnauthorized {
			t.Fatalf("a call with a token of the session that was ended was answered %d", got)
		}
	}
	if got := gateway.post(t, "/refresh", map[string]string{"refresh_token": second.Refresh}); got.status != http.StatusUnauthorized {
		t.Errorf("a refresh of the session that was ended was answered %d %s", got.status, got.body)
	}
	third := gateway.login(t, s.Endpoints().Users[0])
	out = gateway.send(t, http.MethodPost, "/logout?everywhere=true&wait=5s", nil, bearer(third.Access))
	if out.status != http.StatusOK || out.field(t, "applied") != "2/2" {
		t.Fatalf("a logout everywhere was answered %d %s, expected 200 and that 2/2 gates have applied it", out.status, out.body)
	}
	if got := gateway.get(t, "/protected", bearer(third.Access)).status; got != http.StatusUnauthorized {
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
	servers   []string          // what every redis-server's file says
	sentinels []string          // what a sentinel's file says besides
	settings  map[string]string // of `redis:`
	tls       bool
	users     bool
	replicas  int
	addresses []string
	admin     *redis.Options // for the test itself
	cli       []string       // the same for redis-cli
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
	r.sentinels = append(r.sentinels, "requirepass "+sentinelPassword, "sentinel sentinel-pass "+sentinelPassword,
		"sentinel auth-pass main "+serverPassword)
	r.settings["password_file"] = r.file(t, "password", serverPassword)
	r.settings["sentinel_password_file"] = r.file(t, "sentinel-password", sentinelPassword)
	r.admin = &redis.Options{Password: serverPassword}
}

// encrypt has everybody speak TLS, with a certificate of their own.
func (r *installation) encrypt(t *testing.T) {
	certificate, key := meshtest.Certificate(t)
	r.tls = true
	for _, lines := range []*[]string{&r.servers, &r.sentinels} {
		*lines = append(*lines, "tls-cert-file "+certificate, "tls-key-file "+key, "tls-ca-cert-file "+certificate, "tls-replication yes")
	}
	r.settings["tls"] = fmt.Sprintf("{enabled: true, ca_file: %s, cert_file: %s, key_file: %s}", certificate, certificate, key)
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	r.admin = &redis.Options{TLSConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}
	r.cli = []string{"--tls", "--cacert", certificate, "--cert", certificate, "--key", key}
}

// secure has everybody speak TLS and name themselves: the daemons as the users that are deployed.
func (r *installation) secure(t *testing.T) {
	r.encrypt(t)
	r.users = true
	r.servers = append(r.servers, "aclfile "+r.file(t, "users.acl", deployedUsers(t, userPasswords)+
		"user servers on >"+serverPassword+" ~* &* +@all\n"), "masteruser servers", "masterauth "+serverPassword)
	r.sentinels = append(r.sentinels, "sentinel auth-user main servers", "sentinel auth-pass main "+serverPassword)
	r.admin.Username, r.admin.Password = "servers", serverPassword
	r.cli = append(r.cli, "--user", "servers", "--pass", serverPassword, "--no-auth-warning")
}

func (r *installation) single(t *testing.T) {
	r.addresses = []string{r.server(t, "appendfsync always")}
	r.settings["address"] = r.addresses[0]
}

func (r *installation) sentinel(t *testing.T) {
	r.replicas = 1
	replicated := []string{"min-replicas-to-write 1", "min-replicas-max-lag 3", "repl-diskless-sync-delay 0"}
	primary := r.server(t, replicated...)
	host, port, _ := strings.Cut(primary, ":")
	r.server(t, append(replicated, "replicaof "+host+" "+port)...)
	at := freeAddress(t)
	lines := append([]string{"sentinel monitor main " + host + " " + port + " 1"}, r.sentinels...)
	r.launch(t, at, nil, append(lines, r.listen(at)...), "--sentinel")
	r.settings["mode"], r.settings["master_name"], r.settings["addresses"] = "sentinel", "main", "["+at+"]"
	r.addresses = []string{primary}
	r.await(t, primary, "connected_slaves:1")
}

func (r *installation) cluster(t *testing.T) {
	r.replicas = 1
	lines := []string{"cluster-enabled yes", "min-replicas-to-write 1", "min-replicas-max-lag 3", "repl-diskless-sync-delay 0"}
	if r.tls {
		lines = append(lines, "tls-cluster yes")
	}
	for range 6 {
		_, bus, _ := net.SplitHostPort(freeAddress(t))
		r.addresses = append(r.addresses, r.server(t, append(lines, "cluster-port "+bus)...))
	}
	create := append(append([]string{"--cluster", "create"}, r.addresses...), "--cluster-replicas", "1", "--cluster-yes")
	if out, err := exec.Command("redis-cli", append(create, r.cli...)...).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli --cluster create: %v: %s", err, out)
	}
	r.settings["mode"], r.settings["addresses"] = "cluster", "["+strings.Join(r.addresses[:3], ", ")+"]"
	for _, primary := range r.addresses[:3] { // redis-cli makes primaries of the first ones
		r.await(t, primary, "connected_slaves:1")
	}
}

// server starts a redis-server and gives its address.
func (r *installation) server(t *testing.T, lines ...string) string {
	at := freeAddress(t)
	lines = append(append([]string{`save ""`, "appendonly yes", "maxmemory-policy noeviction"}, r.servers...), lines...)
	r.launch(t, at, r.admin, append(lines, r.listen(at)...))
	return at
}

// listen is how a server or a sentinel is to listen.
func (r *installation) listen(at string) []string {
	_, port, _ := net.SplitHostPort(at)
	if r.tls {
		return []string{"bind 127.0.0.1", "port 0", "tls-port " + port}
	}
	return []string{"bind 127.0.0.1", "port " + port}
}

func (r *installation) launch(t *testing.T, at string, as *redis.Options, lines []string, args ...string) {
	t.Helper()
	dir := filepath.Join(r.dir, strings.TrimPrefix(at, "127.0.0.1:"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "redis.conf")
	write(t, file, strings.Join(append(lines, "dir "+dir), "\n")+"\n")
	startRedis(t, append([]string{file}, args...)...)
	eventually(t, "a server listens at "+at, func() bool {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			return false
		}
		conn.Close()
		return as == nil || r.client(t, at).Ping(t.Context()).Err() == nil
	})
}

func (r *installation) client(t *testing.T, at string) *redis.Client {
	options := redis.Options{}
	if r.admin != nil {
		options = *r.admin
	}
	options.Addr = at
	c := redis.NewClient(&options)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// await waits until a server says something of itself.
func (r *installation) await(t *testing.T, at, what string) {
	t.Helper()
	c := r.client(t, at)
	eventually(t, at+" says "+what, func() bool {
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
		lines += "\n  username: " + user + "\n  password_file: " + r.file(t, user+"-password", userPasswords[user])
	}
	content = replace(t, content, "\n  address: "+r.addresses[0], lines)
	if user == "issuer" {
		content = replace(t, content, "checks: warn", "checks: enforce")
	}
	return replace(t, content, "revocation: {", fmt.Sprintf("revocation: {min_replicas: %d, ", r.replicas))
}

// deployedUsers is the access list that is deployed, with passwords.
func deployedUsers(t *testing.T, passwords map[string]string) string {
	t.Helper()
	list, err := os.ReadFile(filepath.Join(meshtest.Root(t), "deploy", "redis", "users.acl"))
	if err != nil {
		t.Fatal(err)
	}
	filled := string(list)
	for user, password := range passwords {
		digest := sha256.Sum256([]byte(password))
		filled = replace(t, filled, "#"+strings.ToUpper(user)+"_PASSWORD_SHA256", "#"+hex.EncodeToString(digest[:]))
	}
	return filled
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

// freeAddress is an address that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().String()
}
