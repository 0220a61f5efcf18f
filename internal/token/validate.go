package token

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// algorithms are those that a profile may list, each with its family: a secret shared by both
// sides, or a pair of keys. There is no none (RFC 8725 section 3.1), and ES256K, Ed448 and
// encryption are not among them.
var algorithms = map[string]string{
	"HS256": secret, "HS384": secret, "HS512": secret,
	"RS256": pair, "RS384": pair, "RS512": pair,
	"PS256": pair, "PS384": pair, "PS512": pair,
	"ES256": pair, "ES384": pair, "ES512": pair,
	"EdDSA": pair, ed25519: pair,
}

const (
	secret = "secret"
	pair   = "pair"
)

const maxClockSkew = 5 * time.Minute

// SettingError is one setting of a profile that cannot be: its path, relative to the profile, and
// what to write instead.
type SettingError struct {
	Path    string // as in "algorithms[1]"
	Problem string
}

// Error implements error.
func (e *SettingError) Error() string { return "token: " + e.Path + ": " + e.Problem }

// Validate joins the Problems.
func (p *Profile) Validate() error {
	var errs []error
	for _, problem := range p.Problems() {
		errs = append(errs, problem)
	}
	return errors.Join(errs...)
}

// Problems lists every setting that cannot be, so that whoever loads the configuration can show its
// file and line.
func (p *Profile) Problems() []*SettingError {
	var l problems
	l.issuer(p)
	l.audiences(p)
	l.algorithms(p)
	l.times(p)
	l.names(p)
	l.required(p)
	l.bound(p)
	l.ours(p)
	l.tenants(p)
	l.rolePrefix(p)
	return l
}

type problems []*SettingError

func (l *problems) add(path, format string, args ...any) {
	*l = append(*l, &SettingError{Path: path, Problem: fmt.Sprintf(format, args...)})
}

func (l *problems) issuer(p *Profile) {
	if problem := unclean(p.Issuer); problem != "" || strings.ContainsAny(p.Issuer, " \t") {
		l.add("issuer",
			"expected the iss of the issuer's tokens, letter by letter, as https://issuer.example.com")
	}
	if typ := p.Type; typ != "" && (unclean(typ) != "" || strings.Contains(typ, " ")) {
		l.add("typ", "expected the header's typ, as at+jwt or JWT, or none")
	}
}

// audiences: an issuer without one would let tokens for any other service in.
func (l *problems) audiences(p *Profile) {
	switch {
	case len(p.Audiences) == 0 && !p.AnyAudience:
		l.add(
			"audiences",
			"expected at least one: add the line `audiences: [NAME]` with what the issuer puts into aud "+
				"for this service, or `any_audience: true` to accept tokens made for any service",
		)
	case len(p.Audiences) > 0 && p.AnyAudience:
		l.add("any_audience", "expected either audiences or any_audience: remove one of them")
	}
	for i, a := range p.Audiences {
		at := "audiences[" + strconv.Itoa(i) + "]"
		if unclean(a) != "" {
			l.add(at, "expected a name without control characters, got an empty or broken one")
		}
		if slices.Contains(p.Audiences[:i], a) {
			l.add(at, "%q stands twice", a)
		}
	}
}

// algorithms: never an empty list, never a public key where a secret could be taken for it (RFC
// 8725 section 3.1).
func (l *problems) algorithms(p *Profile) {
	if p.Algorithms != nil && len(p.Algorithms) == 0 {
		l.add("algorithms", "expected at least one, as [ES256]; leave the line out for ES256")
	}
	for i, a := range p.Algorithms {
		at := "algorithms[" + strconv.Itoa(i) + "]"
		switch {
		case algorithms[a] == "":
			l.add(at, "expected one of %s, got %q", names(slices.Sorted(maps.Keys(algorithms))), a)
		case slices.Contains(p.Algorithms[:i], a):
			l.add(at, "%q stands twice", a)
		// Beside HS256, a public key that everyone knows could be taken for the secret.
		case algorithms[a] != algorithms[p.Algorithms[0]]:
			l.add(at,
				"expected algorithms of one kind: %s cannot stand beside %s; write two entries with "+
					"different issuers",
				a, p.Algorithms[0])
		}
	}
}

