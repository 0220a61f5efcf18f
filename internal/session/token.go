package session

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

const (
	secretBytes  = 16                 // of random bits in a session id
	macBytes     = 32                 // HMAC-SHA256
	maxTagLength = 64                 // characters; the key ring's tags are shorter
	maxDigits    = 15                 // of a refresh counter: every value is exact in Lua's doubles
	macDomain    = "sallyport.rt.v1|" // keeps these codes apart from any other use of the key
)

// encoding refuses non-zero trailing bits: each value has one spelling.
var encoding = base64.RawURLEncoding.Strict()

var errRefreshToken = errors.New("session: malformed refresh token")

// ID is a session's id, `<tag>~<128 random bits>`. The tag is the key ring's for issuer and
// subject: it alone finds the session's slot in a Redis Cluster. The zero ID is of no session.
type ID struct {
	tag    string
	unique string
}

// newID returns the id of a new session of the user with this tag.
func newID(tag string) ID {
	var random [secretBytes]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return ID{tag: tag, unique: encoding.EncodeToString(random[:])}
}

// ParseID reads a session id strictly: exact lengths, base64url characters only, one spelling.
func ParseID(s string) (ID, error) {
	tag, unique, ok := strings.Cut(s, "~")
	if !ok || !validTag(tag) || !isBase64(unique, secretBytes) {
		return ID{}, errors.New("session: malformed session id")
	}
	return ID{tag: tag, unique: unique}, nil
}

// String returns the id as it stands in tokens (the claim sid) and in the log.
func (id ID) String() string {
	if id == (ID{}) {
		return ""
	}
	return id.tag + "~" + id.unique
}

// refreshToken is `sid.n.mac`: the session, the counter's value that it spends, and the code that
// only a key ring can make.
type refreshToken struct {
	id  ID
	n   int64
	mac [macBytes]byte
}

// parseRefreshToken reads a refresh token strictly: it accepts what makeRefreshToken makes and no
// other spelling of it.
func parseRefreshToken(s string) (refreshToken, error) {
	// Before anything is cut out of it: the rest has at most 128 characters.
	if len(s) > maxTagLength+128 {
		return refreshToken{}, errRefreshToken
	}
	sid, rest, _ := strings.Cut(s, ".")
	counter, mac, ok := strings.Cut(rest, ".")
	if !ok {
		return refreshToken{}, errRefreshToken
	}
	id, err := ParseID(sid)
	if err != nil {
		return refreshToken{}, errRefreshToken
	}
	n, ok := parseCounter(counter)
	if !ok || !isBase64(mac, macBytes) {
		return refreshToken{}, errRefreshToken
	}
	t := refreshToken{id: id, n: n}
	if _, err := encoding.Decode(t.mac[:], []byte(mac)); err != nil {
		return refreshToken{}, errRefreshToken
	}
	return t, nil
}

// message is what the token's code is computed over. The issuer is part of it: two issuers that
// share a key ring do not honour each other's tokens.
func (t refreshToken) message(issuer string) []byte {
	// With the issuer's length: no other issuer and id together make the same message.
	return []byte(macDomain + strconv.Itoa(len(issuer)) + "|" + issuer + "|" + t.id.String() + "." +
		strconv.FormatInt(t.n, 10))
}

// makeRefreshToken returns the token that spends the counter's value n.
func makeRefreshToken(ring Ring, issuer string, id ID, n int64) string {
	t := refreshToken{id: id, n: n}
	mac := ring.RefreshMAC(t.message(issuer))
	return id.String() + "." + strconv.FormatInt(n, 10) + "." + encoding.EncodeToString(mac)
}

func parseCounter(s string) (int64, bool) {
	if s == "" || len(s) > maxDigits || s[0] == '0' {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func validTag(s string) bool {
	if s == "" || len(s) > maxTagLength {
		return false
	}
	for _, c := range []byte(s) {
		if !isBase64Char(c) {
			return false
		}
	}
	return true
}

func isBase64(s string, size int) bool {
	if len(s) != encoding.EncodedLen(size) {
		return false
	}
	for _, c := range []byte(s) {
		if !isBase64Char(c) { // the decoder would overlook CR and LF
			return false
		}
	}
	_, err := encoding.DecodeString(s)
	return err == nil
}

func isBase64Char(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_'
}
