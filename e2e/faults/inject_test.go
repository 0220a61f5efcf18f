package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/mesh"
)

// errSkipped is returned by a fault that cannot be brought about here.
var errSkipped = errors.New("not possible here")

// patience is how long a fault waits for what it needs, such as a Redis that another fault has
// stopped.
const patience = 10 * time.Second

// inject makes one fault happen and undoes it. It returns when that is done.
func (w *world) inject(ctx context.Context, i Injection) error {
	if !sleep(ctx, i.At) {
		return ctx.Err()
	}
	switch i.Kind {
	case KillGate:
		return w.killNode(ctx, w.gateOf(i).node, i.For)
	case KillIssuer:
		return w.killNode(ctx, w.issuerOf(i).node, i.For)
	case KillSentinel:
		return w.killSentinel(ctx, i)
	case StopGate:
		return w.stopNode(ctx, w.gateOf(i).node, i.For)
	case StopIssuer:
		return w.stopNode(ctx, w.issuerOf(i).node, i.For)
	case CutGate:
		return w.cutNode(ctx, w.gateOf(i).node, i)
	case CutIssuer:
		return w.cutNode(ctx, w.issuerOf(i).node, i)
	case KillRedis:
		return w.killRedis(ctx, i)
	case StopRedis:
		return w.stopRedis(ctx, i)
	case EmptyDisk:
		return w.killRedis(ctx, i)
	case OldDisk:
		return w.killRedis(ctx, i)
	case FullDisk:
		return w.fullDisk(ctx, i)
	case FlushAll:
		return w.flush(ctx, i)
	case TrimLog:
		return w.trimLog(ctx, i)
	case DeleteLog:
		return w.command(ctx, w.primary, "DEL", logKey)
	case DeleteHead:
		return w.command(ctx, w.primary, "DEL", headKey)
	case CutRedis:
		return w.cutRedis(ctx, i)
	case SlowRedis:
		return w.slowRedis(ctx, i)
	case DropAll:
		return w.dropAll(ctx, i)
	case Failover:
		return w.orderedFailover(ctx, i)
	case StaleReplica:
		return w.staleReplica(ctx, i)
	case Deposed:
		return w.deposed(ctx, i)
	case CutReplica:
		return w.cutReplica(ctx, i)
	case CutBus:
		return w.cutBus(ctx, i)
	case GateClock:
		return w.moveClock(ctx, w.gateOf(i).node, i)
	case IssuerClock:
		return w.moveClock(ctx, w.issuerOf(i).node, i)
	case RedisClock:
		return w.moveRedisClock(ctx, i)
	case SuspendGate:
		return w.suspendGate(ctx, i)
	case KillRelay:
		return w.killRelay(ctx, i)
	case StopRelay:
		return w.stopRelay(ctx, i)
	case CutRelay:
		return w.cutRelay(ctx, pair{from: w.relay.name}, i)
	case PartRelay:
		return w.cutRelay(ctx, pair{to: w.relay.name}, i)
	case RelayClock:
		return w.moveClock(ctx, w.relay.node, i)
	}
	return fmt.Errorf("faults: nobody knows how to bring about %q", i.Kind)
}

const (
	logKey  = "{sallyport}:rev:log"
	headKey = "{sallyport}:rev:head"
)

