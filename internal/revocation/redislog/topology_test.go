package redislog_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

func open(t *testing.T, cfg redisconn.Config) *redisconn.Client {
	t.Helper()
	c, err := redisconn.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// over starts an issuer and a gate on any Redis.
func over(t *testing.T, redis redisconn.Config, s settings) (issuer, gate) {
	t.Helper()
	i, err := redislog.NewIssuer(open(t, redis), s.cfg, s.options(t))
	if err != nil {
		t.Fatal(err)
	}
	s.o.Name = "gate-1"
	g, err := redislog.NewGate(open(t, redis), s.cfg, s.options(t))
	if err != nil {
		t.Fatal(err)
	}
	return issuer{i, running(t, i.Run)}, gate{g, running(t, g.Run)}
}

// TestSentinelFailover: the primary dies and a replica is promoted. Nothing acknowledged is lost,
// nothing denied is allowed, and all goes on by itself.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	cfg, primary, replicas := startSentinel(t)
	s := named("issuer-1")
	s.cfg.MinReplicas = 1
	i, g := over(t, cfg, s)
	m := &mesh{server: primary, issuers: []issuer{i}, gates: []gate{g}}
	m.converge()
	m.revoke("before")
	m.denied()
	m.neverAllows()
	primary.kill()
	eventually.True(t, "a replica is promoted", func() bool {
		return strings.Contains(fmt.Sprint(replicas[0].do("INFO", "replication")), "role:master") ||
			strings.Contains(fmt.Sprint(replicas[1].do("INFO", "replication")), "role:master")
	})
	eventually.True(t, "revoking goes on", func() bool {
		ctx, cancel := timeout(t, time.Second)
		defer cancel()
		_, err := i.Append(ctx, asked("after"))
		return err == nil
	})
	m.revoked = append(m.revoked, "after")
	m.converge()
	m.denied()
}

// startSentinel starts a primary, two replicas and a sentinel, which knows them.
func startSentinel(t *testing.T) (cfg redisconn.Config, primary *server, replicas []*server) {
	t.Helper()
	primary = startRedis(t)
	replicas = []*server{replicaOf(t, primary), replicaOf(t, primary)}
	eventually.True(t, "both replicas are in step", func() bool {
		return strings.Count(fmt.Sprint(primary.do("INFO", "replication")), "state=online") == 2
	})
	port := freePort(t)
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %d\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 %d 1\n"+
		"sentinel down-after-milliseconds main 700\nsentinel failover-timeout main 3000\n",
		port, primary.port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := &server{t: t, port: port, dir: t.TempDir()}
	sentinel.launch(file, "--sentinel")
	t.Cleanup(sentinel.kill)
	eventually.True(t, "the sentinel knows both replicas", func() bool {
		v, ok := sentinel.do("SENTINEL", "REPLICAS", "main").([]any)
		return ok && len(v) == 2
	})

	cfg = redisconn.DefaultConfig()
	cfg.Mode, cfg.Address, cfg.Addresses, cfg.MasterName = redisconn.ModeSentinel, "", []string{
		sentinel.addr(),
	}, "main"
	cfg.Checks = redisconn.ChecksWarn
	return cfg, primary, replicas
}

// TestCluster: the same on a cluster, by configuration alone: every key of the log lies in one
// slot.
func TestCluster(t *testing.T) {
	t.Parallel()
	cfg, _ := startCluster(t)
	i, g := over(t, cfg, named("issuer-1"))
	m := &mesh{server: &server{t: t}, issuers: []issuer{i}, gates: []gate{g}}
	m.converge()
	receipt := m.revoke("s1")
	m.denied()
	if a, err := i.Applied(t.Context(), receipt); err != nil || a.Total != 1 || !a.All() {
		t.Errorf("applied %+v, %v", a, err)
	}
	if found, err := i.Remembered(t.Context(), iss, "s1", "alice", "app", "acme"); err != nil ||
		!found.Ended {
		t.Errorf("remembered: %+v, %v", found, err)
	}
	if entries, err := i.Entries(t.Context(), 1, 10); err != nil || len(entries) != 1 {
		t.Errorf("entries %+v, %v", entries, err)
	}
}

