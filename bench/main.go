// Command bench measures a gate, beside what it is compared with, in one run: in rounds in which
// each of them has its turn, so that what slows the machine slows all. It prints medians of the
// rounds, how far they lie apart, and ratios, each with its target.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/bench/figure"
	"github.com/sallyport/sallyport/bench/world"
)

type options struct {
	quick  bool
	json   bool
	report bool
	base   string
	only   string
	keep   string
	limit  time.Duration
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "the ratios that have targets, in less than two minutes")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.BoolVar(&o.report, "report", false, "write bench/RESULTS.md's generated part and the plots")
	flag.StringVar(&o.base, "base", "", "folder of another checkout, whose gate and issuer are measured beside ours")
	flag.StringVar(&o.only, "only", "", "parts to run, with commas between them: "+partNames())
	flag.StringVar(&o.keep, "profile", "", "folder that takes profiles of the processor time of gate and issuer")
	flag.DurationVar(&o.limit, "limit", 40*time.Minute, "the longest that a run may take")
	flag.Parse()
	// Ctrl-C, and being told to stop, end what was started; a second time ends this process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	root, err := findRoot()
	if err != nil {
		return err
	}
	chosen, err := choose(o)
	if err != nil {
		return err
	}
	if o.base != "" {
		if o.base, err = filepath.Abs(o.base); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	progress("building")
	built, err := build(ctx, root, o.base)
	if err != nil {
		return err
	}
	began, on := time.Now(), machine()
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit,
		fmt.Errorf("bench: it has taken %v: raise -limit, or run fewer parts (-only)", o.limit))
	defer cancel()
	b := &bench{
		root: root, built: built, settings: settingsOf(o.quick), revocations: 1_000_000,
		servers: map[string]*world.Server{}, profiles: o.keep,
	}
	if err := b.measure(ctx, chosen); err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = errors.Join(cause, err)
		}
		return err
	}
	r := report{
		Taken: time.Since(began).Round(time.Second).String(), Machine: on, Quick: o.quick,
		Command: command(o), Rows: b.rows, Plots: b.plots,
	}
	if o.report {
		if err := r.write(filepath.Join(root, "bench")); err != nil {
			return err
		}
	}
	if o.json {
		return r.printJSON(os.Stdout)
	}
	r.print(os.Stdout)
	return nil
}

// command is what the run can be repeated with.
func command(o options) string {
	words := []string{"go", "run", "."}
	if o.quick {
		words = append(words, "-quick")
	}
	if o.base != "" {
		words = append(words, "-base", "DIR")
	}
	if o.only != "" {
		words = append(words, "-only", o.only)
	}
	return strings.Join(words, " ")
}

// progress goes to standard error, so that standard output has the figures alone.
func progress(doing string) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format(time.TimeOnly), doing)
}

// settings are how much is measured.
type settings struct {
	quick    bool
	rounds   int
	turn     time.Duration // of each contender in a round
	atRate   time.Duration // a run at a fixed rate
	tokens   int           // in rotation
	distinct int           // tokens in turn, for the cache's bound
	growth   int           // requests in a row, for the memory
	tcp      bool          // TCP besides Unix sockets
	logins   int
	logouts  int
	starts   int
}

func settingsOf(quick bool) settings {
	if quick {
		return settings{
			quick: true, rounds: 5, turn: 400 * time.Millisecond, atRate: 4 * time.Second, tokens: 1000,
			distinct: 1_000_000, growth: 1_000_000, logins: 40, logouts: 2500, starts: 3,
		}
	}
	return settings{
		rounds: 11, turn: 1500 * time.Millisecond, atRate: 30 * time.Second, tokens: 1000,
		distinct: 1_000_000, growth: 1_000_000, tcp: true, logins: 100, logouts: 20_000, starts: 7,
	}
}

// bench is one run.
type bench struct {
	root        string
	built       programs
	settings    settings
	revocations int
	world       *world.World
	cores       world.Cores
	servers     map[string]*world.Server // by name, as they are needed
	rows        []figure.Row
	plots       []plot
	sessions    int    // whose tokens were used once
	profiles    string // the folder that takes them; "" for none
	profiled    int
}

// part is something that can be run by itself.
type part struct {
	name    string
	measure func(*bench, context.Context) error
	full    bool // left out of a quick run
	apart   bool // what it runs is measured, and tested, by itself
}

var parts = []part{
	{name: "sizes", measure: (*bench).sizes},
	{name: "alone", measure: (*bench).alone},
	{name: "envoy", measure: (*bench).throughEnvoy},
	{name: "inside", measure: (*bench).gateInside},
	{name: "latency", measure: (*bench).latency},
	{name: "garbage", measure: (*bench).garbage},
	{name: "start", measure: (*bench).start},
	{name: "issuer", measure: (*bench).issuer},
	{name: "distinct", measure: (*bench).distinctTokens, full: true},
	{name: "growth", measure: (*bench).growth, full: true},
	{name: "look-ups", measure: (*bench).lookUps, full: true, apart: true},
	{name: "streams", measure: (*bench).streams, full: true, apart: true},
}

func partNames() string {
	all := make([]string, len(parts))
	for i, p := range parts {
		all[i] = p.name
	}
	return strings.Join(all, ", ")
}

// choose returns the parts to run.
func choose(o options) ([]part, error) {
	var chosen []part
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(o.only, ",") {
		if name != "" {
			wanted[name] = true
		}
	}
	all := len(wanted) == 0
	for _, p := range parts {
		if wanted[p.name] || (all && (!p.full || !o.quick)) {
			chosen = append(chosen, p)
		}
		delete(wanted, p.name)
	}
	for name := range wanted {
		return nil, fmt.Errorf("bench: expected of -only some of %s, got %q", partNames(), name)
	}
	return chosen, nil
}
