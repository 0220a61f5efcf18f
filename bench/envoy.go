package main

import (
	"context"
	"fmt"
	"slices"
	"time"

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
	var ways []*world.Way
	if !b.settings.quick { // there is no target beside these here
		ways = []*world.Way{
			{Name: noAuth}, {Name: jwtAuthn, JWT: true}, {Name: jwtCached, JWT: true, Cache: true},
		}
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
	envoy, err := b.world.Envoy(ctx, "envoy", ways)
	if err != nil {
		return err
	}
	m, err := b.walk(ctx, envoy.PID(), ways)
	if err != nil {
		return err
	}
	if err := b.envoyRows(ways, m); err != nil || b.settings.quick {
		return err
	}
	return b.envoyLatency(ctx, ways, m.rate[gate].Summarize().Median/2)
}

// envoyLatency measures latencies through Envoy at one rate for all.
func (b *bench) envoyLatency(ctx context.Context, ways []*world.Way, rate float64) error {
	ways = slices.DeleteFunc(slices.Clone(ways), func(way *world.Way) bool {
		return !slices.Contains([]string{noAuth, jwtCached, gate, base, string(world.Stock)},
			way.Name) // the others may not keep up
	})
	l, err := b.latencies(ctx, ways, rate, max(1, b.settings.rounds/2), 2*b.settings.turn)
	if err != nil {
		return err
	}
	const group = "Latency through Envoy, at half the rate that it reaches with the gate"
	b.row(group, "requests/s", "/s", figure.Samples{rate}, figure.Target{})
	for _, way := range ways {
		b.row(group, "p50, "+way.Name, "µs", l.p50[way.Name], figure.Target{})
		b.row(group, "p99, "+way.Name, "µs", l.p99[way.Name], figure.Target{})
	}
	return b.ratio(group, "p99, gate over no check", l.p99[gate], l.p99[noAuth], figure.Target{})
}

// latencyOf is that of each way, by its name, in microseconds, and whether most of its p99 was the
// generator's own.
type latencyOf struct {
	p50, p99 map[string]figure.Samples
	late     map[string]bool
}

// latencies measures those of HTTP/2 requests at one rate for all ways, in turn, each from the moment
// at which a request was due.
func (b *bench) latencies(ctx context.Context, ways []*world.Way, rate float64, rounds int,
	turn time.Duration) (latencyOf, error) {
	l := latencyOf{map[string]figure.Samples{}, map[string]figure.Samples{}, map[string]bool{}}
	late := map[string]figure.Samples{}
	gets, err := b.world.HTTP2(b.settings.tokens)
	if err != nil {
		return l, err
	}
	conns := map[string]*load.HTTP2{}
	var names []string
	for _, way := range ways {
		c, err := load.DialHTTP2(ctx, way.Address, world.GetHeaders())
		if err != nil {
			return l, err
		}
		defer c.Close()
		names, conns[way.Name] = append(names, way.Name), c
	}
	for round := range rounds {
		for _, name := range inTurn(names, round) {
			r, err := conns[name].Run(ctx, load.Plan{
				Requests: gets, For: turn, Rate: rate, InFlight: atOnce,
			})
			if err != nil {
				return l, fmt.Errorf("%s: %w", name, err)
			}
			l.p50[name] = append(l.p50[name], micros(r.At(load.Allowed, 50)))
			l.p99[name] = append(l.p99[name], micros(r.At(load.Allowed, 99)))
			late[name] = append(late[name], micros(time.Duration(r.Late.ValueAtPercentile(99))))
		}
	}
	for name := range late {
		l.late[name] = late[name].Summarize().Median > l.p99[name].Summarize().Median/2
	}
	return l, nil
}

// walked is what was measured on each way, by its name.
type walked struct{ rate, envoy, server map[string]figure.Samples }

// walk goes all ways through one Envoy in turn, in rounds.
func (b *bench) walk(ctx context.Context, envoy int, ways []*world.Way) (walked, error) {
	m := walked{
		map[string]figure.Samples{}, map[string]figure.Samples{}, map[string]figure.Samples{},
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
		forged, err := b.world.ForgedHTTP1(way.Forged())
		if err != nil {
			return m, err
		}
		if err := refuses(ctx, way.Name, c, forged); err != nil {
			return m, err
		}
		names, byName[way.Name], conns[way.Name] = append(names, way.Name), way, c
	}
	for round := range b.settings.rounds {
		progress(fmt.Sprintf("round %d of %d", round+1, b.settings.rounds))
		for _, name := range inTurn(names, round) {
			pids := []int{envoy}
			if s := byName[name].Ask; s != nil {
				pids = append(pids, s.PID())
			}
			// What a check remembers of tokens is there when its turn begins, as it is in service.
			if _, err := conns[name].Run(ctx, load.Plan{Requests: gets, Count: len(gets)}); err != nil {
				return m, fmt.Errorf("%s: %w", name, err)
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
