package authz

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

// form is one of the forms in which clients are told that they are refused: by what they are told
// in JSON what they are told in it. All of it is made when a policy is put in force.
type form map[*Refusal]*Refusal

// forms are those of a policy, by their names.
type forms map[string]form

// forms returns nil for a policy that refuses in JSON alone. told are all refusals in JSON.
func (r *refusals) forms(p *policy.Policy, told []*Refusal) forms {
	all := forms{}
	for _, how := range p.AllRefusals() {
		names := []string{how.As}
		if how.As == policy.RefuseNegotiate {
			names = []string{policy.RefuseProblem, policy.RefuseHTML, policy.RefuseText}
		}
		for _, name := range names {
			if all[name] != nil {
				continue
			}
			all[name] = form{}
			for _, base := range told {
				all[name][base] = r.as(name, base)
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// all lists all refusals that no demand is the reason of.
func (r *refusals) all() (all []*Refusal) {
	for _, refusal := range r.byReason {
		all = append(all, refusal)
	}
	return append(all, r.otherScheme, r.bareScheme, r.noSubject)
}

// tell returns what the client of a request is told, in the form that its rule has.
func (rs *rules) tell(d *Decision, r *Request, base *Refusal) *Refusal {
	if rs.forms == nil {
		return base
	}
	how := rs.policy.Refusals(d.rule)
	name := how.As
	if name == policy.RefuseNegotiate {
		name = negotiate(r)
	}
	told := rs.forms[name][base]
	switch {
	case told == nil:
		return base
	case name == policy.RefuseHTML && how.LoginPage != "" && base.Status == statusUnauthorized &&
		(r.Method == "GET" || r.Method == "HEAD"):
		return rs.toLogin(d, r, how.LoginPage, told)
	}
	return told
}

const maxReturn = 2 << 10 // bytes of a path that goes on to a login page

// toLogin sends a browser to the login page. It is made for each request, which it names.
func (rs *rules) toLogin(d *Decision, r *Request, page string, told *Refusal) *Refusal {
	path := rs.withoutTokens(r.Path)
	// What stands beside a token is nobody else's business, and what is no path leads nowhere.
	if d.rule != nil && d.rule.QueryToken != "" {
		path, _, _ = strings.Cut(path, "?")
	}
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || len(path) > maxReturn {
		path = "/"
	}
	to := Refusal{Status: statusFound, Reason: told.Reason, Body: told.Body}
	to.Headers = append(to.Headers, Header{
		"location", strings.Replace(page, policy.LoginPath, percent(path), 1),
	})
	for _, h := range told.Headers {
		if h.Name != "www-authenticate" {
			to.Headers = append(to.Headers, h)
		}
	}
	return rs.send(&to)
}

// withoutTokens leaves out of a path's query what some route takes for a token: a link that has
// missed its route has its token all the same.
func (rs *rules) withoutTokens(path string) string {
	bare, query, _ := strings.Cut(path, "?")
	if query == "" || len(rs.queryTokens) == 0 {
		return path
	}
	var left []string
	for item := range strings.SplitSeq(query, "&") {
		if !rs.holdsToken(item) {
			left = append(left, item)
		}
	}
	if len(left) == 0 {
		return bare
	}
	return bare + "?" + strings.Join(left, "&")
}

// holdsToken takes a name as the laxest of servers do: in any case, and behind a semicolon, too.
func (rs *rules) holdsToken(item string) bool {
	for parameter := range strings.SplitSeq(item, ";") {
		name, _, _ := strings.Cut(parameter, "=")
		name = unescape(name)
		if slices.ContainsFunc(rs.queryTokens, func(s string) bool {
			return strings.EqualFold(s, name)
		}) {
			return true
		}
	}
	return false
}

// negotiate returns the form that a request takes: text for gRPC, else what its Accept prefers of
// the others (RFC 9110 section 12.5.1), JSON when it says nothing.
func negotiate(r *Request) string {
	if value, _ := r.header("content-type"); strings.HasPrefix(value, "application/grpc") {
		return policy.RefuseText
	}
	accept, _ := r.header("accept")
	best, weight := policy.RefuseJSON, 0
	for rest, more := accept, true; more; {
		var one string
		one, rest, more = strings.Cut(rest, ",")
		media, parameters, _ := strings.Cut(one, ";")
		name := map[string]string{
			"text/html": policy.RefuseHTML, "application/xhtml+xml": policy.RefuseHTML,
			"application/problem+json": policy.RefuseProblem, "application/json": policy.RefuseJSON,
		}[strings.ToLower(strings.TrimSpace(media))]
		if w := quality(parameters); name != "" && w > weight {
			best, weight = name, w
		}
	}
	return best
}

// quality returns the weight of a media range in thousandths (RFC 9110 section 12.4.2).
func quality(parameters string) int {
	for p := range strings.SplitSeq(parameters, ";") {
		value, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(p)), "q=")
		if !ok {
			continue
		}
		whole, part, _ := strings.Cut(value, ".")
		switch whole {
		case "1":
			return 1000
		case "0":
		default:
			return 0 // no weight at all
		}
		weight := 0
		for i := range 3 {
			weight *= 10
			if i < len(part) && '0' <= part[i] && part[i] <= '9' {
				weight += int(part[i] - '0')
			}
		}
		return weight
	}
	return 1000
}

// as makes a refusal in another form.
func (r *refusals) as(name string, base *Refusal) *Refusal {
	description, _ := base.Reason.Describe()
	told := &Refusal{Status: base.Status, Reason: base.Reason}
	kind := "application/json"
	switch name {
	case policy.RefuseProblem:
		kind, told.Body = "application/problem+json", problem(base, description)
	case policy.RefuseHTML:
		kind, told.Body = "text/html; charset=utf-8", page(base, description)
	case policy.RefuseText:
		kind, told.Body = "text/plain; charset=utf-8", string(base.Reason)+": "+description.Meaning
	case policy.RefuseFlask:
		told.Status, told.Body = r.flask(base, description)
	case policy.RefuseFlaskJWT:
		told.Status, told.Body = r.flaskJWT(base, description)
	}
	flask := name == policy.RefuseFlask || name == policy.RefuseFlaskJWT
	for _, h := range base.Headers {
		switch {
		case h.Name == "content-type":
			h.Value = kind
		case h.Name == "www-authenticate" && flask: // these libraries send none
			continue
		}
		told.Headers = append(told.Headers, h)
	}
	if r.wire != nil {
		told.Wire = r.wire.Refuse(told)
	}
	return told
}

// problem is a document of RFC 9457. Its type is about:blank, so that its title is the status'.
func problem(r *Refusal, d token.Description) string {
	return marshal(struct {
		Title  string       `json:"title"`
		Status int          `json:"status"`
		Detail string       `json:"detail"`
		Reason token.Reason `json:"reason"`
	}{phrase(r.Status), r.Status, d.Meaning, r.Reason})
}

// phrase is what a status is called (RFC 9110 section 15).
func phrase(status int) string {
	return map[int]string{
		statusBadRequest: "Bad Request", statusUnauthorized: "Unauthorized",
		statusForbidden: "Forbidden", statusUnavailable: "Service Unavailable",
	}[status]
}

// headings are what people read first.
var headings = map[int]string{
	statusBadRequest: "This request cannot be understood", statusUnauthorized: "Please log in",
	statusForbidden: "You may not see this", statusUnavailable: "Please try again in a moment",
}

// page is a page for people: no script, nothing that is fetched, no word of the request.
func page(r *Refusal, d token.Description) string {
	return fmt.Sprintf(`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>%[1]s</title></head>
<body>
<h1>%[1]s</h1>
<p>%[2]s</p>
<p><small>%[3]d %[4]s (%[5]s)</small></p>
</body>
</html>
`, html.EscapeString(headings[r.Status]), html.EscapeString(d.Meaning), r.Status, phrase(r.Status),
		html.EscapeString(string(r.Reason)))
}

// flask answers as small Flask applications do that look at the token themselves.
func (r *refusals) flask(base *Refusal, d token.Description) (status int, body string) {
	message, status := d.Meaning, base.Status
	switch {
	case base.Reason == token.ReasonNoToken:
		message, status = "Token is missing!", statusForbidden
	case base.Status == statusUnauthorized:
		message, status = "Token is invalid!", statusForbidden
	}
	return status, marshal(struct {
		Message string `json:"message"`
	}{message}) + "\n"
}

// flaskJWT answers as Flask-JWT-Extended 4.7.4 does, with PyJWT 2.15.1, as far as it has words for
// the reason.
func (r *refusals) flaskJWT(base *Refusal, d token.Description) (status int, body string) {
	status, message := base.Status, d.Meaning
	if status == statusUnauthorized {
		status = statusUnprocessable // what it cannot read is malformed
	}
	if a, ok := flaskJWT[base.Reason]; ok {
		status, message = a.status, a.message
	}
	switch base {
	case r.otherScheme:
		status = statusUnauthorized
		message = "Missing 'Bearer' type in 'Authorization' header." +
			" Expected 'Authorization: Bearer <JWT>'"
	case r.noSubject:
		message = "Missing claim: sub"
	}
	// That library is told the scheme, too (JWT_HEADER_TYPE).
	message = strings.ReplaceAll(message, defaultScheme, r.schemes[0])
	return status, marshal(struct {
		Message string `json:"msg"`
	}{message}) + "\n"
}

var flaskJWT = map[token.Reason]struct {
	status  int
	message string
}{
	token.ReasonNoToken:  {401, "Missing Authorization Header"},
	token.ReasonScheme:   {422, "Bad Authorization header. Expected 'Authorization: Bearer <JWT>'"},
	token.ReasonSegments: {422, "Not enough segments"},
	token.ReasonBase64:   {422, "Invalid header padding"},

	token.ReasonSignature: {422, "Signature verification failed"},
	token.ReasonUnsigned:  {422, "Signature verification failed"},

	token.ReasonAlg:        {422, "The specified alg value is not allowed"},
	token.ReasonAlgNone:    {422, "The specified alg value is not allowed"},
	token.ReasonAlgMissing: {422, "The specified alg value is not allowed"},

	token.ReasonExpired:        {401, "Token has expired"},
	token.ReasonNotYetValid:    {422, "The token is not yet valid (nbf)"},
	token.ReasonIssuedInFuture: {422, "The token is not yet valid (iat)"},
	// The entry of such an issuer asks for `type=access`.
	token.ReasonClaimRequired: {422, "Only non-refresh tokens are allowed"},
	token.ReasonSubject:       {422, "Subject must be a string"},
	token.ReasonRevoked:       {401, "Token has been revoked"},
	token.ReasonLoginTooOld:   {401, "Fresh token required"},
	token.ReasonACR:           {401, "Fresh token required"},
}

// variant returns the refusal that says more than the reason does; some forms have words for it.
func (r *refusals) variant(d *Decision, request *Request, base *Refusal) *Refusal {
	var cause *token.Error
	switch {
	case base == r.otherScheme:
		if value, _ := request.header("authorization"); equalFold(
			strings.Trim(value, " "),
			strings.ToLower(r.schemes[0]),
		) {
			return r.bareScheme
		}
	case base.Reason == token.ReasonSubject && errors.As(d.cause, &cause) &&
		strings.HasSuffix(cause.Detail(), "got none"):
		return r.noSubject
	}
	return base
}

// marshal writes JSON as Flask does: no spaces, and only what has to be is escaped.
func marshal(v any) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return `{}` // texts and numbers always marshal
	}
	return strings.TrimSuffix(b.String(), "\n")
}
