package main

import (
	"context"
	"fmt"

	"github.com/sallyport/sallyport/bench/figure"
	"github.com/sallyport/sallyport/bench/load"
	"github.com/sallyport/sallyport/bench/world"
)

// inside is our gate as a module of Envoy's.
const inside = "gate inside Envoy"

// embedded is what the part inside goes on: all ways lead through one Envoy, which has a gate within.
type embedded struct {
	names []string
	envoy *world.Server
	ways  map[string]*world.Way
}

// gateInside measures what a request costs Envoy with the gate within, beside no check, Envoy's own
// verifier of tokens, and a gate that is asked.
func (b *bench) gateInside(ctx context.Context) error {
	e, err := b.embed(ctx)
	if err != nil {
		return err
	}
	rate, cpu, err := b.insideTurns(ctx, e)
	if err != nil {
		return err
	}
	p50, p99, err := b.insideLatency(ctx, e, rate[inside].Summarize().Median/2)
	if err != nil {
		return err
	}
	return b.insideRows(e, rate, cpu, p50, p99)
}

func (b *bench) embed(ctx context.Context) (*embedded, error) {
	if _, err := b.ours(ctx); err != nil {
		return nil, err
	}
	ways := []*world.Way{
		{Name: noAuth}, {Name: jwtCached, JWT: true, Cache: true}, {Name: inside, Inside: true},
		{Name: gate, Ask: b.servers[gate], Unix: true},
	}
	asked := []string{gate}
	if b.built.base.Path != "" {
		s, err := b.gate(ctx, base, b.built.base)
		if err != nil {
			return nil, err
		}
		ways = append(ways, &world.Way{Name: base, Ask: s, Unix: true})
		asked = append(asked, base)
	}
	if err := b.place(b.cores.Behind, asked...); err != nil {
		return nil, err
	}
	envoy, err := b.world.EnvoyWithGate(ctx, "envoy-with-gate", b.built.module, ways)
	if err != nil {
		return nil, err
	}
	e := &embedded{envoy: envoy, ways: map[string]*world.Way{}}
	for _, way := range ways {
		e.names, e.ways[way.Name] = append(e.names, way.Name), way
	}
	return e, nil
}

// insideTurns measures all ways in turn, in rounds: requests a second, and the processor time of
// Envoy and of who is asked together.
func (b *bench) insideTurns(ctx context.Context, e *embedded) (rate, cpu map[string]figure.Samples,
	err error) {
	gets, err := b.world.HTTP1(b.settings.tokens)
	if err != nil {
		return nil, nil, err
	}
	conns := map[string]*load.HTTP1{}
	for _, name := range e.names {
		c, err := load.DialHTTP1(ctx, e.ways[name].Address, connections)
		if err != nil {
			return nil, nil, err
		}
		defer c.Close()
		if _, err := c.Run(ctx, load.Plan{Requests: gets, Count: 2 * len(gets)}); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		conns[name] = c
	}
	rate, cpu = map[string]figure.Samples{}, map[string]figure.Samples{}
	for round := range b.settings.rounds {
		progress(fmt.Sprintf("round %d of %d", round+1, b.settings.rounds))
		for _, name := range inTurn(e.names, round) {
			pids := []int{e.envoy.PID()}
			if s := e.ways[name].Ask; s != nil {
				pids = append(pids, s.PID())
			}
			result, each, err := turn(ctx, conns[name],
				load.Plan{Requests: gets, For: b.settings.turn}, pids...)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
			var sum float64
			for _, one := range each {
				sum += one
			}
			rate[name], cpu[name] = append(rate[name], result.PerSecond()), append(cpu[name], sum)
		}
	}
	return rate, cpu, nil
}

// insideLatency measures latencies at one rate, from the moment at which each request was due.
func (b *bench) insideLatency(ctx context.Context, e *embedded,
	rate float64) (p50, p99 map[string]figure.Samples, err error) {
	gets, err := b.world.HTTP2(b.settings.tokens)
	if err != nil {
		return nil, nil, err
	}
	names := []string{noAuth, jwtCached, inside} // what asks a gate may not keep up
	conns := map[string]*load.HTTP2{}
	for _, name := range names {
		c, err := load.DialHTTP2(ctx, e.ways[name].Address, world.GetHeaders())
		if err != nil {
			return nil, nil, err
		}
		defer c.Close()
		conns[name] = c
	}
	p50, p99 = map[string]figure.Samples{}, map[string]figure.Samples{}
	for round := range b.settings.rounds {
		for _, name := range inTurn(names, round) {
			r, err := conns[name].Run(ctx, load.Plan{
				Requests: gets, For: b.settings.turn, Rate: rate, InFlight: atOnce,
			})
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
			p50[name] = append(p50[name], micros(r.At(load.Allowed, 50)))
			p99[name] = append(p99[name], micros(r.At(load.Allowed, 99)))
		}
	}
	return p50, p99, nil
}

func (b *bench) insideRows(e *embedded, rate, cpu, p50, p99 map[string]figure.Samples) error {
	const group = "The gate inside Envoy"
	over := map[string]figure.Samples{}
	for _, name := range e.names {
		var err error
		if over[name], err = cpu[name].Minus(cpu[noAuth]); err != nil {
			return err
		}
	}
	before := gate
	if over[base] != nil {
		before = base // what the promise speaks of
	}
	for _, r := range []struct {
		name        string
		over, under figure.Samples
		t           figure.Target
	}{
		{
			"CPU over no check, gate inside over jwt_authn, cached", over[inside], over[jwtCached],
			figure.AtMost(0.8),
		},
		{
			"CPU over no check, gate inside over the " + before + " beside", over[inside], over[before],
			figure.AtMost(1.0 / 12),
		},
		{"requests/s, gate inside over no check", rate[inside], rate[noAuth], figure.AtLeast(0.85)},
		{"p99 at half load, gate inside over no check", p99[inside], p99[noAuth], figure.AtMost(1.3)},
	} {
		if err := b.ratio(group, r.name, r.over, r.under, r.t); err != nil {
			return err
		}
	}
	costs := plot{
		Name: "inside-cpu", Title: "Processor time of a request, of Envoy and who it asks", Unit: "µs",
		Group: group,
	}
	for _, name := range e.names {
		b.row(group, "CPU per request, "+name, "µs", cpu[name], figure.Target{})
		b.row(group, "requests/s, "+name, "/s", rate[name], figure.Target{})
		if p50[name] != nil {
			b.row(group, "p50 at half load, "+name, "µs", p50[name], figure.Target{})
			b.row(group, "p99 at half load, "+name, "µs", p99[name], figure.Target{})
		}
		costs.add(name, cpu[name])
	}
	b.plots = append(b.plots, costs)
	return nil
}
