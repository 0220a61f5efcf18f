// Package credential knows users and checks passwords.
//
// It promises:
//   - A login costs exactly one password hash, or none at all when it is refused before that; which
//     of the two does not depend on whether the name is known or disabled. The hash of an unknown
//     name costs what a user's would. (With Config.UpgradeHashes a right password may cost another
//     hash, after its answer.)
//   - Hashing stays within a fixed number of processors and a fixed amount of memory; whoever has
//     waited for a fixed time, or finds no place in the queue, is refused at once. Networks take
//     turns, so that no network's flood takes another's turn, and a user who has logged in from an
//     address before has a place that strangers cannot take.
//   - All spellings of a name are one name: to the directory, to throttling, to tokens. See
//     Normalize.
//   - Failures are counted by name and by address, in fixed memory. No number of other names makes
//     a count smaller, and failures from elsewhere do not lock a user out. See Limits.
//   - A users file that does not load leaves the users as they were, and says so in the log and in
//     metrics.
//   - No password and no hash is in any error, log or metric.
package credential

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The errors of Verify and Lookup, besides ThrottledError.
var (
	// ErrInvalid: the name or the password is wrong, or the user is disabled; it does not say which.
	ErrInvalid = errors.New("credential: name or password is wrong")
	// ErrTooLong: the password is longer than any password may be. It is an ErrInvalid.
	ErrTooLong = fmt.Errorf("credential: the password is too long: %w", ErrInvalid)
	// ErrBusy: more passwords are waiting to be checked than may wait. Nothing was checked.
	ErrBusy = errors.New("credential: too many passwords are being checked")
	// ErrUnavailable: the users cannot be read. Nothing was checked.
	ErrUnavailable = errors.New("credential: the users cannot be read")
	// ErrNoUser: the user does not exist (any more), or is disabled.
	ErrNoUser = errors.New("credential: there is no such user, or it is disabled")
)

// User is what is known about someone who may log in.
type User struct {
	Name     string   // in its normalised form; the subject of tokens
	Roles    []string // not to be changed: it is shared
	Scopes   []string // not to be changed: it is shared
	Tenant   string
	Disabled bool // never true in what Verify and Lookup return
	// Credential is a digest of the password's hash: another one each time the password is set, also
	// to the same word. Rights is a digest of roles, scopes and tenant. Neither tells anything of the
	// password; a session keeps those of its login.
	Credential, Rights string
}

// Options of Open.
type Options struct {
	Now      func() time.Time      // nil for time.Now
	Logger   *slog.Logger          // nil logs nothing
	Registry prometheus.Registerer // nil for no metrics
	Limits   Limits                // zero for DefaultLimits
	// OnChange is called with the names of users whose sessions of before must end: they are gone or
	// disabled, have another password or tenant, or have lost a role or scope. It is called once
	// the change is in force, and must not block. For users who are gone it is called two seconds
	// later, when a file that was only being written has them again. Look each up. nil: nobody is
	// called.
	OnChange func(names []string)
}

// Store checks passwords. It may be used by many goroutines.
type Store struct {
	users    *file
	pool     *pool
	throttle *throttle
	metrics  *metrics
	max      int       // bytes of a password
	upgrades *upgrades // nil: the file is not ours to write
}

// Open reads the users. Its error names the file, line and column of everything that is wrong with
// them.
func Open(cfg Config, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.Limits = cmp.Or(o.Limits, DefaultLimits())
	if err := errors.Join(cfg.Validate(), o.Limits.Validate()); err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	m := newMetrics()
	users, err := openFile(cfg, o, m)
	if err != nil {
		return nil, err
	}
	s := &Store{
		users:    users,
		pool:     newPool(cfg.Hashing),
		throttle: newThrottle(o.Limits, o.Now),
		metrics:  m,
		max:      cfg.MaxPassword,
	}
	if cfg.UpgradeHashes {
		s.upgrades = newUpgrades(users, s.pool)
	}
	if err := m.register(o.Registry, s.pool); err != nil {
		return nil, err
	}
	return s, nil
}

// Verify checks one login that comes from the address: its own, not one that the client may
// choose. The zero address stands for all whose address is not known. Besides a user it returns
// one of the errors above, a *ThrottledError, or the context's.
func (s *Store) Verify(ctx context.Context, name, password string, from netip.Addr) (User, error) {
	user, outcome, err := s.verify(ctx, name, password, from)
	s.metrics.logins.WithLabelValues(outcome).Inc()
	return user, err
}

