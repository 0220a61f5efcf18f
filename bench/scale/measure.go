package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/bench/figure"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// figures are one run's.
type figures struct {
	gates, relays     int
	acked             float64   // acknowledged revocations a second
	redis, simulation float64   // cores
	relayed           float64   // cores of all relays
	delivered, beats  float64   // a second
	acking            quantiles // from a revocation's append to its acknowledgement
	probe, last       quantiles
	missing           int // revocations that some gate had not got when the run ended
	age               quantiles
	stale             int
	storm             time.Duration // 0: not all were fresh again
	connected         time.Duration
}

const heading = "| gates | relays | revocations/s | Redis, cores | relays, cores | simulation, cores " +
	"| entries/s | heartbeats/s | acknowledged after, p50 / p99 | in force at a real gate, p50 / p99 | at the last gate, p50 / p99 " +
	"| age of a confirmation, p50 / p99 / max | stale | first fresh | fresh after a storm |\n" +
	"|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"

func (f *figures) String() string {
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1000) }
	last := ms(f.last.p50) + " / " + ms(f.last.p99) + " ms"
	if f.missing > 0 {
		last = fmt.Sprintf("%d were still under way", f.missing)
	}
	storm := "not within " + longest.String()
	if f.storm > 0 {
		storm = fmt.Sprintf("%.1f s", f.storm.Seconds())
	}
	return fmt.Sprintf("| %d | %d | %.0f | %.2f | %.2f | %.2f | %.0f | %.0f | %s / %s ms "+
		"| %s / %s ms | %s "+
		"| %s / %s / %s ms | %d | %.1f s | %s |", f.gates, f.relays, f.acked, f.redis, f.relayed,
		f.simulation, f.delivered, f.beats, ms(f.acking.p50), ms(f.acking.p99), ms(f.probe.p50), ms(f.probe.p99), last, ms(f.age.p50),
		ms(f.age.p99), ms(f.age.max), f.stale, f.connected.Seconds(), storm)
}

type quantiles struct{ p50, p99, max time.Duration }

func quantilesOf(d []time.Duration) quantiles {
	if len(d) == 0 {
		return quantiles{}
	}
	slices.Sort(d)
	at := func(q float64) time.Duration { return d[min(int(q*float64(len(d))), len(d)-1)] }
	return quantiles{at(0.5), at(0.99), d[len(d)-1]}
}

// stand is what one run is made on.
type stand struct {
	options
	*fleet
	dir       string
	processes *mesh.Processes
	redis     *mesh.Child
	relays    []*mesh.Child
	sockets   []string // where gates connect
	socket    string   // Redis'
	gates     []*gate
	issuer    *redislog.Issuer
	probes    []*probe
}

// measure runs n gates.
func measure(ctx context.Context, o options, n int, dir string) (f *figures, err error) {
	s := &stand{
		options: o, dir: dir, processes: mesh.NewProcesses(dir), socket: filepath.Join(dir, "redis.sock"),
		fleet: &fleet{settings: redislog.DefaultConfig(), began: time.Now()},
	}
	s.prefix = s.settings.Prefix
	s.lastAt = make([]atomic.Int64, o.rate*o.seconds*2+1000)
	s.arrived = make([]atomic.Int32, len(s.lastAt))
	defer func() { err = errors.Join(err, s.processes.Stop(10*time.Second)) }()
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	if err := s.start(ctx, &working, n); err != nil {
		return nil, err
	}
	f = &figures{gates: n, relays: o.relays}
	began := time.Now()
	if err := s.startGates(ctx, &working, n); err != nil {
		return nil, err
	}
	if f.connected, err = s.untilFresh(ctx, began); err != nil {
		return nil, err
	}
	if err := s.load(ctx, f); err != nil {
		return nil, err
	}
	began = time.Now()
	mark := s.mono()
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket})
	defer client.Close()
	if err := client.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
		return nil, err
	}
	f.storm, err = s.untilConfirmed(ctx, began, mark)
	return f, err
}

