package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"golang.org/x/crypto/argon2"
)

// blockSealed is the type of a PEM block around an encrypted key: around the PEM text that package
// signing writes.
const blockSealed = "SALLYPORT ENCRYPTED KEY"

// sealing is how a passphrase becomes a key: argon2id (RFC 9106). It stands in the header of each
// sealed block, and all files of a ring share one, so that a ring of many keys costs one
// derivation.
type sealing struct {
	time, memory uint32 // passes, KiB
	threads      uint8
	salt         [16]byte
}

// newSealing is RFC 9106 section 4's second recommended option, with a salt of its own.
func newSealing() (s sealing) {
	s.time, s.memory, s.threads = 3, 64*1024, 4
	rand.Read(s.salt[:])
	return s
}

// Bounds on the parameters in a file, so that a mistyped one can not stop an issuer for minutes.
const (
	sealTimeMax   = 16
	sealMemoryMax = 1 << 20 // KiB
)

func (s sealing) headers() map[string]string {
	return map[string]string{
		"Cipher":     "AES-256-GCM",
		"KDF":        "argon2id",
		"Time":       strconv.Itoa(int(s.time)),
		"Memory-KiB": strconv.Itoa(int(s.memory)),
		"Threads":    strconv.Itoa(int(s.threads)),
		"Salt":       base64.RawStdEncoding.EncodeToString(s.salt[:]),
	}
}

func parseSealing(h map[string]string) (s sealing, err error) {
	if h["Cipher"] != "AES-256-GCM" || h["KDF"] != "argon2id" || len(h) != 6 {
		return s, errors.New(
			"expected the headers Cipher: AES-256-GCM, KDF: argon2id, Time, Memory-KiB, Threads and Salt")
	}
	time, err1 := strconv.ParseUint(h["Time"], 10, 32)
	memory, err2 := strconv.ParseUint(h["Memory-KiB"], 10, 32)
	threads, err3 := strconv.ParseUint(h["Threads"], 10, 8)
	salt, err4 := base64.RawStdEncoding.Strict().DecodeString(h["Salt"])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return s, fmt.Errorf("headers of the encryption: %w", err)
	}
	if time < 1 || time > sealTimeMax || memory < 8*threads || memory > sealMemoryMax || threads < 1 ||
		len(salt) != len(s.salt) {
		return s, errors.New("headers of the encryption are out of bounds")
	}
	s.time, s.memory, s.threads = uint32(time), uint32(memory), uint8(threads)
	copy(s.salt[:], salt)
	return s, nil
}

// bound is what a sealed block is tied to, so that one key's file does not pass for another's.
func (s sealing) bound(e *entry) []byte {
	return fmt.Appendf(nil, "sallyport key 1\n%s\n%s\n%s\n%d %d %d %x", e.Use, e.ID, e.Algorithm,
		s.time, s.memory, s.threads, s.salt)
}

// vault derives keys from passphrases and remembers them, since a reload must not cost a
// derivation.
type vault struct {
	mu   sync.Mutex
	keys map[vaultKey]cipher.AEAD
}

type vaultKey struct {
	passphrase [32]byte // SHA-256
	sealing    sealing
}

const vaultSize = 16

func (v *vault) open(passphrase []byte, s sealing) (cipher.AEAD, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := vaultKey{sha256.Sum256(passphrase), s}
	if c, ok := v.keys[at]; ok {
		return c, nil
	}
	block, err := aes.NewCipher(argon2.IDKey(passphrase, s.salt[:], s.time, s.memory, s.threads, 32))
	if err != nil {
		return nil, err
	}
	c, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	// Only passphrases that were given are in it; a bound all the same.
	if v.keys == nil || len(v.keys) >= vaultSize {
		v.keys = map[vaultKey]cipher.AEAD{}
	}
	v.keys[at] = c
	return c, nil
}

// seal encrypts the PEM block plain, key e, under passphrase.
func (v *vault) seal(plain []byte, e *entry, passphrase []byte, s sealing) ([]byte, error) {
	c, err := v.open(passphrase, s)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(
		&pem.Block{
			Type: blockSealed, Headers: s.headers(), Bytes: c.Seal(nil, nil, plain, s.bound(e)),
		}), nil
}

var errPassphrase = errors.New(
	"does not open with this passphrase: another passphrase, or the file was changed or belongs " +
		"to another key")

// unseal is seal's inverse.
func (v *vault) unseal(b *pem.Block, e *entry, passphrase []byte) ([]byte, error) {
	s, err := parseSealing(b.Headers)
	if err != nil {
		return nil, err
	}
	c, err := v.open(passphrase, s)
	if err != nil {
		return nil, err
	}
	plain, err := c.Open(nil, nil, b.Bytes, s.bound(e))
	if err != nil {
		return nil, errPassphrase
	}
	return plain, nil
}
