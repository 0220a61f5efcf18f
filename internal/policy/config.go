package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
)

// Config is the setting `policy` of a gate.
type Config struct {
	// Routes are tried in order, and the first that matches decides. A request that none matches is
	// refused.
	Routes []Route `yaml:"routes"`
	// PathCase is whether the upstreams tell paths apart by case: insensitive (they may not: a
	// request is refused that would fall under a stricter route in another case; the default) or
	// sensitive.
	PathCase string `yaml:"path_case" usage:"whether upstreams tell paths apart by case: sensitive or insensitive"`
	// Roles are the roles that other roles bring with them: whoever has admin has clerk, too. Names
	// are those that tokens have here, with the prefix of their issuer.
	Roles map[string][]string `yaml:"roles"`
	// Metadata is what the proxy's other filters are told of a token that passes, on every route: by a
	// name, a claim.
	Metadata map[string]string `yaml:"metadata"`
	// Tokens are the places in which a token may stand, in all of which there is one at most. None
	// means `Authorization: Bearer` and the header x-access-token.
	Tokens []TokenSource `yaml:"tokens"`
	// Refusals is how clients are told that they are refused, where their route does not say.
	Refusals Refusals `yaml:"refusals"`
}

// DefaultConfig has no routes, which refuses everything.
func DefaultConfig() Config { return Config{PathCase: caseInsensitive} }

// Route says what one kind of request needs. A route with neither `allow` nor `require` needs a
// valid token, whoever's.
type Route struct {
	Match   Match   `yaml:"match"`
	Require Require `yaml:"require"`
	// Allow is who may pass: public (no token is looked at), optional (no token is fine, a bad one
	// is not), authenticated (a valid token; the default) or nobody.
	Allow string `yaml:"allow"`
	// AllowStale lets valid tokens pass while the gate's copy of the revocation log is older than
	// max_staleness. Tokens known to be revoked are refused all the same, and so is everything
	// before the first complete copy.
	AllowStale bool `yaml:"allow_stale"`
	// OutlivesToken lets a request that began with a valid token go on after the token has expired:
	// for long downloads.
	OutlivesToken bool `yaml:"outlives_token"`
	// PathParameters permits `;` in the path, as in /a;v=1/b. Parameters are ignored for matching:
	// that path is /a/b.
	PathParameters bool `yaml:"path_parameters"`
	// PathEncodedSlash may say allow: %2F in the path is then a part of its segment, for names that
	// have slashes.
	PathEncodedSlash string `yaml:"path_encoded_slash"`
	// PathCase is the policy's for requests that fall under this route, unless it says otherwise.
	PathCase string `yaml:"path_case"`
	// Headers are headers for the upstream, each with the claim that it is made of: a claim's name, or
	// with a slash first a path into nested claims. A list is joined by commas. What a client sends
	// under these names reaches the upstream on no route of the policy.
	Headers map[string]string `yaml:"headers"`
	// JSONHeaders are the same, each with its claim as JSON.
	JSONHeaders map[string]string `yaml:"json_headers"`
	// ResponseHeaders are headers of the answer to the client.
	ResponseHeaders map[string]string `yaml:"response_headers"`
	// QueryToken is a parameter of the query in which a token may stand besides. It does not reach the
	// upstream.
	QueryToken string `yaml:"query_token"`
	// Refusals is the policy's for requests that fall under this route, unless it says otherwise.
	Refusals Refusals `yaml:"refusals"`
	// CORS says which pages of other origins may read the route's answers, refusals too. The gate
	// answers their preflights.
	CORS CORS `yaml:"cors"`
}

// Match says which requests a route is for: all that it names must fit.
type Match struct {
	// Path is a pattern: literal segments, `*` for one segment, `{name}` for one with a name, `**` at
	// the end for the rest, be it nothing: /admin/** matches /admin too. One slash at the end makes
	// no difference. A literal star is written %2A, braces %7B and %7D.
	Path string `yaml:"path"`
	// GRPC is a method of a gRPC service, `shop.v1.Orders/Get`, or all of them, `shop.v1.Orders/*`. It
	// stands for the path and POST, whatever the content type: Connect serves the same by JSON.
	GRPC string `yaml:"grpc"`
	// Methods are upper-case method names; none means all of them. GET does not stand for HEAD.
	Methods []string `yaml:"methods"`
	// Hosts are host names without port, in any case; *.example.com matches every name below
	// example.com and not that name itself. None means all of them.
	Hosts []string `yaml:"hosts"`
	// Headers are what the request's headers have to be, all of it. Clients write these as they like.
	Headers []HeaderMatch `yaml:"headers"`
}

