package faults

import (
	"fmt"
	"strings"
	"time"
)

// The times that installations run with: short, so that a schedule is.
const (
	settle    = 500 * time.Millisecond
	heartbeat = 100 * time.Millisecond
	grace     = 2 * time.Second
)

// maxStaleness is longer where it has to cover the lag of replicas, which Redis counts in whole
// seconds.
func (p Plan) maxStaleness() time.Duration {
	if p.single() {
		return 3 * time.Second
	}
	return 4 * time.Second
}

const (
	issuerName = "http://issuer.test"
	audience   = "faults"
)

// issuerConfig limits nobody: room for 10 s a request, since a clock that is moved back by hours
// shall not bring back what was counted before. It drains for less than the harness waits for its
// end: Redis goes at the same time, and a request under way may be waiting for it.
func (w *world) issuerConfig(name, listen, admin string) string {
	return fmt.Sprintf(`name: %s
issuer: %s
audience: %s
listen: %s
admin: {listen: %s, token_file: ./admin-token}
refresh_grace: %v
max_sessions_per_user: 10000
keys: {dir: ./keys}
users:
  file: ./users.yaml
  hashing: {concurrency: 2, queue: 100, wait: 3s}
drain: {timeout: 2s}
http: {requests: {burst: 100000, every: 10s}}
limits:
  address_attempts: {burst: 100000, every: 10s}
  address_failures: {burst: 100000, every: 10s}
  pair_failures: {burst: 100000, every: 10s}
  name_failures: {burst: 100000, every: 10s}
  network_failures: {burst: 100000, every: 10s}
  name_logins: {burst: 100000, every: 10s}
`, name, issuerName, audience, listen, admin, grace) + w.redisConfig(true, "", "")
}

func (w *world) gateConfig(name, listen, admin string) string {
	var foreign strings.Builder
	for i, f := range w.foreigners {
		fmt.Fprintf(&foreign, "- issuer: %s\n  jwks_file: ./foreign-%d.json\n  audiences: [%s]\n"+
			"  role_prefix: \"\"\n",
			f.name, i, audience)
	}
	return fmt.Sprintf(`name: %s
listen: %s
admin: {listen: %s}
drain: {delay: 0s}
realm: faults
issuers:
- issuer: %s
  jwks_file: ./keys.json
  audiences: [%s]
  ours: true
  role_prefix: ""
%spolicy:
  routes:
  - match: {path: /protected}
    allow: authenticated
`, name, listen, admin, issuerName, audience, foreign.String()) +
		w.redisConfig(false, w.relayOf(name), snapshotOf(name))
}

// snapshotOf lets all gates but the first start from a file of their own copy.
func snapshotOf(gate string) string {
	if gate == "gate-1" {
		return ""
	}
	return fmt.Sprintf("  snapshot: {file: ./%s/snapshot, every: 1s}\n", gate)
}

// relayConfig asks gates for the user and password that Redis asks them for.
func (w *world) relayConfig(name, listen, admin string) string {
	return fmt.Sprintf("name: %s\nlisten: %s\nadmin: {listen: %s}\ndrain: {delay: 0s}\n"+
		"gates: {username: gate, password_file: ./gate-password}\n", name, listen, admin) +
		w.redisConfig(false, "", "")
}

// redisConfig is what all daemons have in common; at is the relay that is asked instead of Redis.
func (w *world) redisConfig(ofIssuer bool, at, more string) string {
	var b strings.Builder
	b.WriteString("redis:\n")
	replicas := 0
	switch w.plan.Topology {
	case Cluster:
		fmt.Fprintf(&b, "  mode: cluster\n  addresses: [%s]\n", addresses(w.servers))
		replicas = 1
	case Sentinel:
		fmt.Fprintf(&b, "  mode: sentinel\n  master_name: %s\n  addresses: [%s]\n", masterName,
			addresses(w.sentinels))
		replicas = 1
	default:
		address := w.servers[0].address
		if at != "" {
			address = at
		}
		fmt.Fprintf(&b, "  address: %s\n", address)
	}
	user := "gate"
	if ofIssuer {
		user = "issuer"
		fmt.Fprintf(&b, "  checks: %s\n", w.redis.Checks)
	}
	fmt.Fprintf(&b, "  username: %s\n  password_file: ./%s-password\n", user, user)
	fmt.Fprintf(&b,
		"revocation:\n  max_staleness: %v\n  settle: %v\n  heartbeat: %v\n  min_replicas: %d\n"+
			"  append_timeout: 1500ms\n",
		w.plan.maxStaleness(), settle, heartbeat, replicas)
	b.WriteString(more + "log: {level: info}\n")
	return b.String()
}

func addresses(servers []*server) string {
	var all []string
	for _, s := range servers {
		all = append(all, s.address)
	}
	return strings.Join(all, ", ")
}
