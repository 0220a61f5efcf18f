package keyring

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Use is what a key is for.
type Use string

// The uses of the ring's keys.
const (
	Signing    Use = "signing"     // signs access tokens
	Refresh    Use = "refresh"     // authenticates refresh tokens
	SubjectTag Use = "subject_tag" // names subjects; never rotates
)

// State is a key's place in the ring.
type State string

// A key goes next -> active -> retired and leaves the ring.
const (
	Next    State = "next"    // published, does not sign yet
	Active  State = "active"  // the one that signs
	Retired State = "retired" // signs no more, stays published until its last token has expired
)

// Key describes one key of a ring without its secret.
type Key struct {
	ID        string    `json:"kid"`
	Use       Use       `json:"use"`
	Algorithm string    `json:"algorithm"`
	State     State     `json:"state"`
	File      string    `json:"file"`
	Encrypted bool      `json:"encrypted"`
	Created   time.Time `json:"created"`
	Activated time.Time `json:"activated,omitzero"`
	Retired   time.Time `json:"retired,omitzero"`
	// Ready is when a next key may begin to sign: from then on every reader of the JWKS knows it.
	Ready time.Time `json:"ready,omitzero"`
	// Until is when a retired key leaves the ring: nothing that it signed is valid any more.
	Until time.Time `json:"until,omitzero"`
}

// Folder is a key ring's folder as an operator's command works on it. Dir is required; the rest may
// stay zero. Every change takes the folder's lock, so any number of commands and issuers may work
// on one folder. A Folder itself is for one goroutine. Whoever changes a folder runs as the user
// that owns it, or as root, whose new files go to the folder's owner.
type Folder struct {
	Dir            string
	PassphraseFile string           // as in Config
	GroupReadable  bool             // as in Config
	Now            func() time.Time // nil: time.Now
	// the issuer's, if known; where the ring's manifest has longer ones, those count; a new ring's
	Lifetimes Lifetimes

	once  sync.Once
	store *store
}

func (f *Folder) open() *store {
	f.once.Do(func() {
		f.store = &store{
			dir: f.Dir, passphraseFile: f.PassphraseFile, groupReadable: f.GroupReadable,
			lifetimes: f.Lifetimes, now: f.Now,
		}
		if f.store.now == nil {
			f.store.now = time.Now
		}
	})
	return f.store
}

// List returns the ring's keys: signing before refresh, active before next before retired. It reads
// the manifest alone, so that it works without the passphrase and on a ring with a broken key.
func (f *Folder) List(ctx context.Context) ([]Key, error) {
	m, _, err := f.open().manifest()
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return m.list(), nil
}

// Lengthen writes the Folder's Lifetimes into the ring's manifest where they are longer, and gives
// those that count from now on. Where none is longer it only reads.
func (f *Folder) Lengthen(ctx context.Context) (Lifetimes, error) {
	if err := f.Lifetimes.check(); err != nil {
		return Lifetimes{}, fmt.Errorf("keyring: %w", err)
	}
	m, err := f.open().lengthen(ctx)
	if err != nil {
		return Lifetimes{}, err
	}
	return m.Lifetimes, nil
}

// Rotate goes one step round the ring: the next key of that use becomes active, the active one
// retired, and a new next one is made for alg ("": as the active one). Where there is no next key,
// making one is the step. It refuses with ErrTooEarly while the next key has not been published
// long enough, unless force. Retired keys with nothing left to verify leave the ring.
func (f *Folder) Rotate(ctx context.Context, use Use, alg string, force bool) ([]Key, error) {
	if use != Signing && use != Refresh {
		return nil, fmt.Errorf("keyring: expected use %q or %q, got %q", Signing, Refresh, use)
	}
	m, err := f.open().change(ctx, func(e *edit) error {
		e.purge(e.now)
		fresh := e.fresh(alg)
		next := e.in(use, Next)
		if next == nil {
			// A key made just now is known to nobody, so it can only be forced to sign.
			if err := e.fill(use, fresh); err != nil || !force {
				return err
			}
			next = e.in(use, Next)
		}
		if err := e.promote(next.ID, e.now, force); err != nil {
			return err
		}
		return e.fill(use, fresh)
	})
	if err != nil {
		return nil, err
	}
	return m.list(), nil
}

// Promote makes the next key kid active and retires the active one; ErrTooEarly as in Rotate. It
// makes no new next key.
func (f *Folder) Promote(ctx context.Context, kid string, force bool) (Key, error) {
	m, err := f.open().change(ctx, func(e *edit) error { return e.promote(kid, e.now, force) })
	if err != nil {
		return Key{}, err
	}
	e, err := m.find(kid)
	if err != nil {
		return Key{}, err
	}
	return m.describe(e), nil
}

// Retire takes kid out of signing. The active key hands over to the next one (ErrTooEarly as in
// Rotate); a next key, which has signed nothing, leaves the ring. It returns the key as it now is,
// or was when it left.
func (f *Folder) Retire(ctx context.Context, kid string, force bool) (Key, error) {
	return f.leave(ctx, kid, func(e *edit) error { return e.retire(kid, e.now, force) })
}

// Remove takes kid out of the ring and deletes its file, at once: nothing that it signed is known
// from then on, save where gates still hold the key, so revoke it too. An active key's place is
// taken by the next one however young, else by a new one. The subject tag key can not be removed.
// It returns the key as it was.
func (f *Folder) Remove(ctx context.Context, kid string) (Key, error) {
	return f.leave(ctx, kid, func(e *edit) error { return e.remove(kid, e.now, e.fresh("")) })
}

func (f *Folder) leave(ctx context.Context, kid string,
	step func(*edit) error) (was Key, err error) {
	m, err := f.open().change(ctx, func(e *edit) error {
		k, err := e.find(kid)
		if err != nil {
			return err
		}
		// The step may take it out of the ring.
		was = e.describe(k)
		return step(e)
	})
	if err != nil {
		return Key{}, err
	}
	if k, err := m.find(kid); err == nil {
		return m.describe(k), nil
	}
	return was, nil
}

func (m *manifest) describe(e *entry) Key {
	k := Key{
		ID:        e.ID,
		Use:       e.Use,
		Algorithm: e.Algorithm,
		State:     e.State,
		File:      e.File,
		Encrypted: m.Encrypted,
		Created:   e.Created,
		Activated: e.Activated,
		Retired:   e.Retired,
	}
	switch e.State {
	case Next:
		k.Ready = m.ready(e)
	case Retired:
		k.Until = m.until(e)
	}
	return k
}

func (m *manifest) list() []Key {
	keys := make([]Key, 0, len(m.Keys))
	for _, use := range []Use{Signing, Refresh, SubjectTag} {
		for _, state := range []State{Active, Next, Retired} {
			for _, e := range m.Keys {
				if e.Use == use && e.State == state {
					keys = append(keys, m.describe(&e))
				}
			}
		}
	}
	return keys
}
