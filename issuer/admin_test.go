package issuer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// records is an inventory in the test's hands.
type records struct {
	gates, issuers []redislog.Line
	entries        []revocation.Entry
	reads          int
}

func (r *records) Gates(context.Context) ([]redislog.Line, error)   { return r.gates, nil }
func (r *records) Issuers(context.Context) ([]redislog.Line, error) { return r.issuers, nil }

func (r *records) Entries(_ context.Context, after uint64,
	limit int) (found []revocation.Entry, err error) {
	r.reads++
	for _, e := range r.entries {
		if e.Seq > after && len(found) < limit {
			found = append(found, e)
		}
	}
	return found, nil
}

func (h *house) observing(r *records) *house {
	h.server.inventory = r
	return h
}

// decode reads an answer into dst.
func decode(t *testing.T, a answer, dst any) {
	t.Helper()
	wantStatus(t, a, http.StatusOK, "")
	if err := json.Unmarshal([]byte(a.text), dst); err != nil {
		t.Fatal(err)
	}
}

func TestStatusSaysWhoIsWell(t *testing.T) {
	line := func(name string, change func(*redislog.Line)) redislog.Line {
		l := redislog.Line{
			Name:      name,
			Version:   "v1",
			Epoch:     "e",
			Seq:       9,
			OnLog:     true,
			Age:       100 * time.Millisecond,
			Live:      true,
			Ready:     true,
			Staleness: 200 * time.Millisecond,
			KeySetAge: time.Minute,
		}
		if change != nil {
			change(&l)
		}
		return l
	}
	gates := []redislog.Line{
		line("ok", nil),
		line("behind", func(l *redislog.Line) { l.Seq = 7 }),
		line("off_log", func(l *redislog.Line) { l.OnLog, l.Seq, l.Epoch = false, 40, "other" }),
		line("not_ready", func(l *redislog.Line) { l.Ready, l.Staleness, l.KeySetAge = false, 0, 0 }),
		line("stale", func(l *redislog.Line) { l.Ready, l.Staleness = false, time.Minute }),
		// it has said nothing since
		line("stale", func(l *redislog.Line) { l.Staleness, l.Age = 5*time.Second, 6*time.Second }),
		line("shared", func(l *redislog.Line) { l.Shared = true }),
		line("unlike", func(l *redislog.Line) { l.MaxStaleness = 20 * time.Second }),
		line("ok", func(l *redislog.Line) { l.MaxStaleness = 10 * time.Second }),
		line("gone", func(l *redislog.Line) { l.Live, l.Age = false, time.Minute }),
		line("left", func(l *redislog.Line) { l.Live, l.Left, l.Ready = false, true, false }),
	}
	h := onMiniredis(t,
		nil).observing(&records{gates: gates, issuers: []redislog.Line{line("ok", func(l *redislog.Line) { l.KeySetAge = 0 })}})
	var got struct {
		Well           bool
		Head           logHead
		MaxStaleness   float64 `json:"max_staleness_seconds"`
		Gates, Issuers []process
	}
	decode(t, h.operate(http.MethodGet, "/admin/status", ""), &got)
	if got.Well || got.Head != (logHead{"e", 9}) || got.MaxStaleness != 10 ||
		len(got.Gates) != len(gates) ||
		len(got.Issuers) != 1 {
		t.Fatalf("got %+v", got)
	}
	for i, g := range got.Gates {
		if g.State != g.Name {
			t.Errorf("gate %d: expected %s, got %s", i, g.Name, g.State)
		}
	}
	if g := got.Gates[0]; *g.Staleness < 0.29 || *g.Staleness > 0.31 || *g.KeySetAge < 60 ||
		*g.Lag != 0 ||
		g.Version != "v1" {
		t.Errorf("got %+v", g)
	}
	if lag := got.Gates[1].Lag; lag == nil || *lag != 2 {
		t.Errorf("the lag of the one behind: %v", lag)
	}
	if got.Gates[2].Lag != nil || got.Gates[3].Staleness != nil || got.Issuers[0].KeySetAge != nil {
		t.Error("something that is not known is told")
	}
	if !got.Gates[6].Shared || got.Gates[0].Shared || got.Gates[0].MaxStaleness != nil ||
		*got.Gates[7].MaxStaleness != 20 {
		t.Errorf("who shares a line, and who has other settings: %+v", got.Gates)
	}
	h.observing(&records{gates: append(gates[:1:1], gates[len(gates)-1])})
	decode(t, h.operate(http.MethodGet, "/admin/status", ""), &got)
	if !got.Well {
		t.Error("all are ok or have left, and not all is well")
	}
}

