package faults

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/meshtest"
	"github.com/sallyport/sallyport/internal/redisconn"
)

// TestAnAccessListThatLosesIsSeen: Redis 7.0 reads its append-only file as the user default, and
// drops every transaction when that user has no rights. When Redis and the one issuer are killed
// and come back, nobody but Redis' disk can know what was revoked: with the list that is deployed
// nothing is lost, and with one that loses the harness sees it.
func TestAnAccessListThatLosesIsSeen(t *testing.T) {
	const deployed, losing = "user default off resetpass ~* &* +@all\n", "user default off\n"
	r := asDeployed(t)
	if found := violationsAfterKills(t, r); len(found) > 0 {
		t.Errorf("with the list that is deployed:%s", listed(found))
	}
	r.Checks = redisconn.ChecksWarn // which would find it
	r.Deployed = r.Deployed.WithUsers(func(list string) string {
		if !strings.Contains(list, deployed) {
			t.Fatalf("the list that is deployed does not say %q", deployed)
		}
		return strings.Replace(list, deployed, losing, 1)
	})
	loses, found := dropsTransactions(t, r.Server), violationsAfterKills(t, r)
	t.Logf("a transaction is dropped: %v; violations:%s", loses, listed(found))
	if seen := len(found) > 0; seen != loses {
		t.Errorf("%d violations, and whether this Redis drops transactions is %v", len(found), loses)
	}
}

// violationsAfterKills plays a schedule in which a single Redis and the only issuer are killed at
// the same time.
func violationsAfterKills(t *testing.T, r Redis) []Violation {
	t.Helper()
	at, down := time.Second, 500*time.Millisecond
	plan := Plan{Seed: 3, Topology: Single, Issuers: 1, Rounds: [][]Injection{{
		{Kind: KillRedis, At: at, For: down}, {Kind: KillIssuer, At: at, For: down},
	}}}
	result, err := Run(t.Context(), plan, t.TempDir(), meshtest.MovableBinaries(t), r)
	if err != nil {
		t.Fatal(err)
	}
	return result.Violations
}

// dropsTransactions reports whether a server loses a transaction at a restart when the user default
// is off and has no rights.
func dropsTransactions(t *testing.T, program string) bool {
	t.Helper()
	dir, err := os.MkdirTemp("", "losing") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	client := redis.NewClient(
		&redis.Options{
			Network: "unix", Addr: socket, Username: "admin", Password: "secret", MaxRetries: -1,
		},
	)
	defer client.Close()
	running := func(do func(context.Context)) {
		cmd := exec.Command(program, "--port", "0", "--unixsocket", socket, "--dir", dir,
			"--save", "", "--appendonly", "yes", "--user", "default", "off", "--user", "admin",
			"on", ">secret", "~*", "&*", "+@all")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		}()
		eventually.True(t, "redis-server to answer",
			func() bool { return client.Ping(t.Context()).Err() == nil })
		do(t.Context())
	}
	running(func(ctx context.Context) {
		pipe := client.TxPipeline()
		pipe.Set(ctx, "kept", "1", 0)
		pipe.Set(ctx, "kept too", "1", 0) // one command alone would be no transaction in the file
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	})
	var kept int64
	running(func(ctx context.Context) { kept = client.Exists(ctx, "kept", "kept too").Val() })
	return kept == 0
}
