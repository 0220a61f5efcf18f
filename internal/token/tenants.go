package token

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/token/strict"
)

// A service such as Microsoft Entra has an issuer for each of its tenants, whose names differ in
// the tenant's id alone, and one key set for all of them. An entry whose issuer has tenantPlace as
// one of its segments stands for the tenants that it lists, or for all.
const (
	tenantPlace = "{tenantid}"
	allTenants  = "all"
)

// template is the name of such an entry's issuers.
type template struct{ before, after string }

// templateOf returns the template that an entry's issuer is; ok is false when it is one issuer.
func templateOf(issuer string) (t template, ok bool) {
	t.before, t.after, ok = strings.Cut(issuer, tenantPlace)
	return t, ok
}

// tenant returns the tenant's id in iss, when iss is made by the template: in the one spelling that
// ids have, so that no two names are one tenant's.
func (t template) tenant(iss string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(iss, t.before)
	if !ok {
		return "", false
	}
	if id, ok = strings.CutSuffix(rest, t.after); !ok || !isTenantID(id) {
		return "", false
	}
	return id, true
}

// isTenantID reports whether s is a GUID in small letters.
func isTenantID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return true
}

// IsTenantOf reports whether iss is made by the template name, be the tenant listed or not.
func IsTenantOf(name, iss string) bool {
	t, ok := templateOf(name)
	if !ok {
		return false
	}
	_, ok = t.tenant(iss)
	return ok
}

// Tenants are the issuers that an entry with a template stands for, made ready to be looked up.
type Tenants struct {
	template
	ids map[string]bool // nil: all of them
}

// NewTenants returns the issuers that p stands for; ok is false when it stands for one.
func NewTenants(p *Profile) (tenants Tenants, ok bool) {
	if p.Tenants == nil {
		return Tenants{}, false
	}
	if tenants.template, ok = templateOf(p.Issuer); !ok || isForAll(p) {
		return tenants, ok
	}
	tenants.ids = make(map[string]bool, len(p.Tenants))
	for _, id := range p.Tenants {
		tenants.ids[id] = true
	}
	return tenants, true
}

// Has reports whether iss is one of the issuers. It allocates nothing.
func (t Tenants) Has(iss string) bool {
	id, ok := t.tenant(iss)
	return ok && (t.ids == nil || t.ids[id])
}

func isForAll(p *Profile) bool { return len(p.Tenants) == 1 && p.Tenants[0] == allTenants }

// tenant: one of those that the entry stands for, and the same by iss and by tid. By iss alone a
// service that makes iss of what it is asked for would let its customers choose.
func (r *reading) tenant() error {
	t, ok := templateOf(r.profile.Issuer)
	id, made := t.tenant(r.claims.Issuer)
	if !ok || !made || !isForAll(r.profile) && !slices.Contains(r.profile.Tenants, id) {
		return Refuse(ReasonUnknownIssuer, "expected iss to name a tenant of the profile's, got another")
	}
	if tid, ok := r.body.Member("tid"); !ok || tid.Kind() != strict.String || tid.Text() != id {
		return Refuse(ReasonClaimRequired, "expected tid to be the tenant that iss names")
	}
	return nil
}

// MayShare reports whether some iss is one of both entries' issuers.
func MayShare(a, b *Profile) bool {
	if a.Tenants == nil && b.Tenants == nil {
		return a.Issuer == b.Issuer
	}
	these, those := strings.Split(a.Issuer, "/"), strings.Split(b.Issuer, "/")
	if len(these) != len(those) {
		return false
	}
	for i := range these {
		if !mayBeOne(a, b, these[i], those[i]) {
			return false
		}
	}
	return true
}

// mayBeOne reports whether two segments, one of each entry's issuer, may stand for the same.
func mayBeOne(a, b *Profile, this, that string) bool {
	isA, isB := this == tenantPlace && a.Tenants != nil, that == tenantPlace && b.Tenants != nil
	switch {
	case isA && isB:
		return isForAll(a) || isForAll(b) ||
			slices.ContainsFunc(a.Tenants, func(id string) bool { return slices.Contains(b.Tenants, id) })
	case isA:
		return isTenantID(that) && (isForAll(a) || slices.Contains(a.Tenants, that))
	case isB:
		return mayBeOne(b, a, that, this)
	}
	return this == that
}

const maxTenants = 1_000

// tenants: where the place stands, there is a list, and it stands nowhere else.
func (l *problems) tenants(p *Profile) {
	const form = "https://login.microsoftonline.com/" + tenantPlace + "/v2.0"
	isTemplate := strings.Contains(p.Issuer, tenantPlace)
	switch {
	case strings.ContainsAny(p.Issuer, "{}") && !isForm(p.Issuer):
		l.add("issuer", "expected %s once, as a part between slashes behind the host, as in %s",
			tenantPlace, form)
	case isTemplate && len(p.Tenants) == 0:
		l.add("tenants", "expected whose tokens are accepted: add the line `tenants: [ID, ID]` with "+
			"the tenants' ids, or `tenants: all`")
	case !isTemplate && p.Tenants != nil:
		l.add("tenants", "expected only beside an issuer that has %s in it, as %s", tenantPlace, form)
	case isTemplate && p.Ours:
		l.add("issuer", "expected no %s for a Sallyport issuer (ours: true)", tenantPlace)
	case len(p.Tenants) > maxTenants:
		l.add("tenants", "expected at most %d, got %d", maxTenants, len(p.Tenants))
	}
	for i, id := range p.Tenants {
		at := "tenants[" + strconv.Itoa(i) + "]"
		switch {
		case id == allTenants && len(p.Tenants) > 1:
			l.add(at, "expected all alone, or ids alone")
		case id != allTenants && !isTenantID(id):
			l.add(at, "expected a tenant's id in small letters, as 72f988bf-86f1-41af-91ab-2d7cd011db47, "+
				"got %q", id)
		case slices.Contains(p.Tenants[:i], id):
			l.add(at, "%q stands twice", id)
		}
	}
	l.noPlace("audiences", p.Audiences...)
	l.noPlace("required_claims", p.RequiredClaims...)
}

func isForm(issuer string) bool {
	_, rest, ok := strings.Cut(issuer, "://")
	host, path, _ := strings.Cut(rest, "/")
	return ok && host != "" && !strings.ContainsAny(host, "{}") &&
		strings.Count(path, "{") == 1 && strings.Count(path, "}") == 1 &&
		slices.Contains(strings.Split(path, "/"), tenantPlace)
}

func (l *problems) noPlace(list string, texts ...string) {
	for i, text := range texts {
		if strings.Contains(text, tenantPlace) {
			l.add(list+"["+strconv.Itoa(i)+"]", "expected %s in issuer alone: here it stands for nothing",
				tenantPlace)
		}
	}
}
