package e2e_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestTheDeployedAccessListIsEnoughAndNoMore: the whole path works with the users of deploy/redis/users.acl, and whoever takes over a gate
// can neither append to the log, nor read a session, nor empty Redis.
func TestTheDeployedAccessListIsEnoughAndNoMore(t *testing.T) {
	passwords := map[string]string{"issuer": "of-the-issuer", "gate": "of-the-gate"}
	address := redisWithUsers(t, passwords).address
	s := stackWithUsers(t, address, passwords)
	gateway := newCaller(t, s.Endpoints().Gateway)
	alice := gateway.login(t, s.Endpoints().Users[0])
	if got := gateway.get(t, "/protected", bearer(alice.Access)).status; got != http.StatusOK {
		t.Fatalf("a call was answered %d", got)
	}

	for user, forbidden := range map[string][]string{
		"gate": {
			"XADD {sallyport}:rev:log * a b", "HSET {sallyport}:rev:head seq 0", "DEL {sallyport}:rev:log", "HSET {sallyport}:replicas a b", "DEL {sallyport}:replica:1",
			"SET {sallyport}:replica:100 x", "APPEND {sallyport}:replica:1 x", "XTRIM {sallyport}:rev:log MAXLEN 0",
			"XDEL {sallyport}:rev:log 1-0", "EVALSHA 0 0", "EVAL return 0", "FCALL x 0", "GET any", "HGETALL " + session(t, address, passwords["issuer"]),
			"FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "CONFIG GET *", "SHUTDOWN", "ACL LIST", "MONITOR", "REPLICAOF NO ONE", "CLIENT KILL ID 1", "PUBLISH a b", "SUBSCRIBE a",
		},
		"issuer": {"FLUSHALL", "FLUSHDB", "KEYS *", "CONFIG SET appendonly no", "SHUTDOWN", "ACL LIST", "MONITOR", "REPLICAOF NO ONE", "SWAPDB 0 1", "PUBLISH a b"},
	} {
		client := redis.NewClient(&redis.Options{Addr: address, Username: user, Password: passwords[user]})
		defer client.Close()
		for _, command := range forbidden {
			var args []any
			for word := range strings.FieldsSeq(command) {
				args = append(args, word)
			}
			if err := client.Do(t.Context(), args...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
				t.Errorf("%s as %s: expected NOPERM, got %v", command, user, err)
			}
		}
	}
	stranger := redis.NewClient(&redis.Options{Addr: address})
	defer stranger.Close()
	if err := stranger.Ping(t.Context()).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}

	if got := gateway.send(t, http.MethodPost, "/logout", nil, bearer(alice.Access)).status; got != http.StatusOK {
		t.Fatalf("a logout was answered %d", got)
	}
	eventually(t, "the logout to be in force", func() bool {
		return gateway.get(t, "/protected", bearer(alice.Access)).status == http.StatusUnauthorized
	})
}

// session is the key of some session in Redis.
func session(t *testing.T, address, password string) string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: address, Username: "issuer", Password: password})
	defer client.Close()
	for keys := client.Scan(t.Context(), 0, "*", 1000).Iterator(); keys.Next(t.Context()); {
		if !strings.HasPrefix(keys.Val(), "{sallyport}") {
			return keys.Val()
		}
	}
	t.Fatal("there is no session in Redis")
	return ""
}

// TestACleanRestartOfRedisLosesNothing: with the access list that is deployed, Redis holds after a clean restart what it held
// before, the log and every session. A disabled default user without rights would lose them: it replays the append-only file.
func TestACleanRestartOfRedisLosesNothing(t *testing.T) {
	passwords := map[string]string{"issuer": "of-the-issuer", "gate": "of-the-gate"}
	r := redisWithUsers(t, passwords)
	s := stackWithUsers(t, r.address, passwords)
	gateway := newCaller(t, s.Endpoints().Gateway)
	out := gateway.login(t, s.Endpoints().Users[0])
	gateway.login(t, s.Endpoints().Users[1])
	if got := gateway.send(t, http.MethodPost, "/logout", nil, bearer(out.Access)).status; got != http.StatusOK {
		t.Fatalf("a logout was answered %d", got)
	}
	if err := s.Stop(); err != nil { // what an issuer would put back is not what Redis has kept
		t.Fatal(err)
	}

	before := contents(t, r.address, passwords["issuer"])
	if before["{sallyport}:rev:log"] == "" || len(before) < 4 {
		t.Fatalf("Redis holds %d keys, expected the log, its head and two sessions at least", len(before))
	}
	r.restart(t)
	after := contents(t, r.address, passwords["issuer"])
	for key, value := range before {
		if after[key] != value {
			t.Errorf("%s is not what it was before the restart", key)
		}
	}
}

// contents are the values of all keys, as Redis serialises them.
func contents(t *testing.T, address, password string) map[string]string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: address, Username: "issuer", Password: password})
	defer client.Close()
	values := map[string]string{}
	keys := client.Scan(t.Context(), 0, "*", 1000).Iterator()
	for keys.Next(t.Context()) {
		values[keys.Val()] = client.Dump(t.Context(), keys.Val()).Val()
	}
	if err := keys.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}

// stackWithUsers is a stack on a Redis with the access list that is deployed.
func stackWithUsers(t *testing.T, address string, passwords map[string]string) *meshtest.Stack {
	t.Helper()
	return meshtest.Start(t, meshtest.Options{Embedded: true, Mesh: func(o *mesh.Options) {
		o.RedisAddress = address
		o.Rewrite = func(name, content string) string {
			user := map[string]string{"issuer.yaml": "issuer", "authz.yaml": "gate"}[name]
			if user == "" {
				return content
			}
			file := filepath.Join(o.Dir, user+"-password")
			write(t, file, passwords[user])
			return replace(t, content, "\nredis:\n", "\nredis:\n  username: "+user+"\n  password_file: "+file+"\n")
		}
	}})
}

// usersRedis is a redis-server with the access list that is deployed.
type usersRedis struct {
	address  string
	password string // of the user issuer
	args     []string
	process  *exec.Cmd
}

func redisWithUsers(t *testing.T, passwords map[string]string) *usersRedis {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "users.acl")
	write(t, file, deployedUsers(t, passwords))
	r := &usersRedis{address: freeAddress(t), password: passwords["issuer"]}
	_, port, _ := net.SplitHostPort(r.address)
	r.args = []string{
		"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--aclfile", file,
	}
	r.start(t)
	return r
}

func (r *usersRedis) start(t *testing.T) {
	t.Helper()
	r.process = startRedis(t, r.args...)
	client := redis.NewClient(&redis.Options{Addr: r.address, Username: "issuer", Password: r.password})
	defer client.Close()
	eventually(t, "redis-server to answer", func() bool { return client.Time(t.Context()).Err() == nil })
}

// restart stops the server as an operator would, and starts it on the same files.
func (r *usersRedis) restart(t *testing.T) {
	t.Helper()
	if err := r.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := r.process.Wait(); err != nil {
		t.Fatal(err)
	}
	r.start(t)
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
