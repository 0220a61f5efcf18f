package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/bench/figure"
	"github.com/sallyport/sallyport/bench/load"
	"github.com/sallyport/sallyport/bench/world"
)

// sizes are those of the programs, and of what Envoy loads, as they are shipped.
func (b *bench) sizes(context.Context) error {
	for _, name := range []string{"authz", "issuer", "relay", "sallyport", filepath.Base(b.built.module)} {
		info, err := os.Stat(filepath.Join(b.built.dir, name))
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		b.row("Programs", "size of "+name, "MB", figure.Samples{float64(info.Size()) / 1e6},
			figure.AtMost(35))
	}
	return nil
}

// settle is how long a gate's connection to Redis must have been good before it counts, as shipped.
const settle = time.Second

// start measures from a gate's exec until it is ready, beyond settle, which it waits on purpose:
// with a log of next to nothing.
func (b *bench) start(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := world.Start(ctx, world.Options{
		Root: b.root, Dir: dir, Programs: b.built.dir, Revocations: 1000, Cores: b.cores,
		Progress: func(string) {},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Stop()) }()
	var taken figure.Samples
	for i := range b.settings.starts {
		began := time.Now()
		s, err := w.Gate(ctx, "gate-"+strconv.Itoa(i), b.built.ours, true)
		if err != nil {
			return err
		}
		taken = append(taken, float64(time.Since(began)-settle)/1e6)
		if err := s.Terminate(ctx); err != nil {
			return err
		}
	}
	b.row("Start", "a gate is ready after exec, beyond settle (1 s)", "ms", taken, figure.AtMost(200))
	return nil
}

// distinctTokens sends a gate tokens that are all different, many times as many as its cache keeps,
// and measures what memory it takes.
func (b *bench) distinctTokens(ctx context.Context) error {
	n := b.settings.distinct
	batch := max(1, n/20)
	s, err := b.once("gate, distinct", func() (*world.Server, error) {
		return b.world.Gate(ctx, "gate-distinct", b.built.ours, true)
	})
	if err != nil {
		return err
	}
	c, err := load.DialHTTP2(ctx, s.Unix, load.CheckHeaders())
	if err != nil {
		return err
	}
	defer c.Close()
	before, err := resident(s.PID())
	if err != nil {
		return err
	}
	// After three twentieths of a million the cache has met more than twice what it keeps.
	full, greatest, err := watched(s.PID(), n, batch, 3, func() error {
		b.sessions += batch
		runtime.GC() // of the last ones
		checks, err := b.world.Checks(b.settings.tokens+b.sessions, batch)
		if err != nil {
			return err
		}
		_, err = c.Run(ctx, load.Plan{Requests: checks, Count: batch, InFlight: inFlight})
		return err
	})
	if err != nil {
		return err
	}
	const group = "Distinct tokens in turn"
	b.row(group, fmt.Sprintf("memory after %d, over that after %d", n, 3*batch), "",
		figure.Samples{greatest / full}, figure.AtMost(1.1))
	b.row(group, "memory before", "MB", figure.Samples{before / 1e6}, figure.Target{})
	b.row(group, "greatest memory", "MB", figure.Samples{greatest / 1e6}, figure.Target{})
	return nil
}

// growth sends requests through Envoy with the gate inside, many of them, and measures whether its
// memory grows.
func (b *bench) growth(ctx context.Context) error {
	way := &world.Way{Name: inside, Inside: true}
	s, err := b.world.EnvoyWithGate(ctx, "envoy-growing", b.built.module, []*world.Way{way})
	if err != nil {
		return err
	}
	gets, err := b.world.HTTP2(b.settings.tokens)
	if err != nil {
		return err
	}
	c, err := load.DialHTTP2(ctx, way.Address, world.GetHeaders())
	if err != nil {
		return err
	}
	defer c.Close()
	batch := max(1, b.settings.growth/20)
	first, greatest, err := watched(s.PID(), b.settings.growth, batch, 1, func() error {
		_, err := c.Run(ctx, load.Plan{Requests: gets, Count: batch, InFlight: inFlight})
		return err
	})
	if err != nil {
		return err
	}
	const group = "Memory of Envoy with the gate inside"
	b.row(group, fmt.Sprintf("memory within %d requests, over that after %d", b.settings.growth, batch),
		"", figure.Samples{greatest / first}, figure.AtMost(1.02))
	b.row(group, "greatest memory", "MB", figure.Samples{greatest / 1e6}, figure.Target{})
	return nil
}

// watched sends n in batches, and returns the memory that a process has after some of them, and the
// greatest that it had after any.
func watched(pid, n, batch, some int, send func() error) (after, greatest float64, err error) {
	for sent := 0; sent < n; sent += batch {
		progress(fmt.Sprintf("%d of %d", sent, n))
		if err := send(); err != nil {
			return 0, 0, err
		}
		now, err := resident(pid)
		if err != nil {
			return 0, 0, err
		}
		if sent == (some-1)*batch {
			after = now
		}
		greatest = max(greatest, now)
	}
	return after, greatest, nil
}

// resident is the memory that a process has, in bytes (VmRSS).
func resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				return 0, fmt.Errorf("bench: VmRSS of process %d: %w", pid, err)
			}
			return float64(kb) * 1024, nil
		}
	}
	return 0, fmt.Errorf("bench: process %d: %w", pid, fs.ErrNotExist)
}