// Require says what a valid token must carry: all that it names.
type Require struct {
	Roles  []string `yaml:"roles"`  // one of these
	Scopes []string `yaml:"scopes"` // all of these
	// Issuers has the name of its issuer, letter by letter: its iss, or `issuer` of the entry by
	// which it is judged, which may stand for many tenants.
	Issuers   []string `yaml:"issuers"`
	Audiences []string `yaml:"audiences"` // it is made for one of these
	ACR       []string `yaml:"acr"`       // the user was authenticated by one of these (RFC 9470)
	// Fresh is how long ago the user may have been authenticated (auth_time); 0 is no matter when.
	Fresh time.Duration `yaml:"fresh"`
	// When is a condition in CEL that holds, over the token's claims, the request, the calling service
	// and the time: docs/policy.md.
	When string `yaml:"when"`
	// AnyOf has alternatives: the token carries what one of them names. They have none themselves.
	AnyOf []Require `yaml:"anyOf"`
}

const allowSlash = "allow"

func (r Require) isEmpty() bool {
	return len(r.Roles)+len(r.Scopes)+len(r.Issuers)+len(r.Audiences)+len(r.ACR)+len(r.AnyOf) == 0 &&
		r.Fresh == 0 && r.When == ""
}

// Bounds on a policy, so that a file can be no burden on the request path.
const (
	maxRoutes   = 10_000
	maxSegments = 64
	maxNames    = 1_000 // roles, scopes, issuers, methods, hosts of one route

	maxAlternatives = 32 // of one route
)

// Validate checks the list of routes as a whole; each route checks itself.
func (c Config) Validate() error {
	switch {
	case len(c.Routes) == 0:
		return config.At("routes", "expected at least one route: without one, everything is refused")
	case len(c.Routes) > maxRoutes:
		return config.At("routes", "expected at most %d routes, got %d", maxRoutes, len(c.Routes))
	}
	if err := validateCase(c.PathCase); err != nil {
		return config.At("path_case", "%w", err)
	}
	return errors.Join(validateRoles(c.Roles), c.validateClaims(), c.validateTokens(),
		c.validateReach())
}

// validateReach refuses a route that an earlier one hides: whoever wrote it believes in a rule
// that is never applied.
func (c Config) validateReach() error {
	var earlier node
	var errs []error
	for i, r := range c.Routes {
		m, err := compileMatch(r.Match)
		if err != nil {
			continue // the match itself reports it
		}
		if first := earlier.covering(m); first != nil {
			j := first.rule.Index
			errs = append(errs, config.At(fmt.Sprintf("routes[%d]", i),
				"never reached: routes[%d] (%s) matches everything that this route (%s) matches;"+
					" put this one before it", j, c.Routes[j].Match, r.Match))
		}
		earlier.insert(m.segments, m.candidate(&Rule{Index: i}))
	}
	return errors.Join(errs...)
}

// Validate checks that the route's settings do not contradict each other.
func (r Route) Validate() error {
	access, err := parseAccess(r.Allow)
	if err != nil {
		return config.At("allow", "%w", err)
	}
	if err := validateCase(r.PathCase); err != nil {
		return config.At("path_case", "%w", err)
	}
	if r.PathEncodedSlash != "" && r.PathEncodedSlash != allowSlash {
		return config.At("path_encoded_slash", "expected allow, or no such key, got %q", r.PathEncodedSlash)
	}
	if access != Authenticated && !r.Require.isEmpty() {
		return config.At("require", "what it asks for needs a token, which `allow: %s` does not ask for:"+
			" leave out one of the two", r.Allow)
	}
	if r.AllowStale && (access == Public || access == Nobody) {
		return config.At("allow_stale", "has no meaning with `allow: %s`: leave it out", r.Allow)
	}
	if r.OutlivesToken && (access == Public || access == Nobody) {
		return config.At("outlives_token", "has no meaning with `allow: %s`: leave it out", r.Allow)
	}
	if access == Nobody && len(r.CORS.Origins) > 0 {
		return config.At("cors", "has no meaning with `allow: nobody`: leave it out")
	}
	return errors.Join(r.validateConditions(), r.validateOutgoing(access), r.validateQuery(access))
}

