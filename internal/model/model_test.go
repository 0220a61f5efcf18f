package model_test

import (
	"flag"
	"runtime/debug"
	"testing"

	"github.com/sallyport/sallyport/internal/model"
)

var (
	exhaust  = flag.Bool("exhaust", false, "explore two faults to the end: make model")
	progress = flag.Bool("progress", false, "print each level of an exploration")
)

// exploration is limits and whether they are explored by make model alone.
type exploration struct {
	name   string
	long   bool
	limits model.Limits
}

func with(l model.Limits, change func(*model.Limits)) model.Limits {
	change(&l)
	return l
}

func explorations() []exploration {
	backwards := func(l *model.Limits) { l.Backwards = true }
	split := func(l *model.Limits) { l.Split = true }
	// With settle at two heartbeats, a third node and two faults, a mark of mending runs out while Redis stands still for less than half of
	// settle: issuers miss one heartbeat, and the gate's is the first afterwards. Settings must have settle at four heartbeats or more.
	together := func(l *model.Limits) { l.Together, l.Settle, l.MaxStaleness = true, 3, 4 }
	return []exploration{
		{"one node, one issuer, one fault", false, model.Small(1, 1, 1)},
		{"one node, one fault", false, model.Small(1, 2, 1)},
		{"one node, one fault, the other order", false, with(model.Small(1, 2, 1), backwards)},
		{"two nodes, one fault", false, model.Small(2, 2, 1)},
		{"two nodes, one issuer, two faults", true, model.Small(2, 1, 2)},
		{"one node, one fault, WAIT apart", true, with(model.Small(1, 2, 1), split)},
		{"three nodes, one fault", true, model.Small(3, 2, 1)},
		{"one node, two faults", true, model.Small(1, 2, 2)},
		{"one node, two faults, the other order", true, with(model.Small(1, 2, 2), backwards)},
		{"two nodes, two faults", true, model.Small(2, 2, 2)},
		{"three nodes, two faults, replicas together", true, with(model.Small(3, 2, 2), together)},
	}
}

// TestModel: no order of events within the limits breaks S1 to S4, S6, S7 or L1.
func TestModel(t *testing.T) {
	for _, x := range explorations() {
		if x.long != *exhaust {
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			l := x.limits
			if *progress {
				l.Progress = func(depth, states, last int) { t.Logf("%s: depth %d, %d states, %d new", x.name, depth, states, last) }
			}
			report, err := model.Explore(l, model.Unmutated)
			if err != nil {
				t.Fatal(err)
			}
			if report.Violation != nil {
				t.Fatalf("%s\n%s", report.String(), report.Violation)
			}
			if !report.Complete || report.Acknowledged == 0 || report.Tried == 0 {
				t.Fatalf("the exploration has shown nothing: %s", report.String())
			}
			t.Logf("%s\n%s\nviolations 0", x.name, report.String())
			debug.FreeOSMemory()
		})
	}
}
