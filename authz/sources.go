package authz

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

// Changes are what a request loses of its credentials before the upstream gets it, and what its
// answer says besides. The strings may be views of the request.
type Changes struct {
	Set    []Header // headers to overwrite: what is left of them
	Remove []string // headers to remove
	// Parameter is one of the query to remove, "" for none, and Path what is left with its query.
	Parameter, Path string
	// Client are headers of the answer to the client, besides those of the identity. What a list has
	// already, vary, is appended to.
	Client []Header
}

// sources are where tokens may stand, when that is not what readHeaders looks at.
type sources []policy.TokenSource

// taken is what was found in all places of a request.
type taken struct {
	presented string
	from      string // where that stood: a header's name, or query
	count     int    // tokens
	malformed bool   // a credential by the scheme that is named, which is none
	other     bool   // Authorization by another scheme
	changes   Changes
}

// take looks for tokens in all places, and in a parameter of the query where the rule has one.
func (s sources) take(r *Request, parameter string) (t taken) {
	for i := range s {
		switch source := &s[i]; {
		case source.Authorization != "":
			t.fromAuthorization(r, source)
		case source.Header != "":
			t.fromHeader(r, source)
		case source.Cookie != "":
			t.fromList(r, "cookie", source.Remove, cookies{source.Cookie})
		case source.WebSocket != "":
			t.fromList(r, "sec-websocket-protocol", true, protocols{source.WebSocket})
		}
	}
	if parameter != "" {
		t.fromQuery(r.Path, parameter)
	}
	// As where the policy does not say: whoever sends both means one by each.
	if t.other && t.from == "x-access-token" {
		t.count++
	}
	return t
}

// token returns the one token, or the reason why there is not exactly one.
func (t *taken) token() (string, token.Reason) {
	switch {
	case t.count > 1, t.count == 1 && t.malformed:
		return "", token.ReasonManyTokens
	case t.count == 1:
		return t.presented, ""
	case t.malformed, t.other:
		return "", token.ReasonScheme
	}
	return "", token.ReasonNoToken
}

// bearer reports whether there was a credential of the kind that is asked for, well formed or not.
func (t *taken) bearer() bool { return t.count > 0 || t.malformed }

func (t *taken) found(value, from string) {
	t.presented, t.from, t.count = value, from, t.count+1
}

// fromAuthorization reads as headers.fromAuthorization does, by any scheme.
func (t *taken) fromAuthorization(r *Request, source *policy.TokenSource) {
	var h headers
	for i := range r.Headers {
		if equalFold(r.Headers[i].Name, "authorization") {
			h.addAuthorization(r.Headers[i].Value)
		}
	}
	if h.authorizations == 0 {
		return
	}
	credential, problem := h.fromAuthorization(strings.ToLower(source.Authorization))
	switch {
	case problem == "":
		t.found(credential, "authorization")
	case problem == token.ReasonManyTokens:
		t.count += 2
	case h.bearer:
		t.malformed = true
	default:
		t.other = true
		return // another's credential stays
	}
	t.remove(source.Remove, "authorization")
}

func (t *taken) fromHeader(r *Request, source *policy.TokenSource) {
	for i := range r.Headers {
		if !equalFold(r.Headers[i].Name, source.Header) {
			continue
		}
		t.found(r.Headers[i].Value, source.Header)
		if strings.IndexByte(r.Headers[i].Value, ',') >= 0 { // lines that a proxy has joined
			t.count++
		}
		t.remove(source.Remove, source.Header)
	}
}

func (t *taken) remove(wanted bool, name string) {
	if wanted && !slices.Contains(t.changes.Remove, name) {
		t.changes.Remove = append(t.changes.Remove, name)
	}
}

// list is a header that is a list, of which an item may be a token.
type list interface {
	separators() (between, joined string)
	token(item string) (string, bool)
}

type cookies struct{ name string }

func (cookies) separators() (between, joined string) { return ";", "; " }
func (c cookies) token(item string) (string, bool) {
	name, value, ok := strings.Cut(item, "=")
	return value, ok && strings.Trim(name, " \t") == c.name
}

type protocols struct{ prefix string }

func (protocols) separators() (between, joined string) { return ",", ", " }
func (p protocols) token(item string) (string, bool) {
	return strings.CutPrefix(item, p.prefix)
}

// fromList takes tokens out of a header that is a list. What is left of it, in all its lines, is one
// line for the upstream.
func (t *taken) fromList(r *Request, header string, remove bool, l list) {
	between, joined := l.separators()
	var left []string
	before := t.count
	for _, line := range t.changes.lines(r, header) {
		for item := range strings.SplitSeq(line, between) {
			item = strings.Trim(item, " \t")
			value, ok := l.token(item)
			if ok {
				t.found(value, header)
			} else if item != "" {
				left = append(left, item)
			}
			// Lines of cookies that a proxy has joined by commas: an upstream may see one more.
			if _, more, joined := strings.Cut(item, ","); joined && between != "," {
				for piece := range strings.SplitSeq(more, ",") {
					if _, hidden := l.token(strings.Trim(piece, " \t")); hidden {
						t.count += 2
					}
				}
			}
		}
	}
	if !remove || t.count == before {
		return
	}
	t.changes.Set = slices.DeleteFunc(t.changes.Set, func(h Header) bool { return h.Name == header })
	if len(left) == 0 {
		t.remove(true, header)
	} else {
		t.changes.Set = append(t.changes.Set, Header{header, strings.Join(left, joined)})
	}
}

// lines returns the lines of a header, or what another source has left of them.
func (c *Changes) lines(r *Request, name string) (lines []string) {
	if slices.Contains(c.Remove, name) {
		return nil
	}
	for _, h := range c.Set {
		if h.Name == name {
			return []string{h.Value}
		}
	}
	for i := range r.Headers {
		if equalFold(r.Headers[i].Name, name) {
			lines = append(lines, r.Headers[i].Value)
		}
	}
	return lines
}

// sendable reports whether what is left can be sent: a transport may take text alone.
func (c *Changes) sendable() bool {
	return c == nil || !slices.ContainsFunc(c.Set, func(h Header) bool {
		return !utf8.ValidString(h.Value)
	})
}

// fromQuery takes tokens out of the query. A parameter whose name is spelt with escapes is one for
// many an upstream, and none for a proxy that is told to remove it: it counts as a second token.
func (t *taken) fromQuery(path, parameter string) {
	bare, query, _ := strings.Cut(path, "?")
	var left []string
	for item := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(item, "=")
		switch {
		case name == parameter:
			t.found(value, "query")
			t.changes.Parameter = parameter
		case unescape(name) == parameter:
			t.count += 2
		case item != "":
			left = append(left, item)
		}
	}
	if t.changes.Path = bare; len(left) > 0 {
		t.changes.Path += "?" + strings.Join(left, "&")
	}
}

// unescape resolves percent-encoding once; what is not encoding stays.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if high, low := digit(s[i+1]), digit(s[i+2]); high >= 0 && low >= 0 {
				out = append(out, byte(high<<4|low))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

func digit(c byte) int { return strings.IndexByte("0123456789abcdef", lowerByte(c)) }

// made returns the changes; nil when there are none.
func (t *taken) made() *Changes {
	if len(t.changes.Set)+len(t.changes.Remove) == 0 && t.changes.Parameter == "" {
		return nil
	}
	return &t.changes
}

// hides reports whether a header may hold a token.
func (s sources) hides(name string) bool {
	return slices.ContainsFunc(s, func(source policy.TokenSource) bool {
		return equalFold(name, source.In())
	})
}
