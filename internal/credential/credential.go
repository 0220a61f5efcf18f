// Package credential knows users and checks passwords.
//
// It promises:
//   - A login costs exactly one password hash, whether the name is known, unknown or disabled, or
//     none at all when it is refused before that; which of the two does not depend on whether the
//     name is known. The hash of an unknown name costs what a user's would. (With
//     Config.UpgradeHashes a right password may cost another, behind its answer.)
//   - Hashing stays within a fixed number of processors and a fixed amount of memory; whoever has
//     to wait longer than a fixed time, or finds no place in the queue, is told so at once. Turns
//     go round by network, so that no network's flood takes another's, and a user who has logged
//     in from an address before has a place that strangers cannot take.
//   - All spellings of a name are one name: to the directory, to throttling, to tokens. See
//     Normalize.
//   - Failures are counted by name and by address, in fixed memory. No number of other names makes
//     a count smaller, and failures from elsewhere do not lock a user out. See Limits.
//   - A users file that does not load leaves the users as they were, and says so in the log and in
//     metrics.
//   - No password and no hash is in any error, log or metric.
package credential

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/config"
)

// What Verify and Lookup answer besides a user.
var (
	// ErrInvalid: the name or the password is wrong, or the user is disabled; which of these is not
	// said.
	ErrInvalid = errors.New("credential: name or password is wrong")
	// ErrTooLong: the password is longer than any password may be. It is an ErrInvalid.
	ErrTooLong = fmt.Errorf("credential: the password is too long: %w", ErrInvalid)
	// ErrThrottled: see ThrottledError.
	ErrThrottled = errors.New("credential: too many attempts")
	// ErrBusy: more passwords are waiting to be checked than may wait. Nothing was checked.
	ErrBusy = errors.New("credential: too many passwords are being checked")
	// ErrUnavailable: the users cannot be asked. Nothing was checked.
	ErrUnavailable = errors.New("credential: the users cannot be read")
	// ErrNoUser: the user does not exist, or not any more, or is disabled.
	ErrNoUser = errors.New("credential: there is no such user, or it is disabled")
)

// User is what is known about someone who may log in.
type User struct {
	Name     string   // in its normalised form; the subject of tokens
	Roles    []string // not to be changed: it is shared
	Scopes   []string // not to be changed: it is shared
	Tenant   string
	Disabled bool // never true in what Verify and Lookup return
	// Credential names the password: another one each time it is set, also to the same word. Rights
	// names roles, scopes and tenant. Both are digests that tell nothing of a password; a session
	// keeps those of its login.
	Credential, Rights string
}

// Account is a user with the password's hash.
type Account struct {
	User    User
	hash    hash
	encoded config.Secret // as it stands in the file
}

// Directory is where accounts are kept: a file today.
type Directory interface {
	// Find returns the account with a normalised name, and whether there is one.
	Find(ctx context.Context, name string) (Account, bool, error)
	// MayReturn reports whether a name that Find does not know was known a moment ago, so that it
	// may only be missing from what is being written.
	MayReturn(name string) bool
	// Costs tells how much work its hashes are, for decoys to be as much.
	Costs() *Costs
}

// Options of Open.
type Options struct {
	Now      func() time.Time      // nil for time.Now
	Logger   *slog.Logger          // nil logs nothing
	Registry prometheus.Registerer // nil for no metrics
	Limits   Limits                // zero for DefaultLimits
	// OnChange is told the names of users whose sessions of before must end: they are gone or
	// disabled, have another password or tenant, or have lost a role or scope. It is called once
	// the change is in force, and must not block; of users who are gone it is told two seconds
	// later, when a file that was only being written has them again. Look each up. nil: nobody is
	// told.
	OnChange func(names []string)
}

// Store checks passwords. It may be used by many goroutines.
type Store struct {
	file     *file
	users    Directory
	pool     *pool
	throttle *throttle
	metrics  *metrics
	max      int // bytes of a password
	params   Params
	upgrades *upgrades // nil: the file is not ours to write
}

// Open reads the users. Its error names the file, line and column of everything that is wrong with
// them.
func Open(cfg Config, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	if err := errors.Join(cfg.Validate(), o.Limits.Validate()); err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	m := newMetrics()
	f, err := openFile(cfg, o, m)
	if err != nil {
		return nil, err
	}
	return newStore(cfg, o, f, m)
}

func newStore(cfg Config, o Options, f *file, m *metrics) (*Store, error) {
	s := &Store{
		file:     f,
		users:    f,
		pool:     newPool(cfg.Hashing),
		throttle: newThrottle(o.Limits, o.Now),
		metrics:  m,
		max:      cfg.MaxPassword,
		params:   cfg.Argon2,
	}
	if cfg.UpgradeHashes {
		s.upgrades = s.newUpgrades()
	}
	if err := m.register(o.Registry, s.pool); err != nil {
		return nil, err
	}
	return s, nil
}

// Verify checks one login that comes from the address: its own, not one that the client may choose.
// The zero address stands for all whose address is not known. Besides a user it returns one of the
// errors above, or the context's.
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
	name = nameOrNone(name)
	attempt, throttled := s.throttle.begin(name, from)
	if throttled != nil {
		return User{}, "throttled_" + throttled.By, throttled
	}
	defer attempt.end()
	account, known, err := s.users.Find(ctx, name)
	if err != nil {
		return User{}, "unavailable", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	stored := account.hash
	if !known {
		stored = s.users.Costs().decoy(name)
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
	// Only now: whoever is told of it knows the password, so it tells nobody that there is such a
	// user.
	if often := attempt.succeed(); often != nil {
		return User{}, "throttled_" + often.By, often
	}
	if outdated(account.hash, s.params) {
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

// Lookup finds a user by name, for a refresh: as the users are now, whatever they were at login. A
// user that is gone or disabled is ErrNoUser; ErrUnavailable says that nobody knows, which is so
// for two seconds of one who is gone: the file may be in the middle of being written.
func (s *Store) Lookup(ctx context.Context, name string) (User, error) {
	normal, err := Normalize(name)
	if err != nil {
		return User{}, ErrNoUser
	}
	account, known, err := s.users.Find(ctx, normal)
	switch {
	case err != nil:
		return User{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case !known && s.users.MayReturn(normal):
		return User{}, fmt.Errorf("%w: the user was there a moment ago", ErrUnavailable)
	case !known || account.User.Disabled:
		return User{}, ErrNoUser
	}
	return account.User, nil
}

// Run follows changes of the users until ctx ends; it then returns nil. Verify and Lookup see
// changes without it too: it is there to tell of a broken file before someone logs in.
func (s *Store) Run(ctx context.Context) error {
	if s.upgrades != nil {
		var done sync.WaitGroup
		defer done.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		done.Go(func() { s.upgrades.run(ctx) })
	}
	return s.file.follow(ctx)
}

// Digest is the beginning of the SHA-256 of the file whose users are in force, as sha256sum shows
// it: 12 hexadecimal digits.
func (s *Store) Digest() string {
	digest := s.file.current.Load().digest
	return hex.EncodeToString(digest[:6])
}

// Reload reads the users again. When that fails they stay as they were.
func (s *Store) Reload(context.Context) error { return s.file.reload() }
