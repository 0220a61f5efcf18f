package audit

import (
	"slices"
	"strings"
)

const redacted = "[redacted]"

// Redact replaces whatever in s has the shape of a credential by "[redacted]": a token in JWS
// compact form, a refresh token, a password hash, and the word after Bearer or Basic. It is the
// last line of defence, for texts that come from elsewhere; nothing may count on it.
func Redact(s string) string {
	if !suspect(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		n := credential(s, i)
		if n == 0 {
			b.WriteByte(s[i])
			i++
			continue
		}
		b.WriteString(redacted)
		i += n
	}
	return b.String()
}

// suspect reports whether s could hold any of the shapes; nearly all texts do not.
func suspect(s string) bool {
	return slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(s, mark) })
}

// marks are what one of the shapes has in it, whatever else.
var marks = []string{"eyJ", "~", "$", "earer", "EARER", "asic", "ASIC"}

// credential returns how many bytes of s from i on are a credential; 0 when none begins there. It
// looks further than one byte only where a word begins, so that no text makes it slow.
func credential(s string, i int) int {
	rest := s[i:]
	switch {
	// A dollar is no part of a word, so a hash may begin in the middle of one.
	case rest[0] == '$' && hashed(rest):
		return run(rest, hashByte)
	case i > 0 && word(s[i-1]), !word(rest[0]):
		return 0
	case scheme(s[:i]):
		return run(rest, credentialByte)
	case strings.HasPrefix(rest, "eyJ"):
		if n := run(rest, tokenByte); n >= shortest {
			return n
		}
	case i == 0 || s[i-1] != '.':
		if n := run(rest, tokenByte); refresh(rest[:n]) {
			return n
		}
	}
	return 0
}

// shortest is how many bytes a token or a MAC has at least.
const shortest = 16

// scheme reports whether before ends in an HTTP authentication scheme and white space.
func scheme(before string) bool {
	before = before[max(0, len(before)-16):]
	trimmed := strings.TrimRight(before, " \t")
	if len(trimmed) == len(before) {
		return false
	}
	trimmed = strings.ToLower(trimmed)
	return strings.HasSuffix(trimmed, "bearer") || strings.HasSuffix(trimmed, "basic")
}

// refresh reports whether s is a session's name, a counter and a MAC: tag~random.n.mac.
func refresh(s string) bool {
	sid, rest, _ := strings.Cut(s, ".")
	n, mac, ok := strings.Cut(rest, ".")
	return ok && strings.Contains(sid, "~") && run(n, digit) == len(n) && len(mac) >= shortest
}

func hashed(s string) bool {
	return slices.ContainsFunc(hashPrefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

var hashPrefixes = []string{
	"$argon2", "$2a$", "$2b$", "$2y$", "$bcrypt", "$scrypt$", "$pbkdf2", "$5$", "$6$", "$1$", "$y$",
}

// run counts the bytes at the start of s for which ok holds.
func run(s string, ok func(byte) bool) int {
	n := 0
	for n < len(s) && ok(s[n]) {
		n++
	}
	return n
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func word(c byte) bool {
	return digit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '-' || c == '~'
}

func tokenByte(c byte) bool { return word(c) || c == '.' }

func credentialByte(c byte) bool { return tokenByte(c) || c == '+' || c == '/' || c == '=' }

func hashByte(c byte) bool { return credentialByte(c) || c == '$' || c == ',' }
