package ssf

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/token/strict"
)

const (
	complexFormat = "complex" // SSF section 3.3
	aliasesFormat = "aliases" // RFC 9493 section 3.2.8
	maxAliases    = 16
)

// allSessions is what stands in place of a session's id in Keycloak's message that an
// administrator has logged a user out: no session's own.
const allSessions = "ALL"

// Subject says whom an event is about (RFC 9493; SSF section 3). Exactly one of ID, Of and Members
// is there, or none where the format is not known here.
type Subject struct {
	Format  string
	Issuer  string             // of the formats iss_sub and jwt_id
	ID      string             // what a simple subject is known by
	Of      []Subject          // the identifiers of aliases
	Members map[string]Subject // of a complex subject: user, session, tenant, ...
}

// Formats are the simple formats whose identifiers may be mapped to a kind of entry, and under
// which name each has it (RFC 9493 section 3.2).
var Formats = map[string]string{
	"account":      "uri",
	"did":          "url",
	"email":        "email",
	"opaque":       "id",
	"phone_number": "phone_number",
	"uri":          "uri",
}

// readSubject reads a subject. A format that holds others is refused unless it is named in
// holders: nothing is nested twice.
func readSubject(v strict.Value, holders ...string) (Subject, error) {
	if v.Kind() != strict.Object {
		return Subject{}, Refuse(InvalidRequest, "expected a subject to be an object, got %s",
			v.Kind())
	}
	format, err := text(v, "format")
	if err != nil {
		return Subject{}, err
	}
	s := Subject{Format: format}
	if (format == complexFormat || format == aliasesFormat) && !slices.Contains(holders, format) {
		return Subject{}, Refuse(InvalidRequest, "expected no subject of format %s in another", format)
	}
	switch format {
	case complexFormat:
		s.Members, err = readMembers(v)
	case aliasesFormat:
		s.Of, err = readAliases(v)
	case "iss_sub":
		s.Issuer, s.ID, err = pair(v, "iss", "sub")
	case "jwt_id": // SSF section 3.4.1
		s.Issuer, s.ID, err = pair(v, "iss", "jti")
	default:
		if name := Formats[format]; name != "" {
			s.ID, err = text(v, name)
		}
	}
	if format == "account" {
		// RFC 7565: what tokens have of such an account is what stands behind the scheme.
		s.ID = strings.TrimPrefix(s.ID, "acct:")
	}
	return s, err
}

func pair(v strict.Value, first, second string) (a, b string, err error) {
	if a, err = text(v, first); err != nil {
		return "", "", err
	}
	b, err = text(v, second)
	return a, b, err
}

// telling are the members of a complex subject by which something ends.
var telling = []string{"user", "session", "tenant"}

func readMembers(v strict.Value) (map[string]Subject, error) {
	members := make(map[string]Subject, len(v.Members()))
	for _, m := range v.Members() {
		if m.Name == "format" {
			continue
		}
		s, err := readSubject(m.Value, aliasesFormat)
		if err != nil && slices.Contains(telling, m.Name) {
			return nil, err
		}
		members[m.Name] = s // one that cannot be read tells nothing, as one that is not known
	}
	if len(members) == 0 {
		return nil, Refuse(InvalidRequest, "expected a complex subject to have a member, got none")
	}
	return members, nil
}

func readAliases(v strict.Value) ([]Subject, error) {
	list, _ := v.Member("identifiers")
	if n := len(list.Members()); list.Kind() != strict.Array || n == 0 || n > maxAliases {
		return nil, Refuse(InvalidRequest, "expected identifiers to be a list of 1 to %d", maxAliases)
	}
	var of []Subject
	for _, m := range list.Members() {
		s, err := readSubject(m.Value)
		if err != nil {
			return nil, err
		}
		of = append(of, s)
	}
	return of, nil
}

// KnownFormat reports whether a subject's format is one that is known here.
func KnownFormat(format string) bool {
	switch format {
	case complexFormat, aliasesFormat, "iss_sub", "jwt_id":
		return true
	}
	return Formats[format] != ""
}
