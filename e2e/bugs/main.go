// Command bugs breaks the rules of the revocation log and of sessions, one by one, and runs the
// tests that are to notice. Each bug of the table is an edit of the product's own files, which the
// go command reads in their place (go test -overlay): the product knows nothing of it. Bugs prints
// what caught each, and fails when one was not caught, when a rule no longer stands in its file, or
// when a test fails without any bug.
//
// It wants redis-server, and to be run from the module's root: make bugs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

func main() {
	only := flag.String("only", "",
		"bugs to try, by number or by number and letter, separated by commas: 8,17c")
	all := flag.Bool("all", false, "run every catcher of a bug, not only the first that catches it")
	jobs := flag.Int("jobs", 4, "tests at a time: most of their time they wait")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, chosen(*only), *all, *jobs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// chosen returns the table's rows that a list of numbers names; all for an empty one.
func chosen(list string) []row {
	if list == "" {
		return table
	}
	names := strings.Split(list, ",")
	return slices.DeleteFunc(slices.Clone(table), func(r row) bool {
		return !slices.Contains(names, r.bug) &&
			!slices.Contains(names, number(r.bug))
	})
}

func run(ctx context.Context, rows []row, all bool, jobs int) error {
	if len(rows) == 0 {
		return fmt.Errorf("bugs: no bug of that number")
	}
	began := time.Now()
	w, err := open()
	if err != nil {
		return err
	}
	defer w.remove()
	// All rows first: that a rule has changed is known before an hour of tests, not after.
	for _, r := range rows {
		if _, err := r.apply(w.root); err != nil {
			return err
		}
	}
	if err := w.control(ctx, rows, jobs); err != nil {
		return err
	}
	results := make([]result, len(rows))
	var done atomic.Int32
	each(jobs, len(rows), func(n int) {
		results[n] = w.try(ctx, rows[n], all)
		fmt.Fprintf(os.Stderr, "%d of %d: %s\n", done.Add(1), len(rows), rows[n].bug)
	})
	missed := report(results)
	fmt.Printf("%d bugs in %d forms, %d caught, %s\n",
		numbers(rows), len(rows), len(rows)-missed, time.Since(began).Round(time.Second))
	if missed > 0 {
		return fmt.Errorf("bugs: %d of %d forms were not caught", missed, len(rows))
	}
	return nil
}

// numbers counts the bugs that forms are of.
func numbers(rows []row) int {
	seen := map[string]bool{}
	for _, r := range rows {
		seen[number(r.bug)] = true
	}
	return len(seen)
}

// control runs every catcher without a bug: one that fails all the same catches nothing.
func (w *workshop) control(ctx context.Context, rows []row, jobs int) error {
	began, used := time.Now(), catchers(rows)
	binaries := map[string]string{}
	for _, c := range used {
		if binaries[c.pkg] != "" {
			continue
		}
		binary, err := w.build(ctx, c.pkg, nil)
		if err != nil {
			return err
		}
		binaries[c.pkg] = binary
	}
	outcomes := make([]outcome, len(used))
	each(jobs, len(used), func(n int) {
		outcomes[n] = used[n].run(ctx, binaries[used[n].pkg], w.root)
	})
	var failed []string
	for n, o := range outcomes {
		if !o.passed {
			failed = append(failed, fmt.Sprintf("%s without a bug: %s\n%s", used[n], o.why, o.output))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("bugs: these tests fail by themselves:\n%s", strings.Join(failed, "\n"))
	}
	fmt.Printf("%d tests pass without a bug, in %s\n\n",
		len(used), time.Since(began).Round(time.Second))
	return nil
}

// report prints the table and counts the bugs that nothing caught.
func report(results []result) (missed int) {
	fmt.Printf("%-4s %-57s %-75s %s\n", "", "bug", "caught by", "seconds")
	for _, r := range results {
		by := strings.Join(r.by, ", ")
		if len(r.by) == 0 {
			missed++
			by = "NOT CAUGHT: " + r.why
		}
		fmt.Printf("%-4s %-57s %-75s %6.1f\n", r.row.bug, r.row.what, by, r.took.Seconds())
	}
	return missed
}
