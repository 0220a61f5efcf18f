package figure

import (
	"math"
	"testing"
)

func TestASummaryHasTheMedianAndHowFarRoundsLieApart(t *testing.T) {
	for _, c := range []struct {
		name string
		in   Samples
		want Summary
	}{
		{"none", nil, Summary{}},
		{"one", Samples{3}, Summary{3, 3, 3, 3, 3, 1}},
		{"odd", Samples{9, 1, 5}, Summary{5, 3, 7, 1, 9, 3}},
		{"even", Samples{4, 1, 2, 3}, Summary{2.5, 1.75, 3.25, 1, 4, 4}},
		{"one that is far off", Samples{1, 1, 1, 1, 1000}, Summary{1, 1, 1, 1, 1000, 5}},
	} {
		if got := c.in.Summarize(); got != c.want {
			t.Errorf("%s: expected %+v, got %+v", c.name, c.want, got)
		}
	}
}

func TestARatioIsTakenRoundByRound(t *testing.T) {
	// The machine was three times as slow in the second round: the ratio does not show it.
	got, err := Samples{2, 6, 2}.Over(Samples{4, 12, 4})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Summary{0.5, 0.5, 0.5, 0.5, 0.5, 3}); got.Summarize() != want {
		t.Errorf("expected %+v, got %+v", want, got.Summarize())
	}
	if _, err := (Samples{1, 2}).Over(Samples{1}); err == nil {
		t.Error("expected an error for rounds that are missing")
	}
	if _, err := (Samples{1}).Over(Samples{0}); err == nil {
		t.Error("expected an error for a ratio to nothing")
	}
}

func TestATargetIsMetUpToItsLimit(t *testing.T) {
	for _, c := range []struct {
		target Target
		figure float64
		want   string
	}{
		{AtMost(0.35), 0.35, "ok"},
		{AtMost(0.35), 0.3501, "short"},
		{AtLeast(8), 8, "ok"},
		{AtLeast(8), 7.99, "short"},
		{Target{}, 1, ""},
		{AtMost(1), math.NaN(), "short"},
		{AtLeast(1), math.NaN(), "short"},
	} {
		if got := c.target.Judge(c.figure); got != c.want {
			t.Errorf("%v of %v: expected %q, got %q", c.target, c.figure, c.want, got)
		}
	}
}

func TestNothingMeasuredMeetsNoTarget(t *testing.T) {
	if got := NewRow("g", "n", "", nil, AtMost(1)).Verdict; got != "short" {
		t.Errorf("expected short, got %q", got)
	}
}

func TestSumsAndDifferencesAreRoundByRound(t *testing.T) {
	a, b := Samples{1, 2.5}, Samples{3, 1}
	sum, err := a.Plus(b)
	if err != nil || sum[0] != 4 || sum[1] != 3.5 {
		t.Errorf("got %v, %v", sum, err)
	}
	left, err := a.Minus(b)
	if err != nil || left[0] != -2 || left[1] != 1.5 {
		t.Errorf("got %v, %v", left, err)
	}
	if _, err := a.Minus(b[:1]); err == nil {
		t.Error("expected an error for another number of rounds")
	}
}
