package keyring

import (
	"encoding/json"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/internal/ownfile"
)

// edit is a change of the ring under way: a manifest to be written, and the files of the keys that
// are new in it.
type edit struct {
	*manifest
	store *store
	now   time.Time
	files map[string][]byte

	passphrase []byte // nil: unencrypted
	seal       sealing
	unlocked   bool
}

// key makes a new key and its file. alg "" is the algorithm of the active key.
func (e *edit) key(use Use, alg string) (entry, error) {
	if err := e.unlock(); err != nil {
		return entry{}, err
	}
	if active := e.in(use, Active); alg == "" && active != nil {
		alg = active.Algorithm
	}
	k, content, err := newKey(use, alg, e.now)
	if err != nil {
		return entry{}, err
	}
	return k, e.put(&k, content)
}

// fresh is key as the ring's steps ask for it.
func (e *edit) fresh(alg string) func(Use) (entry, error) {
	return func(use Use) (entry, error) {
		if use != Signing {
			return e.key(use, "")
		}
		return e.key(use, alg)
	}
}

func (e *edit) put(k *entry, content []byte) (err error) {
	if e.passphrase != nil {
		if content, err = e.store.vault.seal(content, k, e.passphrase, e.seal); err != nil {
			return err
		}
	}
	e.files[k.File] = content
	return nil
}

// unlock reads how new keys of this ring are encrypted.
func (e *edit) unlock() (err error) {
	if e.unlocked {
		return nil
	}
	if e.passphrase, err = e.store.passphrase(e.manifest); err != nil {
		return err
	}
	if e.passphrase != nil {
		if e.seal, err = e.store.sealing(e.manifest, e.passphrase); err != nil {
			return err
		}
	}
	e.unlocked = true
	return nil
}

// write puts the new files into the folder, the manifest last: the keys must be on the disk before
// it names them.
func (e *edit) write() error {
	raw, err := json.MarshalIndent(e.manifest, "", "  ")
	if err != nil {
		return err
	}
	for name, content := range e.files {
		if err := ownfile.Write(filepath.Join(e.store.dir, name), tempPrefix, content); err != nil {
			return err
		}
	}
	return ownfile.Write(filepath.Join(e.store.dir, manifestFile), tempPrefix, append(raw, '\n'))
}
