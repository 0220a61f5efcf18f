package faults

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// table counts what faults were survived.
type table struct {
	kinds      map[Kind]*kindRow
	topologies map[Topology]*topologyRow
	promises   map[string]int
}

type kindRow struct{ injected, skipped, missed, violations int }

type topologyRow struct {
	schedules, failed, violations, inconclusive, stalled int
	// sessions whose end was acknowledged, and those of them that came back
	ended, lost int
	converged   []time.Duration
}

func newTable() *table {
	return &table{
		kinds: map[Kind]*kindRow{}, topologies: map[Topology]*topologyRow{},
		promises: map[string]int{},
	}
}

func (b *table) kind(k Kind) *kindRow {
	if b.kinds[k] == nil {
		b.kinds[k] = &kindRow{}
	}
	return b.kinds[k]
}

func (b *table) topology(t Topology) *topologyRow {
	if b.topologies[t] == nil {
		b.topologies[t] = &topologyRow{}
	}
	return b.topologies[t]
}

// add counts a schedule. A violation counts for every kind of fault in its schedule.
func (b *table) add(r *Result) {
	row := b.topology(r.Plan.Topology)
	row.schedules++
	row.ended += Ended(r.History)
	row.violations += len(r.Violations)
	row.converged = append(row.converged, r.Converged...)
	if len(r.Doubtful) > 0 {
		row.inconclusive++
	}
	if slices.ContainsFunc(r.History.Spans, func(s Span) bool { return s.Kind == Stalled }) {
		row.stalled++
	}
	for _, v := range r.Violations {
		b.promises[v.Promise]++
		if v.Lost {
			row.lost++
		}
	}
	for k, n := range r.Injected {
		b.kind(k).injected += n
		b.kind(k).violations += len(r.Violations)
	}
	for k, n := range r.Skipped {
		b.kind(k).skipped += n
	}
	for k, n := range r.Missed {
		b.kind(k).missed += len(n)
	}
}

func (b *table) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%-36s %9s %11s\n", "fault", "injected", "violations")
	for _, k := range kinds() {
		row, note := b.kind(k), ""
		if row.missed > 0 {
			note += fmt.Sprintf("  (%d more did not come about)", row.missed)
		}
		if row.skipped > 0 {
			note += fmt.Sprintf(
				"  (%d not possible here: needs Linux, and root for a disk of its own)",
				row.skipped)
		}
		fmt.Fprintf(&out, "%-36s %9d %11d%s\n", k, row.injected, row.violations, note)
	}
	fmt.Fprintf(&out, "\n%-10s %9s %6s %13s %6s %11s %13s %8s   %s\n", "topology", "schedules",
		"failed", "ended, acked", "lost", "violations", "inconclusive", "stalled",
		"all well after the faults: p50, max")
	for _, t := range append(slices.Clone(topologies), Relayed) {
		row := b.topology(t)
		fmt.Fprintf(&out, "%-10s %9d %6d %13d %6d %11d %13d %8d   %s\n", t, row.schedules,
			row.failed, row.ended, row.lost, row.violations, row.inconclusive, row.stalled,
			row.convergence())
	}
	fmt.Fprintf(&out, "violations by promise: %v\n", b.promises)
	return out.String()
}

func (r *topologyRow) convergence() string {
	if len(r.converged) == 0 {
		return "-"
	}
	slices.Sort(r.converged)
	return fmt.Sprintf("%v, %v", r.converged[len(r.converged)/2].Round(time.Millisecond),
		r.converged[len(r.converged)-1].Round(time.Millisecond))
}

// kinds returns every kind of fault, once.
func kinds() (all []Kind) {
	for _, k := range slices.Concat(everywhere, ofSingle, ofSentinel, ofCluster, ofRelayed) {
		if !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	return all
}
