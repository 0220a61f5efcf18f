package issuer

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// entry is a revocation as GET /admin/revocations shows it.
type entry struct {
	Seq          uint64     `json:"seq"`
	Kind         string     `json:"kind"`
	Issuer       string     `json:"issuer,omitempty"`
	Value        string     `json:"value,omitempty"`
	IssuedBefore *time.Time `json:"issued_before,omitempty"`
	Expires      time.Time  `json:"expires"`
	Reason       string     `json:"reason,omitempty"`
	Actor        string     `json:"actor,omitempty"`
	At           time.Time  `json:"at"`
}

const (
	maxEntries = 1000   // of one answer
	maxSearch  = 20_000 // entries that one request looks at
)

// entries answers GET /admin/revocations?after=0&limit=100&kind=sid&value=...&issuer=...: the log's
// entries behind a place, oldest first. next is there when there may be more: ask again with
// after=next, also when no entry is in the answer.
func (s *Server) entries(r *request) (reply, error) {
	search, err := parseSearch(r.URL.Query())
	if err != nil {
		return reply{}, err
	}
	gates, issuers, err := s.lines(r.Context())
	if err != nil {
		return reply{}, err
	}
	answer := struct {
		// read before the entries: another epoch next time means that after must begin anew
		Head    *logHead `json:"head"`
		Entries []entry  `json:"entries"`
		Last    uint64   `json:"last"` // how far the log has been looked through
		Next    uint64   `json:"next,omitempty"`
	}{Head: headOf(gates, issuers), Entries: []entry{}}
	for looked := 0; ; {
		page, err := s.inventory.Entries(r.Context(), search.after, search.page())
		if err != nil {
			return reply{}, err
		}
		looked += len(page)
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
	return reply{status: http.StatusOK, body: answer}, nil
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
	if f.after, err = strconv.ParseUint(orElse(query.Get("after"), "0"), 10, 53); err != nil {
		return f, invalidRequest("after is not a place in the log")
	}
	f.limit, err = strconv.Atoi(orElse(query.Get("limit"), "100"))
	if err != nil || f.limit < 1 || f.limit > maxEntries {
		return f, invalidRequest("limit is not a number from 1 to " + strconv.Itoa(maxEntries))
	}
	if kind := query.Get("kind"); kind != "" {
		if f.kind, err = revocation.ParseKind(kind); err != nil {
			return f, invalidRequest("kind is not jti, sid, sub, client, tenant, kid, iss or epoch")
		}
	}
	f.value, f.issuer = query.Get("value"), query.Get("issuer")
	if f.value != "" && f.kind == 0 {
		return f, invalidRequest("a value needs a kind")
	}
	return f, nil
}

// page is how many entries to read at once.
func (f *search) page() int {
	if f.kind == 0 && f.issuer == "" {
		return f.limit
	}
	return maxEntries
}

func (f *search) matches(e *revocation.Entry) bool {
	return (f.kind == 0 || e.Kind == f.kind) && (f.value == "" || e.Value == f.value) &&
		(f.issuer == "" || e.Issuer == f.issuer)
}

// entryAt answers GET /admin/revocations/{seq}: one entry.
func (s *Server) entryAt(r *request) (reply, error) {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 53)
	if err != nil || seq == 0 {
		return reply{}, invalidRequest("that is not a place in the log")
	}
	found, err := s.inventory.Entries(r.Context(), seq-1, 1)
	if err != nil {
		return reply{}, err
	}
	if len(found) == 0 || found[0].Seq != seq {
		return reply{}, errNoEntry
	}
	return reply{status: http.StatusOK, body: showEntry(found[0])}, nil
}

var errNoEntry = &refusal{
	status: http.StatusNotFound, code: "not_found",
	description: "The log has no entry at that place: not yet, or no more, since it has expired.",
}

func showEntry(e revocation.Entry) entry {
	shown := entry{
		Seq:    e.Seq,
		Kind:   e.Kind.String(),
		Issuer: e.Issuer,
		Value:  e.Value,
		Expires: time.UnixMilli(e.Expires).
			UTC(),
		Reason: e.Reason,
		Actor:  e.Actor,
		At:     time.UnixMilli(e.At).UTC(),
	}
	if e.Kind.Cutoff() {
		before := time.UnixMilli(e.IssuedBefore).UTC()
		shown.IssuedBefore = &before
	}
	return shown
}
