package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/meshtest"
)

// Result is what became of a schedule.
type Result struct {
	Plan       Plan
	History    *History
	Violations []Violation
	Doubtful   []Violation // the history does not prove them
	Injected   map[Kind]int
	Skipped    map[Kind]int     // not possible here
	Missed     map[Kind][]error // did not come about
	Converged  []time.Duration
}

const (
	clients       = 4
	convergeLimit = 10 * time.Second // L1: "within seconds", on a machine that is busy
	redisLimit    = 40 * time.Second // for Redis itself to recover
	startLimit    = 60 * time.Second
	calm          = 400 * time.Millisecond // of health between rounds
)

// Redis is what the servers of a schedule are.
type Redis struct {
	Server   string // the program
	Deployed meshtest.DeployedRedis
	Checks   string // what issuers do about one that can lose what they acknowledge
}

// Run runs a schedule in dir. An error says that the harness itself failed, which says nothing
// about the promises.
func Run(ctx context.Context, plan Plan, dir, binaries string, redis Redis) (*Result, error) {
	w, err := build(ctx, plan, dir, binaries, redis)
	if err != nil {
		return nil, err
	}
	r := &Result{
		Plan: plan, Injected: map[Kind]int{}, Skipped: map[Kind]int{}, Missed: map[Kind][]error{},
	}
	err = w.play(ctx, r)
	r.History = w.history()
	if err == nil {
		for _, v := range Judge(r.History) {
			if v.Doubt == "" {
				r.Violations = append(r.Violations, v)
			} else {
				r.Doubtful = append(r.Doubtful, v)
			}
		}
	}
	select {
	case err := <-w.processes.Failed():
		r.Violations = append(r.Violations,
			Violation{Promise: "running", What: "a process exited by itself", Slice: []string{err.Error()}})
	default:
	}
	return r, errors.Join(err, w.end())
}

func (w *world) history() *History {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := &History{
		MaxStaleness:  w.plan.maxStaleness(),
		Outage:        w.plan.maxStaleness() - settle - 4*heartbeat,
		Grace:         grace,
		ConvergeLimit: convergeLimit,
		Events:        w.events,
		Spans:         w.spans,
		Starts:        map[string][]time.Duration{},
	}
	for name, n := range w.nodes {
		h.Starts[name] = n.starts
	}
	return h
}

// play goes through the rounds.
func (w *world) play(ctx context.Context, r *Result) error {
	stop := make(chan struct{})
	var acting sync.WaitGroup
	acting.Go(func() { w.watchStalls(stop) })
	acting.Go(func() { w.watchPromotions(ctx, stop) })
	defer acting.Wait()
	defer sync.OnceFunc(func() { close(stop) })()

	covers, err := w.recover(ctx, startLimit)
	if err != nil {
		return fmt.Errorf("faults: the installation does not come up: %w", err)
	}
	healthy := Span{Kind: Healthy, From: w.now(), Covers: covers}
	for i := range clients {
		c := &client{world: w, random: rand.New(rand.NewPCG(w.plan.Seed, uint64(i))), user: w.users[i]}
		switch i {
		case 0:
			c.once = []func(){func() { c.endKey(w.foreigners[0]) }, func() { c.endIssuer(w.foreigners[1]) }}
		case 1:
			c.once = []func(){c.disable}
		}
		acting.Go(func() { c.run(stop) })
	}
	for number, round := range w.plan.Rounds {
		sleep(ctx, calm)
		healthy.To = w.now()
		w.span(healthy)
		w.injectAll(ctx, r, round)
		if err := w.await(ctx, redisLimit, w.redisWell); err != nil {
			return fmt.Errorf("faults: Redis does not recover: %w", err)
		}
		from := w.now()
		covers, err := w.recover(ctx, 2*convergeLimit)
		converged := Span{Kind: Converged, From: from, To: w.now(), Failed: err != nil}
		if err != nil {
			converged.Note = err.Error()
			w.span(converged)
			return ctx.Err()
		}
		w.span(converged)
		r.Converged = append(r.Converged, converged.To-converged.From)
		healthy = Span{Kind: Healthy, From: w.now(), Covers: covers}
		w.audit(w.gates...)
		if err := w.auditFresh(ctx, number); err != nil {
			return err
		}
	}
	healthy.To = w.now()
	w.span(healthy)
	return ctx.Err()
}

