package stream

import (
	"testing"
	"time"
)

// TestTheAuthorizationOfBeforeIsGoodUntilTheTransmitterIsTold, and for a while after that; what has
// been replaced for longer is refused.
func TestTheAuthorizationOfBeforeIsGoodUntilTheTransmitterIsTold(t *testing.T) {
	t.Parallel()
	const a, b, c = "Bearer aaaaaaaaaaaa", "Bearer bbbbbbbbbbbb", "Bearer cccccccccccc"
	now := time.Unix(1_800_000_000, 0)
	auth := &authorization{now: func() time.Time { return now }}
	want := func(when, told string, accepted ...string) {
		t.Helper()
		if got := auth.told(); got != told {
			t.Errorf("%s: the transmitter is told %q, expected %q", when, got, told)
		}
		good := map[string]bool{}
		for _, header := range accepted {
			good[header] = true
		}
		for _, header := range []string{"", a, b, c} {
			if auth.accepts(header) != good[header] {
				t.Errorf("%s: %q: expected %v", when, header, good[header])
			}
		}
	}
	auth.set(a)
	want("at the start", a, a)
	auth.set(b)
	want("after a change", a, a, b)
	now = now.Add(time.Minute)
	auth.set(c)
	want("after another", a, a, c)
	now = now.Add(authorizationSettles - 1)
	want("before the transmitter is told", a, a, c)
	now = now.Add(1)
	want("told", c, a, c)
	now = now.Add(authorizationBefore - authorizationSettles)
	want("long after", c, c)
	auth.set(c)
	want("the same again", c, c)
	auth.set(a)
	now = now.Add(-time.Hour)
	want("a clock that has gone back", a, a)
}
