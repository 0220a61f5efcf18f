package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/bench/figure"
	"github.com/sallyport/sallyport/bench/load"
	"github.com/sallyport/sallyport/bench/world"
)

// inFlight is how many checks are on their way at a time when they are sent as fast as they are
// answered.
const inFlight = 64

// notCached is the gate with tokens that it has not seen before.
const notCached = "gate, not cached"

// alone measures the processor time of a check, by itself: no Envoy.
func (b *bench) alone(ctx context.Context) error {
	names, err := b.all(ctx)
	if err != nil {
		return err
	}
	if err := b.place(b.cores.Measured, names...); err != nil {
		return err
	}
	checks, err := b.world.Checks(0, b.settings.tokens)
	if err != nil {
		return err
	}
	unixSocket, err := b.aloneAt(ctx, names, checks, func(s *world.Server) string { return s.Unix })
	if err != nil {
		return err
	}
	group := "A check alone, over a Unix socket"
	if err := b.aloneRows(group, names, unixSocket); err != nil {
		return err
	}
	if b.settings.tcp {
		return b.aloneOverTCP(ctx, checks)
	}
	return nil
}

func (b *bench) aloneRows(group string, names []string, s map[string]figure.Samples) error {
	if err := b.ratio(group, "CPU per check, gate over stock", s[gate], s[string(world.Stock)],
		figure.AtMost(0.35)); err != nil {
		return err
	}
	if s[base] != nil {
		if err := b.ratio(group, "CPU per check, gate over base", s[gate], s[base],
			figure.AtMost(0.42)); err != nil {
			return err
		}
	}
	if s[notCached] != nil {
		if err := b.ratio(group, "CPU of a check whose token is not cached, over a bare verify",
			s[notCached], s[bare], figure.AtMost(1.25)); err != nil {
			return err
		}
		names = append(names[:len(names):len(names)], notCached, bare)
	}
	bars := plot{Name: "cpu-alone", Title: "Processor time of a check alone", Unit: "µs", Group: group}
	for _, name := range names {
		b.row(group, "CPU per check, "+name, "µs", s[name], figure.Target{})
		bars.add(name, s[name])
	}
	if s[notCached] != nil {
		b.plots = append(b.plots, bars)
	}
	return nil
}

// bare is a signature check by the standard library, and nothing else.
const bare = "a bare verify"

// aloneAt measures all servers in turn, in rounds.
func (b *bench) aloneAt(ctx context.Context, names []string, checks []*load.Request,
	at func(*world.Server) string) (map[string]figure.Samples, error) {
	conns := map[string]*load.HTTP2{}
	defer func() {
		for _, c := range conns {
			_ = c.Close() // nothing waits for an answer
		}
	}()
	for _, name := range names {
		c, err := load.DialHTTP2(ctx, at(b.servers[name]), load.CheckHeaders())
		if err != nil {
			return nil, err
		}
		conns[name] = c
		// Every token once, and what a runtime does at first, is not measured.
		_, err = c.Run(ctx, load.Plan{Requests: checks, Count: 2 * len(checks), InFlight: inFlight})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := b.refusesChecks(ctx, name, c, b.servers[name]); err != nil {
			return nil, err
		}
	}
	verifies, err := newVerifies()
	if err != nil {
		return nil, err
	}
	samples := map[string]figure.Samples{}
	for round := range b.settings.rounds {
		progress(fmt.Sprintf("round %d of %d", round+1, b.settings.rounds))
		for _, name := range inTurn(names, round) {
			kept := b.profileGate(ctx, name, "check")
			_, cpu, err := turn(ctx, conns[name],
				load.Plan{Requests: checks, For: b.settings.turn, InFlight: inFlight},
				b.servers[name].PID())
			if err = errors.Join(err, kept()); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			samples[name] = append(samples[name], cpu[0])
		}
		// A few at a time, so that a machine that is slower for a moment is so for both.
		for range 4 {
			fresh, err := b.fresh(ctx, conns[gate])
			if err != nil {
				return nil, err
			}
			verify, err := verifies.cpu(500)
			if err != nil {
				return nil, err
			}
			samples[notCached] = append(samples[notCached], fresh)
			samples[bare] = append(samples[bare], verify)
		}
	}
	return samples, nil
}