// injectAll makes a round's faults happen.
func (w *world) injectAll(ctx context.Context, r *Result, round []Injection) {
	errs := make([]error, len(round))
	var all sync.WaitGroup
	for k, i := range round {
		all.Go(func() {
			from := w.now()
			errs[k] = w.inject(ctx, i)
			w.span(Span{
				Kind: Fault, From: from, To: w.now(), Who: string(i.Kind), Note: i.String(),
				Loses: w.loses(i.Kind),
			})
		})
	}
	all.Wait()
	for k, i := range round {
		switch {
		case errs[k] == nil:
			r.Injected[i.Kind]++
		case errors.Is(errs[k], errSkipped):
			r.Skipped[i.Kind]++
		default:
			r.Missed[i.Kind] = append(r.Missed[i.Kind], errs[k])
		}
	}
}

// await waits until a condition holds, and returns what it said last.
func (w *world) await(ctx context.Context, limit time.Duration,
	condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 3*time.Second)
		err := condition(attempt)
		done()
		if err == nil {
			return nil
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
	}
}

// recover waits until all is well: everybody says so, each issuer begins and ends a session, every
// gate has applied that, allows what is valid and denies what is not. What was acknowledged before
// covers is then known to be in force at every gate.
func (w *world) recover(ctx context.Context,
	limit time.Duration) (covers time.Duration, err error) {
	err = w.await(ctx, limit, func(ctx context.Context) error {
		covers = w.now()
		return w.well(ctx)
	})
	return covers, err
}

func (w *world) well(ctx context.Context) error {
	for _, g := range w.gates {
		if err := w.answersOK(ctx, g.admin+"/readyz"); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		if err := w.fresh(ctx, g); err != nil {
			return err
		}
	}
	for _, i := range w.issuers {
		if err := w.answersOK(ctx, i.admin+"/readyz"); err != nil {
			return fmt.Errorf("%s: %w", i.name, err)
		}
		if err := w.works(i); err != nil {
			return err
		}
	}
	return nil
}

// fresh returns why a gate's copy has not been confirmed just now. A gate is ready as long as an
// older confirmation lasts; only after a new one can it outlast an outage of the promised length.
func (w *world) fresh(ctx context.Context, g *gate) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.admin+"/metrics", nil)
	if err != nil {
		return err
	}
	_, body, err := w.send(request)
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasSuffix(name, "_staleness_seconds") {
			continue
		}
		seconds, err := strconv.ParseFloat(value, 64)
		if err == nil && seconds > settle.Seconds() {
			err = fmt.Errorf("%s was last confirmed %.3f s ago", g.name, seconds)
		}
		return err
	}
	return errors.Join(err, fmt.Errorf("%s does not say how stale it is", g.name))
}

// works returns why no session can be begun and ended at an issuer, with every gate following; nil
// when one can.
func (w *world) works(i *issuer) error {
	s := w.login(i, prober)
	if s == nil {
		return fmt.Errorf("%s does not log in", i.name)
	}
	for _, g := range w.gates {
		if e := w.call(g, s, s.access[0]); !e.Allowed() {
			return fmt.Errorf("%s answers %d %s to a valid token", g.name, e.Status, e.Reason)
		}
	}
	if status := w.logout(i, s, true, false); status != http.StatusOK {
		return fmt.Errorf("%s answers %d to a logout", i.name, status)
	}
	for _, g := range w.gates {
		if e := w.call(g, s, s.access[0]); !e.Revoked() {
			return fmt.Errorf("%s answers %d %s to a revoked token", g.name, e.Status, e.Reason)
		}
	}
	return nil
}

