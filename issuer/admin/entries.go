package admin

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

// maxSearch is how many entries one request looks at, whatever it finds: a search for what is rare
// must not read a long log in one go.
const maxSearch = 20_000

// entries answers GET /admin/revocations?after=0&limit=100&kind=sid&value=...&issuer=...: the log's
// entries behind a place, oldest first. next is there when there may be more: ask again with
// after=next, also when no entry is in the answer.
func (a *API) entries(r *httpapi.Request) (httpapi.Reply, error) {
	search, err := parseSearch(r.URL.Query())
	if err != nil {
		return httpapi.Reply{}, err
	}
	// The head is read before the entries: should the log begin anew in between, the reader sees
	// another epoch in the next answer, and starts from its beginning.
	gates, issuers, err := a.lines(r.Context())
	if err != nil {
		return httpapi.Reply{}, err
	}
	answer := adminapi.Entries{Head: headOf(gates, issuers), Entries: []adminapi.Entry{}}
	for looked := 0; ; {
		page, err := a.cfg.Inventory.Entries(r.Context(), search.after, search.page())
		if err != nil {
			return httpapi.Reply{}, err
		}
		looked += len(page)
		// A full page may have more behind it; so may one whose rest did not fit into the answer.
		more := len(page) == search.page()
		for _, e := range page {
			search.after = e.Seq
			if search.matches(&e) {
				answer.Entries = append(answer.Entries, showEntry(e))
			}
			if len(answer.Entries) == search.limit {
				more = more || e.Seq != page[len(page)-1].Seq
				break
			}
		}
		if !more {
			break
		}
		if len(answer.Entries) == search.limit || looked >= maxSearch {
			answer.Next = search.after
			break
		}
	}
	answer.Last = search.after
	return httpapi.Reply{Status: http.StatusOK, Body: answer}, nil
}

// search is what a list of entries is asked for.
type search struct {
	after  uint64
	limit  int
	kind   revocation.Kind // 0: every
	value  string
	issuer string
}

func parseSearch(query url.Values) (f search, err error) {
	// 53 bits, as JSON numbers have in most languages.
	if f.after, err = strconv.ParseUint(cmp.Or(query.Get("after"), "0"), 10, 53); err != nil {
		return f, httpapi.InvalidRequest("after is not a place in the log")
	}
	f.limit, err = strconv.Atoi(cmp.Or(query.Get("limit"), "100"))
	if err != nil || f.limit < 1 || f.limit > adminapi.MaxEntries {
		return f, httpapi.InvalidRequest(
			"limit is not a number from 1 to " + strconv.Itoa(adminapi.MaxEntries))
	}
	if kind := query.Get("kind"); kind != "" {
		if f.kind, err = revocation.ParseKind(kind); err != nil {
			return f, httpapi.InvalidRequest("kind is not jti, sid, sub, client, tenant, kid, iss or epoch")
		}
	}
	f.value, f.issuer = query.Get("value"), query.Get("issuer")
	if f.value != "" && f.kind == 0 {
		return f, httpapi.InvalidRequest("a value needs a kind")
	}
	return f, nil
}

// page is how many entries to read at once.
func (f *search) page() int {
	if f.kind == 0 && f.issuer == "" {
		return f.limit
	}
	return adminapi.MaxEntries
}

func (f *search) matches(e *revocation.Entry) bool {
	return (f.kind == 0 || e.Kind == f.kind) && (f.value == "" || e.Value == f.value) &&
		(f.issuer == "" || e.Issuer == f.issuer)
}

// entryAt answers GET /admin/revocations/{seq}: one entry.
func (a *API) entryAt(r *httpapi.Request) (httpapi.Reply, error) {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 53)
	if err != nil || seq == 0 {
		return httpapi.Reply{}, httpapi.InvalidRequest("that is not a place in the log")
	}
	found, err := a.cfg.Inventory.Entries(r.Context(), seq-1, 1)
	if err != nil {
		return httpapi.Reply{}, err
	}
	if len(found) == 0 || found[0].Seq != seq {
		return httpapi.Reply{}, errNoEntry
	}
	return httpapi.Reply{Status: http.StatusOK, Body: showEntry(found[0])}, nil
}

var errNoEntry = &httpapi.Refusal{
	Status: http.StatusNotFound, Code: "not_found",
	Description: "The log has no entry at that place: not yet, or no more, since it has expired.",
}

func showEntry(e revocation.Entry) adminapi.Entry {
	shown := adminapi.Entry{
		Seq: e.Seq, Kind: e.Kind.String(), Issuer: e.Issuer, Value: e.Value,
		Expires: time.UnixMilli(e.Expires).UTC(), Reason: e.Reason, Actor: e.Actor,
		At: time.UnixMilli(e.At).UTC(),
	}
	if e.Kind.Cutoff() {
		before := time.UnixMilli(e.IssuedBefore).UTC()
		shown.IssuedBefore = &before
	}
	return shown
}
