package credential

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	gohash "hash"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// derived is a hash whose key other software has derived from a password, in a spelling of its
// own.
type derived struct {
	derive func(password []byte) ([]byte, error)
	key    []byte
	work   cost
}

func (d *derived) cost() cost { return d.work }

// matches refuses a NUL, as imported does.
func (d *derived) matches(password []byte) bool {
	key, err := d.derive(password)
	return err == nil && subtle.ConstantTimeCompare(key, d.key) == 1 && !slices.Contains(password, 0)
}

// parseForeign reads what does not begin with a dollar: Werkzeug's, Django's and the schemes of
// LDAP servers. It returns errNoHash for what looks like none of them.
func parseForeign(encoded string) (hash, error) {
	if strings.HasPrefix(encoded, "{") {
		return parseScheme(encoded)
	}
	method, rest, found := strings.Cut(encoded, "$")
	if !found {
		return nil, errNoHash
	}
	switch kind, settings, colon := strings.Cut(method, ":"); {
	case colon && kind == "scrypt":
		return parseWerkzeugScrypt(settings, rest)
	case colon && kind == "pbkdf2":
		return parseWerkzeugPBKDF2(settings, rest)
	case colon:
		return nil, errAlgorithm
	}
	switch method {
	case "pbkdf2_sha256", "pbkdf2_sha1":
		return parseDjangoPBKDF2(method, rest)
	case "scrypt":
		return parseDjangoScrypt(rest)
	case "argon2":
		return parseDjangoArgon2(rest)
	case "bcrypt":
		return parseBcrypt(rest)
	case "bcrypt_sha256":
		return parseDjangoBcrypt(rest)
	}
	if strings.Count(rest, "$") == 0 ||
		strings.Trim(method, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return nil, errNoHash
	}
	return nil, errAlgorithm
}

// digests are the hash functions that other systems use, by their names.
var digests = map[string]struct {
	new  func() gohash.Hash
	size int
}{
	"sha1":   {sha1.New, sha1.Size},
	"sha256": {sha256.New, sha256.Size},
	"sha512": {sha512.New, sha512.Size},
}

// newPBKDF2 returns a hash of PBKDF2 (RFC 8018). Its key is one block: more would multiply the
// work, for us alone.
func newPBKDF2(digest, rounds string, salt, key []byte) (hash, error) {
	d, ok := digests[digest]
	if !ok {
		return nil, errAlgorithm
	}
	n, err := parseRounds(rounds)
	if err != nil {
		return nil, err
	}
	// A key of a few bytes would match any password in a few guesses.
	if len(key) < 16 || len(key) > d.size || !saltFits(salt) {
		return nil, errFormat
	}
	return &derived{
		key:  key,
		work: cost{algorithm: "pbkdf2-" + digest, settings: rounds, memory: 4 << 10},
		derive: func(password []byte) ([]byte, error) {
			return pbkdf2.Key(d.new, string(password), salt, n, len(key))
		},
	}, nil
}

func parseRounds(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || strconv.Itoa(n) != s {
		return 0, errFormat
	}
	if n < minPBKDF2Rounds || n > maxPBKDF2Rounds {
		return 0, fmt.Errorf("expected %d to %d rounds of PBKDF2, got another number",
			minPBKDF2Rounds, maxPBKDF2Rounds)
	}
	return n, nil
}

// newScrypt returns a hash of scrypt (RFC 7914).
func newScrypt(n, r, p int, salt, key []byte) (hash, error) {
	log := bits.Len(uint(max(n, 1))) - 1
	if n != 1<<log {
		return nil, errFormat
	}
	if err := checkScrypt(log, r, p); err != nil {
		return nil, err
	}
	if len(key) != 64 || !saltFits(salt) {
		return nil, errFormat
	}
	return &derived{
		key: key,
		work: cost{
			algorithm: "scrypt", settings: fmt.Sprintf("ln=%d,r=%d,p=%d", log, r, p),
			memory: 128 * int64(r) << log,
		},
		derive: func(password []byte) ([]byte, error) {
			return scrypt.Key(password, salt, n, r, p, len(key))
		},
	}, nil
}

func saltFits(salt []byte) bool { return len(salt) >= 4 && len(salt) <= 128 }

// numbers reads so many decimal numbers in their one spelling.
func numbers(texts ...string) ([]int, error) {
	all := make([]int, len(texts))
	for i, text := range texts {
		n, err := strconv.Atoi(text)
		if err != nil || strconv.Itoa(n) != text {
			return nil, errFormat
		}
		all[i] = n
	}
	return all, nil
}

// parseWerkzeugScrypt reads scrypt:N:r:p$salt$hex. The salt is the text itself.
func parseWerkzeugScrypt(settings, rest string) (hash, error) {
	salt, written, _ := strings.Cut(rest, "$")
	key, err := decodeHex(written)
	parts := strings.Split(settings, ":")
	if err != nil || len(parts) != 3 {
		return nil, errFormat
	}
	n, err := numbers(parts...)
	if err != nil {
		return nil, err
	}
	return newScrypt(n[0], n[1], n[2], []byte(salt), key)
}

// parseWerkzeugPBKDF2 reads pbkdf2:sha256:rounds$salt$hex, also with sha1 and sha512.
func parseWerkzeugPBKDF2(settings, rest string) (hash, error) {
	salt, written, _ := strings.Cut(rest, "$")
	key, err := decodeHex(written)
	digest, rounds, _ := strings.Cut(settings, ":")
	if d, known := digests[digest]; !known {
		return nil, errAlgorithm
	} else if err != nil || len(key) != d.size {
		return nil, errFormat
	}
	return newPBKDF2(digest, rounds, []byte(salt), key)
}

