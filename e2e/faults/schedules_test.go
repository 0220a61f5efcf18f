package faults

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/meshtest"
)

var (
	schedules = flag.Int("schedules", 0, "how many schedules to run, `n`; 0: two dozen")
	atOnce    = flag.Int("schedules-at-once", 4, "how many of them run side by side, `n`")
	seed      = flag.Uint64("seed", 1, "the first schedule's seed; the next ones count up from it")
	only      = flag.String("topology", "", "single, sentinel or cluster; by the seed when empty")
	including = flag.String("with", "", "play only schedules in whose plan this is to be read, such as a kind of fault: it must exist")
	verbose   = flag.Bool("history", false, "print the whole history of each schedule with a violation")
)

// few is how many schedules every test run plays: eight of each topology.
const few = 24

// plans gives the schedules to play.
func plans() []Plan {
	count := *schedules
	if count == 0 {
		count = few
	}
	var all []Plan
	for n := *seed; len(all) < count; n++ {
		if plan := planFor(n); strings.Contains(plan.String(), *including) {
			all = append(all, plan)
		}
	}
	return all
}

func planFor(seed uint64) Plan {
	if *only != "" {
		return NewPlan(seed, Topology(*only))
	}
	return NewPlan(seed, topologies[seed%uint64(len(topologies))])
}

// TestSchedules hurts installations, each as its seed says and in a folder of its own, and holds their histories to every promise.
func TestSchedules(t *testing.T) {
	s := &stage{binaries: meshtest.MovableBinaries(t), redisServer: meshtest.RedisServer(t), table: newTable()}
	defer func() { t.Logf("\n%s", s.table) }()
	queue := make(chan Plan)
	var players sync.WaitGroup
	for range *atOnce {
		players.Go(func() {
			for plan := range queue {
				s.play(t, plan)
			}
		})
	}
	for _, plan := range plans() {
		queue <- plan
	}
	close(queue)
	players.Wait()
}

// stage is where schedules are played.
type stage struct {
	binaries, redisServer string

	mu    sync.Mutex
	table *table
}

// play plays one schedule and prints what became of it, whole.
func (s *stage) play(t *testing.T, plan Plan) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "faults")
	if err != nil {
		t.Error(err)
		return
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	r, err := Run(t.Context(), plan, dir, s.binaries, s.redisServer)
	s.mu.Lock()
	defer s.mu.Unlock()
	took := time.Since(began).Round(time.Millisecond)
	if err != nil {
		t.Errorf("%v: %s: the harness failed: %v\n%s\n%s", took, plan, err, again(plan), logTails(dir))
		s.table.failed++
		return
	}
	s.table.add(r)
	var out strings.Builder
	fmt.Fprintf(&out, "%v: %s: %d events, %d sessions ended, %d violations", took, plan, len(r.History.Events), ended(r.History), len(r.Violations))
	for _, missed := range r.Missed {
		fmt.Fprintf(&out, "\n    did not come about: %v", missed)
	}
	for _, v := range r.Doubtful {
		fmt.Fprintf(&out, "\n    %s", v)
	}
	if len(r.Violations) == 0 {
		t.Log(out.String())
		return
	}
	t.Error(out.String() + violations(r))
	keep(t, plan, dir)
}

// again is the command that plays a schedule again.
func again(p Plan) string {
	return fmt.Sprintf("again: go test ./e2e/faults -run TestSchedules -v -schedules 1 -seed %d -topology %s", p.Seed, p.Topology)
}

func violations(r *Result) string {
	var out strings.Builder
	for i, v := range r.Violations {
		if i == 5 {
			fmt.Fprintf(&out, "\n  and %d more", len(r.Violations)-i)
			break
		}
		fmt.Fprintf(&out, "\n  %s", v)
	}
	fmt.Fprintf(&out, "\n  %s", again(r.Plan))
	if *verbose {
		for i := range r.History.Events {
			out.WriteString("\n" + r.History.Events[i].String())
		}
		for i := range r.History.Spans {
			out.WriteString("\n" + r.History.Spans[i].String())
		}
	}
	return out.String()
}

// keep keeps the logs of a schedule where FAULTS_KEEP says.
func keep(t *testing.T, p Plan, dir string) {
	to := os.Getenv("FAULTS_KEEP")
	if to == "" {
		return
	}
	to = fmt.Sprintf("%s/%d-%s", to, p.Seed, p.Topology)
	if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(dir))); err != nil {
		t.Log(err)
	}
}

// logTails shows the ends of all logs.
func logTails(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".log") {
			continue
		}
		content, err := os.ReadFile(dir + "/" + e.Name())
		if err != nil {
			fmt.Fprintln(&out, err)
			continue
		}
		lines := strings.SplitAfter(string(content), "\n")
		fmt.Fprintf(&out, "the end of %s:\n%s", e.Name(), strings.Join(lines[max(0, len(lines)-15):], ""))
	}
	return out.String()
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
	schedules                           map[Topology]int
	failed, revocations, stalls         int
	converged                           []time.Duration
}

func newTable() *table {
	return &table{injected: map[Kind]int{}, skipped: map[Kind]int{}, missed: map[Kind]int{}, violated: map[Kind]int{}, promises: map[string]int{}, schedules: map[Topology]int{}}
}

func (b *table) add(r *Result) {
	b.schedules[r.Plan.Topology]++
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
	kinds := slices.Concat(everywhere, ofSingle, ofSentinel, ofCluster)
	slices.Sort(kinds)
	for _, k := range slices.Compact(kinds) {
		note := ""
		if b.skipped[k] > 0 {
			note = fmt.Sprintf("  (%d not possible here: needs Linux, and root for a disk of its own)", b.skipped[k])
		}
		fmt.Fprintf(&out, "%-36s %9d %11d%s\n", k, b.injected[k], b.violated[k], note)
	}
	fmt.Fprintf(&out, "schedules: %v, %d failed to run; %d sessions ended and acknowledged, violations by promise: %v\n", b.schedules, b.failed, b.revocations, b.promises)
	if len(b.converged) > 0 {
		slices.Sort(b.converged)
		fmt.Fprintf(&out, "all well after the faults: p50 %v, max %v", b.converged[len(b.converged)/2].Round(time.Millisecond), b.converged[len(b.converged)-1].Round(time.Millisecond))
	}
	fmt.Fprintf(&out, "; the machine stalled %d times\n", b.stalls)
	return out.String()
}
