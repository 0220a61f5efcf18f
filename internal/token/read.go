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
	if err := r.bound(); err != nil {
		return nil, err
	}
	if err := r.noEvents(); err != nil {
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
// real numbers. Nothing goes by auth_time but in tokens of ours: in others' it may be anything.
func (r *reading) dates() error {
	c := r.claims
	for _, d := range []struct {
		claim       string
		to, nanosTo *int64
		missing     Reason
		roundUp     bool
		unused      bool // in others' tokens
	}{
		{"exp", &c.Expiry, &c.expiryNanos, ReasonExpiryMissing, true, false},
		{"iat", &c.IssuedAt, &c.issuedNanos, ReasonIssuedAtMissing, false, false},
		{"nbf", &c.NotBefore, &c.notBeforeNanos, "", true, false},
		{"auth_time", &c.AuthTime, nil, "", false, true},
	} {
		v, ok := r.body.Member(d.claim)
		if !ok && d.missing != "" {
			return Refuse(d.missing, "expected %s, got none", d.claim)
		}
		if !ok || d.claim == "nbf" && !r.profile.Ours && IsNoDate(v) {
			continue
		}
		n, nanos, err := r.date(v, d.claim, d.roundUp)
		if err != nil && (r.profile.Ours || !d.unused) {
			return err
		}
		if *d.to = n; d.nanosTo != nil {
			*d.nanosTo = nanos
		}
	}
	return nil
}

func (r *reading) date(v strict.Value, claim string, up bool) (seconds, nanos int64, err error) {
	if r.profile.Ours {
		seconds, err = wholeDate(v, claim)
		return seconds, 0, err
	}
	return anyDate(v, claim, up)
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
	if r.profile.AnyAudience && !r.profile.Ours && isNobody(v) {
		return nil
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

// isNobody reports whether an audience is null or an empty list, as some issuers write for none.
func isNobody(v strict.Value) bool {
	return v.Kind() == strict.Null || v.Kind() == strict.Array && len(v.Members()) == 0
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

// grants: tenant, scope, roles, and how the subject was authenticated. In others' tokens, what
// stands under a name that the entry does not give may mean something else: it is read if it has
// the usual form, and else not used, which grants nothing.
func (r *reading) grants() (err error) {
	c, names := r.claims, &r.profile.Claims
	c.Tenant, err = r.optional(cmp.Or(names.Tenant, "tenant"), ReasonClaimShape)
	if r.counts(err, names.Tenant != "") {
		return err
	}
	c.Scope, err = r.list(nil, cmp.Or(names.Scope, "scope"))
	if r.counts(err, names.Scope != "") {
		return err
	}
	if c.AMR, err = r.list(nil, "amr"); r.counts(err, false) {
		return err
	}
	if c.ACR, err = r.optional("acr", ReasonClaimShape); r.counts(err, false) {
		return err
	}
	// Named, they are joined: Keycloak has a user's roles in several places.
	if names.Roles == nil {
		if c.Roles, err = r.roles(nil, "roles"); r.counts(err, false) {
			return err
		}
	}
	for _, name := range names.Roles {
		if c.Roles, err = r.roles(c.Roles, name); err != nil {
			return err
		}
	}
	return nil
}

// counts reports whether a token is refused for a claim that was found wrong; named: the entry
// gives the claim's name.
func (r *reading) counts(err error, named bool) bool {
	return err != nil && (named || r.profile.Ours)
}

// bound: whoever presents a token that is bound to a key has to prove that the key is his (RFC
// 7800), which nothing here asks for.
func (r *reading) bound() error {
	v, ok := r.body.Member("cnf")
	if !ok || v.Kind() == strict.Null || r.profile.BoundTokens == boundAllow {
		return nil
	}
	return Refuse(ReasonTokenBound, "expected no cnf, unless bound_tokens says allow")
}

const boundRefuse, boundAllow = "refuse", "allow"

// noEvents: a token with events is a message about somebody (RFC 8417 section 2.2), such as a logout
// token, which issuers sign with the same keys and some write with the typ of access tokens.
func (r *reading) noEvents() error {
	v, ok := r.body.Member("events")
	if ok && v.Kind() == strict.Object && !r.profile.Ours {
		return Refuse(ReasonTyp, "expected no events: this is a message, not an access token")
	}
	return nil
}

// required: what else the profile asks for, to tell this issuer's access tokens from its other
// tokens.
func (r *reading) required() error {
	for _, entry := range r.profile.RequiredClaims {
		name, want, hasValue := strings.Cut(entry, "=")
		v, ok := r.body.Lookup(name)
		switch {
		case !ok || v.Kind() == strict.Null:
			return Refuse(ReasonClaimRequired, "expected %s, got none", name)
		case !hasValue && v.Kind() == strict.Bool && v.Text() == "false":
			return Refuse(ReasonClaimRequired, "expected %s, got false", name)
		case hasValue && !says(v, want):
			return Refuse(ReasonClaimRequired, "expected %s to be %q, got another value", name, want)
		}
	}
	return nil
}

// says holds when v is what want says, or a list that has it.
func says(v strict.Value, want string) bool {
	return is(v, want) || v.Kind() == strict.Array && slices.ContainsFunc(v.Members(),
		func(m strict.Member) bool { return is(m.Value, want) })
}

// is holds when v is the text want, or the number, true or false that want writes.
func is(v strict.Value, want string) bool {
	switch v.Kind() {
	case strict.String, strict.Bool:
		return v.Text() == want
	case strict.Number:
		n, err := strict.Parse(want, strict.Rules{Plain: true})
		return err == nil && n.Kind() == strict.Number && equalNumbers(n.Text(), v.Text())
	}
	return false
}

// optional returns a string claim; "" when it is absent. In others' tokens null says as much.
func (r *reading) optional(name string, reason Reason) (string, error) {
	v, ok := r.lookup(name)
	if !ok || v.Kind() == strict.Null && !r.profile.Ours {
		return "", nil
	}
	return cleanString(v, name, reason)
}

// list adds a list claim to what is there already; nothing when it is absent. In others' tokens null
// is how some libraries write a list without elements.
func (r *reading) list(to []string, name string) ([]string, error) {
	v, ok := r.lookup(name)
	if !ok || v.Kind() == strict.Null && !r.profile.Ours {
		return to, nil
	}
	more, err := list(v, name, ReasonClaimShape)
	return joined(to, more), err
}

// roles is list for a claim that in others' tokens may also be an object, whose names they are, or a
// text, which is one role: "Domain Admins" must not grant Admins. Only scope and scp are words with
// spaces between them (RFC 8693 section 4.2), be it that roles are read from there.
func (r *reading) roles(to []string, name string) ([]string, error) {
	v, ok := r.lookup(name)
	if !ok || r.profile.Ours {
		return r.list(to, name)
	}
	switch kind := v.Kind(); {
	case kind == strict.Object:
		more, err := grantedNames(v, name)
		return joined(to, more), err
	case kind == strict.String && v.Text() != "" && !ofScopes(name):
		role, err := cleanString(v, name, ReasonClaimShape)
		if err != nil {
			return to, err
		}
		return append(to, role), nil
	}
	return r.list(to, name)
}

// ofScopes reports whether a claim is a list of scopes by its name.
func ofScopes(name string) bool {
	last := name[strings.LastIndexByte(name, '/')+1:]
	return last == "scope" || last == "scp"
}

// joined returns both lists as one. A list that is there stays one when it is empty.
func joined(to, more []string) []string {
	if to == nil {
		return more
	}
	return append(to, more...)
}

// grantedNames returns the names of an object whose values say more about each role, or that it is
// granted. One that is false or null is not; what any other value says nobody knows.
func grantedNames(v strict.Value, claim string) ([]string, error) {
	granted := make([]string, 0, len(v.Members()))
	for _, m := range v.Members() {
		switch kind := m.Value.Kind(); {
		case kind == strict.Null || kind == strict.Bool && m.Value.Text() == "false":
		case kind != strict.Object && kind != strict.Bool:
			return nil, Refuse(ReasonClaimShape,
				"expected each of %s to be an object, true or false, got %s", claim, kind)
		default:
			if problem := unclean(m.Name); problem != "" {
				return nil, Refuse(ReasonClaimShape,
					"expected names in %s without faults, got one that %s", claim, problem)
			}
			granted = append(granted, strings.Clone(m.Name))
		}
	}
	return granted, nil
}

func (r *reading) lookup(name string) (strict.Value, bool) {
	if name == none {
		return strict.Value{}, false
	}
	return r.body.Lookup(name)
}

const none = "none"
