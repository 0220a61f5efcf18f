package keyset

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/ownfile"
)

// keptFile is where an issuer's last good set outlasts a restart of the gate.
type keptFile struct {
	dir, name string
	issuer    string
	source    string
}

// kept is the file's content. It is believed only for the issuer and the address that it was
// written for. It has no ETag: the first fetch after a start takes the whole set, which may hold
// keys that an earlier configuration left out.
type kept struct {
	Version   int                  `json:"version"`
	Issuer    string               `json:"issuer"`
	Source    string               `json:"source"`
	Confirmed time.Time            `json:"confirmed"`
	Keys      json.RawMessage      `json:"keys,omitempty"` // a JWKS; absent when every key is revoked
	Revoked   map[string]time.Time `json:"revoked,omitempty"`
}

const (
	keptVersion = 1
	keptMax     = 2 * setMax
	ahead       = 5 * time.Minute // how far in the future a file may be dated
)

// newKeptFile makes the folder; "" keeps nothing.
func newKeptFile(dir string, c Config) (*keptFile, error) {
	if dir == "" || c.address() == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keyset: key_cache_dir: %w", err)
	}
	if err := ownfile.CheckFolder(dir); err != nil {
		return nil, fmt.Errorf("keyset: key_cache_dir: %w", err)
	}
	sum := sha256.Sum256([]byte(c.Issuer))
	return &keptFile{
		dir: dir, name: hex.EncodeToString(sum[:16]) + ".json", issuer: c.Issuer,
		source: cmp.Or(c.JWKSURL, "discovery"),
	}, nil
}

// CheckCacheDir returns what keeps a folder from being key_cache_dir. It changes nothing; a folder
// that is not there is made at a start.
func CheckCacheDir(dir string) error {
	if dir == "" {
		return nil
	}
	err := ownfile.Folder(dir)
	if _, missing := os.Stat(dir); err == nil && missing == nil {
		err = ownfile.CheckFolder(dir)
	}
	if err != nil {
		return fmt.Errorf("keyset: key_cache_dir: %w", err)
	}
	return nil
}

// load reads the file. No file is no error and no set.
func (f *keptFile) load(now time.Time, maxAge time.Duration) (*set, map[string]time.Time, error) {
	content, err := f.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var k kept
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return nil, nil, err
	}
	switch age := now.Sub(k.Confirmed); {
	case k.Version != keptVersion:
		return nil, nil, fmt.Errorf("expected version %d, got %d", keptVersion, k.Version)
	case k.Issuer != f.issuer || k.Source != f.source:
		return nil, nil, errors.New("it was kept for another issuer or address")
	case k.Confirmed.IsZero(): // kept for what is revoked alone
		return nil, k.Revoked, nil
	case age > maxAge:
		return nil, k.Revoked, fmt.Errorf("it was confirmed %v ago, longer than max_age %v",
			age.Round(time.Second), maxAge)
	case age < -ahead:
		return nil, k.Revoked, errors.New("it is dated in the future")
	}
	s := &set{keys: map[string]*jose.PublicKey{}, confirmed: k.Confirmed, fromFile: true}
	if len(k.Keys) == 0 {
		return s, k.Revoked, nil
	}
	keys, _, err := parseSet(k.Keys)
	if err != nil {
		return nil, k.Revoked, err
	}
	for _, key := range keys {
		if _, revoked := k.Revoked[key.ID()]; !revoked {
			s.keys[key.ID()] = key
		}
	}
	return s, k.Revoked, nil
}

func (f *keptFile) read() ([]byte, error) {
	return ownfile.ReadRegular(filepath.Join(f.dir, f.name), keptMax,
		func(info fs.FileInfo) error { return ownfile.Believable(info, os.Geteuid()) })
}

// save writes the file anew, whole.
func (f *keptFile) save(s *set, revoked map[string]time.Time) error {
	k := kept{
		Version: keptVersion, Issuer: f.issuer, Source: f.source, Confirmed: s.confirmed,
		Revoked: revoked,
	}
	if len(s.keys) > 0 {
		keys := make([]*jose.PublicKey, 0, len(s.keys))
		for _, key := range s.keys {
			keys = append(keys, key)
		}
		var err error
		if k.Keys, err = jose.MarshalKeySet(keys); err != nil {
			return err
		}
	}
	content, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	return ownfile.Write(filepath.Join(f.dir, f.name), ".tmp-", append(content, '\n'))
}

// restore puts the kept set in force at the start.
func (i *issuer) restore() {
	if i.kept == nil {
		return
	}
	s, revoked, err := i.kept.load(i.now(), i.cfg.MaxAge)
	if err != nil {
		i.log.Warn("key set: the kept set is not used", "issuer", i.profile.Issuer, "file",
			i.kept.name, "reason", err)
	}
	for kid, until := range revoked {
		i.revoked[kid] = until
	}
	if s == nil {
		return
	}
	before := len(s.keys)
	for kid, k := range s.keys {
		if !fits(k, i.profile.Algorithms) { // the configuration has changed
			delete(s.keys, kid)
		}
	}
	if len(s.keys) == 0 && before > 0 {
		i.log.Warn("key set: the kept set is not used", "issuer", i.profile.Issuer, "file",
			i.kept.name, "reason", "no key in it is for the algorithms of this issuer")
		return
	}
	i.current.Store(s)
	i.metrics.show(i.profile.Issuer, s)
	i.log.Info("key set: the kept set is in force until a fetch", "issuer", i.profile.Issuer,
		"keys", len(s.keys), "confirmed", s.confirmed)
}

// save keeps the set in force, when there is something new in it.
func (i *issuer) save() {
	i.mu.Lock()
	due, s := i.unsaved && i.kept != nil, i.current.Load()
	revoked := make(map[string]time.Time, len(i.revoked))
	// A copy, since the file is written without the lock.
	for kid, until := range i.revoked {
		revoked[kid] = until
	}
	i.unsaved = false
	i.mu.Unlock()
	if !due {
		return
	}
	if err := i.kept.save(s, revoked); err != nil {
		i.metrics.unkept.WithLabelValues(i.profile.Issuer).Inc()
		i.log.Error("key set: could not be kept for the next start", "issuer", i.profile.Issuer,
			"error", err)
		i.mu.Lock()
		i.unsaved = true
		i.mu.Unlock()
	}
}
