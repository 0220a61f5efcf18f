package credential

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/internal/ownfile"
)

// upgrade is a password that was right, and whose hash is to be made anew.
type upgrade struct {
	account  account
	password string
}

// maxUpgrades is how many wait; who finds no room has his hash made anew at another login.
const maxUpgrades = 16

// upgrades replaces hashes of another kind, or weaker than new ones, in the users file, once their
// users have logged in.
type upgrades struct {
	users *file
	pool  *pool
	queue chan upgrade
}

func newUpgrades(users *file, p *pool) *upgrades {
	return &upgrades{users: users, pool: p, queue: make(chan upgrade, maxUpgrades)}
}

// offer takes an upgrade on if there is room.
func (u *upgrades) offer(a account, password string) {
	select {
	case u.queue <- upgrade{a, password}:
	default:
	}
}

// run makes hashes anew, one at a time, until ctx ends.
func (u *upgrades) run(ctx context.Context) {
	for {
		select {
		case next := <-u.queue:
			u.one(ctx, next)
		case <-ctx.Done():
			return
		}
	}
}

// one makes a hash and puts it into the file. What fails is counted and logged, and tried again at
// the user's next login.
func (u *upgrades) one(ctx context.Context, next upgrade) {
	f, name := u.users, next.account.User.Name
	users, err := f.latest()
	if err != nil || users.accounts[name].encoded != next.account.encoded {
		return // done meanwhile, or the password was set
	}
	// It waits as a stranger does, and as one network of its own: a login never waits behind more
	// than one of these.
	memory := (&argon2id{params: f.params}).cost().memory
	if err := u.pool.acquire(ctx, memory, place{}); err != nil {
		return
	}
	encoded, err := Hash([]byte(next.password), f.params)
	u.pool.release(memory)
	if err == nil {
		err = f.replaceHash(next.account, encoded)
	}
	result := "ok"
	if err != nil {
		result = "failed"
		f.log.Warn("a password's hash could not be replaced by a new one: it stays as it was",
			"file", f.path, "user", name, "error", err)
	}
	f.metrics.upgrades.WithLabelValues(result).Inc()
}

// keeps stands between a hash that was made anew and the digest that sessions know the password by
// (User.Credential). The password is the same, so its sessions go on. It is part of the hash's
// text: who sets a password replaces both.
const keeps = "#credential="

// splitCredential returns the hash, and the digest that it keeps.
func splitCredential(text string) (encoded, credential string, err error) {
	encoded, credential, kept := strings.Cut(text, keeps)
	if kept && (len(credential) != len(digestOf("")) || strings.Trim(credential, base64URL) != "") {
		return "", "", errFormat
	}
	return encoded, credential, nil
}

const base64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// replaceHash writes the users file with another hash of the same password in one user's entry,
// and everything else as it was. It fails rather than undo what somebody else changes at the same
// time.
func (f *file) replaceHash(a account, encoded string) (err error) {
	path, err := filepath.EvalSymlinks(f.path) // the file is replaced, not the link to it
	if err != nil {
		return err
	}
	// Other issuers may share the file, and sallyport passwd writes it: who finds it locked gives up,
	// and the user's next login tries again.
	unlock, err := ownfile.Lock(path, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	old, err := readBounded(path)
	if err != nil {
		return err
	}
	text, err := replaceOnce(string(old), a.encoded.Reveal(), encoded+keeps+a.User.Credential)
	if err != nil {
		return err
	}
	if err := f.sameUsers(path, old, []byte(text), a.User.Name); err != nil {
		return err
	}
	return ownfile.Replace(path, ".users-*", func(temporary *os.File) error {
		_, err := temporary.WriteString(text)
		if err := errors.Join(err, ownfile.KeepOwner(path, temporary)); err != nil {
			return err
		}
		now, err := readBounded(path) // an editor knows nothing of our lock
		if err == nil && string(now) != string(old) {
			err = errors.New("expected the file as it was read, got another: somebody is changing it")
		}
		return err
	})
}

// replaceOnce replaces a hash that stands in the text once, in quotation marks or bare.
func replaceOnce(text, old, new string) (string, error) {
	at := strings.Index(text, old)
	if at < 1 || strings.Count(text, old) != 1 {
		return "", fmt.Errorf(
			"expected the hash once in the file, and spelled as it is, got it %d times",
			strings.Count(text, old))
	}
	// The text is edited, not written anew from what was read, so that comments and order stay.
	before, after := text[at-1], byte('\n')
	if end := at + len(old); end < len(text) {
		after = text[end]
	}
	switch {
	case (before == '"' || before == '\'') && after == before:
	case before == ' ' && strings.IndexByte(" \r\n,}", after) >= 0:
		new = `"` + new + `"`
	default:
		return "", errors.New("expected the hash in quotation marks or between blanks, got it otherwise")
	}
	return text[:at] + new + text[at+len(old):], nil
}

// sameUsers checks that a new file says of every user what the old one says, but for one user's
// hash.
func (f *file) sameUsers(path string, old, new []byte, name string) error {
	before, err := readUsers(path, old, f.params, f.memory)
	if err != nil {
		return err
	}
	after, err := readUsers(path, new, f.params, f.memory)
	if err != nil {
		return err
	}
	if len(before.accounts) != len(after.accounts) {
		return errChanged
	}
	for n, was := range before.accounts {
		is, there := after.accounts[n]
		same := there && is.User.Credential == was.User.Credential && is.User.Rights == was.User.Rights &&
			is.User.Disabled == was.User.Disabled
		// Exactly one user's text differs: the one whose hash was to be replaced.
		if !same || (is.encoded == was.encoded) == (n == name) {
			return errChanged
		}
	}
	return nil
}

var errChanged = errors.New("expected one hash to change and nothing else, got more")
