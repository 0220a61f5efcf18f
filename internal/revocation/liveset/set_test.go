package liveset_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

const (
	iss  = "https://issuer.example"
	skew = 30 * time.Second
)

func newSet(shards int) *liveset.Set {
	return liveset.New(
		liveset.Config{ClockSkew: skew, Key: liveset.Key{K0: 1, K1: 2}, Shards: shards})
}

// at is a time in the tests' own calendar, in unix seconds.
const at = int64(1_800_000_000)

func entry(k revocation.Kind, value string) *revocation.Entry {
	e := &revocation.Entry{
		Seq: 7, Kind: k, Issuer: iss, Value: value, Expires: (at + 3660) * 1000, At: at * 1000,
		Reason: "test",
	}
	if k.Cutoff() {
		e.IssuedBefore = at * 1000
	}
	return e
}

// ours is a session's token of our own issuer.
func ours() revocation.Facts {
	return revocation.Facts{
		Issuer:    iss,
		TokenID:   "jti",
		SessionID: "sid",
		Subject:   "sub",
		ClientID:  "client",
		Tenant:    "tenant",
		KeyID:     "kid",
		IssuedAt:  at - 10,
		AuthTime:  at - 100,
		Ours:      true,
	}
}

// TestRules: which tokens each kind of entry denies.
func TestRules(t *testing.T) {
	with := func(change func(*revocation.Facts)) revocation.Facts {
		f := ours()
		change(&f)
		return f
	}
	foreign := func(f *revocation.Facts) { f.Ours = false }
	machine := func(f *revocation.Facts) { f.SessionID, f.AuthTime = "", 0 }
	begun := func(off int64) revocation.Facts {
		return with(
			func(f *revocation.Facts) { f.IssuedAt, f.AuthTime = max(f.IssuedAt, at+off), at+off })
	}
	// it began after a log out everywhere by a clock that was ahead
	ahead := with(func(f *revocation.Facts) { f.IssuedAt, f.AuthTime = at, at+300 })
	issued := func(off int64) revocation.Facts {
		return with(func(f *revocation.Facts) { foreign(f); f.IssuedAt = at + off })
	}
	refreshed := func(off, began int64) revocation.Facts {
		return with(func(f *revocation.Facts) { foreign(f); f.IssuedAt, f.AuthTime = at+off, began })
	}
	leeway := int64(skew / time.Second)
	for name, c := range map[string]struct {
		entry  *revocation.Entry
		facts  revocation.Facts
		denied bool
	}{
		"jti":         {entry(revocation.KindJTI, "jti"), ours(), true},
		"another jti": {entry(revocation.KindJTI, "jti2"), ours(), false},
		"jti of another issuer": {
			entry(revocation.KindJTI, "jti"), with(func(f *revocation.Facts) { f.Issuer = iss + "/" }),
			false,
		},
		"jti as sid": {entry(revocation.KindJTI, "sid"), ours(), false},
		"sid":        {entry(revocation.KindSID, "sid"), ours(), true},
		"sid, minted after": {
			entry(revocation.KindSID, "sid"),
			with(func(f *revocation.Facts) { f.IssuedAt, f.AuthTime = at+99, at+99 }), true,
		},
		"sid of a foreign token": {entry(revocation.KindSID, "sid"), with(foreign), true},
		"kid":                    {entry(revocation.KindKID, "kid"), ours(), true},
		"kid, whoever stole it is new": {
			entry(revocation.KindKID, "kid"),
			with(func(f *revocation.Facts) { f.IssuedAt, f.AuthTime = at+99, at+99 }), true,
		},
		"sub, begun a second before":  {entry(revocation.KindSub, "sub"), begun(-1), true},
		"sub, begun in its second":    {entry(revocation.KindSub, "sub"), begun(0), true},
		"sub, begun after":            {entry(revocation.KindSub, "sub"), begun(1), false},
		"sub, ours without a session": {entry(revocation.KindSub, "sub"), with(machine), true},
		"sub, foreign":                {entry(revocation.KindSub, "sub"), with(foreign), true},
		"sub, another":                {entry(revocation.KindSub, "sub2"), with(foreign), false},
		"client, begun before":        {entry(revocation.KindClient, "client"), begun(-1), true},
		"client, begun at":            {entry(revocation.KindClient, "client"), begun(0), true},
		"client, begun after":         {entry(revocation.KindClient, "client"), begun(1), false},
		"client, no auth_time": {
			entry(revocation.KindClient, "client"), with(func(f *revocation.Facts) { f.AuthTime = 0 }),
			true,
		},
		"sub, said to begin after":    {entry(revocation.KindSub, "sub"), ahead, false},
		"client, said to begin after": {entry(revocation.KindClient, "client"), ahead, true},
		"tenant, said to begin after": {entry(revocation.KindTenant, "tenant"), ahead, true},
		"iss, said to begin after":    {entry(revocation.KindIss, ""), ahead, true},
		"tenant, begun at":            {entry(revocation.KindTenant, "tenant"), begun(0), true},
		"tenant, begun after":         {entry(revocation.KindTenant, "tenant"), begun(1), false},
		"iss, begun at":               {entry(revocation.KindIss, ""), begun(0), true},
		"iss, begun after":            {entry(revocation.KindIss, ""), begun(1), false},
		"client, issued within skew":  {entry(revocation.KindClient, "client"), issued(leeway), true},
		"client, issued after skew": {
			entry(revocation.KindClient, "client"), issued(leeway + 1), false,
		},
		"tenant, issued after skew": {
			entry(revocation.KindTenant, "tenant"), issued(leeway + 1), false,
		},
		"iss, issued within skew": {entry(revocation.KindIss, ""), issued(leeway), true},
		"sub, issued after skew":  {entry(revocation.KindSub, "sub"), refreshed(leeway+1, 0), false},
		"sub, a session elsewhere goes on": {
			entry(revocation.KindSub, "sub"), refreshed(leeway+999, at-100), true,
		},
		"sub, a session elsewhere began in its second": {
			entry(revocation.KindSub, "sub"), refreshed(leeway+1, at), true,
		},
		"sub, a session elsewhere begins right after": {
			entry(revocation.KindSub, "sub"), refreshed(leeway+1, at+1), false,
		},
		"sub, issued within skew in a session begun after": {
			entry(revocation.KindSub, "sub"), refreshed(leeway, at+1), true,
		},
		"client, a session elsewhere goes on": {
			entry(revocation.KindClient, "client"), refreshed(leeway+1, at-100), false,
		},
		"epoch revokes nothing": {
			&revocation.Entry{Seq: 1, Kind: revocation.KindEpoch, Value: "jti", Expires: at * 2000}, ours(),
			false,
		},
	} {
		s := newSet(1)
		s.Add(c.entry)
		v := s.Check(&c.facts)
		if v.Revoked != c.denied {
			t.Errorf("%s: revoked %v, want %v", name, v.Revoked, c.denied)
		}
		if v.Revoked && (v.Kind != c.entry.Kind || v.Reason != "test" || v.Seq != 7) {
			t.Errorf("%s: verdict %+v does not name its entry", name, v)
		}
	}
}