// TestClusterFailover: the node that holds the log's slot dies, or stands still, and its replica
// takes over. Issuer and gate find it by themselves, and what was acknowledged is still denied.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*server){
		"dead":         (*server).kill,
		"stands still": func(r *server) { _ = r.cmd.Process.Signal(syscall.SIGSTOP) },
	} {
		t.Run(name, func(t *testing.T) { failOver(t, fail) })
	}
}

func failOver(t *testing.T, fail func(*server)) {
	cfg, primary, replica := startPair(t)
	s := named("issuer-1")
	i, g := over(t, cfg, s)
	m := &mesh{server: primary, issuers: []issuer{i}, gates: []gate{g}}
	m.converge()
	m.revoke("before")
	m.denied()
	fail(primary)
	replica.do("CLUSTER", "FAILOVER", "TAKEOVER")
	began := time.Now()
	eventually.True(t, "revoking goes on", func() bool {
		ctx, cancel := timeout(t, time.Second)
		defer cancel()
		_, err := i.Append(ctx, asked("after"))
		return err == nil
	})
	t.Logf("revoking goes on after %s", time.Since(began).Round(time.Millisecond))
	m.revoked = append(m.revoked, "after")
	m.converge()
	m.denied()
}

// startPair starts a cluster of one primary, which has all slots, and its replica.
func startPair(t *testing.T) (cfg redisconn.Config, primary, replica *server) {
	t.Helper()
	node := func() *server {
		return startRedis(t, "--cluster-enabled", "yes", "--cluster-port",
			strconv.Itoa(freePort(t)), "--cluster-announce-ip", "127.0.0.1")
	}
	primary, replica = node(), node()
	primary.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
	id := primary.do("CLUSTER", "MYID")
	bus := replica.args[3] // its --cluster-port
	primary.do("CLUSTER", "MEET", "127.0.0.1", replica.port, bus)
	eventually.True(t, "the replica knows the primary", func() bool {
		return strings.Contains(fmt.Sprint(replica.do("CLUSTER", "NODES")), fmt.Sprint(id))
	})
	replica.do("CLUSTER", "REPLICATE", id)
	eventually.True(t, "the replica is in step", func() bool {
		return strings.Contains(fmt.Sprint(primary.do("INFO", "replication")), "state=online")
	})
	cfg = redisconn.DefaultConfig()
	cfg.Mode, cfg.Address, cfg.Addresses, cfg.Checks = redisconn.ModeCluster, "", []string{
		primary.addr(),
		replica.addr(),
	}, redisconn.ChecksWarn
	return cfg, primary, replica
}

