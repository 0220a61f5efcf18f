package credential

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
)

// outdatedUsers returns those of before whose sessions must end now, sorted by name: who has lost
// something, and who is gone. Who has got a role or scope, or is enabled again, is not among them:
// a role takes effect with the next refresh, the rest with the next login.
func outdatedUsers(before, now map[string]account) (lost, gone []string) {
	for name, was := range before {
		switch is, there := now[name]; {
		case !there:
			gone = append(gone, name)
		case Outdates(was.User, is.User):
			lost = append(lost, name)
		}
	}
	slices.Sort(lost)
	slices.Sort(gone)
	return lost, gone
}

// Outdates reports whether a user's sessions of before must end because of what the user is now:
// disabled, with another password or tenant, or without a role or scope.
func Outdates(was, is User) bool {
	return is.Disabled && !was.Disabled || was.Credential != is.Credential ||
		was.Tenant != is.Tenant || lost(was.Roles, is.Roles) || lost(was.Scopes, is.Scopes)
}

// lost reports whether something of before is not there now.
func lost(before, now []string) bool {
	return slices.ContainsFunc(before, func(word string) bool { return !slices.Contains(now, word) })
}

// digestOf returns 96 bits of a SHA-256 over texts and their lengths. The hash of a password has a
// salt of its own, so that nothing can be guessed from the hash's digest.
func digestOf(use string, texts ...string) string {
	h := sha256.New()
	for _, text := range append([]string{"sallyport." + use}, texts...) {
		h.Write([]byte(strconv.Itoa(len(text)) + ":" + text))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}

// rightsOf returns the digest User.Rights: the same in whatever order roles and scopes are
// written.
func rightsOf(e userEntry) string {
	texts := []string{e.Tenant, strconv.Itoa(len(e.Roles))}
	texts = append(texts, slices.Sorted(slices.Values(e.Roles))...)
	return digestOf("rights", append(texts, slices.Sorted(slices.Values(e.Scopes))...)...)
}
