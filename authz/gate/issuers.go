package gate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

// checkIssuers checks what an entry of issuers cannot check by itself, and what the policy says of
// them.
func (c Config) checkIssuers() error {
	return errors.Join(keyset.CheckNames(c.Issuers), c.checkPrefixes(), c.checkRoutes())
}

// checkPrefixes: beside others, each issuer says what its roles are called here. Otherwise whoever
// is an admin at the second one would be an admin here, and nobody would have decided that.
func (c Config) checkPrefixes() error {
	if len(c.Issuers) < 2 {
		return nil
	}
	var errs []error
	for i, issuer := range c.Issuers {
		at := fmt.Sprintf("issuers[%d].role_prefix", i)
		if issuer.RolePrefix == nil {
			errs = append(errs, config.At(at, "expected each of several issuers to say it, got none: add "+
				"the line `role_prefix: \"NAME:\"`, which is put before each role of its tokens, or "+
				"`role_prefix: \"\"` if its roles are to count as they are"))
			continue
		}
		if other := c.within(i); other >= 0 {
			errs = append(errs, config.At(at, "expected no beginning of another issuer's prefix, got %q "+
				"and %q of issuers[%d]: a role of the one could be called as one of the other; end both with a "+
				"sign, as \"NAME:\"", *issuer.RolePrefix, *c.Issuers[other].RolePrefix, other))
		}
	}
	return errors.Join(errs...)
}

// rolePrefixes lists what issuers' roles begin with, each once.
func (c Config) rolePrefixes() (prefixes []string) {
	for _, issuer := range c.Issuers {
		if p := issuer.RolePrefix; p != nil && !slices.Contains(prefixes, *p) {
			prefixes = append(prefixes, *p)
		}
	}
	return prefixes
}

// within returns the entry whose prefix goes on where that of entry i ends; -1 if there is none. An
// empty prefix is a deliberate word: that issuer may give any role.
func (c Config) within(i int) int {
	prefix := *c.Issuers[i].RolePrefix
	return slices.IndexFunc(c.Issuers, func(other keyset.Config) bool {
		return prefix != "" && other.RolePrefix != nil && *other.RolePrefix != prefix &&
			strings.HasPrefix(*other.RolePrefix, prefix)
	})
}

// checkRoutes: an issuer that a route asks for is one whose tokens are accepted, and so is an
// audience. With a slip in the name nobody would pass.
func (c Config) checkRoutes() error {
	err := c.checkRoutesOf("policy", c.Policy)
	for _, name := range slices.Sorted(maps.Keys(c.Policies)) {
		err = errors.Join(err, c.checkRoutesOf("policies."+name, c.Policies[name]))
	}
	return err
}

func (c Config) checkRoutesOf(key string, p policy.Config) error {
	var errs []error
	for i, route := range p.Routes {
		at := fmt.Sprintf("%s.routes[%d].require", key, i)
		errs = append(errs, c.checkRequire(at, route.Require))
		for j, one := range route.Require.AnyOf {
			errs = append(errs, c.checkRequire(fmt.Sprintf("%s.anyOf[%d]", at, j), one))
		}
	}
	return errors.Join(errs...)
}

func (c Config) checkRequire(at string, r policy.Require) error {
	var errs []error
	for i, name := range r.Issuers {
		if name != "" && !c.trusts(name) {
			errs = append(errs, config.At(fmt.Sprintf("%s.issuers[%d]", at, i),
				"expected the `issuer` of an entry of issuers, letter by letter, got %q: write one of %s",
				name, c.names()))
		}
	}
	for i, name := range r.Audiences {
		if name != "" && !c.accepts(name) {
			errs = append(errs, config.At(fmt.Sprintf("%s.audiences[%d]", at, i),
				"expected one of the `audiences` of an entry of issuers, letter by letter, got %q: tokens for"+
					" it are refused everywhere", name))
		}
	}
	return errors.Join(errs...)
}

// accepts reports whether tokens for an audience are accepted of some issuer.
func (c Config) accepts(audience string) bool {
	return slices.ContainsFunc(c.Issuers, func(entry keyset.Config) bool {
		return entry.AnyAudience || slices.Contains(entry.Audiences, audience)
	})
}

// trusts reports whether a name is an entry's, or that of a tenant which an entry stands for.
func (c Config) trusts(name string) bool {
	return slices.ContainsFunc(c.Issuers, func(entry keyset.Config) bool {
		tenants, several := token.NewTenants(&entry.Profile)
		return entry.Issuer == name || several && tenants.Has(name)
	})
}

// audienceNotes says whose tokens are accepted that were made for other services.
func (c Config) audienceNotes() (notes []string) {
	for i, issuer := range c.Issuers {
		if issuer.AnyAudience {
			notes = append(notes, fmt.Sprintf("warning: issuers[%d] (%s) has any_audience: tokens that it made"+
				" for any other service are accepted too; write audiences", i, issuer.Issuer))
		}
	}
	return notes
}

// listed is how many issuers an error names.
const listed = 8

func (c Config) names() string {
	var names []string
	for _, entry := range c.Issuers[:min(len(c.Issuers), listed)] {
		names = append(names, entry.Issuer)
	}
	return strings.Join(names, ", ")
}

// warnOfScopes says which routes take scopes from every issuer, where there are several.
func (g *Gate) warnOfScopes(rules *policy.Policy) {
	if open := rules.ScopesOfAny(); len(g.config.Issuers) > 1 && len(open) > 0 {
		g.options.Logger.Warn("gate: routes take scopes from every issuer; write require.issuers where "+
			"not all of them may give these", "routes", policy.List(open))
	}
}