// TestSessionRules: which sessions may not be refreshed.
func TestSessionRules(t *testing.T) {
	f := ours()
	began := time.UnixMilli(at*1000 + 400)
	for name, c := range map[string]struct {
		entry  *revocation.Entry
		cutoff int64
		denied bool
	}{
		"sid":             {entry(revocation.KindSID, "sid"), 0, true},
		"jti":             {entry(revocation.KindJTI, "jti"), 0, false},
		"sub before":      {entry(revocation.KindSub, "sub"), began.UnixMilli() - 1, false},
		"sub at":          {entry(revocation.KindSub, "sub"), began.UnixMilli(), true},
		"client before":   {entry(revocation.KindClient, "client"), began.UnixMilli() - 1, false},
		"client at":       {entry(revocation.KindClient, "client"), began.UnixMilli(), true},
		"tenant at":       {entry(revocation.KindTenant, "tenant"), began.UnixMilli(), true},
		"issuer at":       {entry(revocation.KindIss, ""), began.UnixMilli(), true},
		"another client":  {entry(revocation.KindClient, "client2"), began.UnixMilli(), false},
		"another session": {entry(revocation.KindSID, "sid2"), 0, false},
	} {
		s := newSet(1)
		c.entry.IssuedBefore = c.cutoff
		s.Add(c.entry)
		if got := s.CheckSession(&f, began).Revoked; got != c.denied {
			t.Errorf("%s: %v, want %v", name, got, c.denied)
		}
	}
}

