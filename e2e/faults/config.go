package faults

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/keyring"
)

// The times that installations run with: short, so that a schedule is.
const (
	settle    = 500 * time.Millisecond
	heartbeat = 100 * time.Millisecond
	grace     = 2 * time.Second
)

// maxStaleness is longer where it has to cover the lag of replicas, which Redis counts in whole seconds.
func (p Plan) maxStaleness() time.Duration {
	if p.Topology == Single {
		return 3 * time.Second
	}
	return 4 * time.Second
}

const (
	issuerName = "http://issuer.test"
	audience   = "faults"
	userName   = "alice"
)

// password is every installation's user's.
var password = rand.Text()

// prepare makes keys and users.
func (w *world) prepare(ctx context.Context) error {
	keys := filepath.Join(w.dir, "keys")
	folder := keyring.Folder{Dir: keys}
	if _, err := folder.Generate(ctx, keyring.DefaultConfig().Algorithm); err != nil {
		return err
	}
	cfg := keyring.DefaultConfig()
	cfg.Dir = config.Path(keys)
	var err error
	if w.ring, err = keyring.Open(cfg, keyring.Options{Now: time.Now, PublishFor: 5 * time.Minute, MaxLifetime: time.Hour}); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, "jwks.json"), w.ring.KeySet(), 0o600); err != nil {
		return err
	}
	hash, err := credential.Hash([]byte(password), credential.Params{Time: 5, MemoryKiB: 7 << 10, Threads: 1})
	if err != nil {
		return err
	}
	users := fmt.Sprintf("users:\n- name: %s\n  roles: [user]\n  password_hash: %q\n", userName, hash)
	return os.WriteFile(filepath.Join(w.dir, "users.yaml"), []byte(users), 0o600)
}

func (w *world) issuerConfig(name, listen, admin string) string {
	return fmt.Sprintf(`name: %s
issuer: %s
audience: %s
listen: %s
admin: {listen: %s}
refresh_grace: %v
keys: {dir: ./keys}
users:
  file: ./users.yaml
  hashing: {concurrency: 2, queue: 100, wait: 3s}
limits:
  address_attempts: {burst: 100000, every: 1ms}
  address_failures: {burst: 100000, every: 1ms}
  pair_failures: {burst: 100000, every: 1ms}
  name_failures: {burst: 100000, every: 1ms}
  network_failures: {burst: 100000, every: 1ms}
`, name, issuerName, audience, listen, admin, grace) + w.redisConfig(true)
}

func (w *world) gateConfig(name, listen, admin string) string {
	return fmt.Sprintf(`name: %s
listen: %s
admin: {listen: %s}
drain: {delay: 0s}
realm: faults
issuers:
- issuer: %s
  jwks_file: ./jwks.json
  audiences: [%s]
  ours: true
policy:
  routes:
  - match: {path: /protected}
    allow: authenticated
`, name, listen, admin, issuerName, audience) + w.redisConfig(false)
}

// redisConfig is what all daemons have in common.
func (w *world) redisConfig(ofIssuer bool) string {
	var b strings.Builder
	b.WriteString("redis:\n")
	replicas := 0
	switch w.plan.Topology {
	case Cluster:
		fmt.Fprintf(&b, "  mode: cluster\n  addresses: [%s]\n", addresses(w.servers))
		replicas = 1
	case Sentinel:
		fmt.Fprintf(&b, "  mode: sentinel\n  master_name: %s\n  addresses: [%s]\n", masterName, addresses(w.sentinels))
		replicas = 1
	default:
		fmt.Fprintf(&b, "  address: %s\n", w.servers[0].address)
	}
	if ofIssuer {
		b.WriteString("  checks: enforce\n")
	}
	fmt.Fprintf(&b, "revocation:\n  max_staleness: %v\n  settle: %v\n  heartbeat: %v\n  min_replicas: %d\n  append_timeout: 1500ms\n",
		w.plan.maxStaleness(), settle, heartbeat, replicas)
	b.WriteString("log: {level: info}\n")
	return b.String()
}

func addresses(servers []*server) string {
	var all []string
	for _, s := range servers {
		all = append(all, s.address)
	}
	return strings.Join(all, ", ")
}