func (s *Store) verify(ctx context.Context, name, password string,
	from netip.Addr) (User, string, error) {
	if len(password) > s.max {
		return User{}, "too_long", ErrTooLong
	}
	// Throttling comes before the users are asked: it is the same for names that nobody has.
	name = nameOrNone(name)
	attempt, throttled := s.throttle.begin(name, from)
	if throttled != nil {
		return User{}, "throttled_" + throttled.By, throttled
	}
	defer attempt.end()
	users, err := s.users.latest()
	if err != nil {
		return User{}, "unavailable", err
	}
	// An unknown name, and a disabled user, must take as long as any: the hash is computed all the
	// same, and only then is it looked at who it is.
	account, known := users.accounts[name]
	stored := account.hash
	if !known {
		stored = users.costs.decoy(name)
	}
	right, err := s.check(ctx, stored, password, attempt.place)
	switch {
	case errors.Is(err, ErrBusy):
		return User{}, "busy", err
	case err != nil:
		return User{}, "abandoned", err
	case !right || !known || account.User.Disabled:
		attempt.fail()
		if attempt.over != nil {
			return User{}, "throttled_" + attempt.over.By, attempt.over
		}
		return User{}, "invalid", ErrInvalid
	}
	// Only now: whoever learns of it knows the password, so it tells nobody that there is such a
	// user.
	if often := attempt.succeed(); often != nil {
		return User{}, "throttled_" + often.By, often
	}
	if outdated(account.hash, s.users.params) {
		s.metrics.weak.Inc()
		if s.upgrades != nil {
			s.upgrades.offer(account, password)
		}
	}
	return account.User, "ok", nil
}

// check computes one hash, when there is room for it.
func (s *Store) check(ctx context.Context, stored hash, password string, from place) (bool, error) {
	work := stored.cost()
	if err := s.pool.acquire(ctx, work.memory, from); err != nil {
		return false, err
	}
	defer s.pool.release(work.memory)
	s.metrics.hashes.Inc()
	return stored.matches(prepare(password)), nil
}

// Lookup returns a user by name, for a refresh: as the users are now, whatever they were at login.
// For a user that is gone or disabled the error is ErrNoUser. It is ErrUnavailable when nobody
// knows, which is so for two seconds of one who is gone: the file may be in the middle of being
// written.
func (s *Store) Lookup(_ context.Context, name string) (User, error) {
	normal, err := Normalize(name)
	if err != nil {
		return User{}, ErrNoUser
	}
	users, err := s.users.latest()
	if err != nil {
		return User{}, err
	}
	account, known := users.accounts[normal]
	switch {
	// ErrNoUser ends a session for good, so it is not said of one who may only be missing from a file
	// that is being written.
	case !known && s.users.mayReturn(normal):
		return User{}, fmt.Errorf("%w: the user was there a moment ago", ErrUnavailable)
	case !known || account.User.Disabled:
		return User{}, ErrNoUser
	}
	return account.User, nil
}

// All returns every user there is, the disabled ones too, by name: as they were when the users
// were last read.
func (s *Store) All() map[string]User {
	accounts := s.users.current.Load().accounts
	all := make(map[string]User, len(accounts))
	for name, a := range accounts {
		all[name] = a.User
	}
	return all
}

// Digest returns the beginning of the SHA-256 of the file whose users are in force, as sha256sum
// shows it: 12 hexadecimal digits.
func (s *Store) Digest() string {
	digest := s.users.current.Load().digest
	return hex.EncodeToString(digest[:6])
}

// Reload reads the users again. When that fails they stay as they were.
func (s *Store) Reload(context.Context) error { return s.users.reload() }

// Run follows changes of the users until ctx ends; it then returns nil. Verify and Lookup see
// changes without it too: it finds a broken file before someone logs in.
func (s *Store) Run(ctx context.Context) error {
	if s.upgrades != nil {
		var done sync.WaitGroup
		// Deferred calls run last in, first out: the upgrades are stopped, then waited for.
		defer done.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		done.Go(func() { s.upgrades.run(ctx) })
	}
	return s.users.follow(ctx)
}
