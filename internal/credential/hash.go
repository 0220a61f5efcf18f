package credential

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// hash is a stored password hash.
type hash interface {
	// matches computes the hash of a prepared password, always to the end, and compares.
	matches(password []byte) bool
	cost() cost
}

// cost is how much work a hash is. Hashes of equal cost take equally long.
type cost struct {
	algorithm string
	settings  string // what the time depends on, in the algorithm's own words
	memory    int64  // bytes
}

// Params are argon2id's costs (RFC 9106 section 3.1).
type Params struct {
	Time      int `yaml:"time" flag:"-" usage:"argon2id passes over the memory"`
	MemoryKiB int `yaml:"memory_kib" flag:"-" usage:"argon2id memory in KiB"`
	Threads   int `yaml:"threads" flag:"-" usage:"argon2id lanes"`
}

// DefaultParams returns two passes over 19 MiB in one lane, the first choice of OWASP's password
// storage cheat sheet: about 40 ms on one core of a present server, so 25 logins a second and
// core. RFC 9106's 64 MiB, three passes and four lanes are about five times as much.
func DefaultParams() Params { return Params{Time: 2, MemoryKiB: 19 << 10, Threads: 1} }

const (
	saltSize        = 16 // bytes, as RFC 9106 section 3.1 recommends
	keySize         = 32 // bytes
	maxArgonTime    = 16
	maxArgonThreads = 16
	maxArgonWork    = 4 << 20 // KiB times passes: some seconds of one core
)

var errArgon = errors.New("expected argon2id with at most 1 GiB, 16 passes, 4 GiB in all of them " +
	"together, and 16 lanes, got more")

// Hash returns the hash of a new password with a fresh salt, as argon2id in PHC form:
// $argon2id$v=19$m=...,t=...,p=...$ followed by salt and key. The password is not checked for
// strength; see CheckNew.
func Hash(password []byte, p Params) (string, error) {
	if err := p.Validate(); err != nil {
		return "", fmt.Errorf("credential: argon2: %w", err)
	}
	password = norm.NFC.Bytes(password)
	if len(password) == 0 || len(password) > maxNewPassword {
		return "", fmt.Errorf("credential: expected a password of 1 to %d bytes, got %d",
			maxNewPassword, len(password))
	}
	a := argon2id{params: p, salt: make([]byte, saltSize)}
	rand.Read(a.salt)
	a.key = a.derive(password, keySize)
	return a.String(), nil
}

// outdated reports whether a stored hash is of another kind, or weaker, than Hash would make with
// these parameters.
func outdated(h hash, p Params) bool {
	a, ok := h.(*argon2id)
	return !ok || a.params.MemoryKiB < p.MemoryKiB || a.params.Time < p.Time || len(a.key) < keySize ||
		len(a.salt) < saltSize
}

// argon2id is the only kind of hash that is made here.
type argon2id struct {
	params    Params
	salt, key []byte
}

func (a *argon2id) derive(password []byte, size int) []byte {
	return argon2.IDKey(password, a.salt, uint32(a.params.Time), uint32(a.params.MemoryKiB),
		uint8(a.params.Threads), uint32(size))
}

func (a *argon2id) matches(password []byte) bool {
	return subtle.ConstantTimeCompare(a.derive(password, len(a.key)), a.key) == 1
}

func (a *argon2id) cost() cost {
	return cost{algorithm: "argon2id", settings: a.settings(), memory: int64(a.params.MemoryKiB) << 10}
}

func (a *argon2id) settings() string {
	return fmt.Sprintf("m=%d,t=%d,p=%d", a.params.MemoryKiB, a.params.Time, a.params.Threads)
}

// String returns the PHC form.
func (a *argon2id) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$%s$%s$%s", argon2.Version, a.settings(), b64(a.salt),
		b64(a.key))
}

// parseHash reads a stored hash. No error of it repeats any part of the hash.
func parseHash(encoded string) (hash, error) {
	algorithm, _, _ := strings.Cut(strings.TrimPrefix(encoded, "$"), "$")
	switch {
	case len(encoded) > maxEncoded:
		return nil, errNoHash
	case strings.ContainsFunc(encoded, unicode.IsControl): // base64's decoder skips line breaks
		return nil, errFormat
	case !strings.HasPrefix(encoded, "$"):
		return parseForeign(encoded)
	case algorithm == "argon2id":
		return parseArgon2id(encoded)
	}
	return parseImported(algorithm, encoded)
}

// maxEncoded is longer than any hash that is accepted.
const maxEncoded = 512

var (
	errNoHash = errors.New("expected a password hash such as sallyport passwd makes, got something " +
		"else; a password itself must not stand here")
	errFormat = errors.New("expected a complete hash, got one that is damaged or out of bounds")
)

func parseArgon2id(encoded string) (hash, error) {
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 {
		return nil, errFormat
	}
	a := &argon2id{}
	var err error
	settings := strings.Split(parts[3], ",")
	for i, into := range []*int{&a.params.MemoryKiB, &a.params.Time, &a.params.Threads} {
		if len(settings) != 3 || len(settings[i]) < 3 {
			return nil, errFormat
		}
		if *into, err = strconv.Atoi(settings[i][2:]); err != nil {
			return nil, errFormat
		}
	}
	a.salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	if err != nil || len(a.salt) < 8 || len(a.salt) > 64 {
		return nil, errFormat
	}
	a.key, err = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err != nil || len(a.key) < 16 || len(a.key) > 64 {
		return nil, errFormat
	}
	p := a.params
	if p.MemoryKiB > 1<<20 || p.Time > maxArgonTime || p.Threads > maxArgonThreads ||
		p.MemoryKiB*p.Time > maxArgonWork {
		return nil, errArgon
	}
	bounded := p.MemoryKiB >= 8*p.Threads && p.Time >= 1 && p.Threads >= 1
	// Written again it must be the same text: this checks the names m, t, p and the version, and has
	// each hash in one spelling only.
	if !bounded || a.String() != encoded {
		return nil, errFormat
	}
	return a, nil
}
