package authz

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

// The statuses that reasons give (RFC 9110 section 15): the engine knows no transport, so it
// imports no HTTP package for them.
const (
	statusNoContent     = 204
	statusFound         = 302
	statusBadRequest    = 400
	statusUnauthorized  = 401
	statusForbidden     = 403
	statusUnprocessable = 422
	statusUnavailable   = 503
)

// Refusal is what a client is told whose request is refused: the same words for the same reason on
// every transport. It is never changed once made.
type Refusal struct {
	// Status is 400, 401, 403 or 503, unless the policy has another form for refusals: then it may be
	// 302 and 422, too.
	Status  int
	Reason  token.Reason
	Headers []Header // of the answer, in lower case
	Body    string   // JSON: error (RFC 6749, RFC 6750) and error_description; or another form
	Wire    any      // what the transport's Wire made of it
}

// HeaderReason is the header of a refusal that holds its reason.
const HeaderReason = "x-sallyport-reason"

// DefaultRealm is the realm of challenges when none is configured.
const DefaultRealm = "sallyport"

// The error codes of refusals: RFC 6750 section 3.1, and RFC 6749 section 4.1.2.1 for the last one.
// RFC 6750 has none for a request without a token; its challenge carries none, the body says
// unauthorized.
const (
	errorInvalidRequest = "invalid_request"
	errorUnauthorized   = "unauthorized"
	errorInvalidToken   = "invalid_token"
	errorScope          = "insufficient_scope"
	errorLogin          = "insufficient_user_authentication" // RFC 9470 section 3
	errorUnavailable    = "temporarily_unavailable"
)

// broken is what a Decision refuses with that nobody filled in.
var broken = newRefusals(DefaultRealm, nil).of(token.ReasonInternal)

// refusals are all refusals that there are, made once.
type refusals struct {
	realm       string
	schemes     []string // by which tokens are asked for, as the policy spells them
	wire        Wire
	byReason    map[token.Reason]*Refusal
	otherScheme *Refusal // credentials were there, but not a bearer token
	// What is told by a reason alone in JSON, and in some forms apart: the scheme with nothing behind
	// it, a token without a subject.
	bareScheme, noSubject *Refusal
}

func newRefusals(realm string, wire Wire, schemes ...string) *refusals {
	r := &refusals{realm: realm, wire: wire, schemes: schemes, byReason: map[token.Reason]*Refusal{}}
	if len(r.schemes) == 0 {
		r.schemes = []string{defaultScheme}
	}
	for _, d := range token.Reasons() {
		r.byReason[d.Reason] = r.make(d, errorOf(d), "")
		switch d.Reason {
		case token.ReasonScheme:
			r.otherScheme = r.make(d, errorUnauthorized, "")
			r.bareScheme = r.make(d, errorUnauthorized, "")
		case token.ReasonSubject:
			r.noSubject = r.make(d, errorOf(d), "")
		}
	}
	return r
}

// of returns the refusal for a reason; a reason that is in no list is our own failure.
func (r *refusals) of(reason token.Reason) *Refusal {
	if refusal := r.byReason[reason]; refusal != nil {
		return refusal
	}
	return r.byReason[token.ReasonInternal]
}

// lacking makes what a token is told that does not meet a demand, by reason: nil where that is the
// same for every demand. A client that is told what to ask its issuer for can do so.
func (r *refusals) lacking(d *policy.Demand) map[token.Reason]*Refusal {
	told := map[token.Reason]*Refusal{}
	tell := func(reason token.Reason, code string, parameters string) {
		description, _ := reason.Describe()
		told[reason] = r.make(description, code, parameters)
	}
	if scopes := strings.Join(d.Scopes, " "); scopes != "" && isQuotable(scopes) {
		tell(token.ReasonInsufficientScope, errorScope, `, scope="`+scopes+`"`)
	}
	// Both at once (RFC 9470 section 3), so that one login suffices.
	login := ""
	if len(d.ACR) > 0 {
		login += `, acr_values="` + strings.Join(d.ACR, " ") + `"`
	}
	if d.Fresh > 0 {
		login += fmt.Sprintf(`, max_age="%d"`, d.Fresh/time.Second)
	}
	if login != "" {
		tell(token.ReasonACR, errorLogin, login)
		tell(token.ReasonLoginTooOld, errorLogin, login)
	}
	return told
}

func errorOf(d token.Description) string {
	switch {
	case d.Reason == token.ReasonNoToken:
		return errorUnauthorized
	case d.Reason == token.ReasonACR, d.Reason == token.ReasonLoginTooOld:
		return errorLogin
	case d.Status == statusBadRequest:
		return errorInvalidRequest
	case d.Status == statusUnauthorized:
		return errorInvalidToken
	case d.Status == statusForbidden:
		return errorScope
	}
	return errorUnavailable
}

func (r *refusals) make(d token.Description, code, parameters string) *Refusal {
	refusal := &Refusal{Status: d.Status, Reason: d.Reason, Body: body(code, d.Meaning)}
	if challenge := r.challenge(d.Status, code, parameters); challenge != "" {
		refusal.Headers = append(refusal.Headers, Header{"www-authenticate", challenge})
	}
	// A gate that lags behind catches up within a heartbeat or is taken out by Envoy.
	if d.Status == statusUnavailable {
		refusal.Headers = append(refusal.Headers, Header{"retry-after", "1"})
	}
	refusal.Headers = append(refusal.Headers, Header{"content-type", "application/json"},
		Header{"cache-control", "no-store"}, Header{HeaderReason, string(d.Reason)})
	if r.wire != nil {
		refusal.Wire = r.wire.Refuse(refusal)
	}
	return refusal
}

// defaultScheme is asked for where a policy names no scheme: RFC 9110 section 15.5.2 has a challenge
// with each 401, wherever else a token may stand.
const defaultScheme = "Bearer"

// challenge is the value of WWW-Authenticate (RFC 6750 section 3), one challenge for each scheme, ""
// where there is none.
func (r *refusals) challenge(status int, code, parameters string) string {
	if status != statusUnauthorized && status != statusForbidden {
		return ""
	}
	said := ` realm="` + r.realm + `"`
	if code != errorUnauthorized {
		said += `, error="` + code + `"`
	}
	said += parameters
	return strings.Join(r.schemes, said+", ") + said
}

func body(code, description string) string {
	b, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
	if err != nil {
		return `{"error":"` + errorUnavailable + `"}` // strings always marshal
	}
	return string(b)
}

// ValidateRealm checks that a realm can stand in a quoted string as it is.
func ValidateRealm(realm string) error {
	switch {
	case realm == "":
		return errors.New("expected a name, got an empty string")
	case !isQuotable(realm):
		return fmt.Errorf("expected printable ASCII without quotes and backslashes, got %q", realm)
	}
	return nil
}

func isQuotable(s string) bool {
	return strings.IndexFunc(s,
		func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) < 0
}