// TestLayeredCutoffsTakeTheMaximum (CVE-2026-18218): in whatever order they come, the latest cutoff
// and the latest expiry stand.
func TestLayeredCutoffsTakeTheMaximum(t *testing.T) {
	cutoffs := []int64{at - 50, at, at - 20}
	expiries := []int64{at + 100, at + 50, at + 300}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		s := newSet(1)
		for _, i := range order {
			e := entry(revocation.KindClient, "client")
			e.IssuedBefore, e.Expires = cutoffs[i]*1000, expiries[i]*1000
			s.Add(e)
		}
		f := ours()
		f.AuthTime = at
		if !s.Check(&f).Revoked {
			t.Errorf("order %v: a session begun at the latest cutoff passes", order)
		}
		f.IssuedAt, f.AuthTime = at+1, at+1
		if s.Check(&f).Revoked {
			t.Errorf("order %v: a session begun after the latest cutoff is denied", order)
		}
		if s.Live(revocation.KindClient) != 1 {
			t.Errorf("order %v: %d entries for one name", order, s.Live(revocation.KindClient))
		}
		f.AuthTime = at
		if s.Sweep((at+299)*1000, 1); !s.Check(&f).Revoked {
			t.Errorf("order %v: forgotten before the latest expiry", order)
		}
		if s.Sweep((at+304)*1000, 1); s.Check(&f).Revoked || s.Live(revocation.KindClient) != 0 {
			t.Errorf("order %v: not forgotten after the latest expiry", order)
		}
	}
}

// TestSetIsExact: against a plain map, through any run of additions and sweeps, the set denies
// exactly what has been added and not swept.
func TestSetIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSet(rapid.SampledFrom([]int{1, 2, 8}).Draw(t, "shards"))
		expires := map[string]int64{}
		now := at * 1000
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "step") == 0 {
				now += rapid.Int64Range(0, 40_000).Draw(t, "pause")
				s.Sweep(now, s.Shards())
				continue
			}
			id := fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "id"))
			e := entry(revocation.KindJTI, id)
			e.Expires = now + rapid.Int64Range(1, 100_000).Draw(t, "life")
			s.Add(e)
			expires[id] = max(expires[id], e.Expires)
		}
		for id, x := range expires {
			f := revocation.Facts{Issuer: iss, TokenID: id}
			if x > now && !s.Check(&f).Revoked {
				t.Fatalf("%s, live for %d ms more, is not denied", id, x-now)
			}
		}
		for n := range 100 {
			if s.Check(&revocation.Facts{Issuer: iss, TokenID: fmt.Sprintf("other-%d", n)}).Revoked {
				t.Fatal("a token nobody revoked is denied")
			}
		}
		s.Sweep(now+200_000, s.Shards())
		if s.Live(revocation.KindJTI) != 0 {
			t.Fatalf("%d entries left after all have expired", s.Live(revocation.KindJTI))
		}
	})
}

// TestReadersNeverMiss: while entries come and expired ones go, whatever was added and lives is
// denied at every moment.
func TestReadersNeverMiss(t *testing.T) {
	s := newSet(4)
	lasting := make([]revocation.Facts, 50)
	for n := range lasting {
		lasting[n] = revocation.Facts{Issuer: iss, TokenID: fmt.Sprintf("lasting-%d", n)}
		s.Add(entry(revocation.KindJTI, lasting[n].TokenID))
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for n := range lasting {
					if !s.Check(&lasting[n]).Revoked {
						t.Errorf("%s was missed", lasting[n].TokenID)
						return
					}
				}
			}
		})
	}
	for n := range 20_000 {
		e := entry(revocation.KindJTI, fmt.Sprintf("passing-%d", n))
		e.Expires = at*1000 + int64(n)
		s.Add(e)
		if n%100 == 0 {
			s.Sweep(at*1000+int64(n)-500, 4)
		}
	}
	close(done)
	readers.Wait()
}

// TestReasonsAreBounded: no caller makes the list of reasons grow for ever, and a reason beyond it
// still denies.
func TestReasonsAreBounded(t *testing.T) {
	s := newSet(1)
	for n := range 5000 {
		e := entry(revocation.KindJTI, fmt.Sprint(n))
		e.Reason = fmt.Sprintf("reason_%d", n)
		s.Add(e)
	}
	first := s.Check(&revocation.Facts{Issuer: iss, TokenID: "0"})
	last := s.Check(&revocation.Facts{Issuer: iss, TokenID: "4999"})
	if first.Reason != "reason_0" || !last.Revoked || last.Reason != "other" {
		t.Errorf("first %+v, last %+v", first, last)
	}
}
