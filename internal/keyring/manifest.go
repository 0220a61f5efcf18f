package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"
)

// Errors of an operator's step that the ring does not allow.
var (
	// ErrTooEarly means that a next key has not been published long enough: some gate could not
	// verify what it signs.
	ErrTooEarly = errors.New("the next key has not been published long enough")
	// ErrUnknownKey means that the ring has no key of that id.
	ErrUnknownKey = errors.New("no key of that id in the ring")
	// ErrExists means that the folder holds a ring already.
	ErrExists = errors.New("the folder holds a key ring already")
)

// manifest is the ring's table of contents and its state machine: pure, with time as an argument.
type manifest struct {
	Version   int       `json:"version"`
	Revision  uint64    `json:"revision"` // moves with every change
	Encrypted bool      `json:"encrypted"`
	Lifetimes Lifetimes `json:"lifetimes"`
	Keys      []entry   `json:"keys"`

	outdated bool // an issuer has longer lifetimes than the file says
}

// entry is one key of the manifest. The secret lies in the file.
type entry struct {
	ID        string    `json:"kid"`
	Use       Use       `json:"use"`
	Algorithm string    `json:"algorithm"`
	State     State     `json:"state"`
	File      string    `json:"file"`
	Created   time.Time `json:"created"` // when it came into the ring, and so into the JWKS
	Activated time.Time `json:"activated,omitzero"`
	Retired   time.Time `json:"retired,omitzero"`
}

const (
	manifestVersion = 1
	manifestKeys    = 1000 // more keys than any ring has
)

var (
	idPattern   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	filePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\.pem$`)
)

// parseManifest reads a manifest strictly: an unknown name in it is a newer version's, and guessing
// at keys is worse than stopping.
func parseManifest(b []byte) (*manifest, error) {
	var m manifest
	if err := decodeStrict(b, &m); err != nil {
		return nil, err
	}
	return &m, m.check()
}

func decodeStrict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("expected one JSON object, got more after it")
	}
	return nil
}

// check refuses every manifest that does not say exactly which key signs.
func (m *manifest) check() error {
	if m.Version != manifestVersion {
		return fmt.Errorf("expected version %d, got %d", manifestVersion, m.Version)
	}
	if len(m.Keys) > manifestKeys {
		return fmt.Errorf("expected at most %d keys, got %d", manifestKeys, len(m.Keys))
	}
	if err := m.Lifetimes.check(); err != nil {
		return err
	}
	ids, files := map[string]bool{}, map[string]bool{}
	for _, e := range m.Keys {
		if err := e.check(); err != nil {
			return err
		}
		// Two entries with one file would change together.
		if ids[e.ID] || files[e.File] {
			return fmt.Errorf("key %q or its file is listed twice", e.ID)
		}
		ids[e.ID], files[e.File] = true, true
	}
	for _, u := range []Use{Signing, Refresh, SubjectTag} {
		if n := m.count(u, Active); n != 1 {
			return fmt.Errorf("expected exactly one active %s key, got %d", u, n)
		}
		if n := m.count(u, Next); n > 1 {
			return fmt.Errorf("expected at most one next %s key, got %d", u, n)
		}
	}
	if n := m.count(SubjectTag, Next) + m.count(SubjectTag, Retired); n > 0 {
		return fmt.Errorf("expected one %s key, which never rotates, got %d more", SubjectTag, n)
	}
	return nil
}

func (e *entry) check() error {
	switch {
	case !idPattern.MatchString(e.ID):
		return fmt.Errorf("expected key ids of letters, digits, - and _, got %q", e.ID)
	case !filePattern.MatchString(e.File):
		return fmt.Errorf("key %q: expected a plain file name that ends in .pem, got %q", e.ID, e.File)
	case e.Use != Signing && e.Use != Refresh && e.Use != SubjectTag:
		return fmt.Errorf("key %q: expected use signing, refresh or subject_tag, got %q", e.ID, e.Use)
	case e.State != Next && e.State != Active && e.State != Retired:
		return fmt.Errorf("key %q: expected state next, active or retired, got %q", e.ID, e.State)
	case e.Created.IsZero():
		return fmt.Errorf("key %q: no time of creation", e.ID)
	case e.State != Next && e.Activated.IsZero():
		return fmt.Errorf("key %q: %s without a time of activation", e.ID, e.State)
	case e.State == Retired && e.Retired.IsZero():
		return fmt.Errorf("key %q: retired without a time", e.ID)
	}
	return nil
}

func (m *manifest) count(u Use, s State) (n int) {
	for _, e := range m.Keys {
		if e.Use == u && e.State == s {
			n++
		}
	}
	return n
}

// signing is how many keys the JWKS has.
func (m *manifest) signing() int {
	return m.count(Signing, Next) + m.count(Signing, Active) + m.count(Signing, Retired)
}

func (m *manifest) in(u Use, s State) *entry {
	i := slices.IndexFunc(m.Keys, func(e entry) bool { return e.Use == u && e.State == s })
	if i < 0 {
		return nil
	}
	return &m.Keys[i]
}

func (m *manifest) find(id string) (*entry, error) {
	i := slices.IndexFunc(m.Keys, func(e entry) bool { return e.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("%w: %q", ErrUnknownKey, id)
	}
	return &m.Keys[i], nil
}

func (m *manifest) drop(id string) {
	m.Keys = slices.DeleteFunc(m.Keys, func(e entry) bool { return e.ID == id })
}

// ready is when a next key may begin to sign.
func (m *manifest) ready(e *entry) time.Time { return e.Created.Add(m.Lifetimes.wait(e.Use)) }

// until is when nothing that a retired key signed is valid any more.
func (m *manifest) until(e *entry) time.Time { return e.Retired.Add(m.Lifetimes.linger(e.Use)) }

// live reports whether e still verifies at now.
func (m *manifest) live(e *entry, now time.Time) bool {
	return e.State != Retired || now.Before(m.until(e))
}