// start starts Redis, an issuer's end of the log, and relays.
func (s *stand) start(ctx context.Context, working *sync.WaitGroup, n int) (err error) {
	server, err := exec.LookPath("redis-server")
	if err != nil {
		return errors.New("redis-server is missing")
	}
	s.redis, err = s.processes.Start(ctx, mesh.Spec{
		Name: "redis", Path: server, Dir: s.dir, Ready: dials(s.socket),
		Args: []string{"--port", "0", "--unixsocket", s.socket, "--dir", s.dir, "--save", "",
			"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction",
			"--maxclients", "19900", "--tcp-backlog", "4096"},
	})
	if err != nil {
		return err
	}
	client, err := s.open(s.socket)
	if err != nil {
		return err
	}
	// So many lines are at each relay, or at Redis, which has the relays' own.
	lines := max(99, s.options.relays, n/max(s.options.relays, 1)+1)
	s.settings.MaxGates = min(999, lines)
	c := s.settings
	c.AppendTimeout = longest
	if s.issuer, err = redislog.NewIssuer(client, c, redislog.Options{Name: "issuer"}); err != nil {
		return err
	}
	working.Go(func() { _ = s.issuer.Run(ctx); _ = client.Close() })
	if err := until(ctx, func() bool { return s.issuer.Ready() == nil }); err != nil {
		return err
	}
	s.sockets = []string{s.socket}
	if s.options.relays > 0 {
		return s.startRelays(ctx)
	}
	return nil
}

func (s *stand) open(socket string) (*redisconn.Client, error) {
	c := redisconn.DefaultConfig()
	c.Address, c.Checks = socket, redisconn.ChecksWarn
	return redisconn.Open(c)
}

func dials(socket string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

func (s *stand) startRelays(ctx context.Context) error {
	s.sockets = nil
	for k := range s.options.relays {
		name := fmt.Sprintf("relay-%d", k+1)
		socket, config := filepath.Join(s.dir, name+".sock"), filepath.Join(s.dir, name+".yaml")
		admin, err := s.processes.Address(name)
		if err != nil {
			return err
		}
		content := fmt.Sprintf("name: %s\nlisten: unix:%s\nredis: {address: %q}\n"+
			"revocation: {max_gates: %d}\nadmin: {listen: %s}\n", name, socket, s.socket,
			s.settings.MaxGates, admin)
		if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
			return err
		}
		child, err := s.processes.Start(ctx, mesh.Spec{
			Name: name, Path: s.relay, Dir: s.dir, Args: []string{"serve", "--config", config},
			Ready: dials(socket),
		})
		if err != nil {
			return err
		}
		s.relays, s.sockets = append(s.relays, child), append(s.sockets, socket)
	}
	return nil
}

// startGates starts them all at once.
func (s *stand) startGates(ctx context.Context, working *sync.WaitGroup, n int) error {
	for k := range n {
		socket := s.sockets[k%len(s.sockets)]
		number := k/len(s.sockets) + 1
		if k < s.options.probes {
			p, err := s.newProbe(socket, k)
			if err != nil {
				return err
			}
			s.probes = append(s.probes, p)
			working.Go(func() { p.run(ctx) })
			continue
		}
		g := newGate(s.fleet, number, socket)
		s.gates = append(s.gates, g)
		working.Go(func() { g.run(ctx) })
	}
	return nil
}

func until(ctx context.Context, true func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	for !true() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", longest, ctx.Err())
		}
	}
	return nil
}

func (s *stand) untilFresh(ctx context.Context, began time.Time) (time.Duration, error) {
	err := until(ctx, func() bool { return s.allSince(1) })
	if err != nil {
		err = fmt.Errorf("not all gates are fresh: %w", err)
	}
	return time.Since(began), err
}

// untilConfirmed returns how long it took until all gates had a heartbeat that counts over a new
// connection: 0 if they had not within longest.
func (s *stand) untilConfirmed(ctx context.Context, began time.Time,
	mark int64) (time.Duration, error) {
	// A heartbeat that counts was sent at least settle after its connection's first one.
	err := until(ctx, func() bool { return s.allSince(mark + int64(s.settings.Settle)) })
	if err != nil && ctx.Err() == nil {
		return 0, nil
	}
	return time.Since(began), err
}

// allSince reports whether each gate has a heartbeat that counts and was sent at mark or later.
func (s *stand) allSince(mark int64) bool {
	for _, g := range s.gates {
		if g.confirmed.Load() < mark {
			return false
		}
	}
	now := s.mono()
	for _, p := range s.probes {
		fresh := p.gate.Freshness(p.gate.Instant())
		if !fresh.Fresh || now-int64(fresh.Staleness) < mark {
			return false
		}
	}
	return true
}

