package faults

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/meshtest"
	"github.com/sallyport/sallyport/internal/redisconn"
)

var (
	schedules = flag.Int("schedules", 0, "how many schedules to run, `n`; 0: two dozen")
	atOnce    = flag.Int("schedules-at-once", 5, "how many of them run side by side, `n`")
	seed      = flag.Uint64("seed", 1, "the first schedule's seed; the next ones count up from it")
	only      = flag.String("topology", "", "single, sentinel, cluster or relay; by the seed, but never relay, when empty")
	including = flag.String("with", "",
		"play only schedules in whose plan this is to be read, such as a kind of fault: it must exist")
	verbose = flag.Bool("history", false,
		"print the whole history of each schedule with a violation")
)

// few is how many schedules every test run plays, eight of each topology; and fewest how many with
// a relay besides.
const few, fewest = 24, 4

// plans returns the schedules to play.
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
	if *schedules == 0 && *only == "" && *including == "" {
		for n := range uint64(fewest) {
			all = append(all, NewPlan(*seed+n, Relayed))
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

// TestSchedules hurts installations, each as its seed says and in a folder of its own, and holds
// their histories to every promise.
func TestSchedules(t *testing.T) {
	s := &stage{binaries: meshtest.MovableBinaries(t), redis: asDeployed(t), table: newTable()}
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
	for _, plan := range s.doubtful {
		s.alone = true
		s.play(t, plan)
	}
}

// asDeployed is a Redis with the files that are deployed, which issuers insist on.
func asDeployed(t *testing.T) Redis {
	t.Helper()
	deployed, err := meshtest.Deployed(meshtest.Root(t))
	if err != nil {
		t.Fatal(err)
	}
	return Redis{Server: meshtest.RedisServer(t), Deployed: deployed, Checks: redisconn.ChecksEnforce}
}

// stage is where schedules are played.
type stage struct {
	binaries string
	redis    Redis

	mu    sync.Mutex
	table *table
	// whose histories prove nothing of some promises; they are played again, one by one
	doubtful []Plan
	alone    bool
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
	r, err := Run(t.Context(), plan, dir, s.binaries, s.redis)
	s.mu.Lock()
	defer s.mu.Unlock()
	took := time.Since(began).Round(time.Millisecond)
	if err != nil {
		t.Errorf("%v: %s: the harness failed: %v\n%s\n%s", took, plan, err, again(plan), logTails(dir))
		s.table.topology(plan.Topology).failed++
		return
	}
	if len(r.Doubtful) > 0 && len(r.Violations) == 0 && !s.alone {
		s.doubtful = append(s.doubtful, plan)
		t.Logf("%v: %s: inconclusive, will be played again alone%s", took, plan, listed(r.Doubtful))
		return
	}
	s.table.add(r)
	var out strings.Builder
	fmt.Fprintf(&out, "%v: %s: %d events, %d sessions ended, %d violations", took, plan,
		len(r.History.Events), Ended(r.History), len(r.Violations))
	for kind, errs := range r.Missed {
		fmt.Fprintf(&out, "\n    did not come about: %s: %v", kind, errors.Join(errs...))
	}
	out.WriteString(listed(r.Doubtful))
	if len(r.Violations) == 0 {
		t.Log(out.String())
		return
	}
	t.Error(out.String() + violations(r))
	keep(t, plan, dir)
}

// again is the command that plays a schedule again.
func again(p Plan) string {
	return fmt.Sprintf("again: make faults N=1 SEED=%d TOPOLOGY=%s", p.Seed, p.Topology)
}

// listed returns the first few of violations.
func listed(all []Violation) string {
	var out strings.Builder
	for i, v := range all {
		if i == 5 {
			fmt.Fprintf(&out, "\n  and %d more", len(all)-i)
			break
		}
		fmt.Fprintf(&out, "\n  %s", v)
	}
	return out.String()
}

func violations(r *Result) string {
	var out strings.Builder
	out.WriteString(listed(r.Violations))
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
