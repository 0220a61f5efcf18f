package session_test

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

// TestWhatALoginAndALogoutLeaveInRedis measures what docs/operations.md says of the memory that
// Redis needs: run it with -v. The bounds are what is said there.
func TestWhatALoginAndALogoutLeaveInRedis(t *testing.T) {
	t.Run("single", func(t *testing.T) {
		loginAndLogoutLeave(t, sessiontest.Open(t, sessiontest.RealRedis(t)), 730, 0)
	})
	t.Run("cluster", func(t *testing.T) { loginAndLogoutLeave(t, startCluster(t), 900, 240) })
}

// loginAndLogoutLeave measures bytes: atOnce until the access token's entry and the record have
// expired, remaining of them for max_session_lifetime.
func loginAndLogoutLeave(t *testing.T, client *redisconn.Client, atOnce, remaining int) {
	const pairs = 1000
	store := realStore(t, client)
	facts := session.Login{
		Subject:    "alice@example.com",
		Tenant:     "acme",
		Scope:      []string{"orders.read", "orders.write"},
		AMR:        []string{"pwd"},
		Credential: strings.Repeat("c", 22),
		Rights:     strings.Repeat("r", 22),
	}
	pair := func() {
		a, err := store.StartLogin(t.Context(), facts.Subject)
		if err != nil {
			t.Fatal(err)
		}
		g, err := store.Begin(t.Context(), a, facts)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.End(t.Context(), g.Session.ID, "logout", facts.Subject); err != nil {
			t.Fatal(err)
		}
	}
	for range pairs { // what is there once, and a sorted set as large sets are
		pair()
	}
	before := usedMemory(t, client)
	for range pairs {
		pair()
	}
	grown := (usedMemory(t, client) - before) / pairs

	redisClient := client.Universal()
	for keys := redisClient.Scan(t.Context(), 0, "*:s:*", 1000).Iterator(); keys.Next(t.Context()); {
		if left := redisClient.PTTL(t.Context(), keys.Val()).Val(); left <= 0 || left > config().Retain {
			t.Errorf("the record of an ended session is kept for %v, expected at most %v", left,
				config().Retain)
		}
		redisClient.Del(t.Context(), keys.Val()) // as when it has expired
	}
	redisClient.XTrimMaxLen(t.Context(), "{sallyport}:rev:log", 1)
	remembered, want := redisClient.ZCard(t.Context(), "{sallyport}:rev:cutoffs").Val(), int64(0)
	if remaining > 0 {
		want = 2 * pairs
	}
	if remembered != want {
		t.Fatalf("%d ended sessions are remembered, expected %d", remembered, want)
	}
	stays := 0
	if want > 0 {
		all, err := redisClient.MemoryUsage(t.Context(), "{sallyport}:rev:cutoffs", 0).Result()
		if err != nil {
			t.Fatal(err)
		}
		stays = int(all / want)
	}
	t.Logf("%d bytes for each login and logout, %d of them for max_session_lifetime", grown, stays)
	if grown > atOnce || stays > remaining {
		t.Errorf(
			"a login and a logout leave %d bytes and %d of them for long, expected at most %d and %d",
			grown, stays, atOnce, remaining)
	}
}

// realStore is a store on a real revocation log.
func realStore(t *testing.T, client *redisconn.Client) *session.Store {
	t.Helper()
	log, err := redislog.NewIssuer(client, redislog.DefaultConfig(),
		redislog.Options{Name: "issuer-1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	store, err := session.New(config(), client, log, sessiontest.NewRing())
	if err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "Redis' time is known", func() bool {
		_, known := log.MintingTime()
		return known
	})
	return store
}

func usedMemory(t *testing.T, client *redisconn.Client) int {
	t.Helper()
	info, err := client.Universal().Info(t.Context(), "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, used, _ := strings.Cut(info, "\nused_memory:")
	used, _, _ = strings.Cut(used, "\r\n")
	n, err := strconv.Atoi(used)
	if err != nil {
		t.Fatalf("used_memory: %v", err)
	}
	return n
}
