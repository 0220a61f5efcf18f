package redislog_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
)

// blocked is a log whose oldest entries live on and keep others in it that are dead.
type blocked struct {
	idle
	at   revocation.Position
	now  int64
	live int
}

// dead is how many entries that are not live a log may have besides as many as are.
const dead = 1000

// newBlocked makes one of as many entries that live on for so long, and then of as many dead ones,
// all of them old.
func newBlocked(t *testing.T, live, gone int, lives time.Duration) *blocked {
	t.Helper()
	b := &blocked{idle: newIdle(t, func(s *settings) { s.cfg.ClockSkew = time.Second }), live: live}
	r := b.beat()
	b.now = r.Time + time.Minute.Milliseconds()
	entries := make([]revocation.Entry, 0, live+gone)
	for n := range live {
		entries = append(entries, lasting(fmt.Sprint("live", n), b.now+lives.Milliseconds()))
	}
	for n := range gone {
		entries = append(entries, lasting(fmt.Sprint("dead", n), r.Time-time.Minute.Milliseconds()))
	}
	if s := b.appended(r.Head.Position(), entries...); s != "OK" {
		t.Fatalf("append: %s", s)
	}
	eventually.True(t, "the first of the epoch has left the log", func() bool {
		r = b.beat(revocation.Heartbeat{Live: -1, Times: revocation.ScriptTimes{Expired: b.now}})
		return r.Head.First == 2
	})
	b.at = r.Head.Position()
	b.aged(b.at.Seq)
	return b
}

// aged has the head say that all up to a place was written a token's life ago.
func (b *blocked) aged(place uint64) {
	b.do("HSET", headKey, "aged", fmt.Sprintf("%s %d %d %d", b.at.Epoch, place, place,
		time.Now().UnixMilli()))
}

// heartbeat is of an issuer that has followed the log and takes all for expired that has.
func (b *blocked) heartbeat() revocation.Heartbeat {
	return revocation.Heartbeat{
		Position: b.at, Live: b.live, Times: revocation.ScriptTimes{Expired: b.now},
	}
}

// entries reads the log, and holds it to be whole up to the head.
func (b *blocked) entries(head revocation.Head) (found []revocation.Entry) {
	b.t.Helper()
	raw, err := b.client().XRange(b.t.Context(), logKey, "-", "+").Result()
	if err != nil {
		b.t.Fatal(err)
	}
	for n, m := range raw {
		seq, err := strconv.ParseUint(m.ID[:len(m.ID)-2], 10, 64)
		if err != nil {
			b.t.Fatal(err)
		}
		e := revocation.Decode(seq, m.Values["e"].(string), m.Values["c"].(string))
		if n > 0 && (e.Chain != e.After(found[n-1].Chain) || e.Seq != found[n-1].Seq+1) {
			b.t.Fatalf("entry %d does not follow the one before it", e.Seq)
		}
		found = append(found, e)
	}
	last := found[len(found)-1]
	if found[0].Seq != head.First || last.Seq != head.Seq || last.Chain != head.Chain {
		b.t.Fatalf("the log goes from %d to %d, and the head says %d to %d", found[0].Seq, last.Seq,
			head.First, head.Seq)
	}
	return found
}

// TestALiveEntryIsCarriedOnOncePastItMoreIsDead (L3): it keeps nothing in the log that has expired,
// stays as it is in every field, and never leaves it.
func TestALiveEntryIsCarriedOnOncePastItMoreIsDead(t *testing.T) {
	t.Parallel()
	b := newBlocked(t, 30, dead+600, 2*time.Hour)
	before := map[string]string{}
	for _, e := range b.entries(b.beat(revocation.Heartbeat{Live: -1}).Head) {
		before[e.Value] = e.Body()
	}
	var r revocation.HeartbeatReply
	for n := 0; n < 4; n++ {
		r = b.beat(b.heartbeat())
		b.at = r.Head.Position()
		left := map[string]bool{}
		for _, e := range b.entries(r.Head) {
			if e.Body() != before[e.Value] {
				t.Fatalf("%s was %q and is %q", e.Value, before[e.Value], e.Body())
			}
			left[e.Value] = true
		}
		for n := range b.live {
			if !left[fmt.Sprint("live", n)] {
				t.Fatalf("live%d has left the log after heartbeat %d", n, n)
			}
		}
	}
	// What is not the oldest any more goes as it always did.
	if n := b.length(); n != int64(b.live) {
		t.Errorf("the log has %d entries, %d of which are live", n, b.live)
	}
	if r.Head.Epoch != b.at.Epoch {
		t.Error("another epoch has begun")
	}
}