// TestALongEntryIsCarriedOnOverAFailOver (S3, S4, L3): the entry of a session elsewhere is carried on
// past what has expired, by an issuer on Sentinel or a cluster as on one Redis; it stays in force
// when a replica takes over that may not have followed every step, and is carried on there.
func TestALongEntryIsCarriedOnOverAFailOver(t *testing.T) {
	t.Parallel()
	isPrimary := func(r *server) bool {
		return strings.Contains(fmt.Sprint(r.do("INFO", "replication")), "role:master")
	}
	for name, start := range map[string]func(*testing.T) (redisconn.Config, *server, func() *server){
		"sentinel": func(t *testing.T) (redisconn.Config, *server, func() *server) {
			cfg, primary, replicas := startSentinel(t)
			return cfg, primary, func() *server {
				primary.kill()
				eventually.True(t, "a replica is promoted",
					func() bool { return slices.ContainsFunc(replicas, isPrimary) })
				return replicas[slices.IndexFunc(replicas, isPrimary)]
			}
		},
		"cluster": func(t *testing.T) (redisconn.Config, *server, func() *server) {
			cfg, primary, replica := startPair(t)
			return cfg, primary, func() *server {
				primary.kill()
				replica.do("CLUSTER", "FAILOVER", "TAKEOVER")
				return replica
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, primary, failOver := start(t)
			s := shortTokens("issuer-1")
			s.cfg.MinReplicas = 1
			if name == "cluster" {
				s.cfg.MinReplicas = 0 // who takes over has no replica
			}
			i, g := over(t, cfg, s)
			m := &mesh{server: primary, issuers: []issuer{i}, gates: []gate{g}}
			m.converge()
			revoke(t, i, revokedAbroad("abroad"))
			made := m.newest()
			eventually.True(t, "the gate denies",
				func() bool { return g.Check(abroad("abroad")).Revoked })
			carriedOn := func() {
				t.Helper()
				before := m.head(t)
				reqs := make([]revocation.Request, 1500)
				for n := range reqs {
					reqs[n] = sid(fmt.Sprint("s", n))
				}
				eventually.True(t, "others are revoked", func() bool {
					ctx, cancel := timeout(t, 5*time.Second)
					defer cancel()
					_, err := i.Append(ctx, reqs)
					return err == nil
				})
				eventually.True(t, "what is dead has left Redis", func() bool {
					return m.do("XLEN", logKey).(int64) <= 2 && m.find("abroad").Kind != 0
				})
				if !g.Check(abroad("abroad")).Revoked {
					t.Error("the gate allows the session (S3)")
				}
				if after := m.head(t); after < before+uint64(len(reqs)) {
					t.Errorf("the log went from %d to %d: nothing was revoked meanwhile", before, after)
				}
			}
			carriedOn()
			m.server = failOver()
			m.whole()
			carriedOn()
			s.o.Name = "gate-late"
			late, err := redislog.NewGate(open(t, cfg), s.cfg, s.options(t))
			if err != nil {
				t.Fatal(err)
			}
			m.gates = append(m.gates, gate{late, running(t, late.Run)})
			m.converge()
			if !late.Check(abroad("abroad")).Revoked {
				t.Error("a gate that starts later allows the session (S4)")
			}
			m.unchanged("abroad", made)
		})
	}
}

// head is the place of the log's newest entry.
func (m *mesh) head(t *testing.T) uint64 {
	t.Helper()
	text, _ := m.do("HGET", headKey, "seq").(string)
	seq, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("the head's seq is %q", text)
	}
	return seq
}

// startCluster starts three primaries without replicas.
func startCluster(t *testing.T) (cfg redisconn.Config, nodes []*server) {
	t.Helper()
	var addresses []string
	for range 3 {
		n := startRedis(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(t)))
		nodes, addresses = append(nodes, n), append(addresses, n.addr())
	}
	args := append([]string{"--cluster", "create"}, addresses...)
	if out, err := exec.Command("redis-cli", append(args, "--cluster-yes")...).
		CombinedOutput(); err != nil {
		t.Fatalf("redis-cli --cluster create: %v: %s", err, out)
	}
	cfg = redisconn.DefaultConfig()
	cfg.Mode, cfg.Address, cfg.Addresses = redisconn.ModeCluster, "", addresses
	cfg.Checks = redisconn.ChecksWarn
	return cfg, nodes
}

