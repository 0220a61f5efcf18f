package revocation_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

// elsewhere is an issuer whose sessions go on there when they are revoked here.
const (
	elsewhere    = "https://keycloak.example/realms/main"
	elsewhereFor = 720 * time.Hour
)

func sessionsLive(issuer string) time.Duration {
	if issuer == elsewhere {
		return elsewhereFor
	}
	return 0
}

func ofElsewhere(k revocation.Kind, value string) revocation.Request {
	q := request(k, value)
	q.Issuer = elsewhere
	return q
}

// TestAnEntryForASessionElsewhereOutlivesTheSession (S6): what goes on making tokens stays revoked
// until it has ended by itself and its last token has expired. Nothing else lives longer than it
// did.
func TestAnEntryForASessionElsewhereOutlivesTheSession(t *testing.T) {
	d := newDesk(t)
	d.w.SessionsLive(sessionsLive)
	token := lifetime + 2*skew
	for _, kind := range revocation.Kinds() {
		for issuer, most := range map[string]time.Duration{iss: 0, elsewhere: elsewhereFor} {
			q := request(kind, "x")
			q.Issuer = issuer
			if kind == revocation.KindIss {
				q.Value = ""
			}
			if kind != revocation.KindSID && kind != revocation.KindSub {
				most = 0
			}
			e := d.begin(q).Entries[0]
			least := time.Duration(e.Expires-e.At) * time.Millisecond
			if least < most+token || least > most+token+times().MaxStaleness {
				t.Errorf("%s at %s lives for %s, expected %s and a token's %s", kind, issuer, least, most,
					token)
			}
		}
	}
}

// TestARefusedEntryKeepsTheLifeOfItsSession: one that comes too early is made anew, for as long.
func TestARefusedEntryKeepsTheLifeOfItsSession(t *testing.T) {
	d := newDesk(t)
	d.w.SessionsLive(sessionsLive)
	b := d.begin(ofElsewhere(revocation.KindSID, "s1"), request(revocation.KindSID, "s2"))
	later := b.Entries[0].At + time.Hour.Milliseconds()
	b = d.w.TooEarly(b, later, 2*lifetime)
	for i, most := range []time.Duration{elsewhereFor + 2*lifetime, 2 * lifetime} {
		if got := b.Entries[i].Expires - later; got < most.Milliseconds() {
			t.Errorf("%s lives for %d ms more, expected %s", b.Entries[i].Value, got, most)
		}
	}
}

// TestNoEntryIsMadeThatNobodyCouldRead: its expiry is a number that the log can hold, or it is
// refused, and nothing of it stays behind.
func TestNoEntryIsMadeThatNobodyCouldRead(t *testing.T) {
	d := newDesk(t)
	d.w.SessionsLive(func(string) time.Duration { return 200 * 365 * 24 * time.Hour })
	_, err := d.w.Begin([]revocation.Request{ofElsewhere(revocation.KindSID, "s1")}, d.instant())
	if !errors.Is(err, revocation.ErrInvalidRequest) {
		t.Fatalf("got %v", err)
	}
	if d.set.Check(&revocation.Facts{Issuer: elsewhere, SessionID: "s1"}).Revoked ||
		d.w.Missing() > 0 {
		t.Error("a refused request has left something behind")
	}
}

// TestNoClockEndsARevocationThatLivesLong: both clocks are a year ahead for longer than any token
// lives, and then right again. A session elsewhere has not ended by that, at the issuer and at a
// gate that has read the entry, also one that has it from a snapshot.
func TestNoClockEndsARevocationThatLivesLong(t *testing.T) {
	d := newDesk(t)
	d.w.SessionsLive(sessionsLive)
	gate := func(restored bool) (*revocation.Copy, *liveset.Set) {
		set := newSet()
		r := revocation.NewCopy(times(), set)
		if restored {
			e := d.begin(ofElsewhere(revocation.KindSID, "s1")).Entries[0]
			set.Add(&e)
			r.HoldsFor(time.UnixMilli(set.Last()).Sub(d.instant().Wall))
			r.Restore(d.log.head.Position())
		}
		r.Connected()
		return r, set
	}
	follow := func(r *revocation.Copy) {
		hb := r.Beat(d.instant())
		r.Answered(hb, d.log.gateBeat(hb), d.instant())
		for range 4 {
			rd := r.Next()
			if entries := d.log.read(rd); len(entries) > 0 {
				r.Entries(rd, entries, d.instant())
			}
		}
	}
	d.store(d.begin(ofElsewhere(revocation.KindSID, "s1")))
	d.health(4)
	read, readSet := gate(false)
	kept, keptSet := gate(true)
	copies := map[string]struct {
		r   *revocation.Copy
		set *liveset.Set
	}{
		"the issuer": {d.w.Copy, d.set}, "a gate": {read, readSet},
		"a gate with a file": {kept, keptSet},
	}
	pass := func(n int) {
		for range n {
			d.health(1)
			follow(read)
			follow(kept)
			// Each forgets meanwhile what it may: once forgotten, no right clock brings it back.
			for name, c := range copies {
				now, known := c.r.Expired(d.instant())
				if !known {
					t.Fatalf("%s does not know the time", name)
				}
				c.set.Sweep(now, c.set.Shards())
			}
			d.pass(10 * time.Minute)
		}
	}
	pass(3)
	d.moveAll(365 * 24 * time.Hour)
	pass(40)
	d.moveAll(-365 * 24 * time.Hour)
	pass(3)
	for name, c := range copies {
		if !c.set.Check(&revocation.Facts{Issuer: elsewhere, SessionID: "s1"}).Revoked {
			t.Errorf("%s allows the session", name)
		}
	}
}

// TestEntriesOfTokensAreForgottenAsEverWhereNoneLivesLonger: the memory of clocks is as long as the
// longest entry, and no longer.
func TestEntriesOfTokensAreForgottenAsEverWhereNoneLivesLonger(t *testing.T) {
	d := newDesk(t)
	d.w.SessionsLive(sessionsLive)
	d.store(d.begin(request(revocation.KindSID, "s1")))
	d.health(4)
	d.moveAll(12 * time.Hour)
	for range 30 {
		d.health(1)
		d.pass(10 * time.Minute)
	}
	if now, _ := d.w.Expired(d.instant()); now < d.instant().Wall.Add(-time.Second).UnixMilli() {
		t.Errorf("five hours after clocks were put ahead for good, %s of it are not believed",
			d.instant().Wall.Sub(time.UnixMilli(now)))
	}
}
