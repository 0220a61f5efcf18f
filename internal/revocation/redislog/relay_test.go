package redislog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// chained makes n entries of an epoch behind p, each of which follows the one before it, and returns
// them with the positions after each.
func chained(p revocation.Position, n int, name string) ([]revocation.Entry, []revocation.Position) {
	var entries []revocation.Entry
	var places []revocation.Position
	for range n {
		e := revocation.Entry{
			Seq: p.Seq + 1, Kind: revocation.KindSID, Issuer: iss, Value: fmt.Sprint(name, p.Seq),
			Expires: 2, Reason: "logout", Actor: "test", At: 1,
		}
		e.Chain = e.After(p.Chain)
		p.Seq, p.Chain = e.Seq, e.Chain
		entries, places = append(entries, e), append(places, p)
	}
	return entries, places
}

// stillRelay is a relay that does not run, with clocks that only the test moves.
type stillRelay struct {
	*redislog.Relay
	now *time.Duration
}

func newStillRelay(t *testing.T) stillRelay {
	t.Helper()
	var now time.Duration
	s := named("relay-1")
	s.o.Instant = func() revocation.Instant {
		return revocation.Instant{Mono: now, Wall: time.Unix(1_800_000_000, 0).Add(now)}
	}
	r, err := redislog.NewRelay(connect(t, "127.0.0.1:1"), s.cfg, s.options(t))
	if err != nil {
		t.Fatal(err)
	}
	return stillRelay{r, &now}
}

// TestARelaysLineSaysHowFarAllBelowAre: it is on the log only as far as the last of them, by their
// chains; and nowhere while one is not known to be on it.
func TestARelaysLineSaysHowFarAllBelowAre(t *testing.T) {
	t.Parallel()
	epoch := revocation.Epoch{1}
	start := revocation.Position{Epoch: epoch, Seq: 10, Chain: revocation.Chain{10}}
	entries, at := chained(start, 5, "s") // at[0] is place 11
	_, other := chained(start, 5, "another")
	elsewhere := at[4]
	elsewhere.Epoch = revocation.Epoch{2}
	nowhere := revocation.Position{}
	before := revocation.Position{Epoch: epoch, Seq: 9, Chain: revocation.Chain{9}}
	for name, c := range map[string]struct {
		gates []revocation.Position
		want  revocation.Position
	}{
		"no gate":                               {nil, at[4]},
		"all are where the relay is":            {[]revocation.Position{at[4], at[4]}, at[4]},
		"one is behind":                         {[]revocation.Position{at[4], at[1], at[3]}, at[1]},
		"one is where the relay began":          {[]revocation.Position{at[4], start}, start},
		"one is on another branch":              {[]revocation.Position{at[4], other[4]}, nowhere},
		"one behind, one on another branch":     {[]revocation.Position{at[0], other[4]}, nowhere},
		"one is in another epoch":               {[]revocation.Position{at[4], elsewhere}, nowhere},
		"one is further back than is known":     {[]revocation.Position{at[4], before}, nowhere},
		"one has loaded nothing":                {[]revocation.Position{at[4], nowhere}, nowhere},
		"one has a chain, but no entry, of it":  {[]revocation.Position{{Epoch: epoch, Seq: 16, Chain: at[4].Chain}}, nowhere},
		"one is where the relay began, forking": {[]revocation.Position{{Epoch: epoch, Seq: 10, Chain: revocation.Chain{11}}}, nowhere},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newStillRelay(t)
			r.Note(nil, start, true)
			r.Note(entries, at[4], true)
			if got := r.Standing(); got != nowhere {
				t.Errorf("a relay that begins says %v", got)
			}
			cfg := r.Config()
			*r.now += cfg.MaxStaleness + cfg.Settle + 1
			for k, p := range c.gates {
				gate := fmt.Sprintf("gate-%d", k+1)
				if !r.SetLine(k+1, redislog.GateLine(gate, "i", p, 1, false), false) {
					t.Fatal("the line is not taken")
				}
			}
			if got := r.Standing(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			*r.now += cfg.MaxStaleness + cfg.Settle
			if got := r.Standing(); got != c.want {
				t.Errorf("as long as they may be fresh: got %v, want %v", got, c.want)
			}
			*r.now++
			if got := r.Standing(); got != at[4] {
				t.Errorf("when none can be fresh any more: got %v, want %v", got, at[4])
			}
			r.Note(nil, at[4], false)
			if got := r.Standing(); got != nowhere {
				t.Errorf("a relay without a complete copy says %v", got)
			}
		})
	}
}

