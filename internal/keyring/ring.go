package keyring

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/signing"
)

// Ring is the key ring of a running issuer. All methods may be called from many goroutines; those
// of the request path take no lock.
type Ring struct {
	store     *store
	algorithm string
	every     time.Duration
	log       *slog.Logger
	metrics   *metrics

	current atomic.Pointer[snapshot]

	reading sync.Mutex // one reading of the folder at a time
	trouble string     // what was last wrong with the folder; "" when nothing is
	short   bool       // the folder says shorter lifetimes than this issuer has
}

// Open reads the ring in cfg.Dir. A folder without a ring, or one that is broken, is an error that
// says what to do.
func Open(cfg Config, o Options) (*Ring, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("keyring: expected a clock in the options, got none")
	}
	r := &Ring{
		store: newStore(cfg, o), algorithm: cfg.Algorithm, every: cfg.RotateEvery, log: o.Logger,
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if r.metrics, err = newMetrics(o.Registry); err != nil {
		return nil, err
	}
	snap, err := r.read()
	if err != nil {
		return nil, err
	}
	r.take(snap)
	return r, r.checkRotation(cfg)
}

// checkRotation refuses at the start what would fail only when the first rotation is due.
func (r *Ring) checkRotation(cfg Config) error {
	if cfg.RotateEvery == 0 {
		return nil
	}
	if wait := r.current.Load().Lifetimes.wait(Signing); cfg.RotateEvery < wait {
		return fmt.Errorf(
			"keyring: expected keys.rotate_every of at least %v, as long as a next key must be "+
				"published before it signs, got %v",
			wait, cfg.RotateEvery)
	}
	// Beside the retired keys there are the active one, the next, and one that is about to leave.
	const retired = jose.MaxKeys - 3
	linger := r.current.Load().Lifetimes.linger(Signing)
	if cfg.RotateEvery < linger/retired {
		return fmt.Errorf(
			"keyring: expected keys.rotate_every of at least %v, since retired keys stay for %v and "+
				"gates read no key set with more than %d keys, got %v",
			linger/retired, linger, jose.MaxKeys, cfg.RotateEvery)
	}
	// The lock's file is written as the others are.
	unlock, err := lock(context.Background(), r.store.dir)
	if err != nil {
		return fmt.Errorf(
			"keyring: keys.rotate_every needs a folder that can be written to; leave it out to rotate "+
				"by hand: %w",
			err)
	}
	return unlock()
}

// ErrRevoked means that every key that may sign is revoked.
var ErrRevoked = errors.New(
	"keyring: the active signing key is revoked, and so is the next one if there is one")

// SignUnless makes a compact JWS with header type typ over claims (RFC 7515 section 7.1), with the
// active key. The next key, which is published already, takes the place of an active one that is
// revoked, as it does in the folder: this process may not have read that anew yet.
func (r *Ring) SignUnless(revoked func(kid string) bool, typ string,
	claims []byte) (string, error) {
	s := r.current.Load()
	for _, key := range []*signing.PrivateKey{s.signer, s.next} {
		if key != nil && !revoked(key.ID()) {
			return key.Sign(typ, claims)
		}
	}
	return "", ErrRevoked
}

// KeySet is the JWKS document to publish (RFC 7517 section 5): the active, next and retired signing
// keys, public halves only. Callers must not change it.
func (r *Ring) KeySet() []byte { return r.current.Load().document }

// Digest is the beginning of the SHA-256 of the manifest of the ring in force, ring.json, as
// sha256sum shows it: 12 hexadecimal digits.
func (r *Ring) Digest() string {
	sum := sha256.Sum256(r.current.Load().raw)
	return hex.EncodeToString(sum[:6])
}

// Public returns a signing key by its id, published or HS256.
func (r *Ring) Public(kid string) (*jose.PublicKey, bool) {
	k, ok := r.current.Load().public[kid]
	return k, ok
}

// RefreshMAC is HMAC-SHA256 of msg under the active refresh key: 32 bytes.
func (r *Ring) RefreshMAC(msg []byte) []byte {
	return mac(r.current.Load().refresh[0], msg)
}

// CheckRefreshMAC reports whether given is msg's MAC under any refresh key of the ring: active,
// next (another issuer may use it already) or retired. It takes the same time whichever key it is.
func (r *Ring) CheckRefreshMAC(msg, given []byte) bool {
	found := false
	for _, key := range r.current.Load().refresh {
		if hmac.Equal(mac(key, msg), given) {
			found = true
		}
	}
	return found
}

// SubjectTag is a name for a subject that tells nothing about it: 22 characters of base64url (128
// bits), the same for as long as the ring lives.
func (r *Ring) SubjectTag(issuer, subject string) string {
	h := hmac.New(sha256.New, r.current.Load().tag)
	var size [8]byte
	// so that no two pairs run into the same bytes
	binary.BigEndian.PutUint64(size[:], uint64(len(issuer)))
	h.Write([]byte("sallyport subject tag 1\n"))
	h.Write(size[:])
	h.Write([]byte(issuer))
	h.Write([]byte(subject))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

func mac(key, msg []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(msg)
	return h.Sum(nil)
}
