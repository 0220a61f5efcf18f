// Package figure has what is said of repeated measurements: medians, how far they lie apart, ratios
// between things measured side by side, and whether a target is met.
package figure

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Samples are one figure as it was measured in each round, in the rounds' order.
type Samples []float64

// Summary is what is said of samples. Half of the rounds lie between Low and High, all of them
// between Least and Greatest.
type Summary struct {
	Median   float64 `json:"median"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Least    float64 `json:"least"`
	Greatest float64 `json:"greatest"`
	Rounds   int     `json:"rounds"`
}

// Summarize returns the zero Summary for no samples.
func (s Samples) Summarize() Summary {
	if len(s) == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(s))
	return Summary{
		Median: quantile(sorted, 0.5), Low: quantile(sorted, 0.25), High: quantile(sorted, 0.75),
		Least: sorted[0], Greatest: sorted[len(sorted)-1], Rounds: len(s),
	}
}

// quantile interpolates between the two neighbours of where q falls.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	below := int(math.Floor(at))
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

// Over returns s over other, round by round: what slows a whole round slows both. They must have
// as many rounds; no round of other may be 0.
func (s Samples) Over(other Samples) (Samples, error) {
	if err := s.sameRounds(other); err != nil {
		return nil, err
	}
	ratios := make(Samples, len(s))
	for i := range s {
		if other[i] == 0 {
			return nil, fmt.Errorf("figure: a ratio to 0, in round %d", i+1)
		}
		ratios[i] = s[i] / other[i]
	}
	return ratios, nil
}

// Plus and Minus return the sum of both and their difference, round by round. They must have as many
// rounds.
func (s Samples) Plus(other Samples) (Samples, error)  { return s.with(other, 1) }
func (s Samples) Minus(other Samples) (Samples, error) { return s.with(other, -1) }

func (s Samples) with(other Samples, times float64) (Samples, error) {
	if err := s.sameRounds(other); err != nil {
		return nil, err
	}
	all := make(Samples, len(s))
	for i := range s {
		all[i] = s[i] + times*other[i]
	}
	return all, nil
}

func (s Samples) sameRounds(other Samples) error {
	if len(s) != len(other) {
		return fmt.Errorf("figure: expected as many rounds of both, got %d and %d", len(s), len(other))
	}
	return nil
}

// Target is what a figure is to be: at most or at least Limit. The zero Target asks for nothing.
type Target struct {
	AtMost  bool    `json:"at_most,omitempty"`
	AtLeast bool    `json:"at_least,omitempty"`
	Limit   float64 `json:"limit,omitempty"`
}

// AtMost and AtLeast are the two kinds of targets.
func AtMost(limit float64) Target  { return Target{AtMost: true, Limit: limit} }
func AtLeast(limit float64) Target { return Target{AtLeast: true, Limit: limit} }

// Void is the verdict on a figure that is not that of what was to be measured.
const Void = "void"

// Judge returns ok or short, or nothing when there is no target.
func (t Target) Judge(figure float64) string {
	switch {
	case !t.AtMost && !t.AtLeast:
		return ""
	case t.AtMost && figure <= t.Limit, t.AtLeast && figure >= t.Limit:
		return "ok"
	}
	return "short" // a figure that is no number too
}

func (t Target) String() string {
	switch {
	case t.AtMost:
		return "<= " + Format(t.Limit)
	case t.AtLeast:
		return ">= " + Format(t.Limit)
	}
	return ""
}

// Format writes a figure to two digits or three, and whole from a hundred on.
func Format(f float64) string {
	switch size := math.Abs(f); {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return "none"
	case size >= 100:
		return strconv.FormatFloat(math.Round(f), 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	case size >= 0.1 || size == 0:
		return strconv.FormatFloat(f, 'f', 2, 64)
	default:
		return strconv.FormatFloat(f, 'f', 3, 64)
	}
}

// Row is one line of a report.
type Row struct {
	Group  string `json:"group"` // what was measured together
	Name   string `json:"name"`
	Unit   string `json:"unit,omitempty"` // of the figure; nothing for a ratio
	Target Target `json:"target,omitzero"`
	Summary
	Verdict string `json:"verdict,omitempty"`
}

// NewRow judges samples by a target.
func NewRow(group, name, unit string, s Samples, t Target) Row {
	summary := s.Summarize()
	r := Row{Group: group, Name: name, Unit: unit, Target: t, Summary: summary}
	if summary.Rounds == 0 {
		summary.Median = math.NaN() // nothing measured meets nothing
	}
	r.Verdict = t.Judge(summary.Median)
	return r
}

func (r Row) String() string {
	unit := r.Unit
	if unit != "" {
		unit = " " + unit
	}
	spread := ""
	if r.Rounds > 1 {
		spread = fmt.Sprintf("%s to %s", Format(r.Least), Format(r.Greatest))
	}
	return fmt.Sprintf("%-6s%8s%-5s %-18s %-9s %s", r.Verdict, Format(r.Median), unit, spread,
		r.Target, r.Name)
}
