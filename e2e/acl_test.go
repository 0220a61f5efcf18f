package e2e_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/sallyport/sallyport/internal/eventually"
)

// TestTheDeployedAccessListIsEnoughAndNoMore: the whole path works with the users of
// deploy/redis/users.acl, and whoever takes over a gate can neither append to the log, nor read a
// session, nor empty Redis.
func TestTheDeployedAccessListIsEnoughAndNoMore(t *testing.T) {
	r := newInstallation(t)
	r.name(t)
	r.single(t)
	s, address, passwords := r.stack(t), r.addresses[0], userPasswords
	gateway := newCaller(t, s.Endpoints().Gateway)
	alice := gateway.login(t, s.Endpoints().Users[0])
	if got := gateway.get(t, "/protected", bearer(alice.Access)).status; got != http.StatusOK {
		t.Fatalf("a call was answered %d", got)
	}

	for user, forbidden := range map[string][]string{
		"gate": {
			"XADD {sallyport}:rev:log * a b", "HSET {sallyport}:rev:head seq 0",
			"DEL {sallyport}:rev:log", "HSET {sallyport}:replicas a b",
			"DEL {sallyport}:replica:1", "SET {sallyport}:replica:100 x",
			"APPEND {sallyport}:replica:1 x", "XTRIM {sallyport}:rev:log MAXLEN 0",
			"XDEL {sallyport}:rev:log 1-0", "EVALSHA 0 0", "EVAL return 0", "FCALL x 0", "GET any",
			"HGETALL " + session(t, address, passwords["issuer"]),
			"FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "CONFIG GET *", "SHUTDOWN", "ACL LIST",
			"MONITOR", "REPLICAOF NO ONE", "CLIENT KILL ID 1", "PUBLISH a b", "SUBSCRIBE a",
		},
		"issuer": {
			"FLUSHALL", "FLUSHDB", "KEYS *", "CONFIG SET appendonly no", "SHUTDOWN", "ACL LIST",
			"MONITOR", "REPLICAOF NO ONE", "SWAPDB 0 1", "PUBLISH a b",
		},
	} {
		client := redis.NewClient(
			&redis.Options{Addr: address, Username: user, Password: passwords[user]})
		defer client.Close()
		for _, command := range forbidden {
			var args []any
			for word := range strings.FieldsSeq(command) {
				args = append(args, word)
			}
			err := client.Do(t.Context(), args...).Err()
			if err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
				t.Errorf("%s as %s: expected NOPERM, got %v", command, user, err)
			}
		}
	}
	stranger := redis.NewClient(&redis.Options{Addr: address})
	defer stranger.Close()
	err := stranger.Ping(t.Context()).Err()
	if err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}

	if got := gateway.send(t, http.MethodPost, "/logout", nil,
		bearer(alice.Access)).status; got != http.StatusOK {
		t.Fatalf("a logout was answered %d", got)
	}
	eventually.True(t, "the logout to be in force", func() bool {
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

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
