package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sallyport/sallyport/bench/figure"
	"github.com/sallyport/sallyport/bench/load"
	"github.com/sallyport/sallyport/bench/world"
)

// The servers that are measured, by the names that rows have.
const (
	gate = "gate"
	base = "base" // the gate of another checkout
)

// measure runs the parts, one after the other, and ends all processes.
func (b *bench) measure(ctx context.Context, chosen []part) (err error) {
	if b.cores, err = world.ChooseCores(); err != nil {
		return err
	}
	// The generator stays off the core that is measured. What is started from here says where it runs.
	if err := world.Pin(os.Getpid(), b.cores.Rest); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, world.Pin(os.Getpid(), b.cores.All)) }()
	dir, err := os.MkdirTemp("", "bench") // short: Unix sockets have paths of some 100 letters
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, b.stop(), os.RemoveAll(dir)) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, p := range chosen {
		progress("part " + p.name)
		if err := b.within(ctx, cancel, dir, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// needsWorld lists the parts that a gate, Redis and a filled log are needed for.
var needsWorld = []string{"alone", "envoy", "inside", "latency", "garbage", "distinct", "growth"}

// within runs a part, in a world if it needs one. When a process ends by itself, so does the part.
func (b *bench) within(ctx context.Context, cancel context.CancelCauseFunc, dir string, p part) error {
	if b.world == nil && slices.Contains(needsWorld, p.name) {
		w, err := world.Start(ctx, world.Options{
			Root: b.root, Dir: dir, Programs: b.built.dir, Revocations: b.revocations,
			Cores: b.cores, Progress: progress,
		})
		if err != nil {
			return err
		}
		b.world = w
		go func() {
			select {
			case err := <-w.Failed():
				cancel(err)
			case <-ctx.Done():
			}
		}()
	}
	err := p.measure(b, ctx)
	if cause := context.Cause(ctx); cause != nil {
		return cause // what else went wrong follows from it
	}
	return err
}

func (b *bench) stop() error {
	if b.world == nil {
		return nil
	}
	return b.world.Stop()
}

// gate starts the gate of a program, once, at a Unix socket.
func (b *bench) gate(ctx context.Context, name string, p world.Program) (*world.Server, error) {
	return b.once(name, func() (*world.Server, error) { return b.world.Gate(ctx, name, p, true) })
}

func (b *bench) ours(ctx context.Context) (*world.Server, error) {
	return b.gate(ctx, gate, b.built.ours)
}

// once starts a server when it is asked for the first time.
func (b *bench) once(name string, start func() (*world.Server, error)) (*world.Server, error) {
	if s := b.servers[name]; s != nil {
		return s, nil
	}
	s, err := start()
	if err != nil {
		return nil, err
	}
	b.servers[name] = s
	return s, nil
}

// all starts ours, the other checkout's, and what they are compared with.
func (b *bench) all(ctx context.Context) (names []string, err error) {
	if _, err := b.ours(ctx); err != nil {
		return nil, err
	}
	names = []string{gate}
	if b.built.base.Path != "" {
		if _, err := b.gate(ctx, base, b.built.base); err != nil {
			return nil, err
		}
		names = append(names, base)
	}
	for _, kind := range []world.Kind{world.Stock, world.Verifying, world.OPA} {
		_, err := b.once(string(kind), func() (*world.Server, error) {
			return b.world.Baseline(ctx, kind)
		})
		if err != nil {
			return nil, err
		}
		names = append(names, string(kind))
	}
	return names, nil
}

// place moves servers to cores.
func (b *bench) place(on world.CPUSet, names ...string) error {
	for _, name := range names {
		if err := world.Pin(b.servers[name].PID(), on); err != nil {
			return err
		}
	}
	return nil
}

// runner is a connection that plans are run on.
type runner interface {
	Run(context.Context, load.Plan) (load.Result, error)
	Close() error
}

// turn runs a plan, and returns besides what processor time processes had for each request, in
// microseconds.
func turn(ctx context.Context, r runner, p load.Plan, pids ...int) (load.Result, []float64, error) {
	before, err := processorTimes(pids)
	if err != nil {
		return load.Result{}, nil, err
	}
	result, err := r.Run(ctx, p)
	if err != nil {
		return result, nil, err
	}
	after, err := processorTimes(pids)
	if err != nil {
		return result, nil, err
	}
	each := make([]float64, len(pids))
	for i := range pids {
		each[i] = (after[i] - before[i]).Seconds() * 1e6 / float64(result.Sent)
	}
	return result, each, nil
}

// refuses asks an honest token and then a forged one, before anything is measured: what is fast
// because it checks nothing is no figure.
func refuses(ctx context.Context, name string, c runner, forged []*load.Request) error {
	_, err := c.Run(ctx, load.Plan{Requests: forged, Count: len(forged), InFlight: 1})
	if err != nil {
		return fmt.Errorf("%s, asked of a forged token: %w", name, err)
	}
	return nil
}

// refusesChecks is refuses of a server that is asked by itself.
func (b *bench) refusesChecks(ctx context.Context, name string, c runner, s *world.Server) error {
	forged, err := b.world.ForgedChecks(s.Forged())
	if err != nil {
		return err
	}
	return refuses(ctx, name, c, forged)
}

func processorTimes(pids []int) ([]time.Duration, error) {
	all := make([]time.Duration, len(pids))
	for i, pid := range pids {
		var err error
		if all[i], err = figure.CPU(pid); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// row adds a row.
func (b *bench) row(group, name, unit string, s figure.Samples, t figure.Target) {
	b.rows = append(b.rows, figure.NewRow(group, name, unit, s, t))
}

// ratio adds the row of a ratio, round by round.
func (b *bench) ratio(group, name string, over, under figure.Samples, t figure.Target) error {
	s, err := over.Over(under)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.row(group, name, "", s, t)
	return nil
}

// inTurn returns the names in another order each round, so that none always follows the same one.
func inTurn(names []string, round int) []string {
	at := round % len(names)
	turned := append(slices.Clone(names[at:]), names[:at]...)
	if round%2 == 1 {
		slices.Reverse(turned)
	}
	return turned
}
