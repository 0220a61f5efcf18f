package faults

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/meshtest"
)

var (
	schedules = flag.Int("schedules", 0, "how many schedules to run, `n`; 0: a few whose seeds are always the same")
	seed      = flag.Uint64("seed", 1, "the first schedule's seed; the next ones count up from it")
	only      = flag.String("topology", "", "single or sentinel; by the seed when empty")
	including = flag.String("with", "", "play only schedules in whose plan this is to be read, such as a kind of fault: it must exist")
	verbose   = flag.Bool("history", false, "print the whole history of each schedule with a violation")
)

// always are the seeds that every test run plays: the log trimmed from outside; an old disk, then a flush and a full disk;
// a replica promoted that has missed writes; a deposed primary that goes on answering.
var always = []uint64{2, 6, 7, 9}

// seeds gives the seeds to play.
func seeds() []uint64 {
	if *schedules == 0 {
		return always
	}
	var all []uint64
	for n := *seed; len(all) < *schedules; n++ {
		if strings.Contains(planFor(n).String(), *including) {
			all = append(all, n)
		}
	}
	return all
}

// TestSchedules hurts installations, each as its seed says, and holds their histories to every promise.
func TestSchedules(t *testing.T) {
	binaries, redisServer := meshtest.MovableBinaries(t), meshtest.RedisServer(t)
	table := newTable()
	defer func() { t.Logf("\n%s", table) }()
	for _, seed := range seeds() {
		plan := planFor(seed)
		began := time.Now()
		dir := t.TempDir()
		r, err := Run(t.Context(), plan, dir, binaries, redisServer, t.Logf)
		if err != nil {
			t.Errorf("%s: the harness failed: %v", plan, err)
			logTails(t, dir)
			continue
		}
		table.add(r)
		t.Logf("%v: %s: %d events, %d sessions ended, %d violations", time.Since(began).Round(time.Millisecond), plan, len(r.History.Events), ended(r.History), len(r.Violations))
		for _, missed := range r.Missed {
			t.Logf("    did not come about: %v", missed)
		}
		report(t, r, dir)
	}
}

func planFor(seed uint64) Plan {
	topology := []Topology{Single, Sentinel}[seed%2]
	if *only != "" {
		topology = Topology(*only)
	}
	return NewPlan(seed, topology)
}

func report(t *testing.T, r *Result, dir string) {
	for i, v := range r.Violations {
		if i == 5 {
			t.Errorf("and %d more", len(r.Violations)-i)
			break
		}
		t.Errorf("violation, %s\n  again: go test ./e2e/faults -run TestSchedules -schedules 1 -seed %d -topology %s\n  %s", r.Plan, r.Plan.Seed, r.Plan.Topology, v)
	}
	if len(r.Violations) == 0 {
		return
	}
	if *verbose {
		for i := range r.History.Events {
			t.Log(r.History.Events[i].String())
		}
		for i := range r.History.Spans {
			t.Log(r.History.Spans[i].String())
		}
	}
	if keep := os.Getenv("FAULTS_KEEP"); keep != "" {
		if err := os.CopyFS(fmt.Sprintf("%s/%d", keep, r.Plan.Seed), os.DirFS(dir)); err != nil {
			t.Log(err)
		}
	}
}

// logTails shows the ends of all logs.
func logTails(t *testing.T, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Log(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".log") {
			continue
		}
		content, err := os.ReadFile(dir + "/" + e.Name())
		if err != nil {
			t.Log(err)
			continue
		}
		lines := strings.SplitAfter(string(content), "\n")
		t.Logf("the end of %s:\n%s", e.Name(), strings.Join(lines[max(0, len(lines)-15):], ""))
	}
}

func ended(h *History) int {
	sessions := map[string]bool{}
	for i := range h.Events {
		if e := &h.Events[i]; e.Acknowledged() {
			sessions[e.Session] = true
		}
	}
	return len(sessions)
}

// table counts what faults were survived.
type table struct {
	injected, skipped, missed, violated map[Kind]int
	promises                            map[string]int
	schedules, revocations, stalls      int
	converged                           []time.Duration
}

func newTable() *table {
	return &table{injected: map[Kind]int{}, skipped: map[Kind]int{}, missed: map[Kind]int{}, violated: map[Kind]int{}, promises: map[string]int{}}
}

func (b *table) add(r *Result) {
	b.schedules++
	b.revocations += ended(r.History)
	b.converged = append(b.converged, r.Converged...)
	for _, s := range r.History.Spans {
		if s.Kind == Stalled {
			b.stalls++
		}
	}
	for k, n := range r.Injected {
		b.injected[k] += n
		b.violated[k] += len(r.Violations)
	}
	for k, n := range r.Skipped {
		b.skipped[k] += n
	}
	for _, v := range r.Violations {
		b.promises[v.Promise]++
	}
}

// String gives the table: a violation counts for every kind of fault in its schedule.
func (b *table) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%-36s %9s %11s\n", "fault", "injected", "violations")
	kinds := slices.Concat(everywhere, ofSingle, ofSentinel[:5])
	slices.Sort(kinds)
	for _, k := range slices.Compact(kinds) {
		note := ""
		if b.skipped[k] > 0 {
			note = fmt.Sprintf("  (%d not possible here: needs Linux, and root for a disk of its own)", b.skipped[k])
		}
		fmt.Fprintf(&out, "%-36s %9d %11d%s\n", k, b.injected[k], b.violated[k], note)
	}
	fmt.Fprintf(&out, "%d schedules, %d sessions ended and acknowledged, violations by promise: %v\n", b.schedules, b.revocations, b.promises)
	if len(b.converged) > 0 {
		slices.Sort(b.converged)
		fmt.Fprintf(&out, "all well after the faults: p50 %v, max %v", b.converged[len(b.converged)/2].Round(time.Millisecond), b.converged[len(b.converged)-1].Round(time.Millisecond))
	}
	fmt.Fprintf(&out, "; the machine stalled %d times\n", b.stalls)
	return out.String()
}
