package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/issuer/httpapi"
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

const (
	issuerURL  = "https://login.example"
	adminToken = "0123456789abcdef0123456789abcdef"
)

// observing makes an API over an inventory, with that many requests at once for one address.
func observing(t *testing.T, r *records, burst int) http.Handler {
	t.Helper()
	api, err := New(Options{
		Config: daemon.AdminConfig{Token: config.NewSecret(adminToken)}, Issuer: issuerURL, Inventory: r,
		HTTP:         httpapi.NewHandlers(issuerURL, slog.New(slog.DiscardHandler), nil, time.Now),
		Waits:        httpapi.NewWaits(nil, time.Minute, 1),
		MaxStaleness: 10 * time.Second, MaxConcurrent: 10, Now: time.Now,
		Requests: credential.Rate{Burst: burst, Every: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	return api.Handlers()["/admin/"]
}

// ask asks with the admin token.
func ask(api http.Handler, method, path string) *httptest.ResponseRecorder {
	return askAs(api, adminToken, method, path)
}

func askAs(api http.Handler, token, method, path string) *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	api.ServeHTTP(w, r)
	return w
}

// get reads an answer into dst, strictly: every member is one that dst declares.
func get(t *testing.T, api http.Handler, path string, dst any) {
	t.Helper()
	w := ask(api, http.MethodGet, path)
	if w.Code != http.StatusOK {
		t.Fatalf("expected 200, got %d %s", w.Code, w.Body)
	}
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(dst); err != nil {
		t.Fatal(err)
	}
}

// wantRefusal wants a status and an error's code.
func wantRefusal(t *testing.T, api http.Handler, path string, status int, code string) {
	t.Helper()
	w := ask(api, http.MethodGet, path)
	var problem adminapi.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || w.Code != status ||
		problem.Error != code {
		t.Errorf("%s: expected %d %s, got %d %s", path, status, code, w.Code, w.Body)
	}
}

const many = 1000

func TestEveryEndpointWantsTheAdminToken(t *testing.T) {
	api := observing(t, &records{}, many)
	for _, e := range (&API{}).endpoints() {
		if got := askAs(api, "a guess", e.Method, e.Path); got.Code != http.StatusUnauthorized {
			t.Errorf("%s %s: got %d", e.Method, e.Path, got.Code)
		}
	}
}

func TestEveryEndpointIsThrottled(t *testing.T) {
	const burst = 2
	for _, e := range (&API{}).endpoints() {
		api := observing(t, &records{}, burst)
		for range burst {
			ask(api, e.Method, e.Path)
		}
		if last := ask(api, e.Method, e.Path); last.Code != http.StatusTooManyRequests {
			t.Errorf("%s %s: got %d", e.Method, e.Path, last.Code)
		}
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
	r := &records{gates: gates, issuers: []redislog.Line{
		line("ok", func(l *redislog.Line) { l.KeySetAge = 0 }),
	}}
	api := observing(t, r, many)
	var got adminapi.Status
	get(t, api, "/admin/status", &got)
	if got.Well || *got.Head != (adminapi.Head{Epoch: "e", Seq: 9}) || got.MaxStaleness != 10 ||
		len(got.Gates) != len(gates) ||
		len(got.Issuers) != 1 {
		t.Fatalf("got %+v", got)
	}
	for i, g := range got.Gates {
		if string(g.State) != g.Name {
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
	r.gates = append(gates[:1:1], gates[len(gates)-1])
	get(t, api, "/admin/status", &got)
	if !got.Well {
		t.Error("all are ok or have left, and not all is well")
	}
}

// list asks for entries and returns their places.
func list(t *testing.T, api http.Handler, query string) (seqs []uint64, next uint64) {
	t.Helper()
	var got adminapi.Entries
	get(t, api, "/admin/revocations?"+query, &got)
	for _, e := range got.Entries {
		seqs = append(seqs, e.Seq)
	}
	if got.Next != 0 && got.Next != got.Last {
		t.Errorf("looked up to %d, next is %d", got.Last, got.Next)
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
	api := observing(t, r, many)
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
		seqs, next := list(t, api, query)
		if fmt.Sprint(seqs) != fmt.Sprint(want.seqs) || next != want.next {
			t.Errorf("%s: expected %v and %d, got %v and %d", query, want.seqs, want.next, seqs, next)
		}
	}
	for _, query := range []string{
		"value=x", "kind=ip", "after=99999999999999999999", "kind=sid&kind=jti",
	} {
		wantRefusal(t, api, "/admin/revocations?"+query, http.StatusBadRequest, "invalid_request")
	}
}

func TestOneSearchLooksAtABoundedPartOfTheLog(t *testing.T) {
	r := &records{}
	for seq := uint64(1); seq <= maxSearch+500; seq++ {
		r.entries = append(r.entries, revocation.Entry{Seq: seq, Kind: revocation.KindJTI, Value: "x"})
	}
	api := observing(t, r, many)
	if seqs, next := list(t, api, "kind=sid"); len(seqs) != 0 || next != maxSearch ||
		r.reads != maxSearch/adminapi.MaxEntries {
		t.Errorf("found %v, next %d, after %d reads", seqs, next, r.reads)
	}
	seqs, next := list(t, api, fmt.Sprint("kind=sid&after=", maxSearch))
	if len(seqs) != 0 || next != 0 {
		t.Errorf("found %v, next %d", seqs, next)
	}
}

func TestAnEntryIsShownByItsPlace(t *testing.T) {
	api := observing(t, &records{entries: []revocation.Entry{
		{Seq: 3, Kind: revocation.KindJTI, Value: "j3", Reason: "leaked", Actor: "ops"},
	}}, many)
	var got adminapi.Entry
	get(t, api, "/admin/revocations/3", &got)
	if got.Seq != 3 || got.Value != "j3" || got.Reason != "leaked" || got.Actor != "ops" {
		t.Errorf("got %+v", got)
	}
	for _, seq := range []string{"2", "4"} { // trimmed, and not there yet
		wantRefusal(t, api, "/admin/revocations/"+seq, http.StatusNotFound, "not_found")
	}
	for _, seq := range []string{"0", "-1", "x", "3.0"} {
		wantRefusal(t, api, "/admin/revocations/"+seq, http.StatusBadRequest, "invalid_request")
	}
}
