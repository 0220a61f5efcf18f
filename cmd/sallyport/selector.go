package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/pflag"
)

// selector names what a revocation is about: exactly one kind and its value, at one issuer.
type selector struct {
	flags  *pflag.FlagSet
	values [len(selectorKinds)]string
	issuer string
}

// selectorKinds are the kinds of revocations, each with its flag's help.
var selectorKinds = [...]struct{ kind, usage string }{
	{"jti", "one access token, by its jti"},
	{"sid", "a session, by its sid: every token of it, its refresh token included"},
	{"sub", "a user: every session of theirs; a login right after it works"},
	{
		"client",
		"tokens of a client, by client_id, issued up to --issued-before, and sessions begun up to then",
	},
	{"tenant", "the same of a tenant"},
	{"kid", "everything that a key has signed; `sallyport keys revoke` also takes it out of the ring"},
	{"iss", "everything that an issuer has issued up to --issued-before, by its iss"},
}

func (s *selector) bind(f *pflag.FlagSet) {
	s.flags = f
	for i, k := range selectorKinds {
		f.StringVar(&s.values[i], k.kind, "", strings.ReplaceAll(k.usage, "`", "\""))
	}
	f.StringVar(&s.issuer, "issuer", "",
		"the issuer, by its iss, whose token, session, user, client, tenant or key is meant (default: the one that is asked)")
}

var errSelector = errors.New(
	"expected exactly one of --jti, --sid, --sub, --client, --tenant, --kid and --iss; --iss names everything of an issuer, --issuer says whose the others are")

// chosen gives the kind and value that were selected; found is false when none was.
func (s *selector) chosen() (kind, value string, found bool, err error) {
	for i, k := range selectorKinds {
		if !s.flags.Changed(k.kind) {
			continue
		}
		if found {
			return "", "", false, errSelector
		}
		kind, value, found = k.kind, s.values[i], true
	}
	switch {
	case found && value == "":
		return "", "", false, fmt.Errorf("expected a value for --%s, got none", kind)
	case kind == "iss" && s.issuer != "":
		return "", "", false, errSelector
	}
	return kind, value, found, nil
}

// members gives the selection as the admin API wants it in a body.
func (s *selector) members() (map[string]string, error) {
	kind, value, found, err := s.chosen()
	if err == nil && !found {
		err = errSelector
	}
	if err != nil {
		return nil, err
	}
	if kind == "iss" { // names its issuer and has no value
		return map[string]string{"kind": kind, "issuer": value}, nil
	}
	m := map[string]string{"kind": kind, "value": value}
	if s.issuer != "" {
		m["issuer"] = s.issuer
	}
	return m, nil
}

// query gives the selection as parameters of a list; there may be none.
func (s *selector) query() (url.Values, error) {
	q := url.Values{}
	kind, value, found, err := s.chosen()
	if err != nil {
		return nil, err
	}
	if found {
		q.Set("kind", kind)
	}
	switch {
	case kind == "iss":
		q.Set("issuer", value)
	case found:
		q.Set("value", value)
	}
	if s.issuer != "" {
		q.Set("issuer", s.issuer)
	}
	return q, nil
}
