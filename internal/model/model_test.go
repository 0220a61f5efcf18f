//go:build model

package model_test

import (
	"flag"
	"runtime/debug"
	"testing"

	"github.com/sallyport/sallyport/internal/model"
)

var (
	exhaust = flag.Bool("exhaust", false, "explore two faults to the end: make model")
	vast    = flag.Bool("vast", false,
		"explore what takes hours and most of 24 GB of memory: make model-vast")
	progress = flag.Bool("progress", false, "print each level of an exploration")
)

// exploration is limits, and who explores them.
type exploration struct {
	name   string
	size   size
	limits model.Limits
}

type size int

const (
	short  size = iota // every go test
	long               // make model
	vaster             // make model-vast
)

// wanted returns what is explored this time.
func wanted() size {
	switch {
	case *vast:
		return vaster
	case *exhaust:
		return long
	}
	return short
}

func with(l model.Limits, change func(*model.Limits)) model.Limits {
	change(&l)
	return l
}

func explorations() []exploration {
	ages := func(l *model.Limits) { l.Ages = true }
	backwards := func(l *model.Limits) { l.Backwards = true }
	split := func(l *model.Limits) { l.Split = true }
	// With settle at two heartbeats, a third node and two faults, a mark of mending runs out while
	// Redis stands still for less than half of settle: issuers miss one heartbeat, and the gate's
	// is the first afterwards. Settings must have settle at four heartbeats or more.
	together := func(l *model.Limits) { l.Together, l.Settle, l.MaxStaleness = true, 3, 4 }
	return []exploration{
		{"one node, one issuer, one fault", short, model.Small(1, 1, 1)},
		{"one node, one fault", short, model.Small(1, 2, 1)},
		{"one node, one fault, the other order", short, with(model.Small(1, 2, 1), backwards)},
		{"two nodes, one fault", short, model.Small(2, 2, 1)},
		{"entries of two lives, one issuer, one fault", short, with(model.Small(1, 1, 1), ages)},
		{"entries of two lives, one fault", long, with(model.Small(1, 2, 1), ages)},
		{"entries of two lives, two nodes, one fault", short, with(model.Small(2, 1, 1), ages)},
		{"entries of two lives, two nodes, two faults", long, with(model.Small(2, 1, 2), ages)},
		{"entries of two lives, two faults", long, with(model.Small(1, 2, 2), ages)},
		{"two nodes, one issuer, two faults", long, model.Small(2, 1, 2)},
		{"one node, one fault, WAIT apart", long, with(model.Small(1, 2, 1), split)},
		{"three nodes, one fault", long, model.Small(3, 2, 1)},
		{"one node, two faults", long, model.Small(1, 2, 2)},
		{"one node, two faults, the other order", long, with(model.Small(1, 2, 2), backwards)},
		{"two nodes, two faults", long, model.Small(2, 2, 2)},
		{"three nodes, one issuer, two faults", long, model.Small(3, 1, 2)},
		{"three nodes, two faults, replicas together", vaster, with(model.Small(3, 2, 2), together)},
	}
}

// TestModel: no order of events within the limits breaks S1 to S4, S6, S7 or L1.
func TestModel(t *testing.T) {
	for _, x := range explorations() {
		if x.size != wanted() {
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			l := x.limits
			if *progress {
				l.Progress = func(depth, states, last int) {
					t.Logf("%s: depth %d, %d states, %d new", x.name, depth, states, last)
				}
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
