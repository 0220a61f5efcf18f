//go:build model

package model_test

import (
	"testing"

	"github.com/sallyport/sallyport/internal/model"
)

// TestTheExplorerFindsWhatARulePrevents: with a rule left out, a promise is broken within the
// limits of an ordinary run.
func TestTheExplorerFindsWhatARulePrevents(t *testing.T) {
	one, replicated := model.Small(1, 1, 1), model.Small(2, 1, 1)
	twice := with(one, func(l *model.Limits) { l.Requests = 2 })
	ages := with(one, func(l *model.Limits) { l.Ages = true })
	limits := map[model.Mutation]model.Limits{
		model.SeqWithoutChain:       one,
		model.HeadNotApplied:        one,
		model.NoSettleOnReconnect:   one,
		model.OwnSetAfterAck:        one,
		model.NoReappend:            one,
		model.MendingIgnored:        one,
		model.MendingForever:        one,
		model.HeldDroppedOnReload:   one,
		model.GapTakenAsNothing:     one,
		model.AppendErrorIgnored:    one,
		model.LossInvisibleToWriter: one,
		model.HeadNotCreated:        one,
		model.WaitNotCompared:       replicated,
		model.HeartbeatByRead:       replicated,
		model.ReadyBeforeLastPage:   twice,
		model.SecondHolderIgnored:   model.Small(1, 2, 2),
		model.LifeOfATokenAlone:     ages,
		model.CarriedIsDropped:      ages,
	}
	for m := model.Unmutated + 1; m <= model.CarriedIsDropped; m++ {
		t.Run(m.String(), func(t *testing.T) {
			report, err := model.Explore(limits[m], m)
			if err != nil {
				t.Fatal(err)
			}
			if report.Violation == nil {
				t.Fatalf("no promise was broken: %s", report.String())
			}
			t.Logf("after %d states: %s", report.States, report.Violation)
		})
	}
}
