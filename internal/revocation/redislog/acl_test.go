package redislog_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// gateRules are the ACL rules of a gate's user, as documented.
const gateRules = "resetkeys %R~{sallyport}:rev:* ~{sallyport}:replica:[1-9] " +
	"~{sallyport}:replica:[1-9][0-9] -@all +set +getrange +hmget +xrange " +
	"+xread +wait +multi +exec +discard +time +hello +ping"

// TestGateNeedsNoMoreThanItsUserMay: a gate works as a user that can neither append, nor read
// sessions, nor flush.
func TestGateNeedsNoMoreThanItsUserMay(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	args := []any{"ACL", "SETUSER", "gate", "on", ">secret"}
	for _, rule := range strings.Fields(gateRules) {
		args = append(args, rule)
	}
	r.do(args...)
	cfg := redisconn.DefaultConfig()
	cfg.Address, cfg.Username, cfg.Password = r.addr(), "gate", config.NewSecret("secret")
	c, err := redisconn.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	g, err := redislog.NewGate(c, quick(), named("gate-1").options(t))
	if err != nil {
		t.Fatal(err)
	}
	running(t, g.Run)
	eventually.True(t, "the gate is fresh",
		func() bool { return g.Freshness(g.Instant()).Fresh && i.fresh() })
	revoke(t, i, sid("s1"))
	eventually.True(t, "the gate denies", func() bool { return g.Check(session("s1")).Revoked })
	for _, command := range []string{
		"XADD {sallyport}:rev:log 99-0 a b", "DEL {sallyport}:rev:log",
		"XTRIM {sallyport}:rev:log MAXLEN 0", "HSET {sallyport}:rev:head seq 1",
		"SET {sallyport}:rev:log x", "SET {sallyport}:replica:100 x", "SET {sallyport}:replica:0 x",
		"SET {sallyport}:replica:x x", "APPEND {sallyport}:replica:1 x",
		"SETRANGE {sallyport}:replica:1 9 x", "DEL {sallyport}:replica:1",
		"HSET {sallyport}:issuers gate-1 x", "HGETALL {sallyport}:issuers",
		"HGETALL {tag}:session", "GET {tag}:session", "FLUSHALL", "EVAL return(1) 0",
		"SCRIPT FLUSH", "FUNCTION LIST",
		"CONFIG GET *", "KEYS *", "ACL LIST", "CLIENT LIST", "INFO", "SHUTDOWN", "REPLICAOF no one",
	} {
		words := strings.Fields(command)
		args := make([]any, len(words))
		for n, w := range words {
			args[n] = w
		}
		if err := c.Universal().
			Do(t.Context(), args...).
			Err(); err == nil ||
			!redis.HasErrorPrefix(err, "NOPERM") {
			t.Errorf("%s: %v, want NOPERM", command, err)
		}
	}
}
