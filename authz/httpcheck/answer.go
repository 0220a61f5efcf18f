package httpcheck

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
)

const (
	// headersToRemove names headers that Envoy removes from a request that may pass.
	headersToRemove = "X-Envoy-Auth-Headers-To-Remove"
	// headerBody has the body of a refusal for proxies that hand on none.
	headerBody = "X-Sallyport-Body"
	// maxHeaderBody is how long a body may be to stand in a header, too.
	maxHeaderBody = 1 << 10
)

// answer is what a proxy is told. The zero answer refuses.
type answer struct {
	status int
	header http.Header
	body   string
}

// answerTo makes an answer of a decision. What cannot be said in HTTP is a refusal.
func (s *Server) answerTo(d *authz.Decision) answer {
	a, ok := answer{}, false
	switch {
	case d.Allow && d.Identity != nil:
		a, ok = s.allow(d)
	case !d.Allow:
		a, ok = s.refuse(d.Refused())
	}
	if !ok {
		a, _ = s.refuse(s.broken)
	}
	if id := d.ID.String(); id != "" && a.header != nil {
		a.header.Set(authz.HeaderDecision, id)
	}
	return a
}

func (s *Server) allow(d *authz.Decision) (answer, bool) {
	a := answer{status: http.StatusOK, header: http.Header{}}
	// What a proxy cannot be told to change does not pass as it is. The settings that would ask for it
	// are refused at load: see policy.Config.BeyondHTTP.
	if d.Changes != nil || len(d.Identity.Client) > 0 {
		return answer{}, false
	}
	if !a.add(d.Identity.Set) {
		return answer{}, false
	}
	if s.proxy.own {
		a.header.Set(headersToRemove,
			strings.Join(append([]string{check.HeaderStripped}, d.Identity.Remove...), ","))
		if lifetime := s.streams.Lifetime(d); lifetime > 0 {
			a.header.Set(check.HeaderStreamDuration,
				strconv.FormatInt(lifetime.Milliseconds(), 10))
		}
	}
	// It is of this moment: a proxy's cache would not hear of a revocation.
	a.header.Set("Cache-Control", "no-store")
	return a, true
}

func (s *Server) refuse(r *authz.Refusal) (answer, bool) {
	a := answer{status: r.Status, header: http.Header{}, body: r.Body}
	// Whatever a refusal is made of, a proxy must not take it for a yes.
	if r.Status < 300 || !a.add(r.Headers) {
		return answer{}, false
	}
	if line := oneLine(r.Body); s.proxy.bodyInHeader && len(line) <= maxHeaderBody && isPrintable(line) {
		a.header.Set(headerBody, line)
	}
	return a, true
}

// add takes headers over, and reports whether each can stand in an answer. A line break in one
// would be another header to the proxy.
func (a *answer) add(headers []authz.Header) bool {
	for _, h := range headers {
		if !httpguts.ValidHeaderFieldName(h.Name) || !httpguts.ValidHeaderFieldValue(h.Value) {
			return false
		}
		a.header.Add(h.Name, h.Value)
	}
	return true
}

// oneLine returns a body as it can stand in a header: what breaks lines in JSON and in pages may be a
// space as well.
func oneLine(body string) string {
	return strings.ReplaceAll(strings.TrimSuffix(body, "\n"), "\n", " ")
}

func isPrintable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// write sends an answer; one that nobody filled in refuses.
func (a answer) write(w http.ResponseWriter) {
	if a.status == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write([]byte(a.body)) // a proxy that has gone needs no answer
}
