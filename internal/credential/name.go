package credential

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
)

// maxName is how many bytes a name may have, however it is spelled.
const maxName = 256

var errName = errors.New("expected a name of 1 to 256 bytes made of letters, digits and ASCII " +
	"punctuation, without blanks inside")

// Normalize returns the one form that all spellings of a name have: without white space around it,
// full-width and half-width characters made ordinary, in lower case and in Unicode's NFC, as RFC
// 8265 section 3.3 (UsernameCaseMapped) has it. So "Alice", " alice " and "ＡＬＩＣＥ" are one name,
// and so are both ways to write an é. What that profile does not allow in a name (blanks, control
// and invisible characters, ligatures, symbols beyond ASCII) is an error: nobody has such a name.
func Normalize(name string) (string, error) {
	// first: blanks around a name are no part of its length
	name = strings.TrimFunc(name, unicode.IsSpace)
	if len(name) > maxName {
		return "", errName
	}
	once, err := precis.UsernameCaseMapped.String(name)
	if err != nil {
		return "", errName
	}
	// The profile's steps are not idempotent for every string; one that moves again has no one form.
	twice, err := precis.UsernameCaseMapped.String(once)
	if err != nil || twice != once || once == "" || len(once) > maxName {
		return "", errName
	}
	return once, nil
}

// noName stands for all that is no name. No user can have it; it is counted like any name.
const noName = "\x00"

func nameOrNone(name string) string {
	normal, err := Normalize(name)
	if err != nil {
		return noName
	}
	return normal
}

// prepare returns the bytes of a password that are hashed: in NFC, since keyboards differ in how
// they write an é. Nothing else is changed (compare RFC 8265 section 4.2, OpaqueString).
func prepare(password string) []byte { return norm.NFC.Bytes([]byte(password)) }

const (
	minNewPassword = 8    // characters
	maxNewPassword = 1024 // bytes, also after NFC
)

// CheckNew refuses a password that is too short to be guarded by throttling, too long, or not
// text.
func CheckNew(password string) error {
	normal := prepare(password)
	switch {
	case len([]rune(string(normal))) < minNewPassword:
		return fmt.Errorf("credential: expected a password of at least %d characters, got fewer",
			minNewPassword)
	case len(normal) > maxNewPassword || len(password) > maxNewPassword:
		return fmt.Errorf("credential: expected a password of at most %d bytes, got more", maxNewPassword)
	case strings.ContainsFunc(password, unicode.IsControl):
		return errors.New("credential: expected a password without control characters, got one")
	case !norm.NFC.IsNormalString(string(normal)) || strings.ToValidUTF8(password, "") != password:
		return errors.New("credential: expected a password in UTF-8, got other bytes")
	}
	return nil
}
