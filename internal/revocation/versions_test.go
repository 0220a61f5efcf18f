package revocation_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/revocation"
)

// TestAViewThatJudgesAsAnOlderOneIsFreshForAsLong: whoever has found the older one fresh, and knows
// until when, need not ask the other.
func TestAViewThatJudgesAsAnOlderOneIsFreshForAsLong(t *testing.T) {
	judged, not := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		moment := func(label string) revocation.Instant {
			at := time.Duration(rapid.Int64Range(0, int64(30*time.Second)).Draw(t, label))
			return revocation.Instant{Mono: at, Wall: time.Unix(1_800_000_000, int64(at))}
		}
		draw := func() revocation.View {
			return revocation.View{
				Counted: rapid.IntRange(0, 9).Draw(t, "counted") > 0, Last: moment("last"),
				Unreadable: rapid.IntRange(0, 9).Draw(t, "unreadable") == 0,
				Complete:   rapid.Bool().Draw(t, "complete"), MaxStaleness: 10 * time.Second,
				Skew: time.Duration(rapid.IntRange(0, 3).Draw(t, "skew")) * time.Second, MaxSkew: time.Second,
				Head:             rapid.IntRange(0, 3).Draw(t, "head") > 0,
				MaxTokenLifetime: time.Duration(rapid.IntRange(0, 1).Draw(t, "lifetime")) * time.Hour,
			}
		}
		older := draw()
		newer, other := older, draw()
		newer.Last = other.Last
		// Most of what is drawn anew stays as it was.
		for _, change := range []func(){
			func() { newer.Counted = other.Counted },
			func() { newer.Unreadable = !older.Unreadable },
			func() { newer.Complete = other.Complete },
			func() { newer.Skew = other.Skew },
			func() { newer.Head = other.Head },
			func() { newer.MaxTokenLifetime = other.MaxTokenLifetime },
		} {
			if rapid.IntRange(0, 3).Draw(t, "it changes") == 0 {
				change()
			}
		}
		// Heartbeats count in the order in which they are sent.
		if newer.Last.Mono < older.Last.Mono {
			newer.Last = older.Last
		}
		now := moment("now")
		if !newer.JudgesAs(&older) {
			not++
			return
		}
		judged++
		if older.Freshness(now).Fresh && !newer.Freshness(now).Fresh {
			t.Fatalf("%+v is fresh, and %+v is not", older, newer)
		}
		if older.MaxTokenLifetime != newer.MaxTokenLifetime {
			t.Fatal("tokens may live for another time")
		}
	})
	if judged == 0 || not == 0 {
		t.Errorf("%d judge as the older one, %d do not", judged, not)
	}
}

// TestAViewAfterTheWallClockWasSetDoesNotJudgeAsTheOneBefore: it went back by four seconds before the
// newer heartbeat, and is put right after it, so that this one is stale before the older is.
func TestAViewAfterTheWallClockWasSetDoesNotJudgeAsTheOneBefore(t *testing.T) {
	at := func(mono, wall time.Duration) revocation.Instant {
		return revocation.Instant{Mono: mono, Wall: time.Unix(1_800_000_000, int64(wall))}
	}
	older := revocation.View{Counted: true, MaxStaleness: 6 * time.Second, Head: true, Last: at(0, 0)}
	newer := older
	newer.Last = at(time.Second, -3*time.Second)
	if now := at(4*time.Second, 4*time.Second); !older.Freshness(now).Fresh || newer.Freshness(now).Fresh {
		t.Fatal("the test is wrong")
	}
	if newer.JudgesAs(&older) {
		t.Error("it judges as the older one")
	}
	newer.Last = at(time.Second, time.Second+time.Millisecond)
	if !newer.JudgesAs(&older) {
		t.Error("a millisecond is taken for a clock that was set")
	}
}
