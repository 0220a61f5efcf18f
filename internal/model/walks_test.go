//go:build model

package model_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/model"
)

// TestRandomLongSchedules drives the same machines with times nearer to the real ones, more
// requests at once, and every command taken apart from its answer, through long random schedules.
func TestRandomLongSchedules(t *testing.T) {
	for nodes := 1; nodes <= 3; nodes++ {
		t.Run(fmt.Sprintf("%d nodes", nodes), func(t *testing.T) {
			acknowledged := 0
			rapid.Check(t, func(t *rapid.T) {
				l := model.Limits{
					Nodes:        nodes,
					Issuers:      2,
					Gates:        1,
					Requests:     2,
					Sessions:     2,
					MinReplicas:  nodes / 2,
					LiveEvery:    1,
					Faults:       rapid.IntRange(0, 2).Draw(t, "faults"),
					Split:        rapid.Bool().Draw(t, "split"),
					Settle:       4,
					MaxStaleness: 12,
					Backwards:    rapid.Bool().Draw(t, "backwards"),
					Ages:         rapid.Bool().Draw(t, "ages"),
				}
				violation, n, err := model.Walk(
					l,
					rapid.IntRange(1, 300).Draw(t, "steps"),
					func(what string, n int) int {
						return rapid.IntRange(0, n-1).Draw(t, what)
					},
				)
				if err != nil {
					t.Fatal(err)
				}
				if violation != nil {
					t.Fatal(violation.String())
				}
				acknowledged += n
			})
			if acknowledged == 0 {
				t.Error("nothing was ever acknowledged")
			}
		})
	}
}
