package faults

import (
	"context"
	"errors"
	"time"
)

// movesClock reports whether the fault moves a wall clock.
func (i Injection) movesClock() bool {
	return i.Kind == GateClock || i.Kind == IssuerClock || i.Kind == RedisClock ||
		i.Kind == RelayClock
}

// moved is how far the fault moves a clock: back if it is hard. Most often by 300 s, for longer
// than any entry lives, around clock_skew, and by so little that nobody may notice.
func (i Injection) moved() time.Duration {
	by := [...]time.Duration{
		300 * time.Second, 300 * time.Second, 2*time.Hour + 333*time.Millisecond,
		300 * time.Second, 31 * time.Second, 7301 * time.Millisecond, 900 * time.Millisecond,
		2 * time.Hour, 50 * time.Hour, 29 * time.Second,
	}[i.Pick/6%10]
	if i.Hard {
		return -by
	}
	return by
}

// unnoticed is what may be wrong with each of two clocks while they are within clock_skew (30 s) of
// each other.
const unnoticed = 14 * time.Second

// skew notes that gates could not tell the time since from. It is called when the clock is right
// again: until a gate has had a heartbeat after that, it judges by what it knew.
func (w *world) skew(from time.Duration, by time.Duration, gates ...*gate) {
	if max(by, -by) <= unnoticed {
		return
	}
	for _, g := range gates {
		w.span(Span{
			Kind: Skewed, From: from, To: w.now() + w.plan.maxStaleness(), Who: g.name,
			Note: by.String(),
		})
	}
}

// moveClock moves a process' wall clock for a while, and back.
func (w *world) moveClock(ctx context.Context, n *node, i Injection) error {
	n.moved.Lock()
	defer n.moved.Unlock()
	from := w.now()
	if err := n.clock.Move(i.moved(), -n.slept); err != nil {
		return err
	}
	sleep(ctx, i.For)
	err := n.clock.Move(0, -n.slept)
	for _, g := range w.gates {
		if g.node == n {
			w.skew(from, i.moved(), g)
		}
	}
	return err
}

// moveRedisClock moves the clock of the primary, so that every process is too far from it.
func (w *world) moveRedisClock(ctx context.Context, i Injection) error {
	from := w.now()
	err := w.moveClock(ctx, w.primary(ctx).node, i)
	w.skew(from, i.moved(), w.gates...)
	return err
}

// suspendGate suspends a gate's machine: the process stops, and so does its monotonic clock. It
// wakes without a connection to Redis, and so must know by its wall clock alone how old its copy
// is.
func (w *world) suspendGate(ctx context.Context, i Injection) error {
	if !canPart {
		return errSkipped
	}
	g := w.gateOf(i)
	g.hurt.Lock()
	defer g.hurt.Unlock()
	g.moved.Lock()
	defer g.moved.Unlock()
	lift := w.network.impose(pair{from: g.name}, i.cut())
	defer lift()
	from := w.now()
	if err := g.suspend(); err != nil {
		return err
	}
	stopped := time.Now()
	sleep(ctx, w.plan.maxStaleness()+i.For/2)
	g.slept += time.Since(stopped)
	err := g.clock.Move(0, -g.slept)
	err = errors.Join(err, g.resume())
	sleep(ctx, time.Second)
	w.isolated(from, g.name)
	return err
}
