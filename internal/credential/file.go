package credential

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// file has the users, which are kept in a YAML file. It is read again as soon as it has changed: a
// login or a refresh that begins after a change was written sees it.
type file struct {
	path    string
	params  Params
	memory  int64 // bytes that one hash may take
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	changed func(names []string) // nil: nobody is told

	current  atomic.Pointer[users]
	lookedAt atomic.Pointer[version]
	missing  sync.Map // name -> the *users without it, until it is certain that the name is gone

	mu sync.Mutex // of reading
}

// version identifies one state of the file, whether it loaded or not.
type version struct {
	info    os.FileInfo // nil when the file could not be found
	digest  [sha256.Size]byte
	since   time.Time // when a file with this info was first read
	settled bool      // no change can hide behind this info
	err     error
}

// racy is how long a file may change again without a change of its size and modification time,
// whose clock is coarse. Until it has passed, only the content tells.
const racy = 2 * time.Second

// is reports whether info certainly belongs to the version that was read.
func (v *version) is(info os.FileInfo) bool { return v.settled && v.same(info) }

func (v *version) same(info os.FileInfo) bool {
	return v.info != nil && info != nil && os.SameFile(v.info, info) && v.info.Size() == info.Size() &&
		v.info.ModTime().Equal(info.ModTime())
}

// poll is how often follow looks at the file.
const poll = time.Second

func openFile(cfg Config, o Options, m *metrics) (*file, error) {
	f := &file{
		path:    string(cfg.File),
		params:  cfg.Argon2,
		memory:  int64(cfg.Hashing.MemoryMiB) << 20,
		now:     o.Now,
		log:     o.Logger,
		metrics: m,
		changed: o.OnChange,
	}
	if err := f.reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// latest returns the users in the file as it is now; those of before when it does not load. Its
// error is ErrUnavailable.
func (f *file) latest() (*users, error) {
	f.refresh()
	if u := f.current.Load(); u != nil {
		return u, nil
	}
	return nil, fmt.Errorf("%w: expected the file to be read first", ErrUnavailable)
}

// mayReturn reports whether a user who is not in the file was in it less than two seconds ago.
func (f *file) mayReturn(name string) bool {
	_, missing := f.missing.Load(name)
	return missing
}

// follow looks at the file until ctx ends.
func (f *file) follow(ctx context.Context) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.refresh()
		case <-ctx.Done():
			return nil
		}
	}
}

// refresh reads the file again if it has changed. What is wrong with it has been logged when it
// returns.
func (f *file) refresh() {
	info, err := os.Stat(f.path)
	if err == nil && f.lookedAt.Load().is(info) {
		return
	}
	// A mutex, and not singleflight: whoever joins a reading that has begun may miss a change that
	// was written since, and it is promised that nobody does. After the wait it is looked again
	// whether the reading of another has seen the same file; then it is shared.
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.lookedAt.Load()
	if err == nil && known.is(info) || err != nil && known.info == nil {
		return
	}
	_ = f.load(known) // logged there, and counted
}

// reload reads the file, changed or not.
func (f *file) reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.load(nil)
}

// load reads the file and, if its content is not that of the version known, puts its users in
// force. The caller holds mu.
func (f *file) load(known *version) error {
	next, content := f.look(known)
	// Only once the users are in force: who finds this version must find its users too.
	defer f.lookedAt.Store(next)
	if known != nil && next.err == nil && known.digest == next.digest {
		next.err = known.err
		return nil
	}
	var loaded *users
	if next.err == nil {
		loaded, next.err = readUsers(f.path, content, f.params, f.memory)
	}
	if next.err != nil {
		return f.failed(next.err, known)
	}
	loaded.digest = next.digest
	f.inForce(loaded)
	return nil
}

// look returns which version of the file there is, and its content: read once, so that the digest
// is that of what is loaded, also of a file that is being written.
func (f *file) look(known *version) (v *version, content []byte) {
	v = &version{since: f.now()}
	if v.info, v.err = os.Stat(f.path); v.err != nil {
		return v, nil
	}
	// Until size and time have stood still for a while they prove nothing: see racy.
	if known != nil && known.same(v.info) {
		v.since = known.since
	}
	content, v.err = readBounded(f.path)
	v.digest = sha256.Sum256(content)
	v.settled = v.err == nil && f.now().Sub(v.since) > racy
	return v, content
}

// failed counts and logs that the file cannot be loaded, once for each way in which it cannot.
func (f *file) failed(err error, known *version) error {
	full := fmt.Errorf("credential: users: %w", err)
	if known != nil && known.err != nil && known.err.Error() == err.Error() {
		return full
	}
	f.metrics.loads.WithLabelValues("failed").Inc()
	if f.current.Load() != nil {
		f.metrics.broken.Set(1)
		f.log.Error("the users file cannot be loaded: the users stay as they were", "file",
			f.path, "error", full)
	}
	return full
}

// inForce puts users in force.
func (f *file) inForce(u *users) {
	before := f.current.Load()
	if before == nil {
		f.current.Store(u)
	} else {
		f.change(before, u)
	}
	outdatedHashes := 0
	for _, a := range u.accounts {
		if outdated(a.hash, f.params) {
			outdatedHashes++
		}
	}
	f.metrics.loads.WithLabelValues("ok").Inc()
	f.metrics.broken.Set(0)
	f.metrics.users.Set(float64(len(u.accounts)))
	f.metrics.outdated.Set(float64(outdatedHashes))
	message := "the users have been read anew"
	if before == nil {
		message = "the users have been read"
	}
	f.log.Info(message, "file", f.path, "users", len(u.accounts), "outdated_hashes", outdatedHashes)
}

// change puts users in force in the place of others, and calls changed with who has lost
// something, and later with who is gone: a file that is being written is empty, or ends after some
// of its users, and loads all the same. Whoever is called looks at the users as they are then.
func (f *file) change(before, u *users) {
	lost, gone := outdatedUsers(before.accounts, u.accounts)
	for _, name := range gone {
		f.missing.Store(name, u) // first: who does not find a user any more must find it here
	}
	f.current.Store(u)
	if len(lost) > 0 && f.changed != nil {
		f.changed(lost)
	}
	if len(gone) == 0 {
		return
	}
	time.AfterFunc(racy, func() {
		now := f.current.Load()
		still := gone[:0]
		for _, name := range gone {
			f.missing.CompareAndDelete(name, u)
			// Who is back is judged as if they had never been away.
			if is, back := now.accounts[name]; !back || Outdates(before.accounts[name].User, is.User) {
				still = append(still, name)
			}
		}
		if len(still) > 0 && f.changed != nil {
			f.changed(still)
		}
	})
}

var errTooLarge = fmt.Errorf("expected a users file of at most %d bytes, got more", maxUsersFile)

// readBounded reads a users file.
func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.Size() > maxUsersFile:
		return nil, errTooLarge
	case !info.Mode().IsRegular():
		return nil, errors.New("expected a file, got a folder or a device")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxUsersFile+1))
	if err == nil && len(b) > maxUsersFile { // it has grown since
		err = errTooLarge
	}
	return b, err
}
