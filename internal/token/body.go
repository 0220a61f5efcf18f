package token

import (
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/sallyport/sallyport/internal/token/strict"
)

const (
	maxDepth  = 16           // how deep claims may be nested
	maxString = 512          // bytes of an id, a role, a scope
	maxDate   = 253402300799 // the last second of the year 9999
)

// Body is the claims part of a token, read strictly as JSON and not judged yet: Profile.Judge does
// that. The zero Body has no claims.
type Body struct{ root strict.Value }

// ReadBody reads the claims part. Its errors have ReasonClaims or ReasonClaimDuplicate.
func ReadBody(claimsJSON string) (Body, error) {
	root, err := strict.Parse(claimsJSON, strict.Rules{MaxDepth: maxDepth})
	switch {
	case errors.Is(err, strict.ErrDuplicate):
		return Body{}, Refuse(ReasonClaimDuplicate, "a name stands twice in one object")
	case errors.Is(err, strict.ErrTooDeep):
		return Body{}, Refuse(ReasonClaims, "expected nesting of at most %d", maxDepth)
	case errors.Is(err, strict.ErrUTF8):
		return Body{}, Refuse(ReasonClaims, "expected valid UTF-8")
	case err != nil:
		return Body{}, Refuse(ReasonClaims, "expected JSON and nothing after it")
	case root.Kind() != strict.Object:
		return Body{}, Refuse(ReasonClaims, "expected a JSON object, got %s", root.Kind())
	}
	return Body{root: root}, nil
}

// Root returns the claims as one object, for messages that are no access tokens.
func (b Body) Root() strict.Value { return b.root }

// Issuer returns iss, by which profile and keys are chosen. Nothing else may be done with it before
// the signature is verified.
func (b Body) Issuer() (string, error) {
	v, ok := b.root.Member("iss")
	if !ok {
		return "", Refuse(ReasonIssuer, "expected iss, got none")
	}
	return cleanString(v, "iss", ReasonIssuer)
}

// cleanString returns a non-empty string that is fit to be compared, logged and handed on.
func cleanString(v strict.Value, claim string, r Reason) (string, error) {
	if v.Kind() != strict.String {
		return "", Refuse(r, "expected %s to be a string, got %s", claim, v.Kind())
	}
	if problem := unclean(v.Text()); problem != "" {
		return "", Refuse(r, "expected %s without faults, got one that %s", claim, problem)
	}
	return strings.Clone(v.Text()), nil
}

// unclean returns what is wrong with a string as the value of an id; "" when nothing is.
func unclean(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > maxString:
		return "is longer than " + strconv.Itoa(maxString) + " bytes"
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r > 0x7f && unprintable(r) {
			return "has control or invisible characters"
		}
	}
	return ""
}

// unprintable names what shows as nothing, turns the line around or breaks it: two strings that
// differ by it look the same.
func unprintable(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) ||
		r == unicode.ReplacementChar ||
		!unicode.IsPrint(r) && !unicode.IsSpace(r)
}

// wholeDate reads a NumericDate of ours: whole seconds, as digits. RFC 7519 allows fractions and
// exponents too; our issuers write none, and readers differ on them.
func wholeDate(v strict.Value, claim string) (int64, error) {
	if v.Kind() != strict.Number {
		return 0, Refuse(ReasonDate, "expected %s to be a number, got %s", claim, v.Kind())
	}
	n, err := strconv.ParseInt(v.Text(), 10, 64)
	if err != nil || n < 1 || n > maxDate {
		return 0, Refuse(ReasonDate, "expected %s to be whole seconds from 1 to %d", claim,
			int64(maxDate))
	}
	return n, nil
}

// pointMax is how many digits maxDate has.
const pointMax = 12

// anyDate reads a NumericDate of theirs: any JSON number in range, fractions and exponents too (RFC
// 7519 section 2), to the nanosecond, which is as fine as clocks are here. What is finer counts as
// a whole one when up.
func anyDate(v strict.Value, claim string, up bool) (seconds, nanos int64, err error) {
	if v.Kind() != strict.Number {
		return 0, 0, Refuse(ReasonDate, "expected %s to be a number, got %s", claim, v.Kind())
	}
	d := parseDecimal(v.Text())
	inRange := !d.negative && d.count > 0 && d.point >= 1 && d.point <= pointMax
	if inRange {
		for i := range d.point {
			seconds = 10*seconds + d.digit(i)
		}
		for i := range nanoDigits {
			nanos = 10*nanos + d.digit(d.point+i)
		}
		finer := d.count > d.point+nanoDigits
		inRange = seconds < maxDate || seconds == maxDate && nanos == 0 && !finer
		if finer && up {
			nanos++
		}
		seconds, nanos = seconds+nanos/1e9, nanos%1e9
	}
	if !inRange {
		return 0, 0, Refuse(ReasonDate, "expected %s to be seconds from 1 to %d", claim,
			int64(maxDate))
	}
	return seconds, nanos, nil
}

const nanoDigits = 9

// IsNoDate reports whether a NumericDate lies in the first second of 1970. For an nbf that is as good
// as none.
func IsNoDate(v strict.Value) bool {
	if v.Kind() != strict.Number {
		return false
	}
	d := parseDecimal(v.Text())
	return !d.negative && (d.count == 0 || d.point < 1)
}

// Date reads a NumericDate of theirs, never later than it says. Its errors are *Error.
func Date(v strict.Value, claim string) (time.Time, error) {
	seconds, nanos, err := anyDate(v, claim, false)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(seconds, nanos), nil
}

// list reads an array of strings, or a string as its parts between spaces.
func list(v strict.Value, claim string, r Reason) ([]string, error) {
	if v.Kind() == strict.String {
		return words(v.Text(), claim, r)
	}
	if v.Kind() != strict.Array {
		return nil, Refuse(r, "expected %s to be a list of strings, got %s", claim, v.Kind())
	}
	items := make([]string, 0, len(v.Members()))
	for _, m := range v.Members() {
		// One that is no string refuses the list: leaving it out would change what it says.
		item, err := cleanString(m.Value, "each of "+claim, r)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func words(text, claim string, r Reason) ([]string, error) {
	if strings.Trim(text, " ") == "" {
		return nil, nil
	}
	var items []string
	for word := range strings.SplitSeq(text, " ") {
		if word == "" {
			continue
		}
		if problem := unclean(word); problem != "" {
			return nil, Refuse(r, "expected %s without faults, got a part that %s", claim, problem)
		}
		items = append(items, strings.Clone(word))
	}
	return items, nil
}