func decodeHex(s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err == nil && hex.EncodeToString(b) != s {
		err = errFormat
	}
	return b, err
}

// parseDjangoPBKDF2 reads pbkdf2_sha256$rounds$salt$base64, also with sha1.
func parseDjangoPBKDF2(method, rest string) (hash, error) {
	parts := strings.Split(rest, "$")
	if len(parts) != 3 {
		return nil, errFormat
	}
	digest := strings.TrimPrefix(method, "pbkdf2_")
	key, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(key) != digests[digest].size {
		return nil, errFormat
	}
	return newPBKDF2(digest, parts[0], []byte(parts[1]), key)
}

// parseDjangoScrypt reads scrypt$N$salt$r$p$base64.
func parseDjangoScrypt(rest string) (hash, error) {
	parts := strings.Split(rest, "$")
	if len(parts) != 5 {
		return nil, errFormat
	}
	n, err := numbers(parts[0], parts[2], parts[3])
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.Strict().DecodeString(parts[4])
	if err != nil {
		return nil, errFormat
	}
	return newScrypt(n[0], n[1], n[2], []byte(parts[1]), key)
}

// parseDjangoArgon2 reads argon2$argon2id$..., which has the PHC form behind the first word.
func parseDjangoArgon2(rest string) (hash, error) {
	if !strings.HasPrefix(rest, "argon2id$") {
		return nil, errAlgorithm
	}
	return parseArgon2id("$" + rest)
}

// parseDjangoBcrypt reads bcrypt_sha256$$2b$12$...: bcrypt of the password's SHA-256 in
// hexadecimal digits, so that bcrypt sees all of a password, however long it is and whatever is in
// it.
func parseDjangoBcrypt(rest string) (hash, error) {
	inner, err := parseBcrypt(rest)
	if err != nil {
		return nil, err
	}
	return prehashed{inner}, nil
}

type prehashed struct{ hash }

func (p prehashed) matches(password []byte) bool {
	sum := sha256.Sum256(password)
	return p.hash.matches([]byte(hex.EncodeToString(sum[:])))
}

// parseScheme reads {SCHEME} and what follows, as LDAP servers (RFC 3112) and others write it. The
// scheme has no case.
func parseScheme(encoded string) (hash, error) {
	scheme, rest, closed := strings.Cut(encoded[1:], "}")
	if !closed {
		return nil, errNoHash
	}
	switch strings.ToUpper(scheme) {
	case "BCRYPT", "BLF-CRYPT", "CRYPT":
		// {CRYPT} is whatever the system's crypt(3) knows: bcrypt is all that is read of it.
		if !strings.HasPrefix(rest, "$2") {
			return nil, errAlgorithm
		}
		return parseBcrypt(rest)
	case "SSHA":
		return parseSalted("sha1", rest)
	case "SSHA256":
		return parseSalted("sha256", rest)
	case "SSHA512":
		return parseSalted("sha512", rest)
	}
	return nil, errAlgorithm
}

// parseSalted reads the base64 of a digest of password and salt, and the salt.
func parseSalted(digest, rest string) (hash, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(rest)
	d := digests[digest]
	if err != nil || len(raw) < d.size || !saltFits(raw[d.size:]) {
		return nil, errFormat
	}
	return &quick{
		derived: derived{
			key: raw[:d.size],
			derive: func(password []byte) ([]byte, error) {
				h := d.new()
				h.Write(password)
				h.Write(raw[d.size:])
				return h.Sum(nil), nil
			},
		},
		pad: newPad(DefaultParams()), // until userEntry.parse knows the issuer's own
	}, nil
}

// quick is a hash that takes next to no time: one round of a digest. An argon2id hash is computed
// along with it, so that the time of an answer does not say whose password is this badly kept.
type quick struct {
	derived
	pad *argon2id
}

func newPad(p Params) *argon2id {
	return &argon2id{params: p, salt: make([]byte, saltSize), key: make([]byte, keySize)}
}

func (q *quick) cost() cost { return q.pad.cost() }

func (q *quick) matches(password []byte) bool {
	match := q.derived.matches(password)
	q.pad.matches(password) // for its time alone
	return match
}

// parsePHCPBKDF2 reads $pbkdf2-sha256$i=rounds[,l=length]$salt$key, the PHC form, also with sha1
// and sha512.
func parsePHCPBKDF2(name string, parts []string) (hash, error) {
	rounds, length, sized := strings.Cut(parts[2], ",")
	salt, err := base64.RawStdEncoding.Strict().DecodeString(parts[3])
	if err != nil {
		return nil, errFormat
	}
	key, err := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	if err != nil || sized && length != "l="+strconv.Itoa(len(key)) {
		return nil, errFormat
	}
	return newPBKDF2(strings.TrimPrefix(name, "pbkdf2-"), strings.TrimPrefix(rounds, "i="), salt, key)
}

// checkScrypt refuses costs that are no protection, and those that no login could bear.
func checkScrypt(log, r, p int) error {
	if log < minScryptLog || log > maxScryptLog || r < 1 || r > 64 || p < 1 || p > 64 ||
		r*p<<log > maxScryptWork {
		return errScrypt
	}
	return nil
}

var errScrypt = errors.New("expected scrypt with N of 2^10 to 2^20, r and p of 1 to 64, and " +
	"N*r*p of at most 2^23, got others")