// TestNothingIsCarriedOn: unless the issuer knows the log as it is and more of it is dead than
// alive, and never what was written so lately that somebody may stand there, nor the first entry of
// an epoch.
func TestNothingIsCarriedOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		live, gone int
		change     func(*blocked, *revocation.Heartbeat)
		lives      time.Duration
	}{
		"as much is alive": {100, dead + 100, nil, 0},
		"its issuer does not know the log": {
			1, dead + 500, func(_ *blocked, hb *revocation.Heartbeat) { hb.Live = -1 }, 0,
		},
		"its issuer stands on another log": {
			1, dead + 500, func(_ *blocked, hb *revocation.Heartbeat) { hb.Position.Chain[0]++ }, 0,
		},
		"something is missing": {
			1, dead + 500,
			func(_ *blocked, hb *revocation.Heartbeat) { hb.Holds, hb.Mend = true, true }, 0,
		},
		"the log has gone back": {
			1, dead + 500,
			func(_ *blocked, hb *revocation.Heartbeat) { hb.Holds, hb.Stored = true, hb.Position.Seq+1 }, 0,
		},
		"it is young": {1, dead + 500, func(b *blocked, _ *revocation.Heartbeat) { b.aged(1) }, 0},
		"nothing is known of its age": {
			1, dead + 500, func(b *blocked, _ *revocation.Heartbeat) { b.do("HDEL", headKey, "aged") }, 0,
		},
		"that was of another epoch": {1, dead + 500, func(b *blocked, _ *revocation.Heartbeat) {
			b.do("HSET", headKey, "aged", fmt.Sprintf("%032x 9999 9999 %d", 1, time.Now().UnixMilli()))
		}, 0},
		"those behind it may live as long": {1, dead + 500, nil, 30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.lives == 0 {
				c.lives = 2 * time.Hour
			}
			b := newBlocked(t, c.live, c.gone, c.lives)
			hb := b.heartbeat()
			if c.change != nil {
				c.change(b, &hb)
			}
			r := b.beat(hb)
			if r.Head.Seq != b.at.Seq || r.Head.First > 2 {
				t.Errorf("the log went from 2 to %d, and goes from %d to %d", b.at.Seq, r.Head.First,
					r.Head.Seq)
			}
			b.entries(r.Head)
		})
	}
}

// TestPlacesAgeByATokensLife: what was written is old once that has passed twice at most, whatever
// Redis' clock does meanwhile it is not sooner than once.
func TestPlacesAgeByATokensLife(t *testing.T) {
	t.Parallel()
	b := newBlocked(t, 1, 2, 2*time.Hour)
	life := quick().MaxTokenLifetime + 2*time.Second
	set := func(old, next uint64, age time.Duration) {
		b.do("HSET", headKey, "aged", fmt.Sprintf("%s %d %d %d", b.at.Epoch, old, next,
			time.Now().Add(-age).UnixMilli()))
	}
	for name, c := range map[string]struct {
		age  time.Duration
		want uint64
	}{
		"not yet":                    {life - time.Minute, 1},
		"now":                        {life + time.Second, 2},
		"the clock has gone back":    {-time.Hour, 1},
		"its clock went by a decade": {87600 * time.Hour, 2},
	} {
		set(1, 2, c.age)
		b.beat(b.heartbeat())
		var of string
		var old, next uint64
		var since int64
		text, _ := b.do("HGET", headKey, "aged").(string)
		if _, err := fmt.Sscanf(text, "%s %d %d %d", &of, &old, &next, &since); err != nil {
			t.Fatalf("%s: %q: %v", name, text, err)
		}
		if old != c.want || since > time.Now().UnixMilli() {
			t.Errorf("%s: old up to %d, expected %d (%q)", name, old, c.want, text)
		}
	}
}
