package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A cluster has three shards of one primary and one replica each: shard k is servers k and k+3.
const (
	shards    = 3
	slots     = 16384
	clustered = 2 * shards
)

// nodeTimeout is when a node that is silent counts as failed for the others.
const nodeTimeout = time.Second

// startCluster starts a cluster that is whole from its first moment: each node is given the file
// that it would have written had it met the others before, instead of meeting them.
func (w *world) startCluster(ctx context.Context) error {
	for i := range clustered {
		s, err := w.newServer(fmt.Sprintf("redis-%d", i+1))
		if err != nil {
			return err
		}
		s.shard = i % shards
		if s.bus, err = w.processes.Address(s.name); err != nil {
			return err
		}
		if s.busAddress, err = w.network.listen(busOf(s.name), s.bus); err != nil {
			return err
		}
		w.servers = append(w.servers, s)
	}
	return together(w.servers, func(i int, s *server) error {
		file := filepath.Join(s.dir, "nodes.conf")
		if err := os.WriteFile(file, []byte(w.nodesFile(i)), 0o600); err != nil {
			return err
		}
		lines, err := w.replicated(s)
		if err != nil {
			return err
		}
		return w.startServer(ctx, s, lines, s.clusterSettings()...)
	})
}

// busOf names the address that other nodes reach a node's cluster bus at.
func busOf(name string) string { return name + " bus" }

func (s *server) clusterSettings() []string {
	_, announced, _ := strings.Cut(s.address, ":")
	_, bus, _ := strings.Cut(s.bus, ":")
	_, announcedBus, _ := strings.Cut(s.busAddress, ":")
	return []string{
		"--cluster-enabled", "yes",
		"--cluster-config-file", "nodes.conf",
		"--cluster-port", bus,
		"--cluster-announce-ip", "127.0.0.1",
		"--cluster-announce-port", announced,
		"--cluster-announce-bus-port", announcedBus,
		"--cluster-node-timeout", strconv.FormatInt(nodeTimeout.Milliseconds(), 10),
		"--cluster-replica-validity-factor", "0",
		"--cluster-allow-replica-migration", "no",
		"--cluster-require-full-coverage", "no",
	}
}

// id is a node's name in the cluster.
func (s *server) id() string { return fmt.Sprintf("%040x", s.number) }

// nodesFile is what node number self knows of the cluster.
func (w *world) nodesFile(self int) string {
	var b strings.Builder
	for i, s := range w.servers {
		_, bus, _ := strings.Cut(s.busAddress, ":")
		role, primary, epoch, range_ := "master", "-", i+1, fmt.Sprintf(" %d-%d", i*slots/shards,
			(i+1)*slots/shards-1)
		if i >= shards {
			role, primary, epoch, range_ = "slave", w.servers[i-shards].id(), 0, ""
		}
		if i == self {
			role = "myself," + role
		}
		fmt.Fprintf(&b, "%s %s@%s %s %s 0 0 %d connected%s\n", s.id(), s.address, bus, role,
			primary, epoch, range_)
	}
	fmt.Fprintf(&b, "vars currentEpoch %d lastVoteEpoch 0\n", shards)
	return b.String()
}

// view is a line of what a node says of the cluster.
type view struct {
	id    string
	flags []string
	slots bool
}

func (v view) is(flag string) bool {
	for _, f := range v.flags {
		if f == flag {
			return true
		}
	}
	return false
}

// views asks a node about the cluster.
func (s *server) views(ctx context.Context) ([]view, error) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	text, err := s.client.ClusterNodes(ctx).Result()
	if err != nil {
		return nil, err
	}
	var all []view
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 {
			return nil, fmt.Errorf("faults: %s says of the cluster: %q", s.name, line)
		}
		all = append(all, view{id: f[0], flags: strings.Split(f[2], ","), slots: len(f) > 8})
	}
	return all, nil
}

