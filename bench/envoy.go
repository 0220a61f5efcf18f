package main

import (
	"context"
	"fmt"

	"github.com/sallyport/sallyport/bench/figure"
	"github.com/sallyport/sallyport/bench/load"
	"github.com/sallyport/sallyport/bench/world"
)

// The ways through Envoy on which nobody is asked.
const (
	noAuth    = "no check"
	jwtAuthn  = "jwt_authn"
	jwtCached = "jwt_authn, cached"
)

// connections is how many a browser's side of Envoy has, each with one request at a time.
const connections = 32

// throughEnvoy measures requests a second through one worker of the real Envoy, which has a core of
// its own, and what each costs Envoy and the server behind it.
func (b *bench) throughEnvoy(ctx context.Context) error {
	names, err := b.all(ctx)
	if err != nil {
		return err
	}
	if err := b.place(b.cores.Behind, names...); err != nil {
		return err
	}
	ways := []*world.Way{
		{Name: noAuth}, {Name: jwtAuthn, JWT: true}, {Name: jwtCached, JWT: true, Cache: true},
	}
	for _, name := range names {
		ways = append(ways, &world.Way{Name: name, Ask: b.servers[name], Unix: true})
	}
	if b.settings.tcp {
		ways = append(ways, &world.Way{Name: "stock, TCP", Ask: b.servers[string(world.Stock)]})
		if s := b.servers["gate, TCP"]; s != nil {
			if err := b.place(b.cores.Behind, "gate, TCP"); err != nil {
				return err
			}
			ways = append(ways, &world.Way{Name: "gate, TCP", Ask: s})
		}
	}
	m, err := b.walk(ctx, ways)
	if err != nil {
		return err
	}
	if err := b.envoyRows(ways, m); err != nil {
		return err
	}
	return b.envoyLatency(ctx, ways, m.rate[gate].Summarize().Median/2)
}

// envoyLatency measures latencies through Envoy at one rate for all, from the moment at which each
// request was due.
func (b *bench) envoyLatency(ctx context.Context, ways []*world.Way, rate float64) error {
	gets, err := b.world.HTTP2(b.settings.tokens)
	if err != nil {
		return err
	}
	conns := map[string]*load.HTTP2{}
	var names []string
	for _, way := range ways {
		switch way.Name {
		case noAuth, jwtCached, gate, base, string(world.Stock): // the others may not keep up
		default:
			continue
		}
		c, err := load.DialHTTP2(ctx, way.Address, world.GetHeaders())
		if err != nil {
			return err
		}
		defer c.Close()
		names, conns[way.Name] = append(names, way.Name), c
	}
	p50, p99 := map[string]figure.Samples{}, map[string]figure.Samples{}
	for round := range max(1, b.settings.rounds/2) {
		for _, name := range inTurn(names, round) {
			r, err := conns[name].Run(ctx, load.Plan{
				Requests: gets, For: 2 * b.settings.turn, Rate: rate, InFlight: atOnce,
			})
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			p50[name] = append(p50[name], micros(r.At(load.Allowed, 50)))
			p99[name] = append(p99[name], micros(r.At(load.Allowed, 99)))
		}
	}
	const group = "Latency through Envoy, at half the rate that it reaches with the gate"
	b.row(group, "requests/s", "/s", figure.Samples{rate}, figure.Target{})
	for _, name := range names {
		b.row(group, "p50, "+name, "µs", p50[name], figure.Target{})
		b.row(group, "p99, "+name, "µs", p99[name], figure.Target{})
	}
	return b.ratio(group, "p99, gate over no check", p99[gate], p99[noAuth], figure.Target{})
}

// walked is what was measured on each way, by its name.
type walked struct{ rate, envoy, server map[string]figure.Samples }

// walk goes all ways in turn, in rounds.
func (b *bench) walk(ctx context.Context, ways []*world.Way) (walked, error) {
	m := walked{
		map[string]figure.Samples{}, map[string]figure.Samples{}, map[string]figure.Samples{},
	}
	envoy, err := b.world.Envoy(ctx, "envoy", ways)
	if err != nil {
		return m, err
	}
	gets, err := b.world.HTTP1(b.settings.tokens)
	if err != nil {
		return m, err
	}
	byName := map[string]*world.Way{}
	conns := map[string]*load.HTTP1{}
	var names []string
	for _, way := range ways {
		c, err := load.DialHTTP1(ctx, way.Address, connections)
		if err != nil {
			return m, err
		}
		defer c.Close()
		if _, err := c.Run(ctx, load.Plan{Requests: gets, Count: 2 * len(gets)}); err != nil {
			return m, fmt.Errorf("%s: %w", way.Name, err)
		}
		names, byName[way.Name], conns[way.Name] = append(names, way.Name), way, c
	}
	for round := range b.settings.rounds {
		progress(fmt.Sprintf("round %d of %d", round+1, b.settings.rounds))
		for _, name := range inTurn(names, round) {
			pids := []int{envoy.PID()}
			if s := byName[name].Ask; s != nil {
				pids = append(pids, s.PID())
			}
			result, cpu, err := turn(ctx, conns[name],
				load.Plan{Requests: gets, For: b.settings.turn}, pids...)
			if err != nil {
				return m, fmt.Errorf("%s: %w", name, err)
			}
			m.rate[name] = append(m.rate[name], result.PerSecond())
			m.envoy[name] = append(m.envoy[name], cpu[0])
			if len(cpu) > 1 {
				m.server[name] = append(m.server[name], cpu[1])
			}
		}
	}
	return m, nil
}

func (b *bench) envoyRows(ways []*world.Way, m walked) error {
	const group = "Through Envoy, over a Unix socket"
	for _, r := range []struct {
		under string
		t     figure.Target
	}{
		{string(world.Stock), figure.AtLeast(1.30)},
		{string(world.Verifying), figure.AtLeast(2.3)},
		{string(world.OPA), figure.AtLeast(8)},
		{base, figure.Target{}},
		{jwtCached, figure.Target{}},
		{noAuth, figure.Target{}},
	} {
		if m.rate[r.under] == nil {
			continue
		}
		if err := b.ratio(group, "requests/s, gate over "+r.under, m.rate[gate], m.rate[r.under],
			r.t); err != nil {
			return err
		}
	}
	rates := plot{
		Name: "envoy-rate", Title: "Requests a second through one worker of Envoy", Unit: "/s", Group: group,
	}
	costs := plot{
		Name: "envoy-cpu", Title: "Processor time of a request: Envoy, and the server behind it",
		Unit: "µs", Group: group,
	}
	for _, way := range ways {
		b.row(group, "requests/s, "+way.Name, "/s", m.rate[way.Name], figure.Target{})
		b.row(group, "CPU of Envoy per request, "+way.Name, "µs", m.envoy[way.Name], figure.Target{})
		rates.add(way.Name, m.rate[way.Name])
		costs.add(way.Name, m.envoy[way.Name], m.server[way.Name])
		if m.server[way.Name] != nil {
			b.row(group, "CPU of the server per request, "+way.Name, "µs", m.server[way.Name],
				figure.Target{})
		}
	}
	b.plots = append(b.plots, rates, costs)
	return nil
}