func (l *problems) times(p *Profile) {
	if p.MaxLifetime != 0 && p.MaxLifetime < time.Second {
		l.add("max_lifetime", "expected at least 1s, got %s", p.MaxLifetime)
	}
	if p.ClockSkew < 0 || p.ClockSkew > maxClockSkew {
		l.add("clock_skew", "expected 0s to %s, got %s", maxClockSkew, p.ClockSkew)
	}
}

// registered are claims with a meaning of their own (RFC 7519 section 4.1): what a user may do is
// never read from them.
var registered = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

func (l *problems) names(p *Profile) {
	c := &p.Claims
	for _, n := range []struct {
		path, name string
		mayBeNone  bool
	}{
		{"token_id", p.TokenID, true},
		{"claims.subject", c.Subject, false},
		{"claims.audience", c.Audience, false},
		{"claims.client_id", c.ClientID, true},
		{"claims.session", c.Session, true},
		{"claims.tenant", c.Tenant, true},
		{"claims.scope", c.Scope, true},
	} {
		l.name(n.path, n.name, n.mayBeNone)
	}
	if slices.Contains(registered, c.Scope) {
		l.add("claims.scope", "expected a claim that holds scopes, got %s", c.Scope)
	}
	for i, name := range c.Roles {
		at := "claims.roles[" + strconv.Itoa(i) + "]"
		l.name(at, name, true)
		if name == "" || slices.Contains(registered, name) {
			l.add(at, "expected a claim that holds roles, got %q", name)
		}
	}
}

// name: "" is the default.
func (l *problems) name(path, name string, mayBeNone bool) {
	switch {
	case name == "":
	case name == none && !mayBeNone:
		l.add(path, "expected a claim's name: a token without it cannot be judged")
	default:
		if err := CheckClaimName(name); err != nil {
			l.add(path, "%v", err)
		}
	}
}

// CheckClaimName returns what is wrong with a claim's name, or with a path into nested claims, as
// strict.Value's Lookup takes them.
func CheckClaimName(name string) error {
	switch {
	case unclean(name) != "":
		return fmt.Errorf("expected a claim's name without control characters, at most %d bytes",
			maxString)
	case strings.HasPrefix(name, "/") && !pointer(name):
		return errors.New("expected a path as /realm_access/roles, with ~1 for a slash and ~0 for a" +
			" tilde inside a name")
	}
	return nil
}

// pointer reports whether a path is one that JSON Pointer allows, without empty steps.
func pointer(path string) bool {
	for step := range strings.SplitSeq(path[1:], "/") {
		plain := strings.NewReplacer("~0", "", "~1", "").Replace(step)
		if step == "" || strings.Contains(plain, "~") {
			return false
		}
	}
	return true
}

func (l *problems) required(p *Profile) {
	for i, entry := range p.RequiredClaims {
		name, value, hasValue := strings.Cut(entry, "=")
		at := "required_claims[" + strconv.Itoa(i) + "]"
		if name == "" || hasValue && value == "" {
			l.add(at, "expected name or name=value, got %q", entry)
			continue
		}
		if hasValue && (name != strings.TrimSpace(name) || value != strings.TrimSpace(value)) {
			l.add(at, "expected name=value without spaces around them, got %q", entry)
			continue
		}
		l.name(at, name, true)
	}
}

func (l *problems) bound(p *Profile) {
	if b := p.BoundTokens; b != "" && b != boundRefuse && b != boundAllow {
		l.add("bound_tokens",
			"expected refuse, or allow to take tokens that are bound to a key for plain ones, got %q", b)
	}
}

// ours: the tokens of our own issuer have one form.
func (l *problems) ours(p *Profile) {
	if !p.Ours {
		return
	}
	if i := slices.Index(p.Algorithms, ed25519); i >= 0 {
		l.add("algorithms["+strconv.Itoa(i)+"]",
			"expected EdDSA for a Sallyport issuer (ours: true), which has no other name for it")
	}
	if cmp.Or(p.Type, defaultType) != defaultType {
		l.add("typ", "expected %s for a Sallyport issuer (ours: true), got %q", defaultType, p.Type)
	}
	if cmp.Or(p.TokenID, "jti") != "jti" {
		l.add("token_id", "expected jti for a Sallyport issuer (ours: true), got %q", p.TokenID)
	}
	if c := p.Claims; c.Subject+c.Audience+c.ClientID+c.Session+c.Tenant+c.Scope != "" ||
		c.Roles != nil {
		l.add("claims", "expected none for a Sallyport issuer (ours: true): its claims have fixed names")
	}
}
