package keyring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sallyport/sallyport/internal/ownfile"
)

// Generate makes a new ring: an active and a next signing key for alg, the same for refresh tokens,
// and the subject tag key. The folder is made when it is missing. One that holds a ring already
// stays as it is: ErrExists. The manifest gets the Folder's Lifetimes, or DefaultLifetimes when it
// has none; an issuer with longer ones makes them longer.
func (f *Folder) Generate(ctx context.Context, alg string) ([]Key, error) {
	s := f.open()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	m, err := s.locked(ctx, func() (*manifest, error) { return s.generate(alg) })
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return m.list(), nil
}

func (s *store) generate(alg string) (*manifest, error) {
	if err := ownfile.CheckFolder(s.dir); err != nil {
		return nil, err
	}
	// Lstat: a link to nowhere is a ring that is not mounted, not a free place. Under the lock, so
	// that two commands at once make one ring.
	if _, err := os.Lstat(s.manifestPath()); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrExists, s.dir), err)
	}
	passphrase, err := readPassphrase(s.passphraseFile, s.groupReadable)
	if err != nil {
		return nil, err
	}
	lifetimes := s.lifetimes
	if lifetimes == (Lifetimes{}) {
		lifetimes = DefaultLifetimes()
	}
	m := &manifest{Version: manifestVersion, Encrypted: passphrase != nil, Lifetimes: lifetimes}
	e := &edit{
		store: s, manifest: m, now: s.now().UTC(), files: map[string][]byte{},
		passphrase: passphrase, seal: newSealing(), unlocked: true,
	}
	for _, k := range []struct {
		use   Use
		state State
	}{{Signing, Active}, {Signing, Next}, {Refresh, Active}, {Refresh, Next}, {SubjectTag, Active}} {
		if err := e.add(k.use, k.state, alg); err != nil {
			return nil, err
		}
	}
	m.Revision = 1
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, e.write()
}

func (e *edit) add(use Use, state State, alg string) error {
	k, err := e.key(use, alg)
	if err != nil {
		return err
	}
	if k.State = state; state == Active {
		k.Activated = e.now
	}
	e.Keys = append(e.Keys, k)
	return nil
}

// Reseal encrypts every key of the ring anew under the passphrase in newPassphraseFile; "" leaves
// them unencrypted. Running issuers go on with the ring that they hold until their passphrase_file
// agrees.
func (f *Folder) Reseal(ctx context.Context, newPassphraseFile string) error {
	s := f.open()
	passphrase, err := readPassphrase(newPassphraseFile, s.groupReadable)
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	_, err = s.change(ctx, func(e *edit) error {
		// The old passphrase must open every key, or none is changed.
		old, err := s.passphrase(e.manifest)
		if err != nil {
			return err
		}
		e.passphrase, e.seal, e.unlocked = passphrase, newSealing(), true
		e.Encrypted = passphrase != nil
		for i := range e.Keys {
			if err := e.reseal(&e.Keys[i], old); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.passphraseFile = newPassphraseFile
	}
	return err
}

// reseal gives k a file of another name, since the manifest that is in force until the end names
// the old one.
func (e *edit) reseal(k *entry, old []byte) error {
	content, err := e.store.vault.plain(e.store.dir, k, old, e.store.groupReadable)
	if err != nil {
		return err
	}
	k.File = fmt.Sprintf("%s-%s.r%d.pem", k.Use, k.ID, e.Revision+1)
	return e.put(k, content)
}
