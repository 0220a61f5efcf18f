package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/bench/figure"
	"github.com/sallyport/sallyport/bench/load"
)

const (
	atOnce     = 2048 // checks on their way at a time, at a fixed rate
	revocation = 1000 // a second
	capacityIs = time.Second
)

// gateAlone returns a connection to our gate, which has a core to itself and has met all tokens, and
// the rate at which it answers them when it has nothing else to do. A row tells how much of its core
// it used then: with less than all of it, the capacity is the generator's.
func (b *bench) gateAlone(ctx context.Context, group string,
	checks []*load.Request) (c *load.HTTP2, capacity float64, err error) {
	s, err := b.ours(ctx)
	if err != nil {
		return nil, 0, err
	}
	if err := b.place(b.cores.Measured, gate); err != nil {
		return nil, 0, err
	}
	if c, err = load.DialHTTP2(ctx, s.Unix, load.CheckHeaders()); err != nil {
		return nil, 0, err
	}
	var rates, used figure.Samples
	for range 4 {
		r, cpu, err := turn(ctx, c,
			load.Plan{Requests: checks, For: capacityIs, InFlight: inFlight}, s.PID())
		if err != nil {
			return nil, 0, errors.Join(err, c.Close())
		}
		rates = append(rates, r.PerSecond())
		used = append(used, cpu[0]*r.PerSecond()/1e6)
	}
	rates, used = rates[1:], used[1:] // the first has met every token for the first time
	b.row(group, "capacity, checks/s", "/s", rates, figure.Target{})
	b.row(group, "share of its core that the gate used then", "", used, figure.Target{})
	return c, rates.Summarize().Median, nil
}

// latency measures how long answers take at 70 % of what the gate can do, from the moment at which
// each check was due, while sessions are revoked, the policy changes and the issuer takes another
// key.
func (b *bench) latency(ctx context.Context) error {
	checks, err := b.world.Checks(0, b.settings.tokens)
	if err != nil {
		return err
	}
	const group = "Latency at 70 % of capacity, with 1,000 revocations/s, another policy and another key"
	c, capacity, err := b.gateAlone(ctx, group, checks)
	if err != nil {
		return err
	}
	defer c.Close()
	shares := []float64{0.7, 0.5, 0.35}
	if b.settings.quick {
		shares = shares[:1]
	}
	for _, share := range shares {
		if late, err := b.latencyAt(ctx, c, group, &checks, capacity, share); err != nil || !late {
			return err
		}
	}
	return nil
}

// latencyAt measures at a share of capacity. It reports whether the generator was later than the
// answers were: then that is what was measured, and a smaller share may be within its means.
func (b *bench) latencyAt(ctx context.Context, c *load.HTTP2, group string,
	checks *[]*load.Request, capacity, share float64) (late bool, err error) {
	rounds := max(2, b.settings.rounds/3)
	var ratios, medians, tails, lateness, revoked figure.Samples
	curve := plot{
		Name: "latency", Unit: "µs", Group: group, Log: true, Title: fmt.Sprintf(
			"Latency at %.0f %% of capacity, within which so many answers came", 100*share),
	}
	for round := range rounds {
		progress(fmt.Sprintf("round %d of %d at %.0f %%", round+1, rounds, 100*share))
		r, done, err := b.eventfulRun(ctx, c, checks, share*capacity)
		if err != nil {
			return false, err
		}
		p50, p999 := r.At(load.Allowed, 50), r.At(load.Allowed, 99.9)
		ratios = append(ratios, float64(p999)/float64(p50))
		medians = append(medians, micros(p50))
		tails = append(tails, micros(p999))
		lateness = append(lateness, micros(time.Duration(r.Late.ValueAtPercentile(99.9))))
		revoked = append(revoked, done)
		if round == 0 {
			for _, at := range []float64{50, 75, 90, 95, 99, 99.5, 99.9, 99.99} {
				curve.add(fmt.Sprintf("%v %%", at), figure.Samples{micros(r.At(load.Allowed, at))})
			}
		}
	}
	at, bound, enough := "", figure.AtMost(5), figure.AtLeast(0.95*revocation)
	if share < 0.7 { // what is promised is promised of 70 %
		at = fmt.Sprintf(", at %.0f %%", 100*share)
		bound, enough = figure.Target{}, figure.Target{}
	}
	late = lateness.Summarize().Median > medians.Summarize().Median
	b.row(group, "p99.9 over p50"+at, "", ratios, bound)
	b.voidIf(late)
	b.row(group, "p50"+at, "µs", medians, figure.Target{})
	b.row(group, "p99.9"+at, "µs", tails, figure.Target{})
	b.row(group, "of these, how late the generator itself was, p99.9"+at, "µs", lateness,
		figure.Target{})
	b.row(group, "revocations/s that were acknowledged meanwhile"+at, "/s", revoked,
		enough)
	b.plots = slices.DeleteFunc(b.plots, func(p plot) bool { return p.Name == curve.Name })
	b.plots = append(b.plots, curve)
	return late, nil
}

