package authz

import (
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/policy"
)

// across adds to an allowed request what its answer has to say for a page of another origin to read
// it, if the rule trusts the origin.
func (rs *rules) across(d *Decision, r *Request) {
	if origin, _ := r.header("origin"); d.rule.Across.Trusts(origin) {
		if d.Changes == nil {
			d.Changes = new(Changes)
		}
		d.Changes.Client = readable(d.rule.Across, origin)
	}
}

// acrossRefused returns a refusal with the headers that a page needs to read it.
func (rs *rules) acrossRefused(d *Decision, r *Request) *Refusal {
	origin, _ := r.header("origin")
	if d.rule == nil || !d.rule.Across.Trusts(origin) {
		return d.Refusal
	}
	told := *d.Refusal
	told.Headers = append(append([]Header(nil), told.Headers...), readable(d.rule.Across, origin)...)
	return rs.send(&told)
}

func (rs *rules) send(told *Refusal) *Refusal {
	if rs.wire != nil {
		told.Wire = rs.wire.Refuse(told)
	}
	return told
}

// readable are the headers that let a page of an origin read an answer (Fetch standard, section
// 3.2.3).
func readable(a *policy.Across, origin string) []Header {
	headers := append(make([]Header, 0, 4), Header{"access-control-allow-origin", origin},
		Header{HeaderVary, "origin"},
		// To browsers all but "true" is no: it is there to take the place of the upstream's.
		Header{"access-control-allow-credentials", strconv.FormatBool(a.Credentials)})
	if a.Expose != "" {
		headers = append(headers, Header{"access-control-expose-headers", a.Expose})
	}
	return headers
}

// HeaderVary is a list that others write into as well: transports append to it.
const HeaderVary = "vary"

// preflight answers the question whether a page may send a request (Fetch standard, section 3.2.2):
// that of a browser, for one method, and of an origin that the rule trusts under which the request
// would fall. Any other OPTIONS is a request like all.
func (rs *rules) preflight(r *Request) *Refusal {
	if r.Method != "OPTIONS" {
		return nil
	}
	origin, _ := r.header("origin")
	method, asks := r.header("access-control-request-method")
	if !asks || origin == "" || !policy.IsOneMethod(method) { // the answer repeats it
		return nil
	}
	rule := rs.policy.FindWith(method, r.Host, r.Path, rs.header(r)).Rule
	if !rule.Across.Trusts(origin) {
		return nil
	}
	told := &Refusal{Status: statusNoContent, Reason: reasonPreflight}
	told.Headers = append(readable(rule.Across, origin),
		Header{"access-control-allow-methods", strings.Clone(method)},
		Header{"access-control-allow-headers", rule.Across.Headers},
		Header{"access-control-max-age", rule.Across.MaxAge})
	return rs.send(told)
}

// reasonPreflight is no reason to refuse: the gate has answered by itself.
const reasonPreflight = "preflight"
