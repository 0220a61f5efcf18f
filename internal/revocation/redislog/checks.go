package redislog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/redisconn"
)

// checks are the checks of all servers of Redis.
type checks struct {
	client *redisconn.Client
	cfg    Config
	log    *slog.Logger
}

// all makes every check. One that cannot be made is a failed one. In a cluster every primary is
// checked: the log is on one, sessions are on all. So is every replica that answers, since it has
// settings and users of its own and may be the primary after the next fault. The second result is
// an error of a connection: then it is not known what there is to find.
func (k checks) all(ctx context.Context) ([]error, error) {
	var failed []error
	err := k.client.EachPrimary(ctx, func(node string, conn *redis.Conn) error {
		c := k.checker(ctx, node, conn)
		err := c.check(ctx, conn)
		failed = append(failed, c.failed...)
		return err
	})
	if err == nil && k.client.Config().Mode != redisconn.ModeSingle {
		err = k.client.EachReplica(ctx, func(node string, conn *redis.Conn) {
			failed = append(failed, k.replica(ctx, node, conn)...)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("redislog: checking Redis: %w", err)
	}
	return failed, nil
}

// checker returns the checker of one server.
func (k checks) checker(ctx context.Context, node string, conn *redis.Conn) *checker {
	return &checker{
		cfg: k.cfg, redis: k.client.Config(), strangers: k.client.ConfigAt, node: node,
		config:  func(setting string) (string, error) { return configGet(ctx, conn, setting) },
		cluster: k.client.Config().Mode != redisconn.ModeSingle,
	}
}

// replicaPatience is how long one replica may take to be checked. Issuers must start while one is
// down.
const replicaPatience = time.Second

// replica checks a replica. One that does not answer is no finding, for what is down must not
// keep issuers down; the log names it.
func (k checks) replica(ctx context.Context, node string, conn *redis.Conn) []error {
	ctx, cancel := context.WithTimeout(ctx, replicaPatience)
	defer cancel()
	c := k.checker(ctx, node, conn)
	err := c.checkReplica(ctx, conn)
	switch {
	case err == nil:
		return c.failed
	case redis.HasErrorPrefix(err, "NOAUTH"), redis.HasErrorPrefix(err, "WRONGPASS"),
		redis.HasErrorPrefix(err, "NOPERM"):
		c.failed = nil // all of it follows from this one
		c.fail(
			"this replica refuses the issuer, and would as a primary: give it the users of the others: %w",
			err)
		return c.failed
	}
	k.log.Warn("a replica of Redis does not answer, so its settings are not checked", "replica",
		node, "error", oneLine(err.Error()))
	return nil
}

// checker finds the ways in which one data node of Redis is not what the promises need.
type checker struct {
	cfg       Config
	redis     redisconn.Config
	strangers func(node string) redisconn.Config // for a connection to one node
	node      string                             // which of a cluster's, or which replica, else empty
	config    func(setting string) (string, error)
	info      map[string]string
	failed    []error
	cluster   bool // has replicas to fail over to
}

// check checks a primary.
func (c *checker) check(ctx context.Context, conn *redis.Conn) error {
	if err := conn.Ping(ctx).Err(); err != nil {
		return err
	}
	info, err := conn.Info(ctx, "server", "replication").Result()
	if err != nil {
		c.fail("INFO is refused, so the version and the replicas cannot be checked: allow +info: %w",
			err)
	}
	c.info = parseInfo(info)
	c.version()
	c.durability()
	c.replicas()
	c.exposure(ctx)
	c.replay(ctx, conn)
	// A connection that broke on the way stays broken, and what could not be checked because of that
	// is no finding.
	return conn.Ping(ctx).Err()
}

// checkReplica is check for a server that is not a primary yet.
func (c *checker) checkReplica(ctx context.Context, conn *redis.Conn) error {
	if err := conn.Ping(ctx).Err(); err != nil {
		return err
	}
	c.durability()
	c.deposition()
	if !onThisMachine(c.node) {
		c.secrecy(ctx)
	}
	c.replay(ctx, conn)
	return conn.Ping(ctx).Err()
}

func (c *checker) fail(format string, args ...any) {
	where := "redis"
	if c.node != "" {
		where += " node " + c.node
	}
	c.failed = append(c.failed, fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...)))
}

func configGet(ctx context.Context, conn *redis.Conn, setting string) (string, error) {
	values, err := conn.ConfigGet(ctx, setting).Result()
	if err != nil {
		return "", err
	}
	v, ok := values[setting]
	if !ok {
		return "", errors.New("the server does not know it")
	}
	return v, nil
}

func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for l := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(l), ":"); ok {
			info[k] = v
		}
	}
	return info
}

func (c *checker) version() {
	major, _, _ := strings.Cut(c.info["redis_version"], ".")
	if n, err := strconv.Atoi(major); err != nil || n < 7 {
		c.fail("expected version 7.0 or newer, got %q", c.info["redis_version"])
	}
}

// want checks that a setting has a value.
func (c *checker) want(setting, value, why string) {
	got, err := c.config(setting)
	switch {
	case err != nil:
		c.fail("%s cannot be checked, and must be %s (%s): %w", setting, value, why, err)
	case got != value:
		c.fail("%s is %q, and must be %s: %s", setting, got, value, why)
	}
}

