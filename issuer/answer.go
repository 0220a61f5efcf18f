package issuer

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// reply is a good answer. The zero reply is none: answering it is a 500.
type reply struct {
	status int
	header http.Header // further headers; nil: none
	body   any         // JSON; []byte as it is
}

// refusal is an answer that refuses, out of the catalogue below. Its text never depends on what the
// request held.
type refusal struct {
	status      int
	code        string // error, as in RFC 6749 section 5.2 and RFC 6750 section 3.1
	description string
	retryAfter  time.Duration // > 0: Retry-After
	challenge   string        // error of the Bearer challenge; "" on a 401: a challenge without one
}

func (e *refusal) Error() string { return "issuer: " + e.code + ": " + e.description }

// The catalogue: everything that the issuer ever says when it refuses.
var (
	errInvalidCredentials = &refusal{
		status: http.StatusUnauthorized, code: "invalid_credentials",
		description: "The username or password is wrong.",
	}
	errInvalidGrant = &refusal{
		status: http.StatusUnauthorized, code: "invalid_grant",
		description: "The refresh token is not valid: log in again.",
	}
	errNoToken = &refusal{
		status: http.StatusUnauthorized, code: "invalid_token",
		description: "Send the access token as bearer, or the refresh token in the body.",
	}
	errInvalidToken = &refusal{
		status: http.StatusUnauthorized, code: "invalid_token",
		description: "The token is not one of this issuer's.", challenge: "invalid_token",
	}
	errNotOperator = &refusal{
		status: http.StatusUnauthorized, code: "invalid_token",
		description: "Send the admin token as bearer.", challenge: "invalid_token",
	}
	errForbidden = &refusal{
		status: http.StatusForbidden, code: "access_denied",
		description: "Requests from pages of other origins are not served.",
	}
	errNotFound = &refusal{
		status: http.StatusNotFound, code: "not_found", description: "There is nothing here.",
	}
	errMethod = &refusal{
		status: http.StatusMethodNotAllowed, code: "method_not_allowed",
		description: "This method is not offered here; see Allow.",
	}
	errTooLarge = &refusal{
		status: http.StatusRequestEntityTooLarge, code: "request_too_large",
		description: "The body is larger than 64 KiB.",
	}
	errUnsupportedType = &refusal{
		status: http.StatusUnsupportedMediaType, code: "unsupported_media_type",
		description: "Send application/json in UTF-8.",
	}
	errUnavailable = &refusal{
		status: http.StatusServiceUnavailable, code: "temporarily_unavailable",
		description: "Nothing was changed or handed out as far as is known: try again.",
		retryAfter:  time.Second,
	}
	errBusy = &refusal{
		status: http.StatusServiceUnavailable, code: "temporarily_unavailable",
		description: "Too many requests are under way: try again.", retryAfter: time.Second,
	}
	errInternal = &refusal{
		status: http.StatusInternalServerError, code: "server_error",
		description: "The issuer failed by itself; its log has the error.",
	}
)

func invalidRequest(description string) error {
	return &refusal{status: http.StatusBadRequest, code: "invalid_request", description: description}
}

func tooManyRequests(retryAfter time.Duration) error {
	return &refusal{
		status: http.StatusTooManyRequests, code: "too_many_requests",
		description: "Too many attempts: try again later.",
		retryAfter:  max(retryAfter, time.Second),
	}
}

// refusalOf finds the refusal in err. An error without one is storage or something below it: 503,
// and its text stays here.
func refusalOf(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	return errUnavailable
}

// write sends a good answer. Answers differ from request to request and may hold tokens: no one may
// keep them, unless the reply says otherwise.
func (rep reply) write(w http.ResponseWriter) {
	body, ok := rep.body.([]byte)
	if !ok {
		var err error
		if body, err = json.Marshal(rep.body); err != nil || rep.status == 0 {
			errInternal.write(w, "")
			return
		}
	}
	for name, values := range rep.header {
		w.Header()[name] = values
	}
	send(w, rep.status, body)
}

func (e *refusal) write(w http.ResponseWriter, realm string) {
	h := w.Header()
	if e.retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.retryAfter+time.Second-1)/time.Second), 10))
	}
	if e.status == http.StatusUnauthorized {
		challenge := "Bearer realm=" + strconv.Quote(realm)
		if e.challenge != "" {
			challenge += `, error="` + e.challenge + `"`
		}
		h.Set("WWW-Authenticate", challenge)
	}
	body, _ := json.Marshal(struct { // strings out of the catalogue always marshal
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{e.code, e.description})
	send(w, e.status, body)
}

func send(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	if h.Get("Content-Type") == "" && status != http.StatusNotModified {
		h.Set("Content-Type", "application/json")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	if status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone: there is no one to tell
}