// list asks for entries and gives their places.
func (h *house) list(query string) (seqs []uint64, next uint64) {
	h.t.Helper()
	var got struct {
		Entries []entry
		Last    uint64
		Next    uint64
	}
	decode(h.t, h.operate(http.MethodGet, "/admin/revocations?"+query, ""), &got)
	for _, e := range got.Entries {
		seqs = append(seqs, e.Seq)
	}
	if got.Next != 0 && got.Next != got.Last {
		h.t.Errorf("looked up to %d, next is %d", got.Last, got.Next)
	}
	return seqs, got.Next
}

func TestEntriesAreFoundBySelectorAcrossPages(t *testing.T) {
	r := &records{}
	for seq := uint64(1); seq <= 2500; seq++ {
		e := revocation.Entry{
			Seq: seq, Kind: revocation.KindJTI, Issuer: issuerURL, Value: fmt.Sprint("j", seq),
		}
		if seq%1000 == 0 {
			e.Kind, e.Value = revocation.KindSID, "s1"
		}
		if seq == 2400 {
			e.Issuer = "https://other.example"
		}
		r.entries = append(r.entries, e)
	}
	h := onMiniredis(t, nil).observing(r)
	for query, want := range map[string]struct {
		seqs []uint64
		next uint64
	}{
		"limit=2":                       {[]uint64{1, 2}, 2},
		"after=2498":                    {[]uint64{2499, 2500}, 0},
		"after=2498&limit=2":            {[]uint64{2499, 2500}, 2500}, // there may be more
		"after=2500":                    {nil, 0},
		"kind=sid&value=s1":             {[]uint64{1000, 2000}, 0},
		"kind=sid&value=s1&limit=1":     {[]uint64{1000}, 1000},
		"kind=jti&value=j7":             {[]uint64{7}, 0},
		"kind=client":                   {nil, 0},
		"issuer=https://other.example":  {[]uint64{2400}, 0},
		"kind=sid&issuer=https://other": {nil, 0},
	} {
		if seqs, next := h.list(query); fmt.Sprint(seqs) != fmt.Sprint(want.seqs) || next != want.next {
			t.Errorf("%s: expected %v and %d, got %v and %d", query, want.seqs, want.next, seqs, next)
		}
	}
	for _, query := range []string{"value=x", "kind=ip", "after=99999999999999999999", "kind=sid&kind=jti"} {
		wantStatus(t, h.operate(http.MethodGet, "/admin/revocations?"+query, ""),
			http.StatusBadRequest, "invalid_request")
	}
}

func TestOneSearchLooksAtABoundedPartOfTheLog(t *testing.T) {
	r := &records{}
	for seq := uint64(1); seq <= maxSearch+500; seq++ {
		r.entries = append(r.entries, revocation.Entry{Seq: seq, Kind: revocation.KindJTI, Value: "x"})
	}
	h := onMiniredis(t, nil).observing(r)
	if seqs, next := h.list("kind=sid"); len(seqs) != 0 || next != maxSearch ||
		r.reads != maxSearch/maxEntries {
		t.Errorf("found %v, next %d, after %d reads", seqs, next, r.reads)
	}
	if seqs, next := h.list(fmt.Sprint("kind=sid&after=", maxSearch)); len(seqs) != 0 || next != 0 {
		t.Errorf("found %v, next %d", seqs, next)
	}
}

func TestAnEntryIsShownByItsPlace(t *testing.T) {
	h := onMiniredis(t,
		nil).observing(&records{entries: []revocation.Entry{{Seq: 3, Kind: revocation.KindJTI, Value: "j3", Reason: "leaked", Actor: "ops"}}})
	var got entry
	decode(t, h.operate(http.MethodGet, "/admin/revocations/3", ""), &got)
	if got.Seq != 3 || got.Value != "j3" || got.Reason != "leaked" || got.Actor != "ops" {
		t.Errorf("got %+v", got)
	}
	for _, seq := range []string{"2", "4"} { // trimmed, and not there yet
		wantStatus(t, h.operate(http.MethodGet, "/admin/revocations/"+seq, ""),
			http.StatusNotFound, "not_found")
	}
	for _, seq := range []string{"0", "-1", "x", "3.0"} {
		wantStatus(t, h.operate(http.MethodGet, "/admin/revocations/"+seq, ""),
			http.StatusBadRequest, "invalid_request")
	}
}

