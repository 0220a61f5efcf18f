package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/adminapi"
)

// Reply is a good answer. The zero Reply is none: answering it is a 500.
type Reply struct {
	Status int
	Header http.Header // further headers; nil: none
	Body   any         // JSON; []byte as it is
}

// Refusal is an answer that refuses, out of a fixed catalogue. Its text never depends on what the
// request held.
type Refusal struct {
	Status      int
	Code        string // error, as in RFC 6749 section 5.2 and RFC 6750 section 3.1
	Description string
	RetryAfter  time.Duration // > 0: Retry-After
	Challenge   string        // error of the Bearer challenge; "" on a 401: a challenge without one
}

func (e *Refusal) Error() string { return "issuer: " + e.Code + ": " + e.Description }

// The refusals of every endpoint; those of a single one stand beside it.
var (
	errForbidden = &Refusal{
		Status: http.StatusForbidden, Code: "access_denied",
		Description: "Requests from pages of other origins are not served.",
	}
	errNotFound = &Refusal{
		Status: http.StatusNotFound, Code: "not_found", Description: adminapi.NothingHere,
	}
	errMethod = &Refusal{
		Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
		Description: "This method is not offered here; see Allow.",
	}
	errTooLarge = &Refusal{
		Status: http.StatusRequestEntityTooLarge, Code: "request_too_large",
		Description: "The body is larger than 64 KiB.",
	}
	// ErrUnavailable is the answer to whatever went wrong underneath.
	ErrUnavailable = &Refusal{
		Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable",
		Description: "Nothing was changed or handed out as far as is known: try again.",
		RetryAfter:  time.Second,
	}
	// ErrBusy is the answer to a request for which no slot is free.
	ErrBusy = &Refusal{
		Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable",
		Description: "Too many requests are under way: try again.", RetryAfter: time.Second,
	}
	errInternal = &Refusal{
		Status: http.StatusInternalServerError, Code: "server_error",
		Description: "The issuer failed by itself; its log has the error.",
	}
)

// unsupportedType refuses a body that is not of the endpoint's type.
func unsupportedType(want string) error {
	return &Refusal{
		Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type",
		Description: "Send " + want + " in UTF-8.",
	}
}

// InvalidRequest refuses a request that is not as the endpoint wants it.
func InvalidRequest(description string) error {
	return &Refusal{Status: http.StatusBadRequest, Code: "invalid_request", Description: description}
}

// TooManyRequests refuses who has asked too often, for at least a second.
func TooManyRequests(retryAfter time.Duration) error {
	return &Refusal{
		Status: http.StatusTooManyRequests, Code: "too_many_requests",
		Description: "Too many attempts: try again later.",
		RetryAfter:  max(retryAfter, time.Second),
	}
}

// refusalOf finds the refusal in err. An error without one is storage or something below it: 503,
// and its text stays here.
func refusalOf(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return ErrUnavailable
}

// write sends a good answer. Answers differ from request to request and may hold tokens: no one may
// keep them, unless the reply says otherwise.
func (rep Reply) write(w http.ResponseWriter) {
	body, ok := rep.Body.([]byte)
	if !ok {
		var err error
		// A reply without a status is a handler that forgot to answer: never a 200.
		if body, err = json.Marshal(rep.Body); err != nil || rep.Status == 0 {
			errInternal.write(w, "")
			return
		}
	}
	for name, values := range rep.Header {
		w.Header()[name] = values
	}
	send(w, rep.Status, body)
}

func (e *Refusal) write(w http.ResponseWriter, realm string) {
	h := w.Header()
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if e.Status == http.StatusUnauthorized {
		challenge := "Bearer realm=" + strconv.Quote(realm)
		if e.Challenge != "" {
			challenge += `, error="` + e.Challenge + `"`
		}
		h.Set("WWW-Authenticate", challenge)
	}
	// strings out of the catalogue always marshal
	body, _ := json.Marshal(adminapi.Problem{Error: e.Code, Description: e.Description})
	send(w, e.Status, body)
}

func send(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	empty := status == http.StatusNotModified || status == http.StatusNoContent
	if h.Get("Content-Type") == "" && !empty {
		h.Set("Content-Type", "application/json")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	if !empty {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone: there is no one to tell
}