// profileGate is profile of our gate, and nothing of any other server.
func (b *bench) profileGate(ctx context.Context, server, name string) func() error {
	if server != gate {
		return func() error { return nil }
	}
	return b.profile(ctx, "http://"+b.servers[gate].Admin, name)
}

// fresh returns the processor time of a check whose token the gate has never seen.
func (b *bench) fresh(ctx context.Context, c *load.HTTP2) (float64, error) {
	const n = 1000
	b.sessions += n
	checks, err := b.world.Checks(b.settings.tokens+b.sessions, n)
	if err != nil {
		return 0, err
	}
	runtime.GC() // of what making them has left, now and not while they are sent
	kept := b.profileGate(ctx, gate, "fresh")
	_, cpu, err := turn(ctx, c, load.Plan{Requests: checks, Count: n, InFlight: inFlight},
		b.servers[gate].PID())
	if err = errors.Join(err, kept()); err != nil {
		return 0, fmt.Errorf("%s: %w", notCached, err)
	}
	return cpu[0], nil
}

// aloneOverTCP measures ours and stock over TCP.
func (b *bench) aloneOverTCP(ctx context.Context, checks []*load.Request) error {
	const name = "gate, TCP"
	s, err := b.once(name, func() (*world.Server, error) {
		return b.world.Gate(ctx, "gate-tcp", b.built.ours, false)
	})
	if err != nil {
		return err
	}
	stock := string(world.Stock)
	conns := map[string]*load.HTTP2{}
	servers := map[string]*world.Server{gate: s, stock: b.servers[stock]}
	for n, s := range servers {
		c, err := load.DialHTTP2(ctx, s.TCP, load.CheckHeaders())
		if err != nil {
			return err
		}
		defer c.Close()
		conns[n] = c
		if _, err := c.Run(ctx, load.Plan{
			Requests: checks, Count: 2 * len(checks), InFlight: inFlight,
		}); err != nil {
			return err
		}
		if err := b.refusesChecks(ctx, n, c, s); err != nil {
			return err
		}
	}
	samples := map[string]figure.Samples{}
	for round := range b.settings.rounds {
		for _, n := range inTurn([]string{gate, stock}, round) {
			_, cpu, err := turn(ctx, conns[n],
				load.Plan{Requests: checks, For: b.settings.turn, InFlight: inFlight}, servers[n].PID())
			if err != nil {
				return err
			}
			samples[n] = append(samples[n], cpu[0])
		}
	}
	return b.aloneRows("A check alone, over TCP", []string{gate, stock}, samples)
}

// verifies are signatures to be checked.
type verifies struct {
	key        *ecdsa.PublicKey
	digest     [32]byte
	signatures [][]byte
}

func newVerifies() (*verifies, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	v := &verifies{key: &key.PublicKey, digest: sha256.Sum256([]byte("a token's header and claims"))}
	for range 64 {
		signature, err := ecdsa.SignASN1(rand.Reader, key, v.digest[:])
		if err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		v.signatures = append(v.signatures, signature)
	}
	return v, nil
}

// cpu returns the processor time of a check of a signature, in microseconds.
func (v *verifies) cpu(n int) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := threadTime()
	if err != nil {
		return 0, err
	}
	for i := range n {
		if !ecdsa.VerifyASN1(v.key, v.digest[:], v.signatures[i%len(v.signatures)]) {
			return 0, errors.New("bench: a good signature was refused")
		}
	}
	after, err := threadTime()
	return (after - before).Seconds() * 1e6 / float64(n), err
}

func threadTime() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
