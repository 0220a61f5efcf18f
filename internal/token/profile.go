package token

import (
	"cmp"
	"time"
)

// Profile is how one trusted issuer's tokens are read, and what they must satisfy. Where a field's
// zero value makes no sense it stands for the default that is named beside it. A Profile without
// Audiences (and without AnyAudience) allows no token.
type Profile struct {
	Issuer         string        `yaml:"issuer" usage:"iss of its tokens, compared letter by letter"`
	Audiences      []string      `yaml:"audiences" usage:"a token must name one of these"`
	AnyAudience    bool          `yaml:"any_audience" usage:"accept tokens made for anyone: dangerous where the issuer serves others too"`
	Algorithms     []string      `yaml:"algorithms" usage:"what it signs with: ES256 unless said; HS256 never beside others"`
	Type           string        `yaml:"typ" usage:"the header's typ, a media type: at+jwt unless said; none: there must be none"`
	MaxLifetime    time.Duration `yaml:"max_lifetime" usage:"exp - iat at most: 1h unless said; a second more is forgiven to all but our own issuers"`
	ClockSkew      time.Duration `yaml:"clock_skew" usage:"leeway on exp, nbf and iat: 30s unless said"`
	RequiredClaims []string      `yaml:"required_claims" usage:"what else must be there: name, for what is neither null nor false; or name=value, for a text, a number, true or false, or a list that has it"`
	TokenID        string        `yaml:"token_id" usage:"the claim that names the token: jti unless said, uti, or none: then it is revocable by session, subject, client and key only"`
	BoundTokens    string        `yaml:"bound_tokens" usage:"tokens that are bound to a key of their holder (cnf: DPoP, mTLS), which is not asked for here: refuse unless said, or allow"`
	Claims         ClaimNames    `yaml:"claims"`

	// Tenants makes the entry stand for many issuers: those that Issuer names when a tenant's id is
	// put in the place of its {tenantid}. A token's tid must be the tenant that its iss names.
	Tenants []string `yaml:"tenants" usage:"whose tokens are accepted where issuer has {tenantid} in it: tenants' ids, or all"`
	// RolePrefix is put before each role of its tokens, for policies and upstreams: what an issuer
	// calls admin need not be what another one does. nil: nobody has said, which stands for none.
	RolePrefix *string `yaml:"role_prefix" usage:"put before each role of its tokens; may be empty"`

	// Ours marks the tokens of a Sallyport issuer, whose client_id is required, whose sid comes
	// with auth_time, and whose dates are in the revocation log's time. Revocations with a cutoff
	// judge the tokens of its sessions by auth_time, and all but those by subject by iat where that
	// is earlier; without the mark they judge by iat with a leeway, which is safe, but refuses a
	// login within clock_skew after a revocation. Only they are held to the one spelling in which
	// those issuers write, and to whole seconds.
	Ours bool `yaml:"ours" usage:"it is a Sallyport issuer"`
}

// ClaimNames are the names under which an issuer's tokens carry what we look for. A name that
// begins with a slash is a path into nested objects, a JSON Pointer (RFC 6901):
// /realm_access/roles. Any other is a top-level name as it stands; dots, colons and slashes inside
// are part of it: https://example.com/roles. "none" means that the tokens do not carry it, or that
// it is not to be believed.
type ClaimNames struct {
	Subject  string   `yaml:"subject" usage:"sub unless said; must never pass from one user to another"`
	Audience string   `yaml:"audience" usage:"aud unless said"`
	ClientID string   `yaml:"client_id" usage:"client_id unless said"`
	Session  string   `yaml:"session" usage:"sid unless said"`
	Tenant   string   `yaml:"tenant" usage:"tenant unless said"`
	Scope    string   `yaml:"scope" usage:"scope unless said: a list, or a string with spaces"`
	Roles    []string `yaml:"roles" usage:"[roles] unless said: lists, a text that is one role, or objects whose names they are; several are joined"`
}

const (
	defaultAlgorithm   = "ES256"
	defaultType        = "at+jwt" // RFC 9068 section 2.1
	defaultMaxLifetime = time.Hour
	defaultClockSkew   = 30 * time.Second
)

// DefaultProfile is the profile that a configuration starts from: that of our own tokens, less
// issuer and audiences and Ours.
func DefaultProfile() Profile {
	return Profile{
		Type: defaultType, MaxLifetime: defaultMaxLifetime, ClockSkew: defaultClockSkew,
		TokenID: "jti",
	}
}

// SetDefaults makes p the DefaultProfile, before a configuration fills it.
func (p *Profile) SetDefaults() { *p = DefaultProfile() }

// CheckHeader holds a header against the profile: before any key is looked up, so that a key never
// decides how it is used (RFC 8725 section 3.1).
func (p *Profile) CheckHeader(h Header) error {
	switch {
	case p.Ours && h.Foreign != nil:
		return h.Foreign
	case h.Fault != nil:
		return h.Fault
	case !p.allows(h.Algorithm):
		return Refuse(ReasonAlg, "expected alg %s", names(p.algorithms()))
	}
	want := cmp.Or(p.Type, defaultType)
	switch {
	case want == none && h.Type != "":
		return Refuse(ReasonTyp, "expected no typ, got one")
	case want != none && !p.isType(h.Type, want):
		return Refuse(ReasonTyp, "expected typ %q", want)
	}
	return nil
}

// isType compares typ: of ours letter by letter, of others as a media type.
func (p *Profile) isType(typ, want string) bool {
	if p.Ours {
		return typ == want
	}
	return IsMediaType(typ, want)
}

func (p *Profile) allows(alg string) bool {
	if !p.Ours {
		alg = Algorithm(alg)
	}
	if p.Algorithms == nil {
		return alg == defaultAlgorithm
	}
	for _, a := range p.Algorithms {
		if a = Algorithm(a); a == alg && algorithms[a] != "" {
			return true
		}
	}
	return false
}

func (p *Profile) algorithms() []string {
	if p.Algorithms == nil {
		return []string{defaultAlgorithm}
	}
	return p.Algorithms
}
