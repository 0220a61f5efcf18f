package token

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/token/strict"
)

// Read reads claims and holds them against the profile in everything that does not depend on the
// time: its result may be kept. It believes the claims; whether they are signed is another
// question.
func (p *Profile) Read(claimsJSON []byte) (*Claims, error) {
	b, err := ReadBody(string(claimsJSON))
	if err != nil {
		return nil, err
	}
	return p.Judge(b)
}

// Judge is Read for claims that are read already. The first refusal counts.
func (p *Profile) Judge(b Body) (*Claims, error) {
	c := new(Claims)
	r := reading{profile: p, body: b.root, claims: c}
	if err := r.whoAndWhen(); err != nil {
		return nil, err
	}
	if err := r.audience(); err != nil {
		return nil, err
	}
	if err := r.session(); err != nil {
		return nil, err
	}
	if err := r.grants(); err != nil {
		return nil, err
	}
	if err := r.required(); err != nil {
		return nil, err
	}
	c.Roles = prefixed(c.Roles, p.RolePrefix)
	return c, nil
}

// reading is one token's claims on their way from JSON to Claims.
type reading struct {
	profile *Profile
	body    strict.Value
	claims  *Claims
}

// whoAndWhen: what every token has to say.
func (r *reading) whoAndWhen() error {
	if err := r.issuer(); err != nil {
		return err
	}
	if err := r.dates(); err != nil {
		return err
	}
	if err := r.subject(); err != nil {
		return err
	}
	return r.tokenID()
}

// issuer: letter for letter (RFC 7519 section 4.1.1), no prefix, no case folding, no list.
func (r *reading) issuer() (err error) {
	if r.claims.Issuer, err = (Body{r.body}).Issuer(); err != nil {
		return err
	}
	if r.profile.Tenants != nil {
		return r.tenant()
	}
	if r.profile.Issuer == "" || r.claims.Issuer != r.profile.Issuer {
		return Refuse(ReasonUnknownIssuer, "expected iss to be the profile's issuer, got another")
	}
	return nil
}

// dates: exp and iat are required (RFC 9068 section 2.2), nbf and auth_time are optional, all are
// real numbers.
func (r *reading) dates() error {
	c := r.claims
	for _, d := range []struct {
		claim   string
		to      *int64
		missing Reason
	}{
		{"exp", &c.Expiry, ReasonExpiryMissing},
		{"iat", &c.IssuedAt, ReasonIssuedAtMissing},
		{"nbf", &c.NotBefore, ""},
		{"auth_time", &c.AuthTime, ""},
	} {
		v, ok := r.body.Member(d.claim)
		if !ok && d.missing != "" {
			return Refuse(d.missing, "expected %s, got none", d.claim)
		}
		if !ok {
			continue
		}
		n, err := date(v, d.claim)
		if err != nil {
			return err
		}
		*d.to = n
	}
	return nil
}

func (r *reading) subject() error {
	name := cmp.Or(r.profile.Claims.Subject, "sub")
	v, ok := r.body.Lookup(name)
	if !ok {
		return Refuse(ReasonSubject, "expected %s, got none", name)
	}
	var err error
	r.claims.Subject, err = cleanString(v, name, ReasonSubject)
	return err
}

// tokenID: what a revocation of this one token names.
func (r *reading) tokenID() error {
	name := cmp.Or(r.profile.TokenID, "jti")
	if name == none {
		return nil
	}
	v, ok := r.body.Lookup(name)
	if !ok {
		return Refuse(ReasonTokenID, "expected %s, got none", name)
	}
	var err error
	r.claims.ID, err = cleanString(v, name, ReasonTokenID)
	return err
}

// audience: a string or a list of strings (RFC 7519 section 4.1.3), one of which is ours, letter
// for letter.
func (r *reading) audience() error {
	name := cmp.Or(r.profile.Claims.Audience, "aud")
	v, ok := r.body.Lookup(name)
	if !ok {
		if r.profile.AnyAudience {
			return nil
		}
		return Refuse(ReasonAudienceMissing, "expected %s, got none", name)
	}
	var err error
	if r.claims.Audience, err = audiences(v, name); err != nil {
		return err
	}
	if r.profile.AnyAudience {
		return nil
	}
	for _, a := range r.claims.Audience {
		if slices.Contains(r.profile.Audiences, a) {
			return nil
		}
	}
	return Refuse(ReasonAudience, "expected %s to name one of %s, got others", name,
		names(r.profile.Audiences))
}

