package token

import "strings"

// Header is what a token's header says, read before anybody knows whose token it is: what only some
// issuers may write is noted, and CheckHeader judges it.
type Header struct {
	Algorithm string // alg as it stands; "" only beside a Fault
	KeyID     string // kid; "" when absent
	Type      string // typ; "" when absent

	// Fault is why no issuer's token may have this header; nil when there is nothing.
	Fault error
	// Foreign is why no token of ours has it, which other issuers' may have: another spelling than
	// the one that needs no decoding, names beside our own, no kid.
	Foreign error
}

// IsMediaType reports whether two values of typ or cty name one media type: in any case, and with
// or without application/ (RFC 7515 section 4.1.9). Parameters are part of the value: they are
// compared letter by letter, and a value with some is not one without (RFC 9068 section 4 allows
// none).
func IsMediaType(a, b string) bool {
	a, aParameters := cutParameters(a)
	b, bParameters := cutParameters(b)
	return a != "" && aParameters == bParameters && equalFold(mediaName(a), mediaName(b))
}

func cutParameters(value string) (name, parameters string) {
	if at := strings.IndexByte(value, ';'); at >= 0 {
		return value[:at], value[at:]
	}
	return value, ""
}

func mediaName(name string) string {
	const tree = "application/"
	if len(name) > len(tree) && equalFold(name[:len(tree)], tree) {
		return name[len(tree):]
	}
	return name
}

// equalFold compares ASCII letters in any case, and all else as it stands: no letter of another
// script equals one of ours.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// ed25519 is the name of EdDSA with that curve (RFC 9864), which is the only curve that we have for
// it: to all but our own issuers both names are one algorithm.
const ed25519 = "Ed25519"

// Algorithm returns the one name that we have for an algorithm: EdDSA for Ed25519, and any other
// name as it stands.
func Algorithm(name string) string {
	if name == ed25519 {
		return "EdDSA"
	}
	return name
}