// validateConditions compiles the conditions, which speak of the route's path.
func (r Route) validateConditions() error {
	m, err := compileMatch(r.Match)
	if err != nil {
		return nil // the match itself reports it
	}
	var errs []error
	if _, err := conditions.get(r.Require.When, m.names); err != nil {
		errs = append(errs, config.At("require.when", "%w", err))
	}
	for i, one := range r.Require.AnyOf {
		if _, err := conditions.get(one.When, m.names); err != nil {
			errs = append(errs, config.At(fmt.Sprintf("require.anyOf[%d].when", i), "%w", err))
		}
	}
	return errors.Join(errs...)
}

// Validate checks the pattern and the names.
func (m Match) Validate() error {
	_, err := compileMatch(m)
	return err
}

// Validate checks the names and bounds. Which issuers and audiences there are, the policy does not
// know.
func (r Require) Validate() error {
	errs := []error{
		validateNames("roles", r.Roles), validateNames("scopes", r.Scopes),
		validateNames("issuers", r.Issuers), validateNames("audiences", r.Audiences),
		validateNames("acr", r.ACR),
	}
	if r.Fresh < 0 || r.Fresh > 0 && r.Fresh < time.Second {
		errs = append(errs, config.At("fresh", "expected 1s or more, got %v", r.Fresh))
	}
	if len(r.AnyOf) > maxAlternatives {
		errs = append(errs, config.At("anyOf", "expected at most %d alternatives, got %d",
			maxAlternatives, len(r.AnyOf)))
	}
	for i, one := range r.AnyOf {
		at := fmt.Sprintf("anyOf[%d]", i)
		switch {
		case len(one.AnyOf) > 0:
			errs = append(errs, config.At(at+".anyOf", "expected no alternatives in an alternative:"+
				" write each of them out"))
		case one.isEmpty():
			errs = append(errs, config.At(at, "expected what it asks for, got nothing: with it, the"+
				" other alternatives would ask for nothing, too"))
		}
	}
	return errors.Join(errs...)
}

func validateNames(key string, names []string) error {
	if len(names) > maxNames {
		return config.At(key, "expected at most %d names, got %d", maxNames, len(names))
	}
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", key, i)
		switch {
		case name == "":
			return config.At(at, "expected a name, got an empty string")
		case key == "scopes" && strings.ContainsAny(name, " \t"):
			return config.At(at, "expected one scope, got %q: write a list", name)
		// They stand in a challenge between quotes, with spaces between them.
		case key == "acr" && strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r > '~' || r == '"' || r == '\\'
		}):
			return config.At(at, "expected printable ASCII without spaces, quotes and backslashes, got %q",
				name)
		case slices.Contains(names[:i], name):
			return config.At(at, "%q is there twice", name)
		}
	}
	return nil
}

func parseAccess(allow string) (Access, error) {
	switch allow {
	case "", "authenticated":
		return Authenticated, nil
	case "public":
		return Public, nil
	case "optional":
		return Optional, nil
	case "nobody":
		return Nobody, nil
	}
	return Nobody, fmt.Errorf("expected public, optional, authenticated or nobody, got %q", allow)
}

// BeyondHTTP returns the settings, by their paths, that take more of a proxy than one that asks over
// HTTP can be told: to take a credential out of a request, to answer a browser's preflight, and to
// hand on what is neither for the upstream nor a refusal.
func (c Config) BeyondHTTP() (paths []string) {
	for i := range c.Tokens {
		if c.Tokens[i].Remove || c.Tokens[i].WebSocket != "" {
			paths = append(paths, fmt.Sprintf("tokens[%d]", i))
		}
	}
	if len(c.Metadata) > 0 {
		paths = append(paths, "metadata")
	}
	for i := range c.Routes {
		r := &c.Routes[i]
		for _, s := range []struct {
			name string
			said bool
		}{
			{"query_token", r.QueryToken != ""},
			{"response_headers", len(r.ResponseHeaders) > 0},
			{"cors", len(r.CORS.Origins) > 0},
		} {
			if s.said {
				paths = append(paths, fmt.Sprintf("routes[%d].%s", i, s.name))
			}
		}
	}
	return paths
}
