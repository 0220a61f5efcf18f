package session_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

// TestSessionsLiveOnACluster walks every script over a real Redis Cluster, which refuses one that
// leaves its slot.
func TestSessionsLiveOnACluster(t *testing.T) {
	w := newWorld(t, startCluster(t))
	g := w.login("alice")
	next := w.mustRefresh(g.RefreshToken)
	if again := w.mustRefresh(g.RefreshToken); again.RefreshToken != next.RefreshToken {
		t.Error("the retry gave another token")
	}
	w.mustEnd(g.Session.ID)
	w.refused(next.RefreshToken, session.ReasonEnded)
	for range 5 {
		w.login("alice")
	}
	if done, err := w.EndAll(t.Context(), "alice", "admin", ""); err != nil || done.Sessions != 5 {
		t.Errorf("got %+v, %v", done, err)
	}
	w.login("alice")
	if done := w.endOutdated(facts("alice", "another", "")); done.Sessions != 1 {
		t.Errorf("got %+v", done)
	}
	if err := w.EndAgain(t.Context(), refsOf(w.login("bob"))); err != nil {
		t.Error(err)
	}
}

func startCluster(t *testing.T) *redisconn.Client {
	t.Helper()
	port := freePort(t)
	socket, _ := sessiontest.StartRedis(t, "--port", port, "--cluster-enabled", "yes",
		"--cluster-port", freePort(t))
	node := redis.NewClient(&redis.Options{Addr: socket, MaxRetries: -1})
	defer func() { _ = node.Close() }()
	if err := node.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the cluster to come up", func() bool {
		return strings.Contains(node.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	})
	cfg := redisconn.DefaultConfig()
	cfg.Mode, cfg.Address, cfg.Addresses = redisconn.ModeCluster, "", []string{"127.0.0.1:" + port}
	cfg.Checks = redisconn.ChecksWarn // one node, without a replica
	client, err := redisconn.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}
