package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/config"
)

// HeaderMatch says what one header of a request has to be: one of the three.
type HeaderMatch struct {
	Name   string `yaml:"name"`   // in small letters
	Exact  string `yaml:"exact"`  // its value; lines of one name are joined by commas
	Prefix string `yaml:"prefix"` // what its value begins with
	// Present is true: it is there, whatever its value.
	Present bool `yaml:"present"`
}

// Header returns the value of a request's header by its name in small letters, lines of one name
// joined by commas, and whether it is there.
type Header func(name string) (value string, ok bool)

// headerSet is what a route asks of headers, all of it.
type headerSet []HeaderMatch

const maxHeaderMatches = 16 // of one route

// hiddenHeaders carry tokens and other secrets, or are the proxy's word to the gate.
var hiddenHeaders = []string{"authorization", "cookie", "x-access-token", "x-sallyport-stripped"}

func compileHeaders(headers []HeaderMatch) (headerSet, error) {
	if len(headers) > maxHeaderMatches {
		return nil, config.At("headers", "expected at most %d headers, got %d", maxHeaderMatches,
			len(headers))
	}
	for i, h := range headers {
		if problem := h.problem(); problem != "" {
			return nil, config.At(fmt.Sprintf("headers[%d]", i), "%s", problem)
		}
		if slices.ContainsFunc(headers[:i], func(o HeaderMatch) bool { return o.Name == h.Name }) {
			return nil, config.At(fmt.Sprintf("headers[%d]", i), "%s is there twice", h.Name)
		}
	}
	return slices.Clone(headers), nil
}

func (h HeaderMatch) problem() string {
	said := 0
	for _, is := range []bool{h.Exact != "", h.Prefix != "", h.Present} {
		if is {
			said++
		}
	}
	switch {
	case h.Name != strings.ToLower(h.Name):
		return fmt.Sprintf("names are compared in small letters: write %q, got %q",
			strings.ToLower(h.Name), h.Name)
	case !isMethod(h.Name): // the same characters
		return fmt.Sprintf("expected a header's name as x-api-version, got %q", h.Name)
	case slices.Contains(hiddenHeaders, h.Name):
		return h.Name + " is not for routes to go by: it is a secret, or a word to the gate"
	case slices.Contains(reservedHeaders, h.Name) && strings.HasPrefix(h.Name, "x-auth-"):
		return h.Name + " is the gate's word to the upstream: what a client sends under it is removed"
	case said != 1:
		return "expected one of exact, prefix and `present: true`"
	case !isFieldValue(h.Exact) || !isFieldValue(h.Prefix):
		return "expected printable ASCII without white space at its ends"
	}
	return ""
}

func isFieldValue(s string) bool {
	return strings.TrimSpace(s) == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// fit reports whether a request has all that is asked. No header is there where header is nil.
func (s headerSet) fit(header Header) bool {
	for i := range s {
		if header == nil {
			return false
		}
		if value, ok := header(s[i].Name); !ok || !s[i].fits(value) {
			return false
		}
	}
	return true
}

func (h *HeaderMatch) fits(value string) bool {
	switch {
	case h.Exact != "":
		return value == h.Exact
	case h.Prefix != "":
		return strings.HasPrefix(value, h.Prefix)
	}
	return true
}

// covers reports whether whatever fits other fits s.
func (s headerSet) covers(other headerSet) bool {
	for _, h := range s {
		if !slices.ContainsFunc(other, func(o HeaderMatch) bool { return h.follows(o) }) {
			return false
		}
	}
	return true
}

// follows reports whether a request that has what o asks has what h asks.
func (h *HeaderMatch) follows(o HeaderMatch) bool {
	switch {
	case h.Name != o.Name:
		return false
	case h.Present:
		return true
	case h.Exact != "":
		return o.Exact == h.Exact
	}
	return strings.HasPrefix(o.Exact, h.Prefix) || strings.HasPrefix(o.Prefix, h.Prefix)
}

// commonHeaders returns headers that fit both.
func commonHeaders(a, b headerSet) (Header, bool) {
	values, all := map[string]string{}, slices.Concat(a, b)
	for _, h := range all {
		values[h.Name] += "" // there, be it empty
		if longer := h.Exact + h.Prefix; len(longer) > len(values[h.Name]) {
			values[h.Name] = longer
		}
	}
	header := func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
	return header, headerSet(all).fit(header)
}