// loses reports whether a fault of a kind can make Redis lose sessions that it had acknowledged.
func (w *world) loses(k Kind) bool {
	switch k {
	case FlushAll, EmptyDisk, OldDisk, Failover, StaleReplica, Deposed:
		return true
	case KillRedis,
		StopRedis,
		CutRedis,
		SlowRedis,
		FullDisk,
		CutBus,
		RedisClock: // with replicas, another one may take over
		return !w.plan.single()
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// victim returns the primary that a fault hurts: in a cluster every other time the log's, else that
// of another shard, which holds sessions.
func (w *world) victim(ctx context.Context, i Injection) *server {
	if w.plan.Topology == Cluster && i.Pick%2 == 1 {
		return w.primaryOf(ctx, (w.logShard+1+i.Pick/2%(shards-1))%shards)
	}
	return w.primary(ctx)
}

func (w *world) gateOf(i Injection) *gate     { return w.gates[i.Pick%len(w.gates)] }
func (w *world) issuerOf(i Injection) *issuer { return w.issuers[i.Pick%len(w.issuers)] }

// everybody returns the names of all daemons.
func (w *world) everybody() (names []string) {
	for _, i := range w.issuers {
		names = append(names, i.name)
	}
	for _, g := range w.gates {
		names = append(names, g.name)
	}
	return names
}

// span puts a span into the history.
func (w *world) span(s Span) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spans = append(w.spans, s)
}

// isolated notes that the processes named could hear nothing of Redis since from. It is called
// before they can again.
func (w *world) isolated(from time.Duration, names ...string) {
	to := w.now()
	for _, name := range names {
		w.span(Span{Kind: Isolated, From: from, To: to, Who: name})
	}
}

func (w *world) killNode(ctx context.Context, n *node, down time.Duration) error {
	n.hurt.Lock()
	defer n.hurt.Unlock()
	if err := n.kill(); err != nil {
		return err
	}
	sleep(ctx, min(down, 2*time.Second))
	return n.restart(ctx)
}

// relayed returns the names of the gates that ask the relay.
func (w *world) relayed() (names []string) {
	for _, g := range w.gates {
		if w.relayOf(g.name) != "" {
			names = append(names, g.name)
		}
	}
	return names
}

func (w *world) killRelay(ctx context.Context, i Injection) error {
	w.relay.hurt.Lock()
	defer w.relay.hurt.Unlock()
	if err := w.relay.kill(); err != nil {
		return err
	}
	from := w.now()
	sleep(ctx, i.For)
	w.isolated(from, w.relayed()...)
	return w.relay.restart(ctx)
}

func (w *world) stopRelay(ctx context.Context, i Injection) error {
	w.relay.hurt.Lock()
	defer w.relay.hurt.Unlock()
	if err := w.relay.suspend(); err != nil {
		return err
	}
	from := w.now()
	sleep(ctx, i.For)
	w.isolated(from, w.relayed()...)
	return w.relay.resume()
}

// cutRelay cuts the relay off from Redis, or its gates from it.
func (w *world) cutRelay(ctx context.Context, p pair, i Injection) error {
	if !canPart {
		return errSkipped
	}
	lift := w.network.impose(p, i.cut())
	from := w.now()
	sleep(ctx, i.For)
	w.isolated(from, w.relayed()...)
	lift()
	return nil
}

func (w *world) killSentinel(ctx context.Context, i Injection) error {
	s := w.sentinels[i.Pick%len(w.sentinels)]
	if err := w.killNode(ctx, s.node, i.For); err != nil {
		return err
	}
	return w.await(ctx, patience, s.quicken) // another fault may have it
}

func (w *world) stopNode(ctx context.Context, n *node, down time.Duration) error {
	n.hurt.Lock()
	defer n.hurt.Unlock()
	if err := n.suspend(); err != nil {
		return err
	}
	from := w.now()
	sleep(ctx, down)
	err := n.resume()
	w.span(Span{Kind: Stopped, From: from, To: w.now(), Who: n.name})
	return err
}

func (w *world) cutNode(ctx context.Context, n *node, i Injection) error {
	if !canPart {
		return errSkipped
	}
	lift := w.network.impose(pair{from: n.name}, i.cut())
	from := w.now()
	sleep(ctx, i.For)
	w.isolated(from, n.name)
	lift()
	return nil
}

func (i Injection) cut() manner {
	if i.Hard {
		return manner{refuse: true}
	}
	return manner{hold: true}
}

// killRedis kills the primary; it comes back with its disk, an empty one or an older copy. Where it
// is back before another one is promoted, its replicas copy what it has lost.
func (w *world) killRedis(ctx context.Context, i Injection) error {
	s := w.victim(ctx, i)
	s.hurt.Lock()
	defer s.hurt.Unlock()
	data, copied := filepath.Join(s.dir, "appendonlydir"), filepath.Join(w.dir, "older-"+s.name)
	if i.Kind == OldDisk {
		if err := errors.Join(os.RemoveAll(copied), os.CopyFS(copied, os.DirFS(data))); err != nil {
			return err
		}
		sleep(ctx, 300*time.Millisecond+i.For/4) // for the copy to become old
	}
	if err := s.kill(); err != nil {
		return err
	}
	from := w.now()
	var err error
	if i.Kind != KillRedis {
		err = os.RemoveAll(data)
	}
	if i.Kind == OldDisk && err == nil {
		err = os.CopyFS(data, os.DirFS(copied))
	}
	sleep(ctx, i.For)
	if w.plan.single() {
		w.isolated(from, w.everybody()...)
	}
	return errors.Join(err, s.restart(ctx))
}

func (w *world) stopRedis(ctx context.Context, i Injection) error {
	s := w.victim(ctx, i)
	s.hurt.Lock()
	defer s.hurt.Unlock()
	if err := s.suspend(); err != nil {
		return err
	}
	from := w.now()
	sleep(ctx, i.For)
	if w.plan.single() {
		w.isolated(from, w.everybody()...)
	}
	return s.resume()
}

// fullDisk fills the disk of a Redis, which ends at the next write (appendfsync always) or refuses
// it; then there is space again, and it starts anew, once its file is whole: see repair.
func (w *world) fullDisk(ctx context.Context, i Injection) error {
	if !canFill() {
		return errSkipped
	}
	s := w.victim(ctx, i)
	s.hurt.Lock()
	defer s.hurt.Unlock()
	if err := s.child.Expect(); err != nil {
		return err
	}
	empty, err := fill(s.dir)
	if err != nil {
		return err
	}
	sleep(ctx, i.For)
	if err := empty(); err != nil {
		return err
	}
	if err := s.kill(); err != nil && !errors.Is(err, mesh.ErrNotRunning) {
		return err
	}
	if err := s.repair(ctx, w.redis.Server); err != nil {
		return err
	}
	return s.restart(ctx)
}

// repair does what operations.md says of a disk that was full: a write that was cut short may leave
// a file that Redis refuses to load. A file that is whole stays as it is.
func (s *server) repair(ctx context.Context, redis string) error {
	tool := "redis-check-aof"
	if strings.Contains(filepath.Base(redis), "valkey") {
		tool = "valkey-check-aof"
	}
	// The server is this tool, too, when it goes by its name.
	cmd := exec.CommandContext(ctx, redis)
	cmd.Args = []string{tool, "--fix", filepath.Join(s.dir, "appendonlydir",
		"appendonly.aof.manifest")}
	cmd.Stdin = strings.NewReader("y\ny\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("faults: %s of %s: %w\n%s", tool, s.name, err, out)
	}
	return nil
}

// flush empties a Redis.
func (w *world) flush(ctx context.Context, i Injection) error {
	return w.command(ctx, func(ctx context.Context) *server { return w.victim(ctx, i) },
		"FLUSHALL", "SYNC")
}

// command has a primary do something, as soon as it does anything.
func (w *world) command(ctx context.Context, on func(context.Context) *server,
	command ...any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := on(ctx).client.Do(ctx, command...).Err()
		if err == nil || !sleep(ctx, 20*time.Millisecond) {
			return err
		}
	}
}

