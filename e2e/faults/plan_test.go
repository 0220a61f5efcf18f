package faults

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Kind is a kind of fault.
type Kind string

// The kinds of faults. Each is one fault for the budget, whatever it takes to bring it about.
const (
	KillGate   Kind = "kill gate"
	KillIssuer Kind = "kill issuer"
	KillRedis  Kind = "kill redis"
	StopGate   Kind = "stop gate"
	StopIssuer Kind = "stop issuer"
	StopRedis  Kind = "stop redis"
	FlushAll   Kind = "flushall"
	TrimLog    Kind = "trim log"
	DeleteLog  Kind = "delete log"
	DeleteHead Kind = "delete head"
	EmptyDisk  Kind = "restart with empty disk"
	OldDisk    Kind = "restart with old disk"
	FullDisk   Kind = "full disk"
	CutGate    Kind = "cut gate from redis"
	CutIssuer  Kind = "cut issuer from redis"
	CutRedis   Kind = "cut redis from all"
	SlowRedis  Kind = "slow redis"
	DropAll    Kind = "drop all connections"

	// Of clocks: see Injection.moved.
	GateClock   Kind = "gate's clock moved"
	IssuerClock Kind = "issuer's clock moved"
	RedisClock  Kind = "redis' clock moved"
	SuspendGate Kind = "suspend gate's machine"

	// With replicas.
	Failover     Kind = "ordered failover"
	StaleReplica Kind = "promote replica that missed writes"
	Deposed      Kind = "deposed primary still answers"
	KillSentinel Kind = "kill sentinel"
	CutReplica   Kind = "cut replica from primary"

	// With a relay.
	KillRelay  Kind = "kill relay"
	StopRelay  Kind = "stop relay"
	CutRelay   Kind = "cut relay from redis"
	PartRelay  Kind = "cut gates from relay"
	RelayClock Kind = "relay's clock moved"

	// In a cluster.
	CutBus Kind = "cut primary off the cluster bus"
)

// Topology is what Redis is in a schedule.
type Topology string

// The topologies.
const (
	Single   Topology = "single"
	Sentinel Topology = "sentinel"
	Cluster  Topology = "cluster"
	// Relayed is Single, with a relay between Redis and all gates but the last.
	Relayed Topology = "relay"
)

// topologies are those that a seed chooses from.
var topologies = []Topology{Single, Sentinel, Cluster}

// single reports whether there is one Redis server alone.
func (p Plan) single() bool { return p.Topology == Single || p.Topology == Relayed }

var (
	everywhere = []Kind{
		KillGate, KillIssuer, KillRedis, StopGate, StopIssuer, StopRedis, FlushAll, TrimLog, DeleteLog,
		DeleteHead, CutGate, CutIssuer, CutRedis, SlowRedis, DropAll, EmptyDisk, OldDisk, FullDisk,
		GateClock, IssuerClock, RedisClock, RedisClock, SuspendGate,
	}
	ofSingle   = []Kind{EmptyDisk, OldDisk} // once more: here nobody else has a copy
	ofSentinel = []Kind{
		Failover, StaleReplica, Deposed, KillSentinel, CutReplica, StaleReplica, Deposed,
	}
	ofCluster = []Kind{Failover, StaleReplica, Deposed, CutBus, CutReplica, StaleReplica, Deposed}
	ofRelayed = []Kind{
		KillRelay, StopRelay, CutRelay, PartRelay, RelayClock, KillRelay, StopRelay, CutRelay, PartRelay,
		EmptyDisk, OldDisk,
	}
)

// Injection is one fault at its time.
type Injection struct {
	Kind Kind
	At   time.Duration // from the round's beginning
	For  time.Duration // how long it lasts, where that can be chosen
	Pick int           // chooses the victim
	Hard bool          // a cut that ends connections, instead of one that leaves them hanging
}

func (i Injection) String() string {
	hard := ""
	if i.Hard {
		hard = " hard"
	}
	if i.movesClock() {
		return fmt.Sprintf("%v by %v +%v for %v #%d", i.Kind, i.moved(), i.At, i.For, i.Pick)
	}
	return fmt.Sprintf("%v +%v for %v #%d%s", i.Kind, i.At, i.For, i.Pick, hard)
}

// Plan is what happens in a schedule: rounds of faults that overlap, between which all becomes well
// again.
type Plan struct {
	Seed     uint64
	Topology Topology
	Issuers  int
	Rounds   [][]Injection
}

func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %s, %d issuers", p.Seed, p.Topology, p.Issuers)
	for i, round := range p.Rounds {
		fmt.Fprintf(&b, "; round %d:", i+1)
		for k, f := range round {
			if k > 0 {
				b.WriteString(" and")
			}
			b.WriteString(" " + f.String())
		}
	}
	return b.String()
}

// rounds is how often faults happen in a schedule.
const rounds = 2

// NewPlan makes the plan that belongs to a seed: at most as many faults in a round as there are
// issuers, which is what an acknowledged revocation has to survive (S4). The sum of all seeds
// covers all kinds, on all topologies.
func NewPlan(seed uint64, topology Topology) Plan {
	random := rand.New(rand.NewPCG(seed, 0x5a11))
	p := Plan{Seed: seed, Topology: topology, Issuers: 2}
	if random.IntN(5) == 0 {
		p.Issuers = 1
	}
	kinds := slices.Concat(everywhere,
		map[Topology][]Kind{
			Single: ofSingle, Sentinel: ofSentinel, Cluster: ofCluster, Relayed: ofRelayed,
		}[topology])
	for range rounds {
		var round []Injection
		for range 1 + random.IntN(p.Issuers) {
			round = append(round, Injection{
				Kind: kinds[random.IntN(len(kinds))],
				At:   time.Duration(random.IntN(1000)) * time.Millisecond,
				For:  duration(random),
				Pick: random.IntN(60),
				Hard: random.IntN(2) == 0,
			})
		}
		p.Rounds = append(p.Rounds, round)
	}
	return p
}

// duration is mostly short; one in four is long enough for every copy to become too old.
func duration(random *rand.Rand) time.Duration {
	if random.IntN(4) == 0 {
		return 3500*time.Millisecond + time.Duration(random.IntN(1500))*time.Millisecond
	}
	return 100*time.Millisecond + time.Duration(random.IntN(1500))*time.Millisecond
}
