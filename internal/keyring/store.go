package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/ownfile"
)

// store is a ring's folder: how it is read whole, and how it is changed under its lock.
type store struct {
	dir            string
	passphraseFile string
	groupReadable  bool
	lifetimes      Lifetimes // the manifest's, where they are longer
	now            func() time.Time
	vault          vault
}

// contents is a ring as read at one time: a manifest and the secret of every key in it.
type contents struct {
	manifest
	raw  []byte              // the manifest's file
	keys map[string]material // by key id
}

func (s *store) manifestPath() string { return filepath.Join(s.dir, manifestFile) }

// manifest reads the manifest alone.
func (s *store) manifest() (*manifest, []byte, error) {
	err := ownfile.CheckFolder(s.dir)
	var raw []byte
	if err == nil {
		raw, err = s.readManifest()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("no key ring here; make one with `sallyport keygen`: %w", err)
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.manifestPath(), err)
	}
	// A key that leaves too late does no harm; one that leaves too early refuses valid tokens.
	longest := m.Lifetimes.longest(s.lifetimes)
	m.outdated = longest != m.Lifetimes
	m.Lifetimes = longest
	return m, raw, nil
}

// readManifest reads the manifest's file.
func (s *store) readManifest() ([]byte, error) {
	b, err := ownfile.ReadRegular(s.manifestPath(), fileMax, nil)
	if err == nil && len(bytes.TrimSpace(b)) == 0 {
		err = errors.New(s.manifestPath() + ": empty")
	}
	return b, err
}

// attempts bounds how often a reader starts anew because the ring changed under it.
const attempts = 5

// load reads the whole ring. All or nothing: a ring with one broken key is a broken ring, since its
// JWKS would lack a key that is in use.
func (s *store) load() (*contents, error) {
	for try := 1; ; try++ {
		c, err := s.loadOnce()
		if err == nil {
			return c, nil
		}
		// The error may be that of a change under way, which removes files after it has replaced
		// the manifest.
		if raw, readErr := s.readManifest(); try == attempts || readErr != nil || c == nil ||
			bytes.Equal(raw, c.raw) {
			return nil, fmt.Errorf("keyring: %w", err)
		}
	}
}

// loadOnce returns the contents that it failed on beside an error, when it got as far as the
// manifest.
func (s *store) loadOnce() (*contents, error) {
	m, raw, err := s.manifest()
	if err != nil {
		return nil, err
	}
	c := &contents{manifest: *m, raw: raw, keys: map[string]material{}}
	passphrase, err := s.passphrase(m)
	if err != nil {
		return c, err
	}
	for i := range m.Keys {
		e := &m.Keys[i]
		if c.keys[e.ID], err = s.vault.load(s.dir, e, passphrase, s.groupReadable); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (s *store) passphrase(m *manifest) ([]byte, error) {
	p, err := readPassphrase(s.passphraseFile, s.groupReadable)
	switch {
	case err != nil:
		return nil, err
	case p == nil && m.Encrypted:
		return nil, errors.New("this ring is encrypted; name its passphrase_file")
	case p != nil && !m.Encrypted:
		return nil, errors.New(
			"passphrase_file is set, but this ring is not encrypted; encrypt it with `sallyport keys " +
				"reseal`, or leave passphrase_file out",
		)
	}
	return p, nil
}

// change makes one step of the ring: it takes the lock, hands an edit to step, and writes new keys,
// then the manifest, then deletes the files of keys that left. Readers see the ring before or after
// it, never between.
func (s *store) change(ctx context.Context, step func(*edit) error) (*manifest, error) {
	m, err := s.locked(ctx, func() (*manifest, error) {
		m, _, err := s.manifest()
		if err != nil {
			return nil, err
		}
		return s.apply(m, step)
	})
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return m, nil
}

// lengthen writes the store's lifetimes into the manifest where they are longer, so that whoever
// works on the folder without knowing them obeys them too. When the manifest says so already,
// nothing is written.
func (s *store) lengthen(ctx context.Context) (*manifest, error) {
	m, _, err := s.manifest()
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	if !m.outdated {
		return m, nil
	}
	return s.change(ctx, func(*edit) error { return nil })
}

func (s *store) locked(ctx context.Context, do func() (*manifest, error)) (*manifest, error) {
	unlock, err := lock(ctx, s.dir)
	if err != nil {
		return nil, err
	}
	m, err := (*manifest)(nil), s.sweep()
	if err == nil {
		m, err = do()
	}
	if err := errors.Join(err, unlock()); err != nil {
		return nil, err
	}
	return m, nil
}

// sweep deletes what a crashed step left half written. Whoever holds the lock is the only one who
// writes.
func (s *store) sweep() error {
	names, err := filepath.Glob(filepath.Join(s.dir, tempPrefix+"*"))
	for _, name := range names {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

func (s *store) apply(m *manifest, step func(*edit) error) (*manifest, error) {
	before, signing := make(map[string]string, len(m.Keys)), m.signing() // id -> file
	for _, e := range m.Keys {
		before[e.ID] = e.File
	}
	ed := &edit{store: s, manifest: m, now: s.now().UTC(), files: map[string][]byte{}}
	if err := step(ed); err != nil {
		return nil, err
	}
	m.Revision++
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("the step would break the ring: %w", err)
	}
	if n := m.signing(); n > jose.MaxKeys && n > signing {
		return nil, fmt.Errorf(
			"the ring has %d signing keys, and gates read no key set with more than %d: wait until the "+
				"first of the retired ones leaves it, as `sallyport keys list` tells",
			signing,
			jose.MaxKeys,
		)
	}
	if err := ed.write(); err != nil {
		return nil, err
	}
	for _, e := range m.Keys {
		if before[e.ID] == e.File {
			delete(before, e.ID)
		}
	}
	return m, s.discard(before)
}

// discard deletes files that the manifest names no more.
func (s *store) discard(files map[string]string) error {
	var failed error
	for id, name := range files {
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed,
				fmt.Errorf("key %q has left the ring, but its file is still there; delete it: %w", id, err))
		}
	}
	return errors.Join(failed, ownfile.SyncFolder(s.dir))
}

// sealing is the one that the ring's files use, proven to open with the passphrase.
func (s *store) sealing(m *manifest, passphrase []byte) (sealing, error) {
	// There is always one, and it never rotates.
	tag := m.in(SubjectTag, Active)
	if _, err := s.vault.load(s.dir, tag, passphrase, s.groupReadable); err != nil {
		return sealing{}, err
	}
	content, err := ownfile.ReadPrivate(filepath.Join(s.dir, tag.File), s.groupReadable)
	if err != nil {
		return sealing{}, err
	}
	block, err := oneBlock(content)
	if err != nil {
		return sealing{}, err
	}
	return parseSealing(block.Headers)
}
