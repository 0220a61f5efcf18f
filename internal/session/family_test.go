package session_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

// TestEverySpentTokenWithinTheGraceWindowGivesItsOwnSuccessor (S5): a slow tab repeats n when
// another has used n+1 already, and n+2.
func TestEverySpentTokenWithinTheGraceWindowGivesItsOwnSuccessor(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		tokens := w.family(5, 600*time.Millisecond)
		for n, token := range tokens[:4] {
			again := w.mustRefresh(token)
			if again.RefreshToken != tokens[n+1] || !again.Repeated {
				t.Errorf("token %d gave another successor than at first, or does not say that it repeats", n+1)
			}
		}
		if n := w.counter(w.mustRefresh(tokens[4]).Session.ID); n != 6 {
			t.Errorf("the repetitions moved the counter: it is %d", n)
		}
		if entries := w.log.Entries(); len(entries) != 0 {
			t.Errorf("something ended: %+v", entries)
		}
	})
}

// TestASpentTokenIsHeldAgainstItsOwnTimeOfSpending (S5), not against that of a later one.
func TestASpentTokenIsHeldAgainstItsOwnTimeOfSpending(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		tokens := w.family(4, 4*time.Second) // spent 12, 8 and 4 s ago
		w.mustRefresh(tokens[1])
		if refused := w.refused(tokens[0], session.ReasonReuse); !refused.Ended {
			t.Errorf("the session goes on: %+v", refused)
		}
		w.refused(tokens[3], session.ReasonEnded)
	})
}

// TestNoMoreThanEightSpentTokensAreRemembered: one behind them is taken for reuse, however young,
// and Redis keeps no more of them.
func TestNoMoreThanEightSpentTokensAreRemembered(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		tokens := w.family(40, 10*time.Millisecond)
		if kept := w.field(w.mustRefresh(tokens[39]).Session.ID, "spent"); len(kept) > 64 {
			t.Errorf("%d bytes are kept: %q", len(kept), kept)
		}
		for n := 39; n > 39-8; n-- { // the fortieth has just been spent, too
			if again := w.mustRefresh(tokens[n]); !again.Repeated {
				t.Errorf("token %d is not remembered", n+1)
			}
		}
		w.refused(tokens[39-8], session.ReasonReuse)
	})
}

// TestWhatAnEarlierVersionDoesNotRememberIsReuse: a record that an issuer of an earlier version has
// moved on says nothing true of what was spent before.
func TestWhatAnEarlierVersionDoesNotRememberIsReuse(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		tokens := w.family(4, time.Second)
		g := w.mustRefresh(tokens[3])
		w.setField(g.Session.ID, "n", "6") // as an issuer that knows only n and moved
		w.mustRefresh(g.RefreshToken)
		w.refused(tokens[3], session.ReasonReuse)
	})
}

// family returns the first tokens of a session, all spent but the last, one after the other with a
// time between.
func (w *world) family(size int, between time.Duration) []string {
	w.t.Helper()
	tokens := []string{w.login("alice").RefreshToken}
	for len(tokens) < size {
		tokens = append(tokens, w.mustRefresh(tokens[len(tokens)-1]).RefreshToken)
		w.log.Advance(between)
	}
	return tokens
}

// reference is what a refresh family is to a client that knows when it spent what: the rule itself,
// with nothing forgotten but what is behind the eight last ones.
type reference struct {
	// of each token, by its number less one: when it was first spent, as far as the clock of now
	// can tell
	spent []time.Time
	ended bool
}

const (
	rememberedSpends = 8
	referenceGrace   = 10 * time.Second
)

// spend returns what spending token n at a time leads to: a new successor, the same one again, or
// the end.
func (r *reference) spend(n int, now time.Time) string {
	switch last := len(r.spent); {
	case r.ended:
		return "ended"
	case n > last:
		known := true
		// whatever was spent before was not spent later than now
		for i, t := range slices.Backward(r.spent) {
			if r.spent[i] = t; t.After(now) {
				r.spent[i] = now
			}
			// Too old; or by a clock that has gone back, so that nobody knows how old it is, nor
			// what was spent before it.
			if known = known && now.Sub(t).Abs() <= referenceGrace; !known {
				r.spent[i] = time.Time{}
			}
		}
		r.spent = append(r.spent, now)
		return "next"
	case n > last-rememberedSpends && !r.spent[last-1].After(now.Add(referenceGrace)) &&
		now.Sub(r.spent[n-1]) <= referenceGrace:
		return "again"
	}
	r.ended = true
	return "reuse"
}

// TestARefreshFamilyIsWhatItsRuleSays, in any order of spending its tokens, with clocks that go on,
// and back.
func TestARefreshFamilyIsWhatItsRuleSays(t *testing.T) {
	client := sessiontest.Open(t, miniredis.RunT(t).Addr())
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t, client)
		var model reference
		tokens := []string{w.login("alice").RefreshToken}
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			w.log.Advance(rapid.OneOf(
				rapid.Just(time.Duration(0)),
				rapid.Map(rapid.IntRange(0, 3000),
					func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }),
				rapid.SampledFrom([]time.Duration{
					referenceGrace,
					referenceGrace + time.Millisecond,
					-time.Second,
					-referenceGrace,
					-referenceGrace - time.Millisecond,
				}),
			).Draw(r, "passes"))
			n := len(tokens)
			if rapid.IntRange(0, 2).Draw(r, "which") > 0 {
				n = rapid.IntRange(max(1, n-10), n).Draw(r, "token")
			}
			now, _ := w.log.Time()
			want := model.spend(n, now)
			got := outcome(w.refresh(tokens[n-1]))
			if got.what != want {
				r.Fatalf("token %d of %d at %s: expected %s, got %s", n, len(tokens), now, want, got.what)
			}
			switch {
			case want == "next":
				tokens = append(tokens, got.token)
			case want == "again" && got.token != tokens[n]:
				r.Fatalf("token %d gave another successor", n)
			}
		}
	})
}

// outcome puts the result of a refresh into a word.
func outcome(g session.Grant, err error) (got struct{ what, token string }) {
	var refused *session.Refusal
	switch {
	case errors.As(err, &refused) && refused.Reason == session.ReasonEnded:
		got.what = "ended"
	case errors.As(err, &refused):
		got.what = string(refused.Reason)
	case err != nil:
		got.what = fmt.Sprint(err)
	case g.Repeated:
		got.what, got.token = "again", g.RefreshToken
	default:
		got.what, got.token = "next", g.RefreshToken
	}
	return got
}