// TestEveryPrimaryOfAClusterIsChecked: sessions are on all of them, so one that would forget them
// is as bad as the log's.
func TestEveryPrimaryOfAClusterIsChecked(t *testing.T) {
	t.Parallel()
	cfg, nodes := startCluster(t)
	i, err := redislog.NewIssuer(open(t, cfg), quick(), redislog.Options{Name: "issuer-1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range nodes {
		bad.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
		findings, err := i.CheckRedis(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var named []string
		for _, finding := range findings {
			if strings.Contains(finding.Error(), "maxmemory-policy") {
				named = append(named, finding.Error())
			}
		}
		if len(named) != 1 || !strings.Contains(named[0], bad.addr()) {
			t.Errorf("findings %v, want one that names maxmemory-policy and %s", findings, bad.addr())
		}
		bad.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	}
}

// TestEveryReplicaIsChecked: a replica has settings and users of its own, and is the primary after
// the next fault.
func TestEveryReplicaIsChecked(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) (redisconn.Config, *server){
		"sentinel": func(t *testing.T) (redisconn.Config, *server) {
			cfg, primary, replicas := startSentinel(t)
			for _, s := range append(replicas, primary) {
				s.do("CONFIG", "SET", "min-replicas-to-write", "1", "min-replicas-max-lag", "1")
			}
			return cfg, replicas[1]
		},
		"cluster": func(t *testing.T) (redisconn.Config, *server) {
			cfg, nodes := startCluster(t)
			replica := startRedis(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(t)))
			add := []string{"--cluster", "add-node", replica.addr(), nodes[0].addr(), "--cluster-slave"}
			if out, err := exec.Command("redis-cli", add...).CombinedOutput(); err != nil {
				t.Fatalf("redis-cli --cluster add-node: %v: %s", err, out)
			}
			for _, s := range append(nodes, replica) {
				s.do("CONFIG", "SET", "min-replicas-to-write", "1", "min-replicas-max-lag", "1")
			}
			eventually.True(t, "all know the replica", func() bool {
				for _, n := range nodes {
					if !strings.Contains(fmt.Sprint(n.do("CLUSTER", "SLOTS")), strconv.Itoa(replica.port)) {
						return false
					}
				}
				return true
			})
			return cfg, replica
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, replica := start(t)
			s := quick()
			s.MinReplicas = 1
			i, err := redislog.NewIssuer(open(t, cfg), s, redislog.Options{Name: "issuer-1"})
			if err != nil {
				t.Fatal(err)
			}
			check := func(what, want string) {
				t.Helper()
				eventually.True(t, what, func() bool { // a cluster's client learns of a new replica by and by
					findings, err := i.CheckRedis(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if want == "" {
						return len(findings) == 0
					}
					return len(findings) == 1 && strings.Contains(findings[0].Error(), want) &&
						strings.Contains(findings[0].Error(), replica.addr())
				})
			}
			check("all is as it should be", "")
			for _, c := range []struct{ wrong, right, want string }{
				{"CONFIG SET appendfsync no", "CONFIG SET appendfsync everysec", "appendfsync is \"no\""},
				{"CONFIG SET appendonly no", "CONFIG SET appendonly yes", "appendonly"},
				{"CONFIG SET maxmemory-policy allkeys-lru", "CONFIG SET maxmemory-policy noeviction",
					"maxmemory-policy"},
				{"CONFIG SET min-replicas-to-write 0", "CONFIG SET min-replicas-to-write 1",
					"min-replicas-to-write"},
				{"ACL SETUSER default -xadd", "ACL SETUSER default +@all", "may not run XADD"},
			} {
				replica.do(words(c.wrong)...)
				check("found: "+c.wrong, c.want)
				replica.do(words(c.right)...)
			}
			check("all is as it should be again", "")
			replica.do("CONFIG", "SET", "appendfsync", "no")
			if err := replica.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			check("a replica that does not answer keeps nobody from starting", "")
		})
	}
}

func words(command string) (args []any) {
	for word := range strings.FieldsSeq(command) {
		args = append(args, word)
	}
	return args
}

// TestAFileThatIsNeverSyncedIsFound: with replicas, appendfsync may be everysec, and not no.
func TestAFileThatIsNeverSyncedIsFound(t *testing.T) {
	t.Parallel()
	cfg, nodes := startCluster(t)
	i, err := redislog.NewIssuer(open(t, cfg), quick(), redislog.Options{Name: "issuer-1"})
	if err != nil {
		t.Fatal(err)
	}
	for setting, found := range map[string]bool{"no": true, "everysec": false, "always": false} {
		nodes[0].do("CONFIG", "SET", "appendfsync", setting)
		findings, err := i.CheckRedis(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(fmt.Sprint(findings), "appendfsync"); got != found {
			t.Errorf("appendfsync %s: findings %v", setting, findings)
		}
	}
}