// TestAGateThatHasLeftARelayIsNotWaitedFor, if its last word is that of the life seen at work.
func TestAGateThatHasLeftARelayIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	epoch := revocation.Epoch{1}
	start := revocation.Position{Epoch: epoch, Seq: 10, Chain: revocation.Chain{10}}
	entries, at := chained(start, 2, "s")
	r := newStillRelay(t)
	r.Note(nil, start, true)
	r.Note(entries, at[1], true)
	r.Standing()
	*r.now += time.Hour
	r.SetLine(1, redislog.GateLine("gate-1", "a", at[0], 1, false), false)
	if got := r.Standing(); got != at[0] || r.Gates() != 1 {
		t.Errorf("at work: got %v, %d gates", got, r.Gates())
	}
	r.SetLine(1, redislog.GateLine("gate-1", "b", at[0], 2, true), false)
	if got := r.Standing(); got != at[0] {
		t.Errorf("the word of another life: got %v", got)
	}
	r.SetLine(1, redislog.GateLine("gate-1", "a", at[0], 3, false), false)
	r.Standing()
	r.SetLine(1, redislog.GateLine("gate-1", "a", at[0], 4, true), false)
	*r.now += r.Config().MaxStaleness + r.Config().Settle + 1 // two lives took turns until here
	if got := r.Standing(); got != at[1] || r.Gates() != 0 {
		t.Errorf("left: got %v, %d gates", got, r.Gates())
	}
	for name, refused := range map[string]bool{
		"a line of no number":      r.SetLine(0, "x", false),
		"a number beyond the last": r.SetLine(r.Config().MaxGates+1, "x", false),
		"a taken place":            r.SetLine(1, "x", true),
		"a line that is too long":  r.SetLine(2, string(make([]byte, 2049)), false),
	} {
		if refused {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestARelayHandsOnWhatItHasApplied, as Redis would answer it, and says when it cannot tell.
func TestARelayHandsOnWhatItHasApplied(t *testing.T) {
	t.Parallel()
	start := revocation.Position{Epoch: revocation.Epoch{1}, Seq: 10, Chain: revocation.Chain{10}}
	entries, at := chained(start, 5, "s")
	r := newStillRelay(t)
	if _, known := r.After(10, 9); known {
		t.Error("a relay without a copy knows what comes")
	}
	r.Note(nil, start, true)
	for k := range entries {
		r.Note(entries[k:k+1], at[k], true)
	}
	for seq, want := range map[uint64]int{10: 5, 12: 3, 14: 1} {
		answer, known := r.After(seq, 9)
		got, err := redislog.Entries(answer)
		if err != nil || !known || len(got) != want || got[0] != entries[5-want] {
			t.Errorf("after %d: got %v, %v, %v", seq, got, known, err)
		}
	}
	if answer, _ := r.After(10, 2); len(answer) == 0 {
		t.Error("nothing comes")
	} else if got, err := redislog.Entries(answer); err != nil || len(got) != 2 {
		t.Errorf("two at most: got %v, %v", got, err)
	}
	if answer, known := r.After(15, 9); answer != nil || !known {
		t.Errorf("behind the newest: got %q, %v", answer, known)
	}
	for _, seq := range []uint64{9, 16} {
		if answer, known := r.After(seq, 9); answer != nil || known {
			t.Errorf("of %d it cannot tell: got %q, %v", seq, answer, known)
		}
	}
	// What does not follow begins a new history.
	_, other := chained(start, 5, "another")
	r.Note(nil, other[2], true)
	if _, known := r.After(12, 9); known {
		t.Error("what was before a resync is handed on")
	}
	if _, known := r.After(13, 9); !known {
		t.Error("it cannot tell of its own place")
	}
	r.Note(nil, other[2], false)
	if _, known := r.After(13, 9); known {
		t.Error("a relay that loads the log knows what comes")
	}
}

// TestARelayKeepsABoundedHistory, of the newest entries.
func TestARelayKeepsABoundedHistory(t *testing.T) {
	t.Parallel()
	p := revocation.Position{Epoch: revocation.Epoch{1}, Seq: 10, Chain: revocation.Chain{10}}
	r := newStillRelay(t)
	r.Note(nil, p, true)
	const kept = 1 << 14
	for range 5 {
		entries, at := chained(p, kept/2, "s")
		p = at[len(at)-1]
		r.Note(entries, p, true)
	}
	if answer, known := r.After(p.Seq-kept, 1); !known || answer == nil {
		t.Error("the newest are not there")
	}
	if _, known := r.After(p.Seq-2*kept, 1); known {
		t.Error("more than twice as many are kept")
	}
	got, known := r.After(p.Seq-1, 9)
	entries, err := redislog.Entries(got)
	if err != nil || !known || len(entries) != 1 || entries[0].Chain != p.Chain {
		t.Errorf("the newest: got %v, %v", entries, err)
	}
}

// TestARelayAsksEveryRedis what its gates ask, over connections of its own: the log is one key of a
// Cluster, and behind sentinels at the primary.
func TestARelayAsksEveryRedis(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) (redisconn.Config, []*server){
		"a Cluster": startCluster,
		"sentinels": func(t *testing.T) (redisconn.Config, []*server) {
			cfg, _, replicas := startSentinel(t)
			return cfg, replicas
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, replicas := start(t)
			s := named("issuer-1")
			if name == "sentinels" {
				s.cfg.MinReplicas = 1
			}
			i, g := over(t, cfg, s)
			eventually.True(t, "the log is there", func() bool { return i.fresh() && g.fresh() })
			receipt := revoke(t, i, sid("s1"))
			s.o.Name = "relay-1"
			r, err := redislog.NewRelay(open(t, cfg), s.cfg, s.options(t))
			if err != nil {
				t.Fatal(err)
			}
			running(t, r.Run)
			ctx, cancel := timeout(t, 30*time.Second)
			defer cancel()
			beat, err := r.Beat(ctx, receipt.Seq)
			if err != nil || beat.Replicas < s.cfg.MinReplicas ||
				!strings.Contains(fmt.Sprint(beat.Entry), receipt.Chain) {
				t.Errorf("a heartbeat: got %+v, %v", beat, err)
			}
			page, err := r.Page(ctx, 1, 10)
			if err != nil || !strings.Contains(string(page), receipt.Chain) {
				t.Errorf("a page: got %q, %v", page, err)
			}
			// Of what was before its beginning, the relay asks Redis.
			answer, err := r.Tail(ctx, 1, 10)
			entries, decoding := redislog.Entries(answer)
			if err != nil || decoding != nil || len(entries) == 0 ||
				entries[len(entries)-1].Value != "s1" {
				t.Errorf("the tail: got %v, %v, %v", entries, err, decoding)
			}
			if s.cfg.MinReplicas == 0 {
				return
			}
			for _, replica := range replicas {
				replica.kill()
			}
			// An answer that says so, or none: its gates count neither.
			eventually.True(t, "no heartbeat is vouched for", func() bool {
				ctx, cancel := timeout(t, time.Second)
				defer cancel()
				beat, err := r.Beat(ctx, receipt.Seq)
				return err != nil || beat.Replicas < 1
			})
		})
	}
}
