package policy

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pathProblem is why a request target is refused before any route is looked at. The empty one is
// none.
type pathProblem string

// The problems, in words for people.
const (
	badForm     pathProblem = "the path does not begin with a slash"
	badSegments pathProblem = "the path has an empty segment, `.` or `..`"
	badEncoding pathProblem = "the path has an encoded delimiter, a backslash, or double or broken" +
		" percent-encoding"
	badCharacters pathProblem = "the path has a control character, a space, `#` or bytes that are" +
		" not UTF-8"
	badParameters pathProblem = "the path has parameters (`;`), which the route does not permit"
	badLength     pathProblem = "the path is longer than 8 KiB or has more than 256 segments"
	badSlash      pathProblem = "the path has an encoded slash, which the route does not permit, or that" +
		" would change what a condition reads, or make it fall under a stricter route, if it were a" +
		" plain one"
)

// requestPath is the one spelling of a request's path that routes are matched against.
type requestPath struct {
	// value is the part before `?`, percent-decoded once, without path parameters: it begins with a
	// slash, and none of its segments is empty (except a last one, after a slash at the end), `.`
	// or `..`. A slash that was encoded stands in it as %2F, which no decoded path has otherwise.
	value      string
	slashes    bool // the path had such a slash
	parameters bool // the path had `;`
	mixed      bool // value may have letters other than small ones
}

const (
	maxPath         = 8 << 10 // bytes before `?`
	maxPathSegments = 256
)

// read takes a request target in origin form (RFC 9112 section 3.2.1), with or without its query.
// It returns the problem when two servers might read that target differently, and then leaves p
// empty. Ordinary paths cost no allocation; value is then a part of target.
func (p *requestPath) read(target string) pathProblem { return p.readWith(target, false) }

// readWith is read, which refuses encoded slashes unless slashes is true: they are then a part of
// their segment.
func (p *requestPath) readWith(target string, slashes bool) pathProblem {
	*p = requestPath{}
	raw, query, _ := strings.Cut(target, "?")
	if strings.IndexByte(query, '#') >= 0 {
		return badCharacters // RFC 9112 has no fragment in a request target
	}
	if raw == "" || raw[0] != '/' {
		return badForm
	}
	if len(raw) > maxPath {
		return badLength
	}
	has, problem := scan(raw)
	if problem != "" {
		return problem
	}
	value := raw
	if has.escape {
		if value, p.slashes, problem = decode(raw, slashes); problem != "" {
			return p.refuse(problem)
		}
	}
	if p.slashes && has.parameter { // what a parameter is of, readers do not agree on
		return p.refuse(badEncoding)
	}
	// Decoded first, then judged: an escape may hide a control character, a dot or half a letter. But
	// a decoded `;` or slash is refused by decode, so that parameters are cut off safely after it.
	if (has.escape || has.wide) && !clean(value) {
		return p.refuse(badCharacters)
	}
	if has.parameter {
		value = withoutParameters(value)
	}
	judged := value
	if p.slashes {
		// To a server that takes an encoded slash for a plain one, a part of a segment is a segment.
		judged = strings.ReplaceAll(value, encodedSlash, "/")
		if strings.HasSuffix(value, encodedSlash) {
			return p.refuse(badSegments)
		}
	}
	if problem := judgeSegments(judged); problem != "" {
		return p.refuse(problem)
	}
	p.value, p.parameters = value, has.parameter
	p.mixed = has.capital || has.wide || has.escape
	return ""
}

// refuse empties p.
func (p *requestPath) refuse(problem pathProblem) pathProblem {
	*p = requestPath{}
	return problem
}

// encodedSlash is how a slash stands in a segment.
const encodedSlash = "%2F"

// rawBytes is what a path's bytes have in them that needs more than plain matching.
type rawBytes struct {
	escape    bool // a `%`
	parameter bool // a `;`
	wide      bool // a byte beyond ASCII
	capital   bool // a letter that is not small
}

func scan(raw string) (has rawBytes, problem pathProblem) {
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '%':
			has.escape = true
		case c == ';':
			has.parameter = true
		case 'A' <= c && c <= 'Z':
			has.capital = true
		case c >= utf8.RuneSelf:
			has.wide = true
		case c <= ' ', c == 0x7f, c == '#':
			return has, badCharacters
		case c == '\\': // to some servers a slash
			return has, badEncoding
		}
	}
	return has, ""
}

// decode resolves percent-encoding once. It refuses whatever would change the path's structure for
// a server that decodes later, earlier or twice. Slashes, if they may be there, stay encoded, and
// has reports whether there are some.
func decode(raw string, slashes bool) (value string, has bool, problem pathProblem) {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			out = append(out, raw[i])
			continue
		}
		if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
			return "", false, badEncoding
		}
		c := unhex(raw[i+1])<<4 | unhex(raw[i+2])
		// A server that decodes before it looks for these would see another path than one that does not.
		switch c {
		case '/':
			if !slashes {
				return "", false, badEncoding
			}
			// A control character, which no path has, until it is known that nothing is encoded twice.
			c, has = 0, true
		case 0:
			return "", false, badCharacters
		case '\\', ';', '?':
			return "", false, badEncoding
		case '#':
			return "", false, badCharacters
		}
		out = append(out, c)
		i += 2
	}
	if encodedTwice(out) {
		return "", false, badEncoding
	}
	if has {
		out = bytes.ReplaceAll(out, []byte{0}, []byte(encodedSlash))
	}
	return string(out), has, ""
}

// encodedTwice reports whether a second decoding would change something: %2F, or %u002F, which
// some servers know.
func encodedTwice(decoded []byte) bool {
	for i, c := range decoded {
		if c != '%' || i+1 == len(decoded) {
			continue
		}
		next := decoded[i+1]
		if next == 'u' || next == 'U' || (isHex(next) && i+2 < len(decoded) && isHex(decoded[i+2])) {
			return true
		}
	}
	return false
}

// clean reports whether value is UTF-8 without control characters.
func clean(value string) bool {
	return utf8.ValidString(value) && strings.IndexFunc(value, unicode.IsControl) < 0
}

// withoutParameters cuts each segment at its first `;`, as servlet containers do.
func withoutParameters(value string) string {
	// Cut off before segments are judged: `/..;/admin` is `/../admin` to those who cut later.
	out := make([]byte, 0, len(value))
	inside := false
	for i := range len(value) {
		switch value[i] {
		case ';':
			inside = true
		case '/':
			inside = false
		}
		if !inside {
			out = append(out, value[i])
		}
	}
	return string(out)
}

// judgeSegments refuses empty segments but for a last one, and those that climb.
func judgeSegments(value string) pathProblem {
	count := 0
	for rest := value[1:]; rest != ""; {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		if segment == "" || segment == "." || segment == ".." {
			return badSegments
		}
		if count++; count > maxPathSegments {
			return badLength
		}
	}
	return ""
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