func (w *world) trimLog(ctx context.Context, i Injection) error {
	return w.command(ctx, w.primary, "XTRIM", logKey, "MAXLEN", i.Pick%20)
}

// cutRedis cuts the primary off from everybody.
func (w *world) cutRedis(ctx context.Context, i Injection) error {
	lift := w.part(i.cut(), w.victim(ctx, i))
	from := w.now()
	sleep(ctx, i.For)
	if w.plan.single() {
		w.isolated(from, w.everybody()...)
	}
	lift()
	return nil
}

func (w *world) slowRedis(ctx context.Context, i Injection) error {
	lift := w.network.impose(pair{to: w.victim(ctx, i).name},
		manner{delay: time.Duration(10+5*i.Pick) * time.Millisecond})
	defer lift()
	sleep(ctx, i.For)
	return nil
}

// dropAll ends all connections at once. New ones are accepted.
func (w *world) dropAll(context.Context, Injection) error {
	w.network.impose(pair{}, manner{refuse: true})()
	return nil
}

func (w *world) cutReplica(ctx context.Context, i Injection) error {
	if !canPart {
		return errSkipped
	}
	primary := w.victim(ctx, i)
	lift := w.network.impose(pair{from: w.others(primary, i.Pick)[0].name, to: primary.name}, i.cut())
	defer lift()
	sleep(ctx, i.For)
	return nil
}

func (w *world) orderedFailover(ctx context.Context, i Injection) error {
	w.failovers.Lock()
	defer w.failovers.Unlock()
	primary := w.victim(ctx, i)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ask := func() error { return w.others(primary, i.Pick)[0].client.ClusterFailover(ctx).Err() }
	if w.plan.Topology == Sentinel {
		s := w.sentinels[i.Pick%len(w.sentinels)]
		ask = func() error { return s.client.Do(ctx, "SENTINEL", "FAILOVER", masterName).Err() }
	}
	for w.primaryOf(ctx, primary.shard) == primary {
		// Refused while another failover is under way, or no replica is good enough: asked again.
		_ = ask()
		if !sleep(ctx, 500*time.Millisecond) {
			return fmt.Errorf("faults: %s was not replaced in time", primary.name)
		}
	}
	return nil
}