// clusterPrimary returns the server that most nodes hold to be the primary of a shard. On a draw it
// is the replica of the beginning: it has been promoted, and the old primary and one more do not
// know yet.
func (w *world) clusterPrimary(ctx context.Context, shard int) *server {
	votes := make([]int, len(w.servers))
	var mu sync.Mutex
	_ = together(w.servers, func(_ int, s *server) error { // who does not answer has no vote
		views, err := s.views(ctx)
		mu.Lock()
		defer mu.Unlock()
		for _, v := range views {
			for k, other := range w.servers {
				if other.shard == shard && v.id == other.id() && v.slots {
					votes[k]++
				}
			}
		}
		return err
	})
	if votes[shard] > votes[shard+shards] {
		return w.servers[shard]
	}
	return w.servers[shard+shards]
}

// clusterWell returns why the cluster is not yet as it should be: all nodes agree that all is well,
// each primary takes writes and has its replica.
func (w *world) clusterWell(ctx context.Context) error {
	for shard := range shards {
		primary := w.clusterPrimary(ctx, shard)
		if err := primary.client.Set(ctx, w.keyOf[shard], "well", 0).Err(); err != nil {
			return fmt.Errorf("%s takes no writes: %w", primary.name, err)
		}
		replica := w.others(primary, 0)[0]
		if err := replica.follows(ctx, primary); err != nil {
			return err
		}
		for _, s := range w.servers {
			if err := s.agrees(ctx, primary, replica); err != nil {
				return err
			}
		}
	}
	return nil
}

// agrees returns in what way a node does not take a shard to be well, nil when it does.
func (s *server) agrees(ctx context.Context, primary, replica *server) error {
	views, err := s.views(ctx)
	if err != nil {
		return err
	}
	for _, v := range views {
		switch {
		case v.is("fail") || v.is("fail?") || v.is("handshake") || v.is("noaddr"):
			return fmt.Errorf("faults: %s holds %s to be %v", s.name, v.id, v.flags)
		case v.id == primary.id() && (!v.is("master") || !v.slots),
			v.id == replica.id() && !v.is("slave"):
			return fmt.Errorf("faults: %s holds another to be the primary than %s", s.name, primary.name)
		}
	}
	info, err := s.client.ClusterInfo(ctx).Result()
	if err == nil && !strings.Contains(info, "cluster_state:ok") {
		err = fmt.Errorf("faults: %s says: %.40q", s.name, info)
	}
	return err
}

// findKeys finds a key of each shard, by trying.
func (w *world) findKeys(ctx context.Context) error {
	for shard := range shards {
		for n := 0; w.keyOf[shard] == ""; n++ {
			key := fmt.Sprintf("harness-%d", n)
			in, err := w.shardOfKey(ctx, key)
			if err != nil {
				return err
			}
			if in == shard {
				w.keyOf[shard] = key
			}
		}
	}
	var err error
	w.logShard, err = w.shardOfKey(ctx, logKey)
	return err
}

func (w *world) shardOfKey(ctx context.Context, key string) (int, error) {
	if w.plan.Topology != Cluster {
		return 0, nil
	}
	slot, err := w.servers[0].client.ClusterKeySlot(ctx, key).Result()
	for shard := range shards {
		if int(slot) < (shard+1)*slots/shards {
			return shard, err
		}
	}
	return 0, errors.Join(err, fmt.Errorf("faults: slot %d", slot))
}

// together does something to all servers at once.
func together(servers []*server, do func(int, *server) error) error {
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() { errs[i] = do(i, s) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// clusterEpoch returns the newest epoch that a node knows. Somebody who wants to be a primary
// begins one.
func (s *server) clusterEpoch(ctx context.Context) (int64, error) {
	info, err := s.client.ClusterInfo(ctx).Result()
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "cluster_current_epoch:"); ok {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, errors.Join(err, fmt.Errorf("faults: %s gives no cluster_current_epoch", s.name))
}