func (h *house) preview(members ...string) (p preview) {
	h.t.Helper()
	decode(h.t, h.operate(http.MethodPost, "/admin/revocations?dry_run=true", body(members...)), &p)
	if !p.DryRun || p.Effect == "" || p.Sessions == nil {
		h.t.Errorf("got %+v", p)
	}
	return p
}

func TestADryRunTellsWhatWouldEndAndEndsNothing(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		first, second := h.login("alice"), h.login("alice")
		h.login("bob")
		sid := h.claims(first.str("access_token")).SessionID

		p := h.preview("kind", "sid", "value", sid)
		if !p.SessionsKnown || p.SessionsTotal != 1 || p.Sessions[0].ID != sid ||
			p.Sessions[0].Subject != "alice" ||
			p.Sessions[0].State != "active" ||
			*p.Revoked {
			t.Errorf("a session: %+v", p)
		}
		if p = h.preview("kind", "sub", "value",
			"Alice"); !p.SessionsKnown || p.SessionsTotal != 2 || len(p.Sessions) != 2 ||
			p.Value != "alice" {
			t.Errorf("a user: %+v", p)
		}
		if p = h.preview("kind", "sub", "value", "nobody"); !p.SessionsKnown || p.SessionsTotal != 0 {
			t.Errorf("a user without sessions: %+v", p)
		}
		if p = h.preview("kind", "jti", "value", "x"); !p.SessionsKnown || p.SessionsTotal != 0 ||
			*p.Revoked {
			t.Errorf("a token: %+v", p)
		}
		for _, members := range [][]string{{"kind", "client", "value", "x"}, {"kind", "tenant", "value", "x"}, {"kind", "iss", "issuer", "https://other.example"}, {"kind", "sub", "value", "x", "issuer", "https://other.example"}} {
			if p = h.preview(members...); p.SessionsKnown || p.SessionsTotal != 0 || p.Revoked != nil {
				t.Errorf("%v: %+v", members, p)
			}
		}

		if entries := h.log.Entries(); len(entries) != 0 {
			t.Fatalf("a dry run has revoked %+v", entries)
		}
		wantStatus(t, h.refresh(second.str("refresh_token")), http.StatusOK, "")
		wantStatus(
			t,
			h.operate(http.MethodPost, "/admin/revocations?dry_run=false",
				body("kind", "sid", "value", sid)),
			http.StatusOK,
			"",
		)
		if p = h.preview("kind", "sid", "value", sid); !*p.Revoked || p.Sessions[0].State != "ended" {
			t.Errorf("a session that has ended: %+v", p)
		}
		if p = h.preview("kind", "sub", "value", "alice"); p.SessionsTotal != 1 {
			t.Errorf("a user after one session has ended: %+v", p)
		}
	})
}

func TestADryRunRefusesWhatWouldBeRefused(t *testing.T) {
	h := onMiniredis(t, nil)
	for name, members := range map[string][]string{
		"no session":         {"kind", "sid", "value", "x"},
		"a cutoff of a user": {"kind", "sub", "value", "alice", "issued_before", "2026-01-31T12:00:00Z"},
		"no user":            {"kind", "sub", "value", "a\u2028b"},
		"no kind":            {"value", "x"},
	} {
		got := h.operate(http.MethodPost, "/admin/revocations?dry_run=true", body(members...))
		if got.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", name, got.status, got.text)
		}
	}
	for _, text := range []string{"1", "yes", "TRUE"} { // who meant a dry run must not get a real one
		got := h.operate(http.MethodPost, "/admin/revocations?dry_run="+url.QueryEscape(text),
			body("kind", "jti", "value", "x"))
		wantStatus(t, got, http.StatusBadRequest, "invalid_request")
	}
	if len(h.log.Entries()) != 0 {
		t.Error("something was revoked")
	}
}

func TestAUserIsRevokedUnderTheOneSpellingOfTheName(t *testing.T) {
	h := onMiniredis(t, nil)
	a := h.login("alice")
	wantStatus(t,
		h.operate(http.MethodPost, "/admin/revocations", body("kind", "sub", "value", "ALICE")),
		http.StatusOK, "")
	wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
}
