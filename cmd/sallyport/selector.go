package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/adminapi"
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
	{"sid", "a session, by its sid: every token of it; its refresh token, too, unless it is " +
		"another --issuer's"},
	{"sub", "a user: every session of theirs, as with --sid; a login right after it works"},
	{"client", "a client, by client_id: its tokens issued up to --issued-before, and its sessions " +
		"begun up to then"},
	{"tenant", "a tenant, in the same way as a client"},
	{"kid", "everything that a key has signed; `sallyport keys revoke` also takes it out of the ring"},
	{"iss", "everything that an issuer has issued up to --issued-before, by its iss"},
}

func (s *selector) bind(f *pflag.FlagSet) {
	s.flags = f
	for i, k := range selectorKinds {
		f.StringVar(&s.values[i], k.kind, "", strings.ReplaceAll(k.usage, "`", "\""))
	}
	f.StringVar(&s.issuer, "issuer", "",
		"the issuer, by its iss, whose token, session, user, client, tenant or key is meant "+
			"(default: the one that is asked)")
}

var errSelector = errors.New("expected exactly one of --jti, --sid, --sub, --client, --tenant, " +
	"--kid and --iss; --iss names everything of an issuer, --issuer says whose the others are")

// chosen returns the kind and value that were selected; found is false when none was.
func (s *selector) chosen() (kind, value string, found bool, err error) {
	// Whether a flag was given, not whether it holds something: --sub "$USER" of an empty variable
	// must not be another selector.
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

// revocation returns the selection as the admin API wants it, to be filled with an order.
func (s *selector) revocation() (wanted adminapi.Revocation, err error) {
	kind, value, found, err := s.chosen()
	switch {
	case err != nil:
		return wanted, err
	case !found:
		return wanted, errSelector
	case kind == "iss": // names its issuer and has no value
		return adminapi.Revocation{Kind: kind, Issuer: value}, nil
	}
	return adminapi.Revocation{Kind: kind, Value: value, Issuer: s.issuer}, nil
}

// query returns the selection as parameters of a list; there may be none.
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
