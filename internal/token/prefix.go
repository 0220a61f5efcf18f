package token

import "strings"

// prefixed returns the roles with an issuer's prefix before each.
func prefixed(roles []string, prefix *string) []string {
	if prefix == nil || *prefix == "" {
		return roles
	}
	for i, role := range roles {
		roles[i] = *prefix + role
	}
	return roles
}

const maxPrefix = 64

// rolePrefix: what stands in a policy, and in a header as it is.
func (l *problems) rolePrefix(p *Profile) {
	if p.RolePrefix == nil {
		return
	}
	odd := strings.ContainsFunc(*p.RolePrefix,
		func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ',' || r == '%' })
	if odd || len(*p.RolePrefix) > maxPrefix {
		l.add("role_prefix", "expected up to %d printable ASCII characters, none of them a space, "+
			"a comma or a percent sign, as \"partner:\"", maxPrefix)
	}
}