// voidIf takes back the last row's verdict, if it has one, when what was measured is the generator, or
// a machine that had no time for it.
func (b *bench) voidIf(noise bool) {
	if last := &b.rows[len(b.rows)-1]; noise && last.Verdict != "" {
		last.Verdict = figure.Void
	}
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// eventfulRun is one run at a fixed rate. In its middle third the policy is put in force anew, and
// the issuer publishes another key, which the gate fetches; in its last, tokens by that key come,
// one after the other. It returns how many revocations a second
// were acknowledged.
func (b *bench) eventfulRun(ctx context.Context, c *load.HTTP2, checks *[]*load.Request,
	rate float64) (r load.Result, revoked float64, err error) {
	if err := b.world.Rotate(); err != nil {
		return r, 0, err
	}
	b.sessions += b.settings.tokens
	next, err := b.world.Checks(b.settings.tokens+b.sessions, b.settings.tokens)
	if err != nil {
		return r, 0, err
	}
	sequence, err := renewed(*checks, next, rate, b.settings.atRate)
	if err != nil {
		return r, 0, err
	}
	*checks = next // the gate knows them when this is over
	if err := b.world.Revoke(ctx, revocation); err != nil {
		return r, 0, err
	}
	before, err := b.world.Revoked(ctx)
	if err != nil {
		return r, 0, err
	}
	changed := make(chan error, 2)
	go func() { changed <- b.changePolicy(ctx, b.settings.atRate/3) }()
	go func() { changed <- b.publishKey(ctx, b.settings.atRate/3, next[:1]) }()
	r, err = c.Run(ctx, load.Plan{
		Requests: sequence, Count: len(sequence), Rate: rate, InFlight: atOnce,
	})
	if err != nil {
		return r, 0, err
	}
	after, err := b.world.Revoked(ctx)
	if err == nil {
		err = errors.Join(<-changed, <-changed, b.world.Revoke(ctx, 0))
	}
	return r, float64(after-before) / r.Elapsed.Seconds(), err
}

// publishKey publishes the key by which the newest tokens are signed, and has the gate fetch it.
func (b *bench) publishKey(ctx context.Context, after time.Duration, checks []*load.Request) error {
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	b.world.Publish()
	return b.learns(ctx, checks)
}

// learns has the gate fetch the key of some checks' tokens: an issuer publishes a key before it signs
// by it. On a machine with other work, what a check may wait for a key is not always enough.
func (b *bench) learns(ctx context.Context, checks []*load.Request) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second,
		errors.New("bench: the gate does not know a published key after 10 s"))
	defer cancel()
	for {
		c, err := load.DialHTTP2(ctx, b.servers[gate].Unix, load.CheckHeaders())
		if err != nil {
			return err
		}
		_, err = c.Run(ctx, load.Plan{Requests: checks, Count: len(checks), InFlight: 1})
		if err = errors.Join(err, c.Close()); err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// renewed repeats the first list for two thirds of a run. In the last third its checks give way to
// those of the second, one after the other, as clients come back for another token at a time each of
// its own.
func renewed(first, second []*load.Request, rate float64,
	lasts time.Duration) ([]*load.Request, error) {
	n := int(rate * lasts.Seconds())
	if n < 3 {
		return nil, fmt.Errorf("bench: expected more than %d checks in a run", n)
	}
	all := make([]*load.Request, n)
	begin := 2 * n / 3
	for i := range all {
		from, at := first, i%len(first)
		if i >= begin && at < len(second)*(i-begin)/(n-begin) {
			from = second
		}
		all[i] = from[at]
	}
	return all, nil
}

// changePolicy adds a route to the gate's policy, or takes it away again, and returns when that is
// in force.
func (b *bench) changePolicy(ctx context.Context, after time.Duration) error {
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return b.world.ChangePolicy(ctx, b.servers[gate])
}

// garbage measures what honest clients notice when as many checks again have tokens that are none.
func (b *bench) garbage(ctx context.Context) error {
	honest, err := b.world.Checks(0, b.settings.tokens)
	if err != nil {
		return err
	}
	bad, err := b.world.GarbageChecks(20 * b.settings.tokens)
	if err != nil {
		return err
	}
	const group = "Half the load garbage, at half of what the gate can do of that"
	mixed := make([]*load.Request, 0, 2*len(bad))
	for i := range bad {
		mixed = append(mixed, honest[i%len(honest)], bad[i])
	}
	c, capacity, err := b.gateAlone(ctx, group, mixed)
	if err != nil {
		return err
	}
	defer c.Close()
	var ratios, alone, beside, late, lateAlone figure.Samples
	plan := load.Plan{For: b.settings.atRate / 3, InFlight: atOnce}
	for round := range max(3, b.settings.rounds/2) {
		progress(fmt.Sprintf("round %d", round+1))
		plan.Requests, plan.Rate = honest, capacity/4
		quiet, err := c.Run(ctx, plan)
		if err != nil {
			return err
		}
		plan.Requests, plan.Rate = mixed, capacity/2
		flooded, err := c.Run(ctx, plan)
		if err != nil {
			return err
		}
		alone = append(alone, micros(quiet.At(load.Allowed, 99)))
		beside = append(beside, micros(flooded.At(load.Allowed, 99)))
		late = append(late, micros(time.Duration(flooded.Late.ValueAtPercentile(99))))
		lateAlone = append(lateAlone, micros(time.Duration(quiet.Late.ValueAtPercentile(99))))
	}
	if ratios, err = beside.Over(alone); err != nil {
		return err
	}
	b.row(group, "honest p99 beside garbage, over honest p99 alone", "", ratios, figure.AtMost(2))
	b.voidIf(late.Summarize().Median > beside.Summarize().Median/2 ||
		lateAlone.Summarize().Median > alone.Summarize().Median/2)
	b.row(group, "honest p99 alone", "µs", alone, figure.Target{})
	b.row(group, "honest p99 beside garbage", "µs", beside, figure.Target{})
	b.row(group, "of this, how late the generator itself was, p99", "µs", late, figure.Target{})
	return nil
}