func (c *checker) durability() {
	c.want("appendonly", "yes", "a restart would forget acknowledged revocations")
	if !c.cluster {
		c.want("appendfsync", "always", "a single Redis that crashes would forget the last second")
	} else if got, err := c.config("appendfsync"); err != nil {
		c.fail("appendfsync cannot be checked, and must be everysec or always: %w", err)
	} else if got != "everysec" && got != "always" {
		c.fail(
			"appendfsync is %q, and must be everysec or always: machines that lose power together "+
				"would forget more than the last second", got)
	}
	c.want("maxmemory-policy", "noeviction",
		"a full Redis would drop revocations instead of refusing writes")
}

// replicas checks what keeps a deposed primary from being believed: a write that counts is on a
// majority of the data nodes, and a primary without replicas is deposed in time.
func (c *checker) replicas() {
	if !c.cluster {
		return
	}
	connected, err := strconv.Atoi(c.info["connected_slaves"])
	if err != nil {
		c.fail("INFO replication has no connected_slaves, so revocation.min_replicas cannot be checked")
		return
	}
	if need := max((connected+1)/2, 1); c.cfg.MinReplicas < need {
		c.fail("revocation.min_replicas is %d, and must be at least %d with %d data nodes",
			c.cfg.MinReplicas, need, connected+1)
	}
	c.deposition()
}

// deposition checks that a primary without replicas stops taking writes before anyone's copy is
// stale.
func (c *checker) deposition() {
	if n, ok := c.number("min-replicas-to-write"); ok && n < 1 {
		c.fail(
			"min-replicas-to-write is %d, and must be at least 1: a deposed primary would go on "+
				"taking writes",
			n)
	}
	lag, ok := c.number("min-replicas-max-lag")
	if d := time.Duration(lag)*time.Second + time.Second; ok && (lag <= 0 || d >= c.cfg.MaxStaleness) {
		c.fail(
			"min-replicas-max-lag is %d, and must be from 1 to less than revocation.max_staleness "+
				"(%s) less 1s",
			lag, c.cfg.MaxStaleness)
	}
}

func (c *checker) number(setting string) (int, bool) {
	got, err := c.config(setting)
	if err != nil {
		c.fail("%s cannot be checked: %w", setting, err)
		return 0, false
	}
	n, err := strconv.Atoi(got)
	if err != nil {
		c.fail("%s is %q, expected a number", setting, got)
	}
	return n, err == nil
}

// exposure checks that a Redis others can reach asks who they are, over TLS.
func (c *checker) exposure(ctx context.Context) {
	exposed := false
	for _, a := range append([]string{c.redis.Address, c.node}, c.redis.Addresses...) {
		exposed = exposed || a != "" && !onThisMachine(a)
	}
	if !exposed {
		return
	}
	if !c.redis.TLS.Enabled {
		c.fail("redis.tls.enabled is false, and must be true for a Redis beyond this machine")
	}
	c.secrecy(ctx)
}

// secrecy checks that a server asks who they are.
func (c *checker) secrecy(ctx context.Context) {
	asked := c.redis
	if c.node != "" {
		asked = c.strangers(c.node)
	}
	if c.redis.Password.IsZero() {
		c.fail(
			"redis.password is empty, and a Redis beyond this machine must ask for one, or for an ACL user")
	} else if open, err := redisconn.AnswersStrangers(ctx, asked); err != nil {
		c.fail("whether it answers without a password cannot be checked: %w", err)
	} else if open {
		c.fail(
			"it answers without a password: set requirepass, or disable the ACL user default (%s)",
			disabledDefault)
	}
}

// disabledDefault keeps strangers out and lets Redis read its own file.
const disabledDefault = "user default off resetpass ~* &* +@all"

// replay checks that the default user has its rights, disabled or not. Redis 7.0 reads its
// append-only file as that user, and a transaction or script whose commands it may not run is
// dropped at a restart, with a line in the log of Redis alone.
func (c *checker) replay(ctx context.Context, conn *redis.Conn) {
	for _, key := range []string{c.cfg.Prefix + ":rev:log", "{session}"} {
		for _, command := range replayed {
			args := []any{"acl", "dryrun", "default"}
			for word := range strings.FieldsSeq(command) {
				args = append(args, strings.Replace(word, "KEY", key, 1))
			}
			answer, err := conn.Do(ctx, args...).Text()
			if err != nil {
				c.fail(
					"whether the ACL user default has its rights cannot be checked: allow +acl|dryrun: %w",
					err)
				return
			}
			if answer != "OK" {
				c.fail("the ACL user default may not run %s on %s, so a restart would drop "+
					"acknowledged writes from the append-only file: write %q, which keeps strangers "+
					"out as well", strings.ToUpper(args[3].(string)), key, disabledDefault)
				return
			}
		}
	}
}

// replayed are the commands that our transactions and scripts leave in the append-only file.
var replayed = []string{
	"multi", "exec", "select 0", "xadd KEY * f v", "xdel KEY 1-0", "hset KEY f v", "zadd KEY 1 m",
	"zrem KEY m", "zremrangebyscore KEY 0 1", "pexpireat KEY 1", "del KEY",
}

func onThisMachine(address string) bool {
	if strings.HasPrefix(address, "/") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	return err == nil && config.IsThisMachine(host)
}
