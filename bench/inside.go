package main

import (
	"context"
	"slices"

	"github.com/sallyport/sallyport/bench/figure"
	"github.com/sallyport/sallyport/bench/world"
)

// inside is our gate as a module of Envoy's, anew the same where no answer is given again.
const (
	inside = "gate inside Envoy"
	anew   = "gate inside Envoy, asked each time"
)

// gateInside measures what a request costs Envoy with the gate within, beside no check, Envoy's own
// verifier of tokens, and a gate that is asked. All ways lead through one Envoy.
func (b *bench) gateInside(ctx context.Context) error {
	if _, err := b.ours(ctx); err != nil {
		return err
	}
	quick := []*world.Way{
		{Name: noAuth}, {Name: jwtCached, JWT: true, Cache: true}, {Name: inside, Inside: true},
	}
	ways := append(slices.Clone(quick), &world.Way{Name: anew, Inside: true, Anew: true},
		&world.Way{Name: gate, Ask: b.servers[gate], Unix: true})
	asked := []string{gate}
	if b.built.base.Path != "" {
		s, err := b.gate(ctx, base, b.built.base)
		if err != nil {
			return err
		}
		ways, asked = append(ways, &world.Way{Name: base, Ask: s, Unix: true}), append(asked, base)
	}
	if err := b.place(b.cores.Behind, asked...); err != nil {
		return err
	}
	envoy, err := b.world.EnvoyWithGate(ctx, "envoy-with-gate", b.built.module, ways)
	if err != nil {
		return err
	}
	m, err := b.walk(ctx, envoy.PID(), ways)
	if err != nil {
		return err
	}
	// What asks a gate may not keep up.
	l, err := b.latencies(ctx, quick, m.rate[inside].Summarize().Median/2, b.settings.rounds,
		b.settings.turn)
	if err != nil {
		return err
	}
	return b.insideRows(ways, m, l)
}

func (b *bench) insideRows(ways []*world.Way, m walked, l latencyOf) error {
	const group = "The gate inside Envoy"
	cpu, over := map[string]figure.Samples{}, map[string]figure.Samples{}
	for _, way := range ways {
		var err error
		cpu[way.Name] = m.envoy[way.Name]
		if asked := m.server[way.Name]; asked != nil {
			if cpu[way.Name], err = cpu[way.Name].Plus(asked); err != nil {
				return err
			}
		}
		if over[way.Name], err = cpu[way.Name].Minus(cpu[noAuth]); err != nil {
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
		{"requests/s, gate inside over no check", m.rate[inside], m.rate[noAuth], figure.AtLeast(0.85)},
		{"p99 at half load, gate inside over no check", l.p99[inside], l.p99[noAuth], figure.AtMost(1.3)},
	} {
		if err := b.ratio(group, r.name, r.over, r.under, r.t); err != nil {
			return err
		}
		// A ratio of differences says nothing once noise has made one of them negative.
		b.voidIf(slices.Min(r.over) <= 0 || slices.Min(r.under) <= 0)
	}
	b.voidIf(l.late[inside] || l.late[noAuth])
	costs := plot{
		Name: "inside-cpu", Title: "Processor time of a request, of Envoy and who it asks", Unit: "µs",
		Group: group,
	}
	for _, way := range ways {
		name := way.Name
		b.row(group, "CPU per request, "+name, "µs", cpu[name], figure.Target{})
		b.row(group, "requests/s, "+name, "/s", m.rate[name], figure.Target{})
		if l.p50[name] != nil {
			b.row(group, "p50 at half load, "+name, "µs", l.p50[name], figure.Target{})
			b.row(group, "p99 at half load, "+name, "µs", l.p99[name], figure.Target{})
		}
		costs.add(name, cpu[name])
	}
	b.plots = append(b.plots, costs)
	return nil
}