func audiences(v strict.Value, name string) ([]string, error) {
	if v.Kind() == strict.String {
		one, err := cleanString(v, name, ReasonAudience)
		return []string{one}, err
	}
	all, err := list(v, name, ReasonAudience)
	if err == nil && len(all) == 0 {
		err = Refuse(ReasonAudience, "expected %s to name an audience, got an empty list", name)
	}
	return all, err
}

// session: what a revocation of the session or client names. In a token of ours a session has a
// beginning, for revocations by subject compare it.
func (r *reading) session() (err error) {
	c, names := r.claims, &r.profile.Claims
	if c.SessionID, err = r.optional(cmp.Or(names.Session, "sid"), ReasonSessionID); err != nil {
		return err
	}
	clientID := cmp.Or(names.ClientID, "client_id")
	if c.ClientID, err = r.optional(clientID, ReasonClaimShape); err != nil {
		return err
	}
	if !r.profile.Ours {
		return nil
	}
	// Without it a revocation with a cutoff could not tell whether the session began before it.
	if c.SessionID != "" && c.AuthTime == 0 {
		return Refuse(ReasonSessionID, "expected auth_time beside sid, got none")
	}
	if c.ClientID == "" {
		return Refuse(ReasonClaimRequired, "expected client_id, got none")
	}
	return nil
}

// grants: tenant, scope, roles, and how the subject was authenticated.
func (r *reading) grants() (err error) {
	c, names := r.claims, &r.profile.Claims
	if c.Tenant, err = r.optional(cmp.Or(names.Tenant, "tenant"), ReasonClaimShape); err != nil {
		return err
	}
	if c.Scope, err = r.list(nil, cmp.Or(names.Scope, "scope")); err != nil {
		return err
	}
	if c.AMR, err = r.list(nil, "amr"); err != nil {
		return err
	}
	// Named, they are joined: Keycloak has a user's roles in several places.
	if names.Roles == nil {
		c.Roles, err = r.list(nil, "roles")
		return err
	}
	for _, name := range names.Roles {
		if c.Roles, err = r.list(c.Roles, name); err != nil {
			return err
		}
	}
	return nil
}

// required: what else the profile asks for, to tell this issuer's access tokens from its other
// tokens.
func (r *reading) required() error {
	for _, entry := range r.profile.RequiredClaims {
		name, want, hasValue := strings.Cut(entry, "=")
		v, ok := r.body.Lookup(name)
		if !ok || v.Kind() == strict.Null {
			return Refuse(ReasonClaimRequired, "expected %s, got none", name)
		}
		if hasValue && !says(v, want) {
			return Refuse(ReasonClaimRequired, "expected %s to be %q, got another value", name, want)
		}
	}
	return nil
}

// says holds when v is the string want, or a list that has it.
func says(v strict.Value, want string) bool {
	if v.Kind() == strict.String {
		return v.Text() == want
	}
	return v.Kind() == strict.Array && slices.ContainsFunc(v.Members(), func(m strict.Member) bool {
		return m.Value.Kind() == strict.String && m.Value.Text() == want
	})
}

// optional returns a string claim; "" when it is absent. A null is there, and no string.
func (r *reading) optional(name string, reason Reason) (string, error) {
	v, ok := r.lookup(name)
	if !ok {
		return "", nil
	}
	return cleanString(v, name, reason)
}

// list adds a list claim to what is there already; nothing when it is absent.
func (r *reading) list(to []string, name string) ([]string, error) {
	v, ok := r.lookup(name)
	if !ok {
		return to, nil
	}
	more, err := list(v, name, ReasonClaimShape)
	if to == nil {
		return more, err
	}
	return append(to, more...), err
}

func (r *reading) lookup(name string) (strict.Value, bool) {
	if name == none {
		return strict.Value{}, false
	}
	return r.body.Lookup(name)
}

const none = "none"