// load revokes for a while, and takes the figures.
func (s *stand) load(ctx context.Context, f *figures) error {
	before, err := s.spent()
	if err != nil {
		return err
	}
	s.delivered.Store(0)
	s.beaten.Store(0)
	began := time.Now()
	ages := make(chan []time.Duration)
	sampling, stop := context.WithCancel(ctx)
	defer stop()
	go func() { ages <- s.sampleAges(sampling, f) }()
	acks, err := s.revoke(ctx)
	took := time.Since(began)
	stop()
	f.age = quantilesOf(<-ages)
	if err != nil {
		return err
	}
	f.delivered = float64(s.delivered.Load()) / took.Seconds()
	f.beats = float64(s.beaten.Load()) / took.Seconds()
	after, err := s.spent()
	if err != nil {
		return err
	}
	f.redis = (after[0] - before[0]).Seconds() / took.Seconds()
	f.simulation = (after[1] - before[1]).Seconds() / took.Seconds()
	f.relayed = (after[2] - before[2]).Seconds() / took.Seconds()
	f.acked = float64(len(acks)) / took.Seconds()
	s.latencies(ctx, f, acks)
	return nil
}

// spent returns the processor time of Redis, of this process, and of the relays.
func (s *stand) spent() (t [3]time.Duration, err error) {
	if t[0], err = figure.CPU(s.redis.PID()); err != nil {
		return t, err
	}
	if t[1], err = figure.CPU(os.Getpid()); err != nil {
		return t, err
	}
	for _, r := range s.relays {
		d, err := figure.CPU(r.PID())
		if err != nil {
			return t, err
		}
		t[2] += d
	}
	return t, nil
}

// sampleAges looks, not in step with heartbeats, how old each gate's newest confirmation is.
func (s *stand) sampleAges(ctx context.Context, f *figures) (ages []time.Duration) {
	for pauseExactly(ctx, 170*time.Millisecond) {
		now, stale := s.mono(), 0
		for _, g := range s.gates {
			age := time.Duration(now - g.confirmed.Load())
			ages = append(ages, age)
			if age > s.settings.MaxStaleness {
				stale++
			}
		}
		f.stale = max(f.stale, stale)
	}
	return ages
}

func pauseExactly(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// ack is an acknowledged revocation.
type ack struct {
	seq  uint64
	at   int64
	took time.Duration
	sid  string
}

// revoke ends sessions at the rate, each in an append of its own, as logouts do.
func (s *stand) revoke(ctx context.Context) ([]ack, error) {
	var mu sync.Mutex
	var acks []ack
	var failed error
	var wg sync.WaitGroup
	places := make(chan struct{}, 256) // more than so many on their way are not owed later
	end, owed, last := time.Now().Add(time.Duration(s.seconds)*time.Second), 0.0, time.Now()
	for number := 0; time.Now().Before(end) && pauseExactly(ctx, 2*time.Millisecond); {
		now := time.Now()
		owed += now.Sub(last).Seconds() * float64(s.rate)
		last = now
		for ; owed >= 1; owed-- {
			select {
			case places <- struct{}{}:
			default:
				owed = 1
				continue
			}
			number++
			sid := fmt.Sprintf("scalescalescale~%020d", number)
			wg.Go(func() {
				defer func() { <-places }()
				for _, p := range s.probes {
					p.expect(sid)
				}
				began := s.mono()
				receipt, err := s.issuer.Append(ctx, []revocation.Request{{
					Kind: revocation.KindSID, Issuer: issuerName, Value: sid, Reason: "logout", Actor: "scale",
				}})
				at := s.mono()
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed = err
					return
				}
				acks = append(acks, ack{receipt.Seq, at, time.Duration(at - began), sid})
			})
		}
	}
	wg.Wait()
	return acks, errors.Join(failed, ctx.Err())
}

const issuerName = "https://issuer.example.com"

// latencies waits until the entries have come, for at most ten seconds, and takes how long after
// their acknowledgement that was.
func (s *stand) latencies(ctx context.Context, f *figures, acks []ack) {
	all := func(a ack) bool {
		return a.seq < uint64(len(s.arrived)) && int(s.arrived[a.seq].Load()) == len(s.gates)
	}
	for range 100 {
		if !slices.ContainsFunc(acks, func(a ack) bool { return !all(a) }) {
			break
		}
		if !pauseExactly(ctx, 100*time.Millisecond) {
			break
		}
	}
	var last, probed, took []time.Duration
	for _, a := range acks {
		took = append(took, a.took)
		if !all(a) {
			f.missing++
			continue
		}
		last = append(last, time.Duration(max(s.lastAt[a.seq].Load()-a.at, 0)))
	}
	for _, p := range s.probes {
		for _, a := range acks {
			if at, ok := p.inForce(a.sid); ok {
				probed = append(probed, time.Duration(max(at-a.at, 0)))
			} else {
				f.missing++
			}
		}
	}
	f.acking = quantilesOf(took)
	f.last, f.probe = quantilesOf(last), quantilesOf(probed)
}
