package credential

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/config"
)

// users are the accounts of one version of the file.
type users struct {
	accounts map[string]account // by normalised name
	costs    *costs
	digest   [sha256.Size]byte // of the file they were read from
}

// account is a user with the password's hash.
type account struct {
	User    User
	hash    hash
	encoded config.Secret // as it stands in the file
}

// maxUsersFile is the size in bytes that a users file may have: some 20,000 users.
const maxUsersFile = 8 << 20

// readUsers reads the users in a file's content. memory is how many bytes one hash may take.
func readUsers(path string, content []byte, p Params, memory int64) (*users, error) {
	u := &usersFile{params: p, memory: memory}
	err := config.Load(u, config.Options{File: path, Content: content, MaxSize: maxUsersFile})
	if err != nil {
		return nil, err
	}
	return u.loaded, nil
}

// usersFile is the file's form.
type usersFile struct {
	Users []userEntry `yaml:"users"`

	params Params
	memory int64
	loaded *users // what Validate has made
}

type userEntry struct {
	Name     string        `yaml:"name"`
	Hash     config.Secret `yaml:"password_hash" file:"-"`
	Roles    []string      `yaml:"roles"`
	Scopes   []string      `yaml:"scopes"`
	Tenant   string        `yaml:"tenant"`
	Disabled bool          `yaml:"disabled"`
}

// Validate checks every user and makes the accounts.
func (u *usersFile) Validate() error {
	loaded := &users{accounts: make(map[string]account, len(u.Users))}
	spelled := map[string]string{} // normalised name -> as it is written
	var errs []error
	var encoded []string
	var hashes []hash
	for i, e := range u.Users {
		at := fmt.Sprintf("users[%d]", i)
		name, err := e.check(at)
		if first, twice := spelled[name]; err == nil && twice {
			err = config.At(at+".name",
				"expected another name than user %q has: %q is the same one", first, e.Name)
		}
		h, hashErr := e.parse(at, u.params, u.memory)
		if err = errors.Join(err, hashErr); err != nil {
			errs = append(errs, err)
			continue
		}
		spelled[name] = e.Name
		encoded, hashes = append(encoded, e.Hash.Reveal()), append(hashes, h)
		loaded.accounts[name] = account{
			User: User{
				Name: name, Roles: e.Roles, Scopes: e.Scopes, Tenant: e.Tenant, Disabled: e.Disabled,
				Credential: e.credential(), Rights: rightsOf(e),
			},
			hash:    h,
			encoded: e.Hash,
		}
	}
	loaded.costs = newCosts(encoded, hashes, u.params)
	u.loaded = loaded
	return errors.Join(errs...)
}

// check returns the user's normalised name and what is wrong with the user.
func (e *userEntry) check(at string) (string, error) {
	name, err := Normalize(e.Name)
	var errs []error
	if err != nil {
		errs = append(errs, config.At(at+".name", "%w, got %q", err, shorten(e.Name)))
	}
	errs = append(errs, checkWords(at+".roles", "role", e.Roles),
		checkWords(at+".scopes", "scope", e.Scopes))
	if e.Tenant != "" && !plainWord(e.Tenant) {
		errs = append(errs, config.At(at+".tenant", "%s, got %q", plainWordRule, shorten(e.Tenant)))
	}
	return name, errors.Join(errs...)
}

const (
	maxWord       = 128 // bytes
	maxWords      = 64
	plainWordRule = "expected 1 to 128 bytes without blanks or control characters"
)

// checkWords checks roles or scopes.
func checkWords(at, what string, words []string) error {
	if len(words) > maxWords {
		return config.At(at, "expected at most %d, got %d", maxWords, len(words))
	}
	var errs []error
	seen := map[string]bool{}
	for i, w := range words {
		path := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case !plainWord(w):
			errs = append(errs, config.At(path, "%s, got %q", plainWordRule, shorten(w)))
		case seen[w]:
			errs = append(errs, config.At(path, "expected each %s once, got %q twice", what, w))
		}
		seen[w] = true
	}
	return errors.Join(errs...)
}

func plainWord(s string) bool {
	bad := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError
	}
	return s != "" && len(s) <= maxWord && !strings.ContainsFunc(s, bad)
}

// parse reads the user's hash.
func (e *userEntry) parse(at string, p Params, memory int64) (hash, error) {
	if e.Hash.IsZero() {
		return nil, config.At(at+".password_hash",
			"expected a password hash such as sallyport passwd makes, got nothing")
	}
	encoded, _, err := splitCredential(e.Hash.Reveal())
	var h hash
	if err == nil {
		h, err = parseHash(encoded)
	}
	if err != nil {
		return nil, config.At(at+".password_hash", "%w", err)
	}
	// A badly kept password must take as long to check as a hash that is made today.
	if q, ok := h.(*quick); ok {
		q.pad = newPad(p)
	}
	if need := h.cost().memory; need > memory {
		return nil, config.At(at+".password_hash",
			"expected a hash that takes at most the %d MiB of users.hashing.memory_mib, got one of %d MiB",
			memory>>20, need>>20)
	}
	return h, nil
}

// credential names the user's password: by its hash, or by an earlier hash of the same password.
func (e *userEntry) credential() string {
	if _, kept, err := splitCredential(e.Hash.Reveal()); err == nil && kept != "" {
		return kept
	}
	return digestOf("credential", e.Hash.Reveal())
}

// shorten keeps an error short whatever stands in the file.
func shorten(s string) string { return s[:min(len(s), 64)] }
