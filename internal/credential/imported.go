package credential

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/pbkdf2"
	"github.com/go-crypt/crypt/algorithm/scrypt"
)

// imported is a hash that another system has made, and the library reads: bcrypt, scrypt or
// PBKDF2. It is good until the password is next set; the spellings that the library does not know
// are in foreign.go. Passwords are in NFC when they are hashed here; a password that the other
// system has hashed in decomposed form does not match, and must be set anew.
type imported struct {
	digest algorithm.Digest
	work   cost
	limit  int // longest password in bytes that the algorithm takes in full; 0 for any
}

func (i *imported) cost() cost { return i.work }

// matches refuses what bcrypt would not see in full: it reads 72 bytes, and some implementations
// stop at a NUL; and HMAC, which PBKDF2 and scrypt are made of, takes a password with a NUL behind
// it for the one without. The hash is computed all the same, so that the answer takes as long as
// any.
func (i *imported) matches(password []byte) bool {
	whole := !slices.Contains(password, 0)
	if i.limit > 0 && (len(password) > i.limit || !whole) {
		whole = false
		password = password[:min(len(password), i.limit)]
	}
	match, err := i.digest.MatchBytesAdvanced(password)
	return match && err == nil && whole
}

// bcryptLimit is how many bytes of a password bcrypt reads.
const bcryptLimit = 72

var errAlgorithm = errors.New("expected a hash of argon2id, bcrypt, scrypt or PBKDF2, in the form " +
	"of crypt, PHC, passlib, Werkzeug or Django, or of {BCRYPT}, {CRYPT} with bcrypt, {SSHA}, " +
	"{SSHA256} or {SSHA512}, got another kind: the password must be set anew")

func parseImported(name, encoded string) (hash, error) {
	switch name {
	case "2a", "2b", "2y":
		return parseBcrypt(encoded)
	case "scrypt":
		return parseScrypt(encoded)
	case "pbkdf2", "pbkdf2-sha1", "pbkdf2-sha256", "pbkdf2-sha512":
		return parsePBKDF2(name, encoded)
	}
	return nil, errAlgorithm
}

// Bounds of what other systems' hashes may cost. The upper ones are about a second of one core.
const (
	minBcryptCost, maxBcryptCost     = 4, 14
	minScryptLog, maxScryptLog       = 10, 20
	maxScryptWork                    = 1 << 23 // N * r * p
	minPBKDF2Rounds, maxPBKDF2Rounds = 1000, 2_000_000
)

func parseBcrypt(encoded string) (hash, error) {
	parts := strings.Split(encoded, "$")
	if len(parts) != 4 || len(parts[2]) != 2 {
		return nil, errFormat
	}
	rounds, err := strconv.Atoi(parts[2])
	if err != nil || rounds < minBcryptCost || rounds > maxBcryptCost {
		return nil, fmt.Errorf("expected a bcrypt cost of %d to %d, got another", minBcryptCost,
			maxBcryptCost)
	}
	digest, err := bcrypt.DecodeVariant(bcrypt.VariantStandard)(encoded)
	// The library writes every version as 2b, and a cost below 10 as one digit.
	if err != nil || fmt.Sprintf("$2b$%d$%s", rounds, parts[3]) != digest.Encode() {
		return nil, errFormat
	}
	return &imported{
		digest: digest, work: cost{algorithm: "bcrypt", settings: parts[2], memory: 8 << 10},
		limit: bcryptLimit,
	}, nil
}

func parseScrypt(encoded string) (hash, error) {
	var log, r, p int
	parts := strings.Split(encoded, "$")
	if len(parts) != 5 {
		return nil, errFormat
	}
	if _, err := fmt.Sscanf(parts[2], "ln=%d,r=%d,p=%d", &log, &r, &p); err != nil {
		return nil, errFormat
	}
	if err := checkScrypt(log, r, p); err != nil {
		return nil, err
	}
	digest, err := scrypt.DecodeVariant(scrypt.VariantScrypt)(encoded)
	if err != nil || digest.Encode() != encoded || !sized(digest, 64) {
		return nil, errFormat
	}
	return &imported{
		digest: digest,
		work:   cost{algorithm: "scrypt", settings: parts[2], memory: 128 * int64(r) << log},
	}, nil
}

func parsePBKDF2(name, encoded string) (hash, error) {
	parts := strings.Split(encoded, "$")
	if len(parts) != 5 {
		return nil, errFormat
	}
	if strings.HasPrefix(parts[2], "i=") {
		return parsePHCPBKDF2(name, parts)
	}
	if _, err := parseRounds(parts[2]); err != nil {
		return nil, err
	}
	if name == "pbkdf2" {
		name = "pbkdf2-sha1"
	}
	// More key than one block of the hash function multiplies the work for who checks a password, and
	// not for who guesses: the first block is enough to tell.
	block := digests[strings.TrimPrefix(name, "pbkdf2-")].size
	digest, err := pbkdf2.Decode(encoded)
	if err != nil || digest.Encode() != encoded || !sized(digest, block) {
		return nil, errFormat
	}
	return &imported{
		digest: digest, work: cost{algorithm: name, settings: parts[2], memory: 4 << 10},
	}, nil
}

// sized reports whether salt and key have lengths that make sense, so that no empty or one-byte
// key matches anything.
func sized(d algorithm.Digest, longest int) bool {
	return len(d.Key()) >= 16 && len(d.Key()) <= longest && len(d.Salt()) >= 4 && len(d.Salt()) <= 128
}