// auditLimit is how many sessions are asked about at a gate, the youngest ones.
const auditLimit = 400

// audit asks gates about all sessions there have been. The history's judge draws the conclusions.
func (w *world) audit(gates ...*gate) {
	w.mu.Lock()
	sessions := w.sessions[max(0, len(w.sessions)-auditLimit):]
	w.mu.Unlock()
	for _, s := range sessions {
		s.mu.Lock()
		tokens := []access{s.access[0], s.access[len(s.access)-1]}
		s.mu.Unlock()
		for _, g := range gates {
			for k, t := range tokens {
				if k == 0 || t != tokens[0] {
					w.call(g, s, t)
				}
			}
		}
	}
}

// auditFresh asks a gate that has been restarted, and so knows only what the log has.
func (w *world) auditFresh(ctx context.Context, number int) error {
	g := w.gates[(int(w.plan.Seed%3)+number)%len(w.gates)]
	g.hurt.Lock()
	defer g.hurt.Unlock()
	from := w.now()
	if err := errors.Join(g.kill(), g.restart(ctx)); err != nil {
		return err
	}
	err := w.await(ctx, 2*convergeLimit,
		func(ctx context.Context) error { return w.answersOK(ctx, g.admin+"/readyz") })
	w.span(Span{Kind: Starting, From: from, To: w.now(), Who: g.name})
	if err != nil {
		w.span(Span{
			Kind: Converged, From: from, To: w.now(), Failed: true,
			Note: g.name + " restarted: " + err.Error(),
		})
		return nil
	}
	w.audit(g)
	return nil
}

// Each tick that comes late says how long a process that wants to run has to wait on this machine.
// A heartbeat is six or more such waits, one after the other, and is to be done in a quarter of
// settle: with more lateness than these the machine itself is the fault.
const (
	tick     = 10 * time.Millisecond
	stall    = settle / 2             // of one tick
	watched  = time.Second            // a window
	lateness = 350 * time.Millisecond // of all ticks of a window together
)

// watchStalls notes when the machine is too busy to run even this.
func (w *world) watchStalls(stop <-chan struct{}) {
	last := w.now()
	window, late := last, time.Duration(0)
	for {
		select {
		case <-stop:
			return
		case <-time.After(tick):
		}
		now := w.now()
		late += now - last - tick
		switch {
		case now-last > stall:
			w.span(Span{Kind: Stalled, From: last, To: now})
		case late > lateness:
			w.span(Span{
				Kind: Stalled, From: window, To: now,
				Note: fmt.Sprintf("%v late in all", late.Round(time.Millisecond)),
			})
		}
		last = now
		if now-window > watched || late > lateness {
			window, late = now, 0
		}
	}
}

// watchPromotions notes when Redis chooses another primary, whoever gave it cause.
func (w *world) watchPromotions(ctx context.Context, stop <-chan struct{}) {
	if w.plan.single() {
		return
	}
	known, since := w.promotions(ctx), w.now()
	for {
		select {
		case <-stop:
			return
		case <-time.After(200 * time.Millisecond):
		}
		last := since
		since = w.now()
		if n := w.promotions(ctx); n > known {
			w.span(Span{Kind: Promoted, From: last, To: w.now(), Note: fmt.Sprintf("epoch %d", n)})
			known = n
		}
	}
}

// promotions returns a number that grows with every choice of a primary: the newest epoch that
// anybody knows who may vote.
func (w *world) promotions(ctx context.Context) (newest int64) {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	var mu sync.Mutex
	ask, who := (*server).clusterEpoch, w.servers
	if w.plan.Topology == Sentinel {
		ask, who = (*server).sentinelEpoch, w.sentinels
	}
	_ = together(who, func(_ int, s *server) error { // who does not answer knows nothing
		epoch, err := ask(s, ctx)
		mu.Lock()
		defer mu.Unlock()
		newest = max(newest, epoch)
		return err
	})
	return newest
}
