package ssf

import (
	"maps"
	"slices"
)

// Type is what kind of thing has happened. The zero Type is one that is not known here.
type Type uint8

// The types. Whether one ends something, Ends reports.
const (
	Other             Type = iota
	SessionRevoked         // CAEP section 3.1
	TokenClaimsChange      // CAEP section 3.2
	CredentialChange       // CAEP section 3.3
	AccountDisabled        // RISC section 2.3
	AccountPurged          // RISC section 2.2
	AccountCredentialChangeRequired
	SessionsRevoked // RISC section 2.10
	Verification    // SSF section 8.1.4.1
	StreamUpdated   // SSF section 8.1.5
)

const (
	caep = "https://schemas.openid.net/secevent/caep/event-type/"
	risc = "https://schemas.openid.net/secevent/risc/event-type/"
	ssf  = "https://schemas.openid.net/secevent/ssf/event-type/"
)

// kinds has each type's URI, and its name as settings, metrics and entries' reasons have it.
var kinds = [...]struct{ uri, name string }{
	Other:             {"", "other"},
	SessionRevoked:    {caep + "session-revoked", "session_revoked"},
	TokenClaimsChange: {caep + "token-claims-change", "token_claims_change"},
	CredentialChange:  {caep + "credential-change", "credential_change"},
	AccountDisabled:   {risc + "account-disabled", "account_disabled"},
	AccountPurged:     {risc + "account-purged", "account_purged"},
	AccountCredentialChangeRequired: {
		risc + "account-credential-change-required", "account_credential_change_required",
	},
	SessionsRevoked: {risc + "sessions-revoked", "sessions_revoked"},
	Verification:    {ssf + "verification", "verification"},
	StreamUpdated:   {ssf + "stream-updated", "stream_updated"},
}

var byURI = func() map[string]Type {
	m := make(map[string]Type, len(kinds))
	for t, k := range kinds {
		m[k.uri] = Type(t)
	}
	return m
}()

func typeOf(uri string) Type { return byURI[uri] }

// URI returns the type's URI, by which a stream is asked for it; "" for Other.
func (t Type) URI() string { return kinds[t].uri }

// String returns the type's name.
func (t Type) String() string { return kinds[t].name }

// Ends reports whether an event of this type ends sessions or tokens.
func (t Type) Ends() bool { return t >= SessionRevoked && t <= SessionsRevoked }

// ofStream reports whether an event of this type is about the stream itself.
func (t Type) ofStream() bool { return t == Verification || t == StreamUpdated }

// ParseType returns the type of a name that ends something.
func ParseType(name string) (Type, bool) {
	for _, t := range Ending() {
		if t.String() == name {
			return t, true
		}
	}
	return Other, false
}

// Ending returns every type that ends something.
func Ending() []Type {
	var list []Type
	for t := range kinds {
		if Type(t).Ends() {
			list = append(list, Type(t))
		}
	}
	return list
}

// formats returns the names of Formats, in order.
func formats() []string { return slices.Sorted(maps.Keys(Formats)) }
