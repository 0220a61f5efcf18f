package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/token"
)

// ClaimValue is a claim under the name that others are told it by.
type ClaimValue struct {
	Name  string
	Claim string // its name, or a path into nested claims
	JSON  bool   // as JSON, also where it is a list of plain values
}

// Outgoing is what goes on with a request that passes by a token, besides who calls. Rules that
// say the same share one.
type Outgoing struct {
	Upstream []ClaimValue // headers for the upstream
	Client   []ClaimValue // headers of the answer to the client
}

// outgoing compiles what a route says of claims; nil when it says nothing. known are those of the
// routes before it.
func (r Route) outgoing(known map[string]*Outgoing) *Outgoing {
	o := &Outgoing{
		Upstream: append(claimValues(r.Headers, false), claimValues(r.JSONHeaders, true)...),
		Client:   claimValues(r.ResponseHeaders, false),
	}
	if len(o.Upstream)+len(o.Client) == 0 {
		return nil
	}
	key := fmt.Sprintf("%+v", *o)
	if known[key] == nil {
		known[key] = o
	}
	return known[key]
}

func claimValues(claims map[string]string, json bool) (all []ClaimValue) {
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		all = append(all, ClaimValue{Name: name, Claim: claims[name], JSON: json})
	}
	return all
}

// Bounds on what is made of claims.
const (
	maxClaimHeaders = 32 // by their names, of all routes together
	maxHeaderName   = 64
	// of a header's name: a gate that removes other spellings by itself names three to the power of
	// the hyphens in each answer
	maxWords    = 5
	maxMetadata = 16
)

// validateOutgoing checks what a route makes of claims.
func (r Route) validateOutgoing(access Access) error {
	var errs []error
	check := func(key string, claims map[string]string, judge func(name string) string) {
		if len(claims) > 0 && (access == Public || access == Nobody) {
			errs = append(
				errs,
				config.At(key, "is made of a token's claims, which `allow: %s` does not look"+
					" at: leave out one of the two", r.Allow),
			)
		}
		for _, name := range slices.Sorted(maps.Keys(claims)) {
			at := key + "." + name
			if problem := judge(name); problem != "" {
				errs = append(errs, config.At(at, "%s", problem))
			}
			if err := token.CheckClaimName(claims[name]); err != nil {
				errs = append(errs, config.At(at, "%w", err))
			}
		}
	}
	check("headers", r.Headers, claimHeaderProblem)
	check("json_headers", r.JSONHeaders, claimHeaderProblem)
	check("response_headers", r.ResponseHeaders, claimHeaderProblem)
	for name := range r.JSONHeaders {
		if _, twice := r.Headers[name]; twice {
			errs = append(errs, config.At("json_headers."+name,
				"is in headers, too: leave out one of the two"))
		}
	}
	return errors.Join(errs...)
}

// claimHeaderProblem returns why a header of that name is not to be made of a claim; "" when it may.
// It has to begin with x-, so that no header that has a meaning of its own (RFC 9110) is one.
func claimHeaderProblem(name string) string {
	words := strings.Split(name, "-")
	for _, word := range words {
		if word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return fmt.Sprintf("expected a header's name as x-user-email, of small letters, digits and"+
				" single hyphens, got %q", name)
		}
	}
	switch {
	case words[0] != "x" || len(words) == 1:
		return fmt.Sprintf(
			"expected a name that begins with x-, so that it is no header with a meaning of"+
				" its own, got %q: write x-%s",
			name,
			name,
		)
	case len(words) > maxWords || len(name) > maxHeaderName:
		return fmt.Sprintf(
			"expected at most %d words and %d bytes, got %q",
			maxWords,
			maxHeaderName,
			name,
		)
	case slices.Contains(reservedHeaders, name), slices.Contains(reservedWords, words[1]):
		return fmt.Sprintf("%s is Envoy's, the gate's or a framework's own: choose another name", name)
	}
	return ""
}

// reservedHeaders are the gate's own, and those that proxies and frameworks act on: they say who
// calls, from where, or that another method or path is meant.
var reservedHeaders = []string{
	"x-auth-subject", "x-auth-issuer", "x-auth-roles", "x-auth-scope", "x-auth-session",
	"x-auth-token-id", "x-access-token", "x-method-override", "x-rewrite-url", "x-real-ip",
	"x-request-id", "x-client-cert",
}

// reservedWords are second words of such headers: x-envoy-..., x-forwarded-...
var reservedWords = []string{"envoy", "forwarded", "sallyport", "http", "original"}

// validateClaims checks what all routes together make of claims.
func (c Config) validateClaims() error {
	var errs []error
	names := c.claimHeaders()
	if len(names) > maxClaimHeaders {
		errs = append(errs, config.At("routes", "expected at most %d headers that are made of claims, by"+
			" their names in all routes together, got %d", maxClaimHeaders, len(names)))
	}
	for i, r := range c.Routes {
		for j, h := range r.Match.Headers {
			if slices.Contains(names, h.Name) {
				errs = append(errs, config.At(fmt.Sprintf("routes[%d].match.headers[%d]", i, j),
					"%s is made of a claim by this policy, and what a client sends under that name is removed",
					h.Name))
			}
		}
	}
	if len(c.Metadata) > maxMetadata {
		errs = append(errs, config.At("metadata", "expected at most %d names, got %d", maxMetadata,
			len(c.Metadata)))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Metadata)) {
		at := "metadata." + name
		if !isVariable(name) {
			errs = append(errs, config.At(at,
				"expected a name of small letters, digits and underscores, got %q", name))
		}
		if err := token.CheckClaimName(c.Metadata[name]); err != nil {
			errs = append(errs, config.At(at, "%w", err))
		}
	}
	return errors.Join(errs...)
}

// claimHeaders lists the headers for the upstream that some route makes of claims.
func (c Config) claimHeaders() []string {
	names := map[string]bool{}
	for _, r := range c.Routes {
		for _, claims := range []map[string]string{r.Headers, r.JSONHeaders} {
			for name := range claims {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}