// moved waits until another server is the primary.
func (w *world) moved(ctx context.Context, primary *server) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for w.primaryOf(ctx, primary.shard) == primary {
		if !sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("faults: %s was not replaced in time", primary.name)
		}
	}
	return nil
}

// staleReplica has the sentinels promote a replica that has missed what was written for a while:
// the other one may not be promoted, and takes the writes meanwhile.
func (w *world) staleReplica(ctx context.Context, i Injection) error {
	if !canPart {
		return errSkipped
	}
	w.failovers.Lock()
	defer w.failovers.Unlock()
	primary := w.victim(ctx, i)
	if w.plan.Topology == Cluster {
		return w.takeover(ctx, i, primary)
	}
	others := w.others(primary, i.Pick)
	stale, good := others[0], others[1]
	if err := good.client.ConfigSet(ctx, "replica-priority", "0").Err(); err != nil {
		return err
	}
	defer good.client.ConfigSet(context.WithoutCancel(ctx), "replica-priority", "100")
	lift := w.network.impose(pair{stale.name, primary.name}, manner{hold: true})
	defer lift()
	sleep(ctx, 600*time.Millisecond+i.For/4)

	primary.hurt.Lock()
	defer primary.hurt.Unlock()
	hurt, mend := primary.suspend, func(context.Context) error { return primary.resume() }
	if i.Hard {
		hurt, mend = primary.kill, primary.restart
	}
	if err := hurt(); err != nil {
		return err
	}
	movedErr := w.moved(ctx, primary)
	return errors.Join(movedErr, mend(ctx))
}

// takeover has a cluster's replica that has missed what was written for a while make itself the
// primary. The old one is killed, stopped, or hears of it while it serves.
func (w *world) takeover(ctx context.Context, i Injection, primary *server) error {
	stale := w.others(primary, 0)[0]
	lift := w.network.impose(pair{stale.name, primary.name}, manner{hold: true})
	defer lift()
	sleep(ctx, 600*time.Millisecond+i.For/4)

	primary.hurt.Lock()
	defer primary.hurt.Unlock()
	hurt, mend := primary.suspend, func(context.Context) error { return primary.resume() }
	switch {
	case i.Pick%3 == 0:
		hurt, mend = func() error { return nil }, func(context.Context) error { return nil }
	case i.Hard:
		hurt, mend = primary.kill, primary.restart
	}
	if err := hurt(); err != nil {
		return err
	}
	err := stale.client.Do(ctx, "CLUSTER", "FAILOVER", "TAKEOVER").Err()
	if err == nil {
		err = w.moved(ctx, primary)
	}
	return errors.Join(err, mend(ctx))
}

// deposed cuts the primary off from the other servers alone: another is promoted, and it goes on
// answering the daemons.
func (w *world) deposed(ctx context.Context, i Injection) error {
	if !canPart {
		return errSkipped
	}
	w.failovers.Lock()
	defer w.failovers.Unlock()
	primary := w.victim(ctx, i)
	if w.plan.Topology == Cluster {
		defer w.network.imposeAll(among(primary, w.servers), i.cut())()
	}
	for _, s := range append(w.others(primary, 0), w.sentinels...) {
		defer w.network.impose(pair{s.name, primary.name}, i.cut())()
	}
	if err := w.moved(ctx, primary); err != nil {
		return err
	}
	sleep(ctx, i.For)
	return nil
}

// cutBus cuts a cluster's primary off from the other nodes' gossip: its replica goes on copying it,
// and may be promoted.
func (w *world) cutBus(ctx context.Context, i Injection) error {
	if !canPart {
		return errSkipped
	}
	defer w.network.imposeAll(among(w.victim(ctx, i), w.servers), i.cut())()
	sleep(ctx, i.For)
	return nil
}

// among returns the ways on which a cluster's node and all others gossip.
func among(s *server, servers []*server) []pair {
	ways := []pair{{to: busOf(s.name)}}
	for _, other := range servers {
		if other != s {
			ways = append(ways, pair{s.name, busOf(other.name)})
		}
	}
	return ways
}

// part cuts a server off from everybody, and returns what undoes it.
func (w *world) part(m manner, s *server) (lift func()) {
	ways := []pair{{to: s.name}, {from: s.name}}
	if w.plan.Topology == Cluster {
		ways = append(ways, pair{to: busOf(s.name)})
	}
	return w.network.imposeAll(ways, m)
}
